"""What the compiled and the batched encoder share: the plan, the table of activations, the frame of kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sanstream.errors import InputError


@dataclass(frozen=True)
class Plan:
    """How a window is encoded.

    Parameters
    ----------
    orthogonal : bool
        Fit all amplitudes after each addition.
    turns : int
        Reweighted least squares of a refit; 0 plain least squares, -1 no refit.
    patience, sweeps, candidates : int
        See :func:`sanstream.san.encoders.pursue`.
    """

    orthogonal: bool
    turns: int
    patience: int
    sweeps: int
    candidates: int


@dataclass(frozen=True)
class Found:
    """Activations of a batch, in slots.

    Parameters
    ----------
    chosen : Tensor, shape (B, limit, 3), int64
        Kernel, row and column of its first tap; the first ``counts`` slots of a window are in use.
    amplitude : Tensor, shape (B, limit), float64
    counts : Tensor, shape (B,), int64
    """

    chosen: Tensor
    amplitude: Tensor
    counts: Tensor


def frame(windows: Tensor, kernels: Sequence[Tensor] | Tensor) -> tuple[Tensor, Tensor]:
    """Put kernels of any size at the first corner of one frame.

    Parameters
    ----------
    windows : Tensor, shape (B, n) or (B, h, w)
    kernels : sequence of Tensor, shape (m,) or (a, b)

    Returns
    -------
    taps : Tensor, shape (q, a, b), float64
        a = 1 for signals.
    sizes : Tensor, shape (q, 2), int64

    Raises
    ------
    InputError
        When there is no window or no kernel, or dimensions differ, or a kernel has no taps.
    """
    dims = windows.ndim - 1
    parts = list(kernels)
    if dims not in (1, 2) or windows.numel() == 0 or not parts or any(k.ndim != dims or k.numel() == 0 for k in parts):
        shapes = [tuple(k.shape) for k in parts]
        raise InputError(
            f"cannot encode windows of shape {tuple(windows.shape)} by kernels of shapes {shapes}",
            hint="windows (B, n) go with kernels (m,), windows (B, h, w) with kernels (a, b); at least one of each",
        )
    planes = [k.reshape(-1, k.shape[-1]) for k in parts]
    rows, columns = max(k.shape[0] for k in planes), max(k.shape[1] for k in planes)
    pad = torch.nn.functional.pad
    taps = torch.stack([pad(k.to(torch.float64), (0, columns - k.shape[1], 0, rows - k.shape[0])) for k in planes])
    sizes = torch.tensor([k.shape for k in planes], dtype=torch.int64, device=windows.device)
    return taps.to(windows.device), sizes
