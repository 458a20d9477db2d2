"""Ideal adaptive code length of quantised wavelet bands: two estimators, mixed logistically."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

_NODES = 16
"""Binary decisions of a coefficient: is it more than 0, more than 1, ...; the last stands for an exponent code."""
_NEAR, _PARENT, _MASS = 8, 8, 40
_LIMIT = 400.0
_RATE = 0.02


@numba.njit(cache=True)
def _level(v: float, top: int) -> int:
    """Half octaves of ``v``, from 0."""
    if v <= 0:
        return 0
    return min(top, 1 + int(2 * np.log2(v) + 0.5)) if v >= 1 else 1


@numba.njit(cache=True)
def _bit(
    p: npt.NDArray[np.float64],
    n: npt.NDArray[np.float64],
    w: npt.NDArray[np.float64],
    slots: npt.NDArray[np.int64],
    weights: int,
    bit: int,
) -> float:
    """Cost of one decision in bits; adapts estimators ``p`` and mixing weights ``w``."""
    size = len(slots)
    dot = 0.0
    stretch = np.empty(size)
    for k in range(size):
        stretch[k] = np.log(p[slots[k]] / (1 - p[slots[k]]))
        dot += w[weights + k] * stretch[k]
    one = 1 / (1 + np.exp(-dot))
    one = min(max(one, 1e-5), 1 - 1e-5)
    error = bit - one
    for k in range(size):
        w[weights + k] += _RATE * error * stretch[k]
        s = slots[k]
        n[s] = min(n[s] + 1, _LIMIT)
        p[s] += (bit - p[s]) / (n[s] + 1.5)
        p[s] = min(max(p[s], 1e-4), 1 - 1e-4)
    return float(-np.log2(one if bit else 1 - one))


@numba.njit(cache=True)
def code_length(q: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> float:
    """Sum -log2 p over all coefficients.

    Parameters
    ----------
    q : ndarray, shape (n,), int64
        Bands one after the other, coarse to fine.
    ends : ndarray, shape (n_bands,), int64
        One past each band's last coefficient.

    Returns
    -------
    float
        Bits.
    """
    n_bands = len(ends)
    first, second = n_bands * _NEAR * _PARENT * _NODES, n_bands * _MASS * _NODES
    p, n = np.full(first + second, 0.5), np.zeros(first + second)
    w = np.full(n_bands * _NODES * 2, 0.55)
    slots = np.empty(2, np.int64)
    bits = 0.0
    for band in range(n_bands):
        a = ends[band - 1] if band else 0
        parent = ends[band - 2] if band >= 2 else 0
        n_parent = a - parent if band >= 2 else 0
        grand = ends[band - 3] if band >= 3 else 0
        n_grand = parent - grand if band >= 3 else 0
        for i in range(a, ends[band]):
            k = i - a
            m1 = abs(q[i - 1]) if k > 0 else 0
            m2 = abs(q[i - 2]) if k > 1 else 0
            m3 = abs(q[i - 3]) if k > 2 else 0
            m4 = abs(q[i - 4]) if k > 3 else 0
            h = k >> 1
            p0 = abs(q[parent + min(h, n_parent - 1)]) if n_parent else 0
            p1 = abs(q[parent + h + 1]) if h + 1 < n_parent else 0
            p2 = abs(q[parent + h - 1]) if n_parent and h > 0 else 0
            p3 = abs(q[parent + h + 2]) if h + 2 < n_parent else 0
            h = k >> 2
            g0 = abs(q[grand + min(h, n_grand - 1)]) if n_grand else 0
            g1 = abs(q[grand + h + 1]) if h + 1 < n_grand else 0
            near = _level(2.0 * m1 + m2, _NEAR - 1)
            par = _level(2.0 * p0 + p1 + p2, _PARENT - 1)
            mass = 1.0 * m1 + 0.7 * m2 + 0.4 * (m3 + m4) + 0.9 * p0 + 0.5 * (p1 + p2) + 0.2 * p3 + 0.3 * (g0 + g1)
            loud = min(_MASS - 1, int(4 * np.log2(1 + 2 * mass)))
            base1 = ((band * _NEAR + near) * _PARENT + par) * _NODES
            base2 = first + (band * _MASS + loud) * _NODES
            m = abs(q[i])
            for u in range(_NODES):
                if u == _NODES - 1:  # what is left, from 0 on, by Elias gamma
                    bits += 2 * int(np.log2(m - u + 1)) + 1
                    break
                slots[0], slots[1] = base1 + u, base2 + u
                more = 1 if m > u else 0
                bits += _bit(p, n, w, slots, (band * _NODES + u) * 2, more)
                if not more:
                    break
            if m > 0:
                bits += 1  # the sign
    return bits
