"""Kernels learned from windows by alternating matching and averaging (convolutional K-SVD)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from sanstream.errors import InputError
from sanstream.san.clustering import cluster_shapes
from sanstream.san.correlation import correlate
from sanstream.san.refitting import EMPHASIS, refit, synthesize
from sanstream.san.selection import Activations, select
from sanstream.san.suppression import sliding_max, suppress

_LEARN_EXPLAINED = 0.3
"""Least explained share, after pre-emphasis, while learning: low, so that a kernel can move to its events."""
_BADLY = 0.5
"""An event of which this share of energy is left over is looked at for new kernels."""
_WORTH = 0.01
"""A kernel stays when without it at least this share of the explained energy would be lost."""


def adapt_kernels(
    windows: Tensor,
    initial: Tensor | None = None,
    *,
    n_kernels: int,
    kernel_samples: int,
    n_rounds: int = 6,
    max_windows: int = 60,
    scale: Literal["unit", "data"] = "unit",
) -> Tensor:
    """Learn kernels that explain much of the windows with few activations.

    Parameters
    ----------
    windows : Tensor, shape (B, C, n), float32
        Slow baseline may be present: matching compares local shapes with their mean removed.
    initial : Tensor, shape (q0, Ck, m), float32, optional
        Kernels to start from; free places up to ``n_kernels`` are filled from what they explain
        badly. Without it kernels start as clusters of the steepest events.
    n_kernels : int
        At most this many are returned; unused ones are dropped.
    kernel_samples : int
        Taps m.
    n_rounds : int
        Rounds of matching and averaging.
    max_windows : int
        Learn from this many windows, evenly spaced.
    scale : ``"unit"`` or ``"data"``
        Each kernel's norm over all channels is 1, or its RMS amplitude is 1.

    Returns
    -------
    Tensor, shape (q, C, m), float32
        Most used first, ends tapered to zero; q may be 0 (nothing repeats).

    Raises
    ------
    InputError
        When there is no window or a kernel would be shorter than 4 samples or longer than a window.
    """
    if windows.ndim != 3 or windows.shape[0] == 0 or not 4 <= kernel_samples <= windows.shape[-1]:
        raise InputError(
            f"cannot learn kernels of {kernel_samples} samples from windows of shape {tuple(windows.shape)}",
            hint="give windows (batch, channels, n) with batch >= 1 and n >= kernel_samples >= 4",
        )
    x, channel_scale = _prepare(windows, max_windows)
    kernels = x.new_zeros((0, x.shape[1], kernel_samples))
    if initial is not None:
        kernels = _shaped(initial.to(x).expand(-1, x.shape[1], -1) / channel_scale[:, None], kernel_samples)
    for turn in range(n_rounds):
        if len(kernels) < n_kernels and turn < max(1, n_rounds - 2):
            kernels = torch.cat([kernels, _new_shapes(x, kernels, n_kernels - len(kernels), kernel_samples)])
        if len(kernels) == 0:
            return kernels
        chosen = _match(x, kernels)
        kernels, used = _average(x, kernels, chosen)
        kernels = kernels[used]
        if turn == n_rounds - 2 and len(kernels) > 1:
            kernels = _without_idle(x, kernels)
    return _finished(x, kernels, channel_scale, scale)


def _prepare(windows: Tensor, max_windows: int) -> tuple[Tensor, Tensor]:
    """Pick windows evenly, remove means, scale each channel by its overall deviation: (b, C, n), (C,)."""
    picks = torch.linspace(0, len(windows) - 1, min(max_windows, len(windows)), device=windows.device).round().long()
    x = windows[picks].to(torch.float32)
    x = x - x.mean(dim=2, keepdim=True)
    deviation = x.pow(2).mean(dim=(0, 2)).sqrt()
    channel_scale = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    return x / channel_scale[:, None], channel_scale


def _match(x: Tensor, kernels: Tensor) -> Activations:
    """Choose activations by shape after pre-emphasis, which a wandering baseline does not sway, and refit."""
    chosen = select(
        x,
        kernels,
        min_explained=_LEARN_EXPLAINED,
        min_distance=max(1, kernels.shape[2] // 2),
        remove_mean=False,
        emphasis=EMPHASIS,
    )
    return chosen.with_amplitude(refit(x, kernels, chosen))


def _average(x: Tensor, kernels: Tensor, chosen: Activations) -> tuple[Tensor, Tensor]:
    """Update every kernel from its aligned residual segments; returns kernels and (q,) bool whether used."""
    m = kernels.shape[2]
    residual = x - synthesize(chosen, kernels, len(x), x.shape[2])
    inside = (chosen.index >= 0) & (chosen.index + m <= x.shape[2])
    least = max(2, math.ceil(0.005 * int(inside.sum())))
    out, used = kernels.clone(), torch.zeros(len(kernels), dtype=torch.bool, device=x.device)
    for k in range(len(kernels)):
        mine = chosen.where(inside & (chosen.kernel == k))
        if len(mine) < least:
            continue
        own = kernels[k][None] * mine.amplitude[:, :, None]
        wide = _segments(residual, mine.window, mine.index - 3, m + 6)
        wide[:, :, 3 : 3 + m] += own
        aligned = _realigned(wide, kernels[k], mine.amplitude)
        # every event counts alike, whatever its energy: bits follow the logarithm
        weight = mine.amplitude[:, :, None] / own.pow(2).sum(dim=(1, 2), keepdim=True).clamp_min(1e-12)
        shape = (aligned * weight).sum(dim=0) / (mine.amplitude[:, :, None] * weight).sum(dim=0).clamp_min(1e-12)
        shape = _shaped(shape[None], m)[0]
        if bool(shape.abs().max() > 0):
            out[k], used[k] = shape, True
    return out, used


def _without_idle(x: Tensor, kernels: Tensor) -> Tensor:
    """Drop, one by one, kernels whose places the others could explain almost as well."""
    m = kernels.shape[2]
    scores = correlate(x, kernels, remove_mean=True)
    energy = torch.where(scores.explained >= _BADLY, scores.energy, 0.0)
    energy = energy * (scores.overlap >= 0.5)[None]
    reach = sliding_max(energy, m // 2)
    kept = list(range(len(kernels)))
    while len(kept) > 1:
        best, owner = energy[:, kept].max(dim=1)
        chosen = suppress(best, best > 0, m // 2)
        total = float(best[chosen].sum())
        losses = []
        for place, k in enumerate(kept):
            others = reach[:, [j for j in kept if j != k]].amax(dim=1)
            losses.append(float((best - others)[chosen & (owner == place)].clamp_min(0).sum()))
        least = min(range(len(kept)), key=losses.__getitem__)
        if losses[least] > _WORTH * total:
            break
        del kept[least]
    return kernels[kept]


def _segments(x: Tensor, window: Tensor, start: Tensor, length: int) -> Tensor:
    """Cut segments (A, C, length) at ``start``, edges repeated."""
    at = (start[:, None] + torch.arange(length, device=x.device)).clamp(0, x.shape[2] - 1)
    return x.transpose(1, 2)[window[:, None], at].transpose(1, 2).contiguous()


def _realigned(wide: Tensor, kernel: Tensor, amplitude: Tensor) -> Tensor:
    """Shift each wide segment (A, C, m + 2s) by up to s samples to fit its kernel best: (A, C, m)."""
    m = kernel.shape[1]
    views = wide.unfold(2, m, 1)
    fit = torch.einsum("acsm,cm,ac->as", views - views.mean(dim=3, keepdim=True), kernel, amplitude)
    best = fit.argmax(dim=1)
    return views[torch.arange(len(wide), device=wide.device), :, best]


def _new_shapes(x: Tensor, kernels: Tensor, count: int, m: int) -> Tensor:
    """Shapes (<= count, C, m) of steep events that the present kernels explain badly."""
    residual = x
    if len(kernels):
        chosen = _match(x, kernels)
        residual = x - synthesize(chosen, kernels, len(x), x.shape[2])
    slope = (x[:, :, 1:] - x[:, :, :-1]).abs()
    width = max(1, m // 16)
    steep = torch.nn.functional.avg_pool1d(slope.sum(dim=1, keepdim=True), 2 * width + 1, 1, width)[:, 0]
    left = _smooth_energy(residual, m)[:, :-1] / _smooth_energy(x, m)[:, :-1].clamp_min(1e-12)
    strength = steep * (left > _BADLY)
    level = torch.quantile(sliding_max(steep, m).flatten()[::7][:100_000], 0.5)
    kept = suppress(strength, strength > 0.4 * level, m // 2)
    kept[:, : m // 2], kept[:, -(m // 2) :] = False, False
    window, centre = torch.nonzero(kept, as_tuple=True)
    if len(window) < 2:
        return x.new_zeros((0, x.shape[1], m))
    source = x if len(kernels) == 0 else residual
    offset = _best_offset(source, window, centre, m) if len(kernels) == 0 else m // 2
    segments = _segments(source, window, centre - offset, m)
    return _shaped(cluster_shapes(_levelled(segments), count), m)


def _smooth_energy(x: Tensor, m: int) -> Tensor:
    """Locally mean-free energy over about m samples, all channels: (b, n)."""
    half = m // 2
    pool = torch.nn.functional.avg_pool1d
    mean = pool(x, 2 * half + 1, 1, half, count_include_pad=False)
    square = pool(x * x, 2 * half + 1, 1, half, count_include_pad=False)
    return (square - mean * mean).clamp_min(0).sum(dim=1)


def _best_offset(x: Tensor, window: Tensor, centre: Tensor, m: int) -> int:
    """Taps before the steepest point, chosen so that the mean event keeps most energy inside the kernel."""
    wide = _segments(x, window, centre - m, 2 * m)
    typical = wide.median(dim=0).values
    typical = typical - typical.median(dim=1, keepdim=True).values
    views = typical.unfold(1, m, max(1, m // 24))
    energy = (views * torch.hann_window(m, periodic=False, device=x.device)).pow(2).sum(dim=(0, 2))
    return m - int(energy.argmax()) * max(1, m // 24)


def _levelled(segments: Tensor) -> Tensor:
    """Remove the line between the ends of (..., m)."""
    ramp = torch.linspace(0, 1, segments.shape[-1], device=segments.device)
    edge = max(1, segments.shape[-1] // 40)
    first, last = segments[..., :edge].mean(-1, keepdim=True), segments[..., -edge:].mean(-1, keepdim=True)
    return segments - first - (last - first) * ramp


def _shaped(kernels: Tensor, m: int) -> Tensor:
    """Level (q, C, m) shapes, taper their ends by a raised cosine and give each kernel norm 1."""
    if kernels.shape[2] != m:
        raise InputError(f"initial kernels have {kernels.shape[2]} taps, expected {m}")
    length = max(2, m // 16)
    ramp = 0.5 - 0.5 * torch.cos(torch.pi * torch.arange(length, device=kernels.device) / length)
    window = torch.ones(m, device=kernels.device)
    window[:length], window[m - length :] = ramp, ramp.flip(0)
    shaped = _levelled(kernels) * window
    norm = shaped.pow(2).sum(dim=(1, 2), keepdim=True).sqrt()
    return torch.where(norm > 1e-9, shaped / norm.clamp_min(1e-9), torch.zeros_like(shaped))


def _finished(x: Tensor, kernels: Tensor, channel_scale: Tensor, scale: str) -> Tensor:
    """Order kernels by energy explained, drop idle ones, undo the channel scaling."""
    if len(kernels) == 0:
        return kernels
    chosen = _match(x, kernels)
    energy = torch.zeros(len(kernels), device=x.device).index_add_(0, chosen.kernel, chosen.amplitude.pow(2).sum(dim=1))
    order = torch.argsort(energy, descending=True, stable=True)
    order = order[energy[order] > 0]
    out = kernels[order] * channel_scale[:, None]
    norm = out.pow(2).sum(dim=(1, 2), keepdim=True).sqrt().clamp_min(1e-12)
    if scale == "unit":
        return out / norm
    counts = chosen.counts_of_kernels(len(kernels))[order]
    rms = (energy[order] / (counts * x.shape[1]).clamp_min(1)).sqrt()
    return out * rms[:, None, None]
