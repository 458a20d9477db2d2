"""Compiled loops: activations moved to lower the objective, and whole windows encoded (sanstream.san.encoders)."""

from __future__ import annotations

import numpy as np

from sanstream._jit import entry, jit
from sanstream._loops_absolute import draw, drop, fit, loss_without
from sanstream._loops_greedy import correlate, fill_inverse, fill_table, find, objective, pursue_one, redraw


@jit
def best_step(residual, kernels, sizes, k, y, x, values, weights):
    """Amplitude of one more atom that leaves least absolute error, and the change: a weighted median of ratios."""
    h, w = residual.shape
    n = 0
    total = 0.0
    for s in range(max(0, y), min(h, y + sizes[k, 0])):
        for t in range(max(0, x), min(w, x + sizes[k, 1])):
            tap = kernels[k, s - y, t - x]
            if tap != 0.0:
                values[n] = residual[s, t] / tap
                weights[n] = abs(tap)
                total += abs(tap)
                n += 1
    order = np.argsort(values[:n])
    run = 0.0
    step = 0.0
    for i in order:
        run += weights[i]
        if run >= 0.5 * total:
            step = values[i]
            break
    return step, loss_without(residual, kernels, sizes, k, y, x, -step)


@jit
def move(window, kernels, sizes, table, inverse, inner, chosen, amplitude, count, n_candidates):
    """Take each activation out and put the best one in its stead, whichever leaves least absolute error."""
    q, h, w = inner.shape
    residual = np.empty_like(window)
    draw(window, residual, kernels, sizes, chosen, amplitude, count)
    correlate(residual, kernels, sizes, inner)
    values = np.empty(kernels.shape[1] * kernels.shape[2])
    weights = np.empty(kernels.shape[1] * kernels.shape[2])
    energy = np.empty((q, h, w))
    for a in range(count):
        k, y, x = chosen[a]
        old = amplitude[a]
        redraw(residual, inner, kernels, sizes, table, k, y, x, -old)
        best = loss_without(residual, kernels, sizes, k, y, x, -old)
        energy[:] = np.abs(inner * inverse)
        for _ in range(n_candidates):
            place = int(np.argmax(energy))
            i = place // (h * w)
            s = (place // w) % h
            t = place % w
            if energy[i, s, t] <= 0.0:
                break
            energy[i, s, t] = 0.0
            v = s - (sizes[i, 0] - 1) // 2
            u = t - (sizes[i, 1] - 1) // 2
            if find(chosen, count, i, v, u) != count and not (i == k and v == y and u == x):
                continue
            step, change = best_step(residual, kernels, sizes, i, v, u, values, weights)
            if change < best - 1e-12:
                best = change
                chosen[a, 0] = i
                chosen[a, 1] = v
                chosen[a, 2] = u
                amplitude[a] = step
        redraw(residual, inner, kernels, sizes, table, chosen[a, 0], chosen[a, 1], chosen[a, 2], amplitude[a])


@jit
def sweep(window, kernels, sizes, table, inverse, inner, chosen, amplitude, count, turns, rule, patience, n_candidates):
    """Move all activations, then drop; returns (activations, whether that was better). Worse leaves all as it was."""
    before = chosen[:count].copy()
    old = amplitude[:count].copy()
    residual = np.empty_like(window)
    value = objective(count, draw(window, residual, kernels, sizes, before, old, count), rule)
    move(window, kernels, sizes, table, inverse, inner, chosen, amplitude, count, n_candidates)
    kept = drop(window, kernels, sizes, chosen, amplitude, count, turns, rule, patience)
    now = objective(kept, draw(window, residual, kernels, sizes, chosen, amplitude, kept), rule)
    if now < value - 1e-9:
        return kept, True
    chosen[:count] = before
    amplitude[:count] = old
    return count, False


@entry
def encode(windows, kernels, sizes, rules, plan, chosen, amplitude, counts):
    """Encode windows (B, h, w) one after the other into chosen (B, limit, 3), amplitude (B, limit), counts (B,).

    ``plan``: orthogonal, reweighted turns (0 squares, -1 no refit), patience, sweeps, candidates of a move.
    """
    n_windows, h, w = windows.shape
    turns, patience = plan[1], plan[2]
    limit = amplitude.shape[1]
    table = fill_table(kernels, sizes)
    inverse = fill_inverse(kernels, sizes, h, w)
    inner = np.empty((len(kernels), h, w))
    residual = np.empty((h, w))
    for b in range(n_windows):
        window, atoms, height = windows[b], chosen[b], amplitude[b]
        residual[:] = window
        correlate(residual, kernels, sizes, inner)
        tried, kept = pursue_one(
            residual, kernels, sizes, table, inverse, inner, plan[0], rules[b], patience, limit, atoms, height
        )
        if plan[3] > 0:
            height[kept:tried] = 0.0
            kept = drop(window, kernels, sizes, atoms, height, tried, turns, rules[b], patience + tried - kept)
        elif turns >= 0:
            fit(window, kernels, sizes, atoms, height, kept, turns)
        for _ in range(plan[3]):
            kept, better = sweep(
                window, kernels, sizes, table, inverse, inner, atoms, height, kept, turns, rules[b], patience, plan[4]
            )
            if not better:
                break
        counts[b] = kept


@entry
def refit(windows, kernels, sizes, turns, chosen, amplitude, counts):
    """Fit the amplitudes of given atoms anew, window by window; arrays as in :func:`encode`."""
    for b in range(len(windows)):
        fit(windows[b], kernels, sizes, chosen[b], amplitude[b], counts[b], turns)
