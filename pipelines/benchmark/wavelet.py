"""The strongest classical rival: 9/7 wavelet over a whole record, dead zone, adaptive context coding.

Sizes are ideal adaptive code lengths, the sum of -log2 p, plus side information: a rival without the
overhead of a real coder, of blocks or of random access. Nothing here is shared with sanstream's loops.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from pipelines.benchmark.bisect import largest
from pipelines.benchmark.wavelet_coder import code_length

Floats = npt.NDArray[np.float64]

SHORTEST = 12
"""A band of this length or less is split no further."""
MAX_LEVELS = 12
ROUNDING = (0.5, 0.44, 0.38, 0.32, 0.26)
"""Offsets before the floor: 0.5 rounds, less widens the zero bin (the dead zone)."""
_SIDE_BITS = 4 * 16 + 32
"""Step, length, and where magnitudes 1, 2 and above are rebuilt."""

# Cohen-Daubechies-Feauveau 9/7 lifting steps (Daubechies and Sweldens 1998)
_STEPS = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
_SCALE = 1.149604398860241


@dataclass(frozen=True)
class Waved:
    """A coded signal.

    Parameters
    ----------
    bits : float
        Ideal code length with side information.
    decoded : ndarray, shape (n_samples,), float64
    step, rounding : float
        Quantiser chosen.
    """

    bits: float
    decoded: Floats
    step: float
    rounding: float


@numba.njit(cache=True)
def _lift(v: Floats, n: int, first: int, factor: float) -> None:
    for i in range(first, n, 2):
        left = v[i - 1] if i > 0 else v[i + 1]
        right = v[i + 1] if i + 1 < n else v[i - 1]
        v[i] += factor * (left + right)


@numba.njit(cache=True)
def _sizes(n: int) -> npt.NDArray[np.int64]:
    sizes = [n]
    while sizes[-1] > SHORTEST and len(sizes) <= MAX_LEVELS:
        sizes.append((sizes[-1] + 1) // 2)
    return np.array(sizes)


@numba.njit(cache=True)
def forward(x: Floats) -> Floats:
    """Split ``x``, shape (n_samples,), into bands stored one after the other, coarse to fine."""
    v = x.copy()
    scratch = np.empty_like(v)
    sizes = _sizes(len(v))
    for n in sizes[:-1]:
        for k in range(4):
            _lift(v, n, 1 - k % 2, _STEPS[k])
        half = (n + 1) // 2
        for i in range(half):
            scratch[i] = v[2 * i] * _SCALE
        for i in range(n - half):
            scratch[half + i] = v[2 * i + 1] / _SCALE
        v[:n] = scratch[:n]
    return v


@numba.njit(cache=True)
def inverse(bands: Floats) -> Floats:
    """Undo :func:`forward`."""
    v = bands.copy()
    scratch = np.empty_like(v)
    sizes = _sizes(len(v))
    for level in range(len(sizes) - 2, -1, -1):
        n, half = sizes[level], sizes[level + 1]
        for i in range(half):
            scratch[2 * i] = v[i] / _SCALE
        for i in range(n - half):
            scratch[2 * i + 1] = v[half + i] * _SCALE
        v[:n] = scratch[:n]
        for k in range(3, -1, -1):
            _lift(v, n, 1 - k % 2, -_STEPS[k])
    return v


@numba.njit(cache=True)
def quantise(coefficients: Floats, step: float, rounding: float) -> tuple[npt.NDArray[np.int64], Floats]:
    """Quantise with a dead zone; rebuild magnitudes 1, 2 and above at the mean place of their own values."""
    n = len(coefficients)
    q = np.empty(n, np.int64)
    total, count = np.zeros(3), np.zeros(3)
    for i in range(n):
        c = abs(coefficients[i]) / step
        m = int(np.floor(c + rounding))
        q[i] = m if coefficients[i] > 0 else -m
        if m > 0:
            k = min(m, 3) - 1
            total[k] += c - m
            count[k] += 1
    shift = np.round(total / np.maximum(count, 1) * 256) / 256
    rebuilt = np.zeros(n)
    for i in range(n):
        m = abs(q[i])
        if m > 0:
            value = (m + shift[min(m, 3) - 1]) * step
            rebuilt[i] = value if q[i] > 0 else -value
    return q, rebuilt


def wave(x: Floats, rmse_bound: float) -> Waved:
    """Code a signal so that its root mean square error lies just below a bound.

    Parameters
    ----------
    x : ndarray, shape (n_samples,), float64
    rmse_bound : float
        In the unit of ``x``.

    Returns
    -------
    Waved
        The smallest over several widths of the dead zone.
    """
    x = np.asarray(x, dtype=np.float64)
    level = float(np.round(x.mean()))
    coefficients = forward(x - level)
    ends = _sizes(len(x))[::-1].astype(np.int64)
    found: list[Waved] = []
    for rounding in ROUNDING:

        def reached(step: float, rounding: float = rounding) -> float:
            rebuilt = quantise(coefficients, step, rounding)[1]
            return float(np.sqrt(np.mean((inverse(rebuilt) + level - x) ** 2)))

        step = largest(reached, rmse_bound, start=2.5 * rmse_bound)
        q, rebuilt = quantise(coefficients, step, rounding)
        bits = code_length(q, ends) + _SIDE_BITS
        if found and bits > 1.02 * found[-1].bits:
            break  # the best width is behind
        found.append(Waved(float(bits), inverse(rebuilt) + level, step, rounding))
    return min(found, key=lambda w: w.bits)
