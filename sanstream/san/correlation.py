"""Correlation of kernels with windows at every position, and the energy that each could explain."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sanstream.errors import InputError

FFT_FROM_SAMPLES = 64
"""Kernels at least this long are correlated by FFT; shorter ones directly."""


@dataclass(frozen=True)
class Scores:
    """What every kernel could explain at every position.

    Position ``j`` on the last axis puts the kernel's first tap on sample ``j - (m - 1)``; there are
    ``P = n + m - 1`` positions, so kernels may overhang both ends.

    Parameters
    ----------
    inner : Tensor, shape (B, C, q, P), float32
        Inner product of window and kernel over the overlap.
    norm : Tensor, shape (Ck, q, P), float32
        Squared norm of the kernel over the overlap.
    energy : Tensor, shape (B, q, P), float32
        Energy explained with the best amplitude in each channel, ``sum_c inner^2 / norm``.
    local : Tensor, shape (B, 1, P), float32
        Energy of the window under the kernel's support, all channels.
    overlap : Tensor, shape (q, P), float32
        Share of the kernel's energy that lies inside the window, 0 to 1.
    """

    inner: Tensor
    norm: Tensor
    energy: Tensor
    local: Tensor
    overlap: Tensor

    @property
    def explained(self) -> Tensor:
        """Explained share of the local energy, shape (B, q, P), 0 to 1."""
        return torch.where(self.local > 0, self.energy / self.local.clamp_min(1e-30), 0.0).clamp(0.0, 1.0)


def check_shapes(windows: Tensor, kernels: Tensor) -> tuple[int, int, int, int, int]:
    """Return ``(B, C, n, q, m)`` of windows (B, C, n) and kernels (q, Ck, m) with Ck in {1, C}.

    Raises
    ------
    InputError
        On shapes that do not belong together.
    """
    if windows.ndim != 3 or kernels.ndim != 3 or kernels.shape[1] not in (1, windows.shape[1]) or kernels.shape[2] < 1:
        raise InputError(
            f"windows have shape {tuple(windows.shape)}, kernels {tuple(kernels.shape)}; "
            "expected (batch, channels, n) and (kernels, 1 or channels, taps)"
        )
    batch, channels, n = windows.shape
    return batch, channels, n, kernels.shape[0], kernels.shape[2]


def correlate(windows: Tensor, kernels: Tensor, *, remove_mean: bool = False) -> Scores:
    """Correlate each kernel with each window at every position, overhanging ones included.

    Parameters
    ----------
    windows : Tensor, shape (B, C, n), float32
    kernels : Tensor, shape (q, Ck, m), float32
        ``Ck`` is C, or 1 for one shape that serves all channels.
    remove_mean : bool
        Compare after subtracting, from window and kernel, the mean over their overlap, so that a
        local baseline counts neither as energy nor as explained.

    Returns
    -------
    Scores

    Raises
    ------
    InputError
        On shapes that do not belong together.
    """
    _, _, n, _, m = check_shapes(windows, kernels)
    inner = cross_correlation(windows, kernels)
    ones = torch.ones((1, 1, n), dtype=windows.dtype, device=windows.device)
    norm = _box_of_kernels(kernels * kernels, n)
    local = _box(windows * windows, m)
    if remove_mean:
        length = _box(ones, m)[0, 0]
        window_sum, kernel_sum = _box(windows, m), _box_of_kernels(kernels, n)
        inner = inner - (window_sum[:, :, None] * (kernel_sum / length)[None]).to(inner.dtype)
        norm = norm - kernel_sum * kernel_sum / length
        local = local - window_sum * window_sum / length
    full = norm.amax(dim=2, keepdim=True)
    usable = norm > 1e-6 * full.clamp_min(1e-30)
    inverse = torch.where(usable, 1.0 / norm.clamp_min(1e-30), 0.0).to(windows.dtype)
    energy = (inner * inner * inverse[None]).sum(dim=1)
    overlap = norm.sum(dim=0) / full.sum(dim=0).clamp_min(1e-30)
    dtype = windows.dtype
    local_sum = local.sum(dim=1, keepdim=True).clamp_min(0.0).to(dtype)
    return Scores(inner, norm.to(dtype), energy, local_sum, overlap.to(dtype))


def cross_correlation(windows: Tensor, kernels: Tensor) -> Tensor:
    """Inner products of windows (B, C, n) and kernels (q, Ck, m) at all positions: (B, C, q, n + m - 1).

    Computed directly for short kernels and by FFT for long ones; same dtype as ``windows``.
    """
    batch, channels, n, q, m = check_shapes(windows, kernels)
    if m < FFT_FROM_SAMPLES:
        weight = kernels.expand(q, channels, m).transpose(0, 1).reshape(channels * q, 1, m)
        out = functional.conv1d(windows, weight, padding=m - 1, groups=channels)
        return out.reshape(batch, channels, q, n + m - 1)
    size = _fast_length(n + m - 1)
    spectrum = torch.fft.rfft(windows, size)[:, :, None]
    taps = torch.fft.rfft(kernels.flip(-1), size).transpose(0, 1)[None]
    full: Tensor = torch.fft.irfft(spectrum * taps, size)
    return full[..., : n + m - 1]


def emphasise_windows(windows: Tensor, emphasis: float) -> Tensor:
    """Pre-emphasis ``x[t] - emphasis x[t - 1]`` of windows (..., n): weighs down a wandering baseline.

    The sample before a window is taken as equal to its first.
    """
    out = windows.clone()
    out[..., 1:] -= emphasis * windows[..., :-1]
    out[..., 0] *= 1.0 - emphasis
    return out


def emphasise_kernels(kernels: Tensor, emphasis: float) -> Tensor:
    """Pre-emphasis of kernels (..., m), zero around them: (..., m + 1); the first tap stays the first."""
    out = functional.pad(kernels, (0, 1))
    out[..., 1:] -= emphasis * kernels
    return out


def _fast_length(length: int) -> int:
    """Smallest 2^a 3^b 5^c (b, c <= 2) not below ``length``."""
    sizes = (odd << max(0, (-(-length // odd) - 1).bit_length()) for odd in (1, 3, 5, 9, 15, 25, 45, 75, 225))
    return min(sizes)


def _box(values: Tensor, m: int) -> Tensor:
    """Sum over the m samples from each first tap: (..., n) -> (..., n + m - 1), float64."""
    total = functional.pad(values.to(torch.float64).cumsum(-1), (m, m - 1))
    total[..., values.shape[-1] + m :] = total[..., values.shape[-1] + m - 1 : values.shape[-1] + m]
    return total[..., m:] - total[..., :-m]


def _box_of_kernels(taps: Tensor, n: int) -> Tensor:
    """Sum kernel taps (q, Ck, m) over their overlap with a window of n: (Ck, q, n + m - 1), float64."""
    m = taps.shape[-1]
    total = functional.pad(taps.to(torch.float64).cumsum(-1), (1, 0)).transpose(0, 1)
    first = torch.arange(-(m - 1), n, device=taps.device)
    start, stop = (-first).clamp(0, m), (n - first).clamp(0, m)
    return total[..., stop] - total[..., start]
