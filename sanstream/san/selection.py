"""Activations as flat arrays, and their choice across kernels by energy explained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sanstream.san.correlation import Scores, correlate, emphasise_kernels, emphasise_windows
from sanstream.san.suppression import suppress


@dataclass(frozen=True)
class Activations:
    """Activations of a batch of windows, ordered by window and then by index.

    Parameters
    ----------
    window : Tensor, shape (A,), int64
        Window in the batch.
    kernel : Tensor, shape (A,), int64
    index : Tensor, shape (A,), int64
        Sample of the kernel's first tap, counted from the window's start; may be negative.
    amplitude : Tensor, shape (A, C), float32
    """

    window: Tensor
    kernel: Tensor
    index: Tensor
    amplitude: Tensor

    def __len__(self) -> int:
        return int(self.window.shape[0])

    def where(self, mask: Tensor) -> Activations:
        """Return the activations where ``mask`` (A,) is true."""
        return Activations(self.window[mask], self.kernel[mask], self.index[mask], self.amplitude[mask])

    def with_amplitude(self, amplitude: Tensor) -> Activations:
        """Return the same activations with other amplitudes, (A, C)."""
        return Activations(self.window, self.kernel, self.index, amplitude)

    def counts(self, n_windows: int) -> Tensor:
        """Return the number of activations of each window, (n_windows,) int64."""
        return torch.bincount(self.window, minlength=n_windows)

    def counts_of_kernels(self, n_kernels: int) -> Tensor:
        """Return the number of activations of each kernel, (n_kernels,) int64."""
        return torch.bincount(self.kernel, minlength=n_kernels)

    def of_window(self, window: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Return ``(kernel (a,), index (a,), amplitude (a, C))`` of one window as numpy arrays."""
        mine = self.where(self.window == window)
        return mine.kernel.cpu().numpy(), mine.index.cpu().numpy(), mine.amplitude.cpu().numpy()


def ordered(window: Tensor, kernel: Tensor, index: Tensor, amplitude: Tensor) -> Activations:
    """Build :class:`Activations` from rows in any order."""
    span = int(index.max() - index.min()) + 1 if len(index) else 1
    order = torch.argsort(window * span + (index - (index.min() if len(index) else 0)), stable=True)
    return Activations(window[order], kernel[order], index[order], amplitude[order])


def merged(first: Activations, second: Activations) -> Activations:
    """Join two sets of activations of the same batch."""
    return ordered(
        torch.cat([first.window, second.window]),
        torch.cat([first.kernel, second.kernel]),
        torch.cat([first.index, second.index]),
        torch.cat([first.amplitude, second.amplitude]),
    )


def select(
    windows: Tensor,
    kernels: Tensor,
    *,
    min_explained: float = 0.6,
    min_distance: int | None = None,
    max_per_window: int | None = None,
    min_energy: float | Tensor = 0.0,
    min_overlap: float = 0.5,
    remove_mean: bool = True,
    emphasis: float = 0.0,
    sharpness: float = 0.0,
) -> Activations:
    """Choose activations: greedily by energy explained, kernels competing for territory.

    No two chosen activations of a window, of whatever kernels, have first taps within
    ``min_distance``. Amplitudes are each activation's own least squares; :func:`refit` settles
    the overlaps.

    Parameters
    ----------
    windows : Tensor, shape (B, C, n), float32
        Mean or baseline removed.
    kernels : Tensor, shape (q, Ck, m), float32
    min_explained : float
        Least share of the local energy that an activation explains, 0 to 1.
    min_distance : int, optional
        Samples; half a kernel when not given.
    max_per_window : int, optional
        Keep only this many, those of most energy.
    min_energy : float or Tensor of shape (B,)
        Least energy (sum of squares over channels) that an activation explains.
    min_overlap : float
        Least share of the kernel's energy inside the window.
    remove_mean : bool
        See :func:`correlate`.
    emphasis : float
        Compare after pre-emphasis, 0 to 1. On MIT-BIH ``emphasis=0.9, min_explained=0.4,
        remove_mean=False`` chose fewer activations that saved as many bits.
    sharpness : float
        Kernels and places compete by energy times the explained share to this power: above 0, a large event
        explained badly no longer keeps a well explained neighbour out.

    Returns
    -------
    Activations

    Raises
    ------
    InputError
        On shapes that do not belong together.
    """
    if emphasis:
        windows, taps = emphasise_windows(windows, emphasis), emphasise_kernels(kernels, emphasis)
    else:
        taps = kernels
    scores = correlate(windows, taps, remove_mean=remove_mean)
    distance = kernels.shape[2] // 2 if min_distance is None else min_distance
    least = torch.as_tensor(min_energy, dtype=windows.dtype, device=windows.device).reshape(-1, 1, 1)
    allowed = (scores.explained >= min_explained) & (scores.overlap >= min_overlap)[None] & (scores.energy > least)
    worth = scores.energy * scores.explained**sharpness if sharpness else scores.energy
    strength, kernel = torch.where(allowed, worth, 0.0).max(dim=1)
    kept = suppress(strength, strength > 0, distance)
    if max_per_window is not None:
        kept &= _strongest(torch.where(kept, strength, 0.0), max_per_window)
    window, position = torch.nonzero(kept, as_tuple=True)
    chosen = kernel[window, position]
    amplitude = amplitudes_at(scores, window, chosen, position)
    return Activations(window, chosen, position - (taps.shape[2] - 1), amplitude)


def amplitudes_at(scores: Scores, window: Tensor, kernel: Tensor, position: Tensor) -> Tensor:
    """Least-squares amplitude of each activation on its own, (A, C); 0 where the kernel is empty."""
    inner = scores.inner[window, :, kernel, position]
    norm = scores.norm[:, kernel, position].transpose(0, 1)
    return torch.where(norm > 1e-12, inner / norm.clamp_min(1e-12), 0.0)


def _strongest(strength: Tensor, count: int) -> Tensor:
    """Mark the ``count`` largest values of each row (B, P); lower index wins ties."""
    order = torch.sort(strength, dim=1, descending=True, stable=True).indices[:, :count]
    return torch.zeros_like(strength, dtype=torch.bool).scatter_(1, order, True)
