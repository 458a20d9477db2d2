"""Compiled loops: matching pursuit and its orthogonal form over one window of one or two dimensions.

A window is (h, w), h = 1 for a signal; kernels (q, a, b) are stored at the first corner of a common frame,
``sizes`` (q, 2) says how much of it each uses. Nothing here reaches an archive's samples.
"""

from __future__ import annotations

import numpy as np

from sanstream._jit import jit


@jit
def inside(kernels, sizes, i, y, x, j, v, u, h, w):
    """Inner product inside (h, w) of kernel i with its first tap at (y, x) and kernel j with its at (v, u)."""
    total = 0.0
    for s in range(max(0, y, v), min(h, y + sizes[i, 0], v + sizes[j, 0])):
        for t in range(max(0, x, u), min(w, x + sizes[i, 1], u + sizes[j, 1])):
            total += kernels[i, s - y, t - x] * kernels[j, s - v, t - u]
    return total


@jit
def cut(sizes, i, y, x, j, v, u, h, w):
    """Tell whether both kernels overhang the same side, so that the table of whole kernels does not hold."""
    above = y < 0 and v < 0
    below = y + sizes[i, 0] > h and v + sizes[j, 0] > h
    before = x < 0 and u < 0
    after = x + sizes[i, 1] > w and u + sizes[j, 1] > w
    return above or below or before or after


@jit
def gram(kernels, sizes, table, i, y, x, j, v, u, h, w):
    """Give :func:`inside`, from the table (q, q, 2 a - 1, 2 b - 1) over lags where that holds."""
    if v - y >= sizes[i, 0] or y - v >= sizes[j, 0] or u - x >= sizes[i, 1] or x - u >= sizes[j, 1]:
        return 0.0
    if cut(sizes, i, y, x, j, v, u, h, w):
        return inside(kernels, sizes, i, y, x, j, v, u, h, w)
    return table[i, j, v - y + kernels.shape[1] - 1, u - x + kernels.shape[2] - 1]


@jit
def fill_table(kernels, sizes):
    """Inner products of all pairs of whole kernels at all lags, (q, q, 2 a - 1, 2 b - 1)."""
    q, a, b = kernels.shape
    table = np.zeros((q, q, 2 * a - 1, 2 * b - 1))
    for i in range(q):
        for j in range(q):
            for v in range(1 - sizes[j, 0], sizes[i, 0]):
                for u in range(1 - sizes[j, 1], sizes[i, 1]):
                    total = 0.0
                    for s in range(max(0, v), min(sizes[i, 0], v + sizes[j, 0])):
                        for t in range(max(0, u), min(sizes[i, 1], u + sizes[j, 1])):
                            total += kernels[i, s, t] * kernels[j, s - v, t - u]
                    table[i, j, v + a - 1, u + b - 1] = total
    return table


@jit
def fill_inverse(kernels, sizes, h, w):
    """1/norm of each kernel inside the window with its middle tap at each place, (q, h, w); 0 where it is empty."""
    q = len(kernels)
    inverse = np.zeros((q, h, w))
    for k in range(q):
        whole = 0.0
        for s in range(sizes[k, 0]):
            for t in range(sizes[k, 1]):
                whole += kernels[k, s, t] ** 2
        for i in range(h):
            y = i - (sizes[k, 0] - 1) // 2
            for j in range(w):
                x = j - (sizes[k, 1] - 1) // 2
                energy = whole
                if y < 0 or x < 0 or y + sizes[k, 0] > h or x + sizes[k, 1] > w:
                    energy = inside(kernels, sizes, k, y, x, k, y, x, h, w)
                if energy > 1e-6 * whole and energy > 1e-24:
                    inverse[k, i, j] = 1.0 / np.sqrt(energy)
    return inverse


@jit
def correlate(residual, kernels, sizes, inner):
    """Inner products (q, h, w) of all kernels at all places with a residual (h, w)."""
    h, w = residual.shape
    for k in range(len(kernels)):
        for i in range(h):
            y = i - (sizes[k, 0] - 1) // 2
            for j in range(w):
                x = j - (sizes[k, 1] - 1) // 2
                total = 0.0
                for s in range(max(0, y), min(h, y + sizes[k, 0])):
                    for t in range(max(0, x), min(w, x + sizes[k, 1])):
                        total += residual[s, t] * kernels[k, s - y, t - x]
                inner[k, i, j] = total


@jit
def stamp(residual, kernels, sizes, k, y, x, step):
    """Take ``step`` times kernel ``k`` with its first tap at (y, x) out of a residual."""
    h, w = residual.shape
    for s in range(max(0, y), min(h, y + sizes[k, 0])):
        for t in range(max(0, x), min(w, x + sizes[k, 1])):
            residual[s, t] -= step * kernels[k, s - y, t - x]


@jit
def redraw(residual, inner, kernels, sizes, table, k, y, x, step):
    """Do :func:`stamp` and bring all inner products up to date."""
    h, w = residual.shape
    q, a, b = kernels.shape
    stamp(residual, kernels, sizes, k, y, x, step)
    for j in range(q):
        top = (sizes[j, 0] - 1) // 2
        left = (sizes[j, 1] - 1) // 2
        first = max(-left, x - sizes[j, 1] + 1)
        last = min(w - left, x + sizes[k, 1])
        for v in range(max(-top, y - sizes[j, 0] + 1), min(h - top, y + sizes[k, 0])):
            row = table[k, j, v - y + a - 1]
            out = inner[j, v + top]
            for u in range(first, last):
                out[u + left] -= step * row[u - x + b - 1]
            if y < 0 or y + sizes[k, 0] > h or x < 0 or x + sizes[k, 1] > w:
                for u in range(first, last):
                    if cut(sizes, k, y, x, j, v, u, h, w):
                        exact = inside(kernels, sizes, k, y, x, j, v, u, h, w)
                        out[u + left] += step * (row[u - x + b - 1] - exact)


