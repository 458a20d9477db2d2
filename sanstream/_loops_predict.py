"""Compiled loops: recursive least squares in fixed point (FORMAT.md clause 9).

Covariances are exact integer sums, forgotten by a shift at every hop; weights come from a Cholesky
factorisation in Q30 with one augmented row, so every quantity is bounded by the Cauchy-Schwarz
inequality and no step can overflow. Integers only.
"""

from __future__ import annotations

import numpy as np

from sanstream._jit import jit

WEIGHT_BITS = 16
WEIGHT_LIMIT = np.int64(1) << 21  # 32 in Q16
Q = 30


@jit
def isqrt(v):
    """Floor of the square root of 0 <= v < 2^62."""
    if v <= 0:
        return np.int64(0)
    n = 0
    t = v
    while t > 0:
        t >>= 1
        n += 1
    x = np.int64(1) << ((n + 1) >> 1)
    while True:
        y = (x + v // x) >> 1
        if y >= x:
            return x
        x = y


@jit
def solve(cov, n, ridge, scratch, weights):
    """Weights (Q16) of the regression whose (n + 1) x (n + 1) covariance is ``cov`` (target last).

    ``scratch`` is int64 (n + 2, n + 1), its last row takes the exponents; only the lower triangle of ``cov`` is read.
    """
    for i in range(n + 1):
        v = cov[i, i]
        bits = 0
        while v > 0:
            v >>= 1
            bits += 1
        scratch[n + 1, i] = (bits + 1) >> 1  # cov_ii <= 2^(2 e)
    # scaled rows: A_ij = cov_ij 2^(30 - e_i - e_j), |A_ij| <= 2^30
    for i in range(n + 1):
        for j in range(i + 1):
            shift = Q - scratch[n + 1, i] - scratch[n + 1, j]
            a = cov[i, j]
            if shift >= 0:
                a = a << shift
            else:
                a = a >> -shift
            scratch[i, j] = a
    for j in range(n):
        d = (scratch[j, j] + (scratch[j, j] >> ridge) + (np.int64(1) << (Q - 20))) << Q
        for k in range(j):
            d -= scratch[j, k] * scratch[j, k]
        floor = np.int64(1) << (2 * Q - 24)
        if d < floor:
            d = floor
        root = isqrt(d)
        scratch[j, j] = root
        for i in range(j + 1, n + 1):
            s = scratch[i, j] << Q
            for k in range(j):
                s -= scratch[i, k] * scratch[j, k]
            s = s // root
            if s > (np.int64(1) << Q):
                s = np.int64(1) << Q
            elif s < -(np.int64(1) << Q):
                s = -(np.int64(1) << Q)
            scratch[i, j] = s
    # back substitution in Q16 of scaled units: |w| <= 2^26, sums below 2^63 for n <= 64
    limit = np.int64(1) << 26
    for j in range(n - 1, -1, -1):
        s = scratch[n, j] << WEIGHT_BITS
        for k in range(j + 1, n):
            s -= scratch[k, j] * weights[k]
        w = s // scratch[j, j]
        if w > limit:
            w = limit
        elif w < -limit:
            w = -limit
        weights[j] = w
    for j in range(n):
        shift = scratch[n + 1, n] - scratch[n + 1, j]
        w = weights[j]
        if shift >= 0:
            if shift > 24:
                shift = np.int64(24)
            w = w << shift
        else:
            w = w >> -shift
        if w > WEIGHT_LIMIT:
            w = WEIGHT_LIMIT
        elif w < -WEIGHT_LIMIT:
            w = -WEIGHT_LIMIT
        weights[j] = w


@jit
def accumulate(cov, regressors, n):
    """Add the outer product of ``regressors[:n + 1]`` (target last) to the lower triangle."""
    for i in range(n + 1):
        v = regressors[i]
        for j in range(i + 1):
            cov[i, j] += v * regressors[j]


@jit
def forget(cov, n, shift):
    """Let the past fade: subtract ``2^-shift`` of every covariance."""
    for i in range(n + 1):
        for j in range(i + 1):
            cov[i, j] -= cov[i, j] >> shift
