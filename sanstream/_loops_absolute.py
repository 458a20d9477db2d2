"""Compiled loops: amplitudes of least absolute error, and activations dropped while that lowers the objective."""

from __future__ import annotations

import numpy as np

from sanstream._jit import jit
from sanstream._loops_greedy import absolute, objective, solve, stamp


@jit
def draw(window, residual, kernels, sizes, chosen, amplitude, count):
    """Write into ``residual`` what the activations leave of the window; returns its sum of absolute values."""
    residual[:] = window
    for a in range(count):
        stamp(residual, kernels, sizes, chosen[a, 0], chosen[a, 1], chosen[a, 2], amplitude[a])
    return absolute(residual)


@jit
def weighted_system(window, weight, kernels, sizes, chosen, count, matrix, target):
    """Fill in the normal equations of the chosen atoms under a weight (h, w) of each sample."""
    h, w = window.shape
    for a in range(count):
        k, y, x = chosen[a, 0], chosen[a, 1], chosen[a, 2]
        total = 0.0
        for s in range(max(0, y), min(h, y + sizes[k, 0])):
            for t in range(max(0, x), min(w, x + sizes[k, 1])):
                total += weight[s, t] * window[s, t] * kernels[k, s - y, t - x]
        target[a] = total
        for c in range(a + 1):
            j, v, u = chosen[c, 0], chosen[c, 1], chosen[c, 2]
            total = 0.0
            for s in range(max(0, y, v), min(h, y + sizes[k, 0], v + sizes[j, 0])):
                for t in range(max(0, x, u), min(w, x + sizes[k, 1], u + sizes[j, 1])):
                    total += weight[s, t] * kernels[k, s - y, t - x] * kernels[j, s - v, t - u]
            matrix[a, c] = total
            matrix[c, a] = total


@jit
def fit(window, kernels, sizes, chosen, amplitude, count, turns):
    """Fit amplitudes anew; returns the sum of absolute residuals.

    ``turns`` 0 fits by least squares. Otherwise squares are reweighted by 1/|residual| that many times, the floor
    below which a residual counts as zero falling from turn to turn; the best turn is kept, so that it never
    gets worse than it was.
    """
    h, w = window.shape
    residual = np.empty((h, w))
    weight = np.ones((h, w))
    matrix = np.zeros((count, count))
    factor = np.zeros((count, count))
    target = np.zeros(count)
    trial = np.zeros(count)
    if count == 0:
        return absolute(window)
    if turns == 0:
        weighted_system(window, weight, kernels, sizes, chosen, count, matrix, target)
        solve(matrix, target, count, factor, amplitude)
        return draw(window, residual, kernels, sizes, chosen, amplitude, count)
    best = draw(window, residual, kernels, sizes, chosen, amplitude, count)
    floor = 0.1 * best / window.size
    for _ in range(turns):
        for i in range(h):
            for j in range(w):
                weight[i, j] = 1.0 / max(abs(residual[i, j]), floor, 1e-12)
        weighted_system(window, weight, kernels, sizes, chosen, count, matrix, target)
        solve(matrix, target, count, factor, trial)
        error = draw(window, residual, kernels, sizes, chosen, trial, count)
        floor *= 0.7
        if error < best:
            best = error
            amplitude[:count] = trial
    return best


@jit
def loss_without(residual, kernels, sizes, k, y, x, step):
    """Change of the sum of absolute residuals when ``-step`` times an atom is taken out."""
    h, w = residual.shape
    total = 0.0
    for s in range(max(0, y), min(h, y + sizes[k, 0])):
        for t in range(max(0, x), min(w, x + sizes[k, 1])):
            total += abs(residual[s, t] + step * kernels[k, s - y, t - x]) - abs(residual[s, t])
    return total


@jit
def drop(window, kernels, sizes, chosen, amplitude, count, turns, rule, patience):
    """Drop the activation that is missed least, fit the others, and so on; returns how many the best fit keeps.

    ``chosen`` and ``amplitude`` are left with the best fit first.
    """
    residual = np.empty_like(window)
    error = fit(window, kernels, sizes, chosen, amplitude, count, turns)
    best = objective(count, error, rule)
    best_chosen = chosen[:count].copy()
    best_amplitude = amplitude[:count].copy()
    kept = count
    waited = 0
    while count > 0 and waited < patience:
        draw(window, residual, kernels, sizes, chosen, amplitude, count)
        least = np.inf
        slot = 0
        for a in range(count):
            missed = loss_without(residual, kernels, sizes, chosen[a, 0], chosen[a, 1], chosen[a, 2], amplitude[a])
            if missed < least:
                least = missed
                slot = a
        count -= 1
        chosen[slot] = chosen[count]
        amplitude[slot] = amplitude[count]
        error = fit(window, kernels, sizes, chosen, amplitude, count, turns)
        value = objective(count, error, rule)
        waited += 1
        if value < best:
            best = value
            kept = count
            best_chosen[:count] = chosen[:count]
            best_amplitude[:count] = amplitude[:count]
            waited = 0
    chosen[:kept] = best_chosen[:kept]
    amplitude[:kept] = best_amplitude[:kept]
    return kept
