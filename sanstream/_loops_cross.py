"""Compiled loops of the encoder: which channels a wavelet window leans on, and how much. Not normative."""

from __future__ import annotations

import numpy as np

from sanstream._jit import jit
from sanstream._loops_group import CORRECTED, CROSS_BITS, N_CROSS, WAVELET
from sanstream._loops_samples import BASE, N_REFS, REFS

_CROSS_PRICE = 48.0
"""Bits that another reference must save in a window."""


@jit
def _solved(gram, right, chosen, count, weights, work):
    """Least-squares weights of the ``count`` chosen references (Gaussian elimination)."""
    for i in range(count):
        for j in range(count):
            work[i, j] = gram[chosen[i], chosen[j]]
        work[i, i] *= 1.0 + 1e-9
        work[i, count] = right[chosen[i]]
    for i in range(count):
        for k in range(i + 1, count):
            f = work[k, i] / work[i, i]
            for j in range(i, count + 1):
                work[k, j] -= f * work[i, j]
    for i in range(count - 1, -1, -1):
        v = work[i, count]
        for j in range(i + 1, count):
            v -= work[i, j] * weights[j]
        weights[i] = v / work[i, i]


@jit
def fit_cross(s, plan, w, a, b, c, x, y, san, missing):
    """Choose cross-channel weights by least squares, adding references while they save more bits than they cost."""
    n = b - a
    columns = s.columns
    most = min(N_CROSS, columns[c, N_REFS])
    for j in range(N_CROSS):
        plan.cross[w, c, j] = 0
    gram = np.zeros((N_CROSS, N_CROSS))
    right = np.zeros(N_CROSS)
    usable = np.zeros(N_CROSS, np.int64)
    signal = np.zeros((N_CROSS, n))
    rest = np.zeros(n)
    own = 0.0
    for t in range(n):
        rest[t] = x[a + t, c] - columns[c, BASE] - san[a + t, c] if not missing[a + t, c] else 0.0
        own += rest[t] * rest[t]
    for j in range(most):
        r = columns[c, REFS + j]
        if r >= c or (plan.tool[w, r] != WAVELET and plan.tool[w, r] != CORRECTED):
            continue
        usable[j] = 1
        for t in range(n):
            signal[j, t] = y[a + t, r] - columns[r, BASE] - san[a + t, r]
        for i in range(j + 1):
            total = 0.0
            for t in range(n):
                total += signal[i, t] * signal[j, t]
            gram[i, j] = total
            gram[j, i] = total
        for t in range(n):
            right[j] += signal[j, t] * rest[t]
        if gram[j, j] <= 0.0:
            usable[j] = 0
    chosen = np.zeros(N_CROSS, np.int64)
    weights = np.zeros(N_CROSS)
    kept = np.zeros(N_CROSS)
    work = np.zeros((N_CROSS, N_CROSS + 1))
    count = 0
    left = own
    least = 2.0 ** (-2.0 * _CROSS_PRICE / max(n, 1))
    while count < most:
        best = -1
        best_left = left * least
        for j in range(most):
            if not usable[j]:
                continue
            chosen[count] = j
            _solved(gram, right, chosen, count + 1, weights, work)
            after = own
            for i in range(count + 1):
                after -= weights[i] * right[chosen[i]]
            if after < best_left:
                best_left = after
                best = j
                kept[: count + 1] = weights[: count + 1]
        if best < 0:
            break
        chosen[count] = best
        usable[best] = 0
        count += 1
        left = best_left
    for i in range(count):
        weight = np.int64(round(kept[i] * (1 << CROSS_BITS)))
        plan.cross[w, c, chosen[i]] = min(max(weight, -2048), 2048)
