"""Representations that pay for no kernels: the largest coefficients of wavelets and of the cosine transform."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn, idctn

from pipelines.benchmark import wavelet

Floats = npt.NDArray[np.float64]

# Daubechies, four vanishing moments ("db4"), orthonormal low-pass filter (Ten Lectures on Wavelets, table 6.1)
_DB4 = np.array([0.230377813308855, 0.714846570552542, 0.630880767929590, -0.027983769416984,
                 -0.187034811718881, 0.030841381835987, 0.032883011666983, -0.010597401784997])  # fmt: skip
_DB4_LEVELS = 6


def by_coefficients(windows: Floats, name: str) -> tuple[Floats, Floats]:
    """Keep as many of the largest coefficients as make phi least, window by window.

    Parameters
    ----------
    windows : ndarray, shape (B, n) or (B, h, w), float64
    name : ``"bior4.4"``, ``"db4"`` or ``"DCT"``
        Wavelets are for signals only.

    Returns
    -------
    counts, rl : ndarray, shape (B,)
        Coefficients kept, D + 1 numbers each, and the relative loss.
    """
    counts, losses = np.zeros(len(windows)), np.zeros(len(windows))
    for b, x in enumerate(windows):
        coefficients, basis = _transform(x, name)
        order = np.argsort(-np.abs(coefficients), kind="stable")
        numbers = (x.ndim + 1) / x.size
        partial = np.zeros(x.size)
        size = np.abs(x).sum()
        best = (1.0, 0, 1.0)
        for count, k in enumerate(order[: int(1 / numbers)], start=1):
            partial += coefficients[k] * basis[k]
            rl = float(np.abs(x.ravel() - partial).sum() / size)
            best = min(best, (float(np.hypot(count * numbers, rl)), count, rl))
        counts[b], losses[b] = best[1], best[2]
    return counts, losses


_BASES: dict[tuple[str, tuple[int, ...]], tuple[Floats, Floats]] = {}


def _transform(x: Floats, name: str) -> tuple[Floats, Floats]:
    """Give coefficients (m,) and what each draws, (m, n)."""
    key = (name, x.shape)
    if key not in _BASES:
        _BASES[key] = {"DCT": _cosines, "bior4.4": _biorthogonal, "db4": _daubechies}[name](x.shape)
    analysis, synthesis = _BASES[key]
    return analysis @ x.ravel(), synthesis


def _cosines(shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    n = int(np.prod(shape))
    basis = np.stack([idctn(row.reshape(shape), norm="ortho").ravel() for row in np.eye(n)])
    assert np.allclose(dctn(basis[1].reshape(shape), norm="ortho").ravel(), np.eye(n)[1], atol=1e-9)
    return basis, basis


def _biorthogonal(shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Give the 9/7 pair of Cohen, Daubechies and Feauveau, symmetric at the ends, by the benchmark's lifting."""
    eye = np.eye(shape[0])
    return np.stack([wavelet.forward(row) for row in eye], axis=1), np.stack([wavelet.inverse(row) for row in eye])


def _daubechies(shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Periodic over the window mirrored up to a multiple of 2^levels; what lies beyond the window is not judged."""
    n = shape[0]
    step = 1 << _DB4_LEVELS
    total = -(-n // step) * step
    high = _DB4[::-1] * (-1.0) ** np.arange(len(_DB4))
    rows, size = np.eye(total), total
    for _ in range(_DB4_LEVELS):
        level = np.zeros((size, size))
        for i in range(size // 2):
            for tap in range(len(_DB4)):
                level[i, (2 * i + tap) % size] += _DB4[tap]
                level[size // 2 + i, (2 * i + tap) % size] += high[tap]
        rows[:size] = level @ rows[:size]
        size //= 2
    mirror = np.zeros((total, n))
    for t in range(total):
        mirror[t, t if t < n else 2 * n - 1 - t] = 1.0
    return rows @ mirror, rows[:, :n]
