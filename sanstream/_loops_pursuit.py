"""Compiled loops: orthogonal matching pursuit of one window, stopped by phi (sanstream.san.pursuit).

Nothing here reaches an archive's samples, so floats are fine. All work of a step is local: inner
products follow from tables of kernel correlations, and only atoms whose amplitude moves are redrawn.
"""

from __future__ import annotations

import numpy as np

from sanstream._jit import entry, jit


@jit
def cut(p, t, m, n):
    """Tell whether kernels at p and t both overhang the same end, so that the table does not hold."""
    return (p < 0 and t < 0) or (p + m > n and t + m > n)


@jit
def inside(kernels, c, i, p, j, t, n):
    """Inner product inside [0, n) of kernel i with first tap at p and kernel j with first tap at t, summed."""
    m = kernels.shape[2]
    total = 0.0
    for s in range(max(0, p, t), min(n, p + m, t + m)):
        total += kernels[i, c, s - p] * kernels[j, c, s - t]
    return total


@jit
def gram(kernels, table, c, i, p, j, t, n):
    """Give :func:`inside` from the table (C, q, q, 2 m - 1) over lags t - p where it holds."""
    m = kernels.shape[2]
    if t - p <= -m or t - p >= m:
        return 0.0
    if cut(p, t, m, n):
        return inside(kernels, c, i, p, j, t, n)
    return table[c, i, j, t - p + m - 1]


@jit
def strongest(inner, inverse):
    """Kernel and position that explain most energy of the residual, and that energy."""
    channels, q, n = inner.shape
    best = 0.0
    kernel = 0
    place = 0
    for k in range(q):
        for t in range(n):
            energy = 0.0
            for c in range(channels):
                unit = inner[c, k, t] * inverse[c, k, t]
                energy += unit * unit
            if energy > best:
                best = energy
                kernel = k
                place = t
    return kernel, place, best


@jit
def extend(factor, scale, chosen, count, kernels, table, c, n):
    """Append the row of atom ``count`` to one channel's Cholesky factor of the unit atoms' Gram matrix."""
    left = 1.0
    for a in range(count):
        total = gram(kernels, table, c, chosen[0, count], chosen[1, count], chosen[0, a], chosen[1, a], n)
        total *= scale[count] * scale[a]
        for b in range(a):
            total -= factor[count, b] * factor[a, b]
        factor[count, a] = total / factor[a, a]
        left -= factor[count, a] * factor[count, a]
    factor[count, count] = np.sqrt(max(left, 1e-9))


@jit
def moves(factor, count, fit, change):
    """Change of all amplitudes when atom ``count`` joins: back-substitution of (0, ..., 0, fit)."""
    for a in range(count):
        change[a] = 0.0
    change[count] = fit
    for a in range(count, -1, -1):
        if change[a] == 0.0:
            continue
        change[a] /= factor[a, a]
        for b in range(a):
            change[b] -= factor[a, b] * change[a]


@jit
def redraw(residual, inner, kernels, table, c, k, p, step):
    """Take ``step`` times kernel ``k`` at ``p`` out of one channel's residual and all inner products."""
    q, _, m = kernels.shape
    n = residual.shape[1]
    left = (m - 1) // 2
    for s in range(max(0, p), min(n, p + m)):
        residual[c, s] -= step * kernels[k, c, s - p]
    first = max(-left, p - m + 1)
    width = min(n - left, p + m) - first
    for j in range(q):
        row = table[c, k, j, first - p + m - 1 :]
        out = inner[c, j, first + left :]
        for t in range(width):
            out[t] -= step * row[t]
        if p < 0 or p + m > n:
            for t in range(width):
                if cut(p, first + t, m, n):
                    out[t] += step * (row[t] - inside(kernels, c, k, p, j, first + t, n))


@jit
def relative_loss(residual, live):
    """Mean absolute residual over the live channels."""
    total = 0.0
    for c in range(residual.shape[0]):
        for t in range(residual.shape[1]):
            total += abs(residual[c, t])
    return total / (live * residual.shape[1])


@entry
def pursue(x, inner, kernels, table, inverse, limit, patience, price, live, chosen, amplitude, still):
    """Pursue one window; returns (atoms of the best fit, its RL).

    ``x`` (C, n) and ``inner`` (C, q, n) are consumed; ``chosen`` (2, limit) receives kernel and first
    tap, ``amplitude`` (C, limit) the amplitudes of the best fit. ``patience`` 0 takes ``limit`` atoms.
    An amplitude that moves by less than ``still`` times the new atom's is not redrawn.
    """
    channels, n = x.shape
    left = (kernels.shape[2] - 1) // 2
    size = min(64, limit)
    factor = np.zeros((channels, size, size))
    scale = np.zeros((channels, limit))
    change = np.zeros(limit)
    now = np.zeros((channels, limit))
    best_rl = relative_loss(x, live)
    best_phi = best_rl
    kept = 0
    for count in range(limit):
        if count == size:
            size = min(2 * size, limit)
            wider = np.zeros((channels, size, size))
            wider[:, :count, :count] = factor
            factor = wider
        k, place, energy = strongest(inner, inverse)
        if energy <= 1e-18:
            break
        chosen[0, count] = k
        chosen[1, count] = place - left
        for c in range(channels):
            scale[c, count] = inverse[c, k, place]
            extend(factor[c], scale[c], chosen, count, kernels, table, c, n)
            fit = inner[c, k, place] * inverse[c, k, place] / factor[c, count, count]
            moves(factor[c], count, fit, change)
            for a in range(count + 1):
                now[c, a] += change[a] * scale[c, a]
                if abs(change[a]) > still * abs(fit):
                    redraw(x, inner, kernels, table, c, chosen[0, a], chosen[1, a], change[a] * scale[c, a])
        rl = relative_loss(x, live)
        phi = np.hypot((count + 1) * price, rl)
        if patience == 0 or phi < best_phi:
            best_phi = phi
            best_rl = rl
            kept = count + 1
            amplitude[:, : count + 1] = now[:, : count + 1]
        elif count + 1 - kept >= patience:
            break
    return kept, best_rl


@entry
def flithos_of(windows, kernels, table, inverse, limit, patience, still, phi, count):
    """Give phi (B,) and atoms (B,) of windows (B, n) of one channel, each by :func:`pursue`; rows are consumed.

    ``kernels`` (q, 1, m) float64, ``table`` (1, q, q, 2 m - 1), ``inverse`` (1, q, n). A constant window has phi 0.
    """
    n = windows.shape[1]
    q, _, m = kernels.shape
    left = (m - 1) // 2
    inner = np.zeros((1, q, n))
    x = np.zeros((1, n))
    chosen = np.zeros((2, limit), np.int64)
    amplitude = np.zeros((1, limit))
    for b in range(len(windows)):
        x[0] = windows[b] - windows[b].mean()
        scale = np.abs(x).mean()
        if scale <= 1e-6 * np.abs(windows[b]).max():
            phi[b] = 0.0
            count[b] = 0
            continue
        x /= scale
        for k in range(q):
            for t in range(n):
                first = t - left
                total = 0.0
                for s in range(max(0, first), min(n, first + m)):
                    total += kernels[k, 0, s - first] * x[0, s]
                inner[0, k, t] = total if inverse[0, k, t] > 0 else 0.0
        kept, rl = pursue(x, inner, kernels, table, inverse, limit, patience, 2.0 / n, 1, chosen, amplitude, still)
        phi[b] = np.hypot(2.0 * kept / n, rl)
        count[b] = kept
