"""The five sparse activations in one dimension, batched, on any device.

All take similarities ``s`` of shape (batch, kernels, n) and return the same shape with exact zeros
where nothing fired; gradients flow through the kept values. Ties go to the lower index.
Definitions: Bizopoulos & Koutsouris, arXiv 1907.06592, and the authors' code for the sign gate of
extrema (san.md section 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from sanstream.errors import InputError
from sanstream.san.suppression import suppress

NAMES = ("identity", "relu", "topk_absolutes", "extrema_pool", "extrema")
BORDER_TOLERANCE = 3
"""Default tolerance in samples (the paper's for PhysioNet; 2 for UCI and images)."""

Activation = Callable[[Tensor], Tensor]


def identity(s: Tensor) -> Tensor:
    """Return ``s``."""
    return s


def relu(s: Tensor) -> Tensor:
    """Return ``max(s, 0)``."""
    return torch.relu(s)


def _masked(s: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, s, torch.zeros_like(s))


def topk_absolutes(s: Tensor, k: int) -> Tensor:
    """Keep the ``k`` values of largest magnitude of every row, signed.

    Parameters
    ----------
    s : Tensor, shape (batch, kernels, n)
    k : int
        The paper takes ``n // m``; more than n keeps all.
    """
    magnitude = s.detach().abs()
    order = torch.sort(magnitude, dim=-1, descending=True, stable=True).indices[..., : max(k, 0)]
    mask = torch.zeros(s.shape, dtype=torch.bool, device=s.device).scatter_(-1, order, True)
    return _masked(s, mask)


def extrema_pool(s: Tensor, size: int) -> Tensor:
    """Keep the signed value of largest magnitude of each pool of ``size`` samples.

    Parameters
    ----------
    s : Tensor, shape (batch, kernels, n)
    size : int
        Pools do not overlap; the last ``n mod size`` samples never fire.
    """
    n = s.shape[-1]
    pools = n // size
    mask = torch.zeros(s.shape, dtype=torch.bool, device=s.device)
    if pools:
        magnitude = s.detach()[..., : pools * size].abs().reshape(*s.shape[:-1], pools, size)
        # argmax may return any of several equal maxima on CUDA; this returns the first everywhere
        top = magnitude == magnitude.amax(dim=-1, keepdim=True)
        first = top & (top.cumsum(dim=-1) == 1)
        mask[..., : pools * size] = first.reshape(*s.shape[:-1], pools * size)
    return _masked(s, mask)


def extrema_candidates(s: Tensor) -> Tensor:
    """Mark valleys not above zero and peaks above zero, (batch, kernels, n) bool.

    With ``f[t] = s[t+1] - s[t]`` (0 at the end) and ``b[t] = s[t] - s[t-1]`` (0 at the start):
    valley ``f > 0, b <= 0, s <= 0``; peak ``f <= 0, b > 0, s > 0``.
    """
    step = s[..., 1:] - s[..., :-1]
    forward = torch.nn.functional.pad(step, (0, 1))
    backward = torch.nn.functional.pad(step, (1, 0))
    valley = (forward > 0) & (backward <= 0) & (s <= 0)
    peak = (forward <= 0) & (backward > 0) & (s > 0)
    return valley | peak


def extrema(s: Tensor, distance: int | Sequence[int], *, compete: bool = False) -> Tensor:
    """Keep extrema in falling order of magnitude, each dropping others within ``distance``.

    Parameters
    ----------
    s : Tensor, shape (batch, kernels, n)
    distance : int or one per kernel
        Minimum extrema distance ``med``; a kept extremum drops every other with ``|dt| <= med``.
        The paper takes ``max(1, m - tolerance)``.
    compete : bool
        Kernels compete for territory: candidates of all kernels are suppressed together (the
        largest distance applies), so at one place only the kernel of largest ``|s|`` fires. Equal
        magnitudes are won by the lower index, then by the lower kernel.

    Returns
    -------
    Tensor, shape (batch, kernels, n)
    """
    kernels = s.shape[-2]
    distances = [distance] * kernels if isinstance(distance, int) else list(distance)
    if len(distances) != kernels:
        raise InputError(f"extrema got {len(distances)} distances for {kernels} kernels")
    values = s.detach()
    magnitude, candidates = values.abs(), extrema_candidates(values)
    if compete and kernels > 1:
        return _masked(s, _compete(magnitude, candidates, max(distances)))
    if len(set(distances)) == 1:
        return _masked(s, suppress(magnitude, candidates, distances[0]))
    rows = [suppress(magnitude[..., k, :], candidates[..., k, :], d) for k, d in enumerate(distances)]
    return _masked(s, torch.stack(rows, dim=-2))


def _compete(magnitude: Tensor, candidates: Tensor, distance: int) -> Tensor:
    """Suppress across kernels: the best kernel of each place stands for it."""
    strength = torch.where(candidates, magnitude, torch.full_like(magnitude, -1.0))
    best = strength.amax(dim=-2, keepdim=True)
    top = (strength == best) & candidates
    first = top & (top.cumsum(dim=-2) == 1)
    kept = suppress(best.squeeze(-2), candidates.any(dim=-2), distance)
    return first & kept.unsqueeze(-2)


def minimum_extrema_distance(kernel_samples: int, tolerance: int = BORDER_TOLERANCE) -> int:
    """``med = max(1, m - tolerance)`` (san.md section 2)."""
    return max(1, kernel_samples - tolerance)


def make_activation(
    name: str,
    *,
    n_samples: int,
    kernel_samples: Sequence[int],
    tolerance: int = BORDER_TOLERANCE,
    compete: bool = False,
) -> Activation:
    """Build an activation with the paper's parameters for windows of ``n_samples``.

    Parameters
    ----------
    name : str
        One of :data:`NAMES`.
    n_samples : int
    kernel_samples : sequence of int
        Taps of each kernel, which set ``k``, the pool and the extrema distance kernel by kernel.
    tolerance : int
        Border tolerance of extrema, in samples.
    compete : bool
        Territory competition between kernels; for extrema only.

    Raises
    ------
    InputError
        On an unknown name, or ``compete`` with another activation than extrema.
    """
    if name not in NAMES:
        raise InputError(f"unknown activation {name!r}", hint=f"use one of {', '.join(NAMES)}")
    if compete and name != "extrema":
        raise InputError(f"activation {name!r} has no competition between kernels", hint="use extrema")
    if name == "identity":
        return identity
    if name == "relu":
        return relu
    if name == "extrema":
        distances = [minimum_extrema_distance(m, tolerance) for m in kernel_samples]
        return partial(extrema, distance=distances, compete=compete)
    if name == "topk_absolutes":
        return _per_kernel(topk_absolutes, [n_samples // m for m in kernel_samples])
    return _per_kernel(extrema_pool, list(kernel_samples))


def _per_kernel(function: Callable[[Tensor, int], Tensor], parameters: list[int]) -> Activation:
    """Apply ``function`` to each kernel's row with its own parameter, or at once when all agree."""

    def apply(s: Tensor) -> Tensor:
        if len(set(parameters)) == 1:
            return function(s, parameters[0])
        return torch.stack([function(s[..., k, :], p) for k, p in enumerate(parameters)], dim=-2)

    return apply
