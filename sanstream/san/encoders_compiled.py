"""The encoders on the CPU: compiled loops, window by window."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sanstream import _loops_moves
from sanstream.san.encoders_plan import Found, Plan

_CHUNK_SLOTS = 1 << 21


def encode_compiled(x: Tensor, taps: Tensor, sizes: Tensor, rules: Tensor, plan: Plan, limit: int) -> Found:
    """Encode windows.

    Parameters
    ----------
    x : Tensor, shape (B, h, w), float64
    taps, sizes : Tensor
        From :func:`sanstream.san.encoders_plan.frame`.
    rules : Tensor, shape (B, 5)
    plan : Plan
    limit : int
        Most activations of a window.

    Returns
    -------
    Found
    """
    kernels, extent = taps.detach().contiguous().numpy(), sizes.numpy()
    steps = np.array([plan.orthogonal, plan.turns, plan.patience, plan.sweeps, plan.candidates], np.int64)
    windows, rule = x.contiguous().numpy(), rules.numpy()
    parts = []
    step = max(1, _CHUNK_SLOTS // (4 * max(limit, 1)))
    for start in range(0, len(windows), step):
        some = windows[start : start + step]
        chosen, amplitude = np.zeros((len(some), limit, 3), np.int64), np.zeros((len(some), limit))
        counts = np.zeros(len(some), np.int64)
        _loops_moves.encode(some, kernels, extent, rule[start : start + step], steps, chosen, amplitude, counts)
        parts.append((chosen, amplitude, counts))
    used = max(int(c.max()) for _, _, c in parts)
    return Found(
        torch.from_numpy(np.concatenate([c[:, :used] for c, _, _ in parts])),
        torch.from_numpy(np.concatenate([a[:, :used] for _, a, _ in parts])),
        torch.from_numpy(np.concatenate([c for _, _, c in parts])),
    )


def fit_compiled(x: Tensor, taps: Tensor, sizes: Tensor, found: Found, turns: int) -> Found:
    """Fit the amplitudes of given activations anew; see :func:`encode_compiled`."""
    amplitude = found.amplitude.numpy().copy()
    kernels = taps.detach().contiguous().numpy()
    _loops_moves.refit(
        x.contiguous().numpy(), kernels, sizes.numpy(), turns, found.chosen.numpy(), amplitude, found.counts.numpy()
    )
    return Found(found.chosen, torch.from_numpy(amplitude), found.counts)
