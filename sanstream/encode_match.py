"""Activations of blocks coded by tables: kernels matched by compiled loops (never normative)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sanstream._loops_match import choose, fit, score, stack
from sanstream.encode_kernels import MIN_EXPLAINED, Activated, KernelChoice

_STEP = 8


def match_quickly(block: npt.NDArray[np.float32], choice: KernelChoice) -> Activated:
    """Choose activations of one block by the energy they explain, greedily, and fit their amplitudes.

    Components then say of each event how it differs from its kernel.

    Parameters
    ----------
    block : ndarray, shape (n_channels, n_samples), float32
    choice : KernelChoice

    Returns
    -------
    Activated
    """
    taps = choice.digital()
    length = np.array([k.taps.shape[1] for k in choice.kernels], np.int64)
    if taps.shape[2] % _STEP:
        taps = np.pad(taps, ((0, 0), (0, 0), (0, _STEP - taps.shape[2] % _STEP)))
    m = taps.shape[2]
    level = np.zeros_like(taps)
    for k, size in enumerate(length):
        level[k, :, :size] = taps[k, :, :size] - taps[k, :, :size].mean(axis=1, keepdims=True)
    norm = (level.astype(np.float64) ** 2).sum(axis=2)
    leading = choice.n_leading
    norm[:leading][norm[:leading] < 1e-3 * norm[:leading].max(initial=0)] = 0.0
    n_channels, n = block.shape
    x = np.zeros((n_channels, n + 3 * m + _STEP), np.float32)
    x[:, m : m + n] = block - block.mean(axis=1, keepdims=True)
    places = n + m
    inner, gain, energy = np.zeros((3, places + m), np.float32)
    strength, kernel = np.zeros(places + m, np.float32), np.zeros(places + m, np.int64)
    score(x, level[:leading], norm[:leading], length, MIN_EXPLAINED, inner, gain, energy, strength, kernel)
    half = m // 2
    strength[:half] = strength[m + n - half :] = 0.0
    inside = strength[1:-1]
    peaks = np.flatnonzero((inside > 0) & (inside >= strength[:-2]) & (inside > strength[2:])) + 1
    order = peaks[np.argsort(-strength[peaks], kind="stable")]
    chosen = np.zeros(len(order), np.int64)
    count = choose(order, half, np.zeros(len(strength), np.uint8), chosen)
    place = np.sort(chosen[:count])
    amplitude = np.zeros((count, n_channels), np.float32)
    fit(x, taps, level, norm, kernel[place], place, amplitude)
    room = (1 + len(taps) - leading) * count
    kernels, starts = np.zeros((2, room), np.int64)
    quantised = np.zeros((room, n_channels), np.int64)
    activated = np.column_stack([kernel[place], place])
    count = stack(x, n, taps, level, norm, leading, activated, amplitude, kernels, starts, quantised)
    return kernels[:count], starts[:count] - m, quantised[:count]