@jit
def strongest(inner, inverse):
    """Kernel and place that explain most energy of the residual, and that energy."""
    q, h, w = inner.shape
    best = 0.0
    kernel = 0
    row = 0
    column = 0
    for k in range(q):
        for i in range(h):
            for j in range(w):
                unit = inner[k, i, j] * inverse[k, i, j]
                if unit * unit > best:
                    best = unit * unit
                    kernel = k
                    row = i
                    column = j
    return kernel, row, column, best


@jit
def absolute(residual):
    """Sum of absolute values."""
    total = 0.0
    for i in range(residual.shape[0]):
        for j in range(residual.shape[1]):
            total += abs(residual[i, j])
    return total


@jit
def objective(count, error, rule):
    """Value what is made small: see ``sanstream.san.encoders``; ``error`` is the sum of absolute residuals.

    ``rule``: kind (0 phi, 1 bits, 2 as many as allowed), numbers (or bits) an activation costs, numbers paid
    beforehand, sum of absolute samples (for bits: a quantiser step in every sample), samples.
    """
    loss = error / rule[3] if rule[3] > 0.0 else 0.0
    if rule[0] == 0.0:
        return np.hypot((rule[2] + count * rule[1]) / rule[4], loss)
    if rule[0] == 1.0:
        return count * rule[1] + rule[4] * np.log2(1.0 + 2.0 * np.e * loss)
    return loss - 4.0 * count


@jit
def solve(matrix, target, count, factor, out):
    """Solve the symmetric system of ``count`` unknowns into ``out``; a ridge of 1e-9 holds up dependent rows."""
    for i in range(count):
        for j in range(i):
            total = matrix[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            factor[i, j] = total / factor[j, j]
        left = matrix[i, i] * (1.0 + 1e-9)
        for k in range(i):
            left -= factor[i, k] * factor[i, k]
        factor[i, i] = np.sqrt(max(left, 1e-12 * matrix[i, i], 1e-300))
    for i in range(count):
        total = target[i]
        for k in range(i):
            total -= factor[i, k] * out[k]
        out[i] = total / factor[i, i]
    for i in range(count - 1, -1, -1):
        total = out[i]
        for k in range(i + 1, count):
            total -= factor[k, i] * out[k]
        out[i] = total / factor[i, i]


@jit
def find(chosen, count, kernel, y, x):
    """Slot of an atom among those chosen, or ``count``."""
    for a in range(count):
        if chosen[a, 0] == kernel and chosen[a, 1] == y and chosen[a, 2] == x:
            return a
    return count


@jit
def pursue_one(window, kernels, sizes, table, inverse, inner, orthogonal, rule, patience, limit, chosen, amplitude):
    """Pursue one window; returns (atoms tried, atoms of the best fit).

    ``window`` (h, w) and ``inner`` are consumed; ``chosen`` (limit, 3) receives kernel and first tap of
    every atom tried, ``amplitude`` (limit,) the amplitudes of the best fit, which has the first of them.
    """
    h, w = window.shape
    now = np.zeros(limit)
    fitted = np.zeros(limit)
    target = np.zeros(limit)
    size = min(limit, 32)
    matrix = np.zeros((size, size))
    factor = np.zeros((size, size))
    best = objective(0, absolute(window), rule)
    count = 0
    kept = 0
    waited = 0
    least = 1e-14 * np.sum(window * window)
    while waited < patience:
        kernel, i, j, energy = strongest(inner, inverse)
        y = i - (sizes[kernel, 0] - 1) // 2
        x = j - (sizes[kernel, 1] - 1) // 2
        slot = find(chosen, count, kernel, y, x)
        if energy <= least or slot == limit or (orthogonal and slot < count):
            break
        if slot == count:
            chosen[slot, 0] = kernel
            chosen[slot, 1] = y
            chosen[slot, 2] = x
            count += 1
        if orthogonal:
            if count > size:
                size = min(limit, 2 * size)
                wider = np.zeros((size, size))
                wider[: count - 1, : count - 1] = matrix[: count - 1, : count - 1]
                matrix = wider
                factor = np.zeros((size, size))
            target[slot] = inner[kernel, i, j]
            for a in range(count):
                value = gram(kernels, sizes, table, kernel, y, x, chosen[a, 0], chosen[a, 1], chosen[a, 2], h, w)
                matrix[slot, a] = value
                matrix[a, slot] = value
                # what the window gave is what the residual gives and what the others took
                target[slot] += now[a] * value
            solve(matrix, target, count, factor, fitted)
        else:
            fitted[:count] = now[:count]
            fitted[slot] += inner[kernel, i, j] * inverse[kernel, i, j] ** 2
        for a in range(count):
            if fitted[a] != now[a]:
                redraw(window, inner, kernels, sizes, table, chosen[a, 0], chosen[a, 1], chosen[a, 2],
                       fitted[a] - now[a])  # fmt: skip
                now[a] = fitted[a]
        value = objective(count, absolute(window), rule)
        waited += 1
        if value < best:
            best = value
            kept = count
            amplitude[:count] = now[:count]
            waited = 0
    return count, kept
