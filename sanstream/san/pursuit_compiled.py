"""Orthogonal matching pursuit on the CPU: the compiled loop, window by window."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sanstream._loops_pursuit import pursue
from sanstream.san.correlation import cross_correlation
from sanstream.san.selection import Activations

_STILL = 1e-9


def pursue_compiled(
    x: Tensor, kernels: Tensor, inverse: Tensor, limit: int, patience: int | None
) -> list[tuple[Activations, Tensor, Tensor]]:
    """Pursue a chunk of windows.

    Parameters
    ----------
    x : Tensor, shape (b, C, n), float32
        Normalised windows; a zero channel counts nowhere.
    kernels : Tensor, shape (q, Ck, m)
    inverse : Tensor, shape (Ck, q, n)
        1/norm of each kernel at the n positions of same padding, 0 where it is empty.
    limit : int
    patience : int or None
        None takes ``limit`` atoms.

    Returns
    -------
    list of (Activations, Tensor, Tensor)
        One item: activations, RL (b,) and rows (b,).
    """
    batch, channels, n = x.shape
    q, _, m = kernels.shape
    left = (m - 1) // 2
    taps = kernels.to(torch.float64).expand(q, channels, m)
    table = np.zeros((channels, q, q, 2 * m - 1))
    for c in range(channels):
        own = cross_correlation(taps[:, c : c + 1], taps[:, c : c + 1])[:, 0]
        table[c] = own.numpy()
    inner = cross_correlation(x.to(torch.float64), taps)[..., m - 1 - left :][..., :n].numpy().copy()
    inner *= (inverse.expand(channels, q, n) > 0).numpy()
    live = (x.abs().amax(dim=2) > 0).sum(dim=1).tolist()
    shared = taps.contiguous().numpy(), table, inverse.to(torch.float64).expand(channels, q, n).contiguous().numpy()
    price = (1 + channels) / (channels * n)
    parts, losses = [], []
    for b in range(batch):
        chosen, amplitude = np.zeros((2, max(limit, 1)), np.int64), np.zeros((channels, max(limit, 1)))
        residual = x[b].to(torch.float64).numpy().copy()
        count, rl = pursue(
            residual, inner[b], *shared, limit, patience or 0, price, max(live[b], 1), chosen, amplitude, _STILL
        )
        losses.append(rl)
        parts.append((np.full(count, b), chosen[0, :count], chosen[1, :count], amplitude[:, :count].T))
    window, kernel, index, height = (np.concatenate(column) for column in zip(*parts, strict=True))
    found = Activations(
        torch.from_numpy(window),
        torch.from_numpy(kernel),
        torch.from_numpy(index),
        torch.from_numpy(height.astype(np.float32)),
    )
    return [(found, torch.tensor(losses, dtype=torch.float64), torch.arange(batch))]
