"""The five sparse activations in one and two dimensions, batched, on any device.

All take similarities ``s`` of shape (..., n), for images (..., h, w), and return the same shape with exact zeros
where nothing fired; gradients flow through the kept values. Ties go to the lower index (in images, row by row).
The CPU runs compiled loops, other devices parallel forms of the same definitions.
Definitions: Bizopoulos & Koutsouris, arXiv 1907.06592, and the authors' code for the sign gate of
extrema and for images (san.md section 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sanstream._loops_extrema import mark_extrema, mark_largest, mark_pools
from sanstream.errors import InputError
from sanstream.san.suppression import PerRow, as_rows, by_parameter, per_row, suppress, suppress_in_rounds

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


def _check(s: Tensor, n_dims: int) -> bool:
    """Refuse what is no batch of signals or images; tells whether there is nothing in it.

    Raises
    ------
    InputError
        On other axes or dtypes, and on NaN, for which no order of magnitudes is defined.
    """
    if n_dims not in (1, 2) or s.ndim < n_dims or s.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"similarities of shape {tuple(s.shape)} and {s.dtype} in {n_dims} dimensions",
            hint="give float32 or float64 of shape (..., n), or (..., h, w) with n_dims=2",
        )
    if bool(torch.isnan(s.detach()).any()):
        raise InputError(
            "similarities hold NaN", hint="look for NaN in the windows, or train with a lower learning rate"
        )
    return s.numel() == 0


def _masked(s: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, s, torch.zeros_like(s))


def _marked(
    s: Tensor, parameter: PerRow, n_dims: int, mark: Callable[..., Any], *flags: bool, least: int = 0
) -> Tensor:
    """Run a compiled loop over the rows of ``s``; gives its mask."""
    rows = as_rows(s.detach(), n_dims).contiguous()
    mask = np.zeros(rows.shape, dtype=np.bool_)
    mark(rows.numpy(), per_row(parameter, s, n_dims, least=least), *flags, mask)
    return torch.from_numpy(mask).reshape(s.shape)


def topk_absolutes(s: Tensor, k: PerRow, *, n_dims: int = 1) -> Tensor:
    """Keep the ``k`` values of largest magnitude of every row, signed.

    Parameters
    ----------
    s : Tensor, shape (..., n) or (..., h, w)
    k : int, or integers that broadcast to the leading axes
        The paper takes ``floor(n / m) ** n_dims``; more than a row has keeps all.
    n_dims : 1 or 2
    """
    if _check(s, n_dims):
        return s
    if s.device.type == "cpu":
        return _masked(s, _marked(s, k, n_dims, mark_largest))
    return _masked(s, topk_mask(s, k, n_dims=n_dims))


def topk_mask(s: Tensor, k: PerRow, *, n_dims: int = 1) -> Tensor:
    """Mark what :func:`topk_absolutes` keeps, on any device."""
    if _check(s, n_dims):
        return torch.zeros(s.shape, dtype=torch.bool, device=s.device)
    magnitude = as_rows(s.detach(), n_dims).abs().flatten(1)
    counts = torch.from_numpy(per_row(k, s, n_dims)).to(s.device).clamp(0, magnitude.shape[1])[:, None]
    falling = magnitude.sort(dim=1, descending=True).values
    least = falling.gather(1, (counts - 1).clamp_min(0))
    more, equal = magnitude > least, magnitude == least
    # torch.topk may return any of several equal values; here they are taken from the front
    mask = more | (equal & (equal.cumsum(dim=1) <= counts - more.sum(dim=1, keepdim=True)))
    return (mask & (counts > 0)).reshape(s.shape)


def extrema_pool(s: Tensor, size: PerRow, *, n_dims: int = 1) -> Tensor:
    """Keep the signed value of largest magnitude of each pool of ``size`` samples, or ``size`` x ``size`` pixels.

    Parameters
    ----------
    s : Tensor, shape (..., n) or (..., h, w)
    size : int, or integers that broadcast to the leading axes
        Pools do not overlap; what is left at the far ends (``n mod size``) never fires.
    n_dims : 1 or 2
    """
    if _check(s, n_dims):
        return s
    if s.device.type == "cpu":
        return _masked(s, _marked(s, size, n_dims, mark_pools, n_dims == 2, least=1))
    return _masked(s, pool_mask(s, size, n_dims=n_dims))


def pool_mask(s: Tensor, size: PerRow, *, n_dims: int = 1) -> Tensor:
    """Mark what :func:`extrema_pool` keeps, on any device."""
    if _check(s, n_dims):
        return torch.zeros(s.shape, dtype=torch.bool, device=s.device)

    def mark(rows: Tensor, wide: int) -> Tensor:
        tall = wide if n_dims == 2 else 1
        count, down, along = len(rows), rows.shape[1] // tall, rows.shape[2] // wide
        mask = torch.zeros(rows.shape, dtype=torch.bool, device=rows.device)
        if not down * along:
            return mask
        pools = rows[:, : down * tall, : along * wide].reshape(count, down, tall, along, wide)
        magnitude = pools.transpose(2, 3).flatten(3).abs()
        # argmax may return any of several equal maxima on CUDA; this returns the first everywhere
        top = magnitude == magnitude.amax(dim=-1, keepdim=True)
        first = (top & (top.cumsum(dim=-1) == 1)).reshape(count, down, along, tall, wide)
        mask[:, : down * tall, : along * wide] = first.transpose(2, 3).reshape(count, down * tall, along * wide)
        return mask

    return by_parameter(as_rows(s.detach(), n_dims), per_row(size, s, n_dims, least=1), mark).reshape(s.shape)


def extrema_candidates(s: Tensor, *, n_dims: int = 1) -> Tensor:
    """Mark valleys not above zero and peaks above zero, bool of the shape of ``s``.

    With ``f[t] = s[t+1] - s[t]`` (0 at the end) and ``b[t] = s[t] - s[t-1]`` (0 at the start):
    valley ``f > 0, b <= 0, s <= 0``; peak ``f <= 0, b > 0, s > 0``. In images along x and along y.
    """
    valley, peak = s <= 0, s > 0
    for axis in range(-n_dims, 0):
        along = s.transpose(axis, -1)
        step = along[..., 1:] - along[..., :-1]
        forward = functional.pad(step, (0, 1)).transpose(axis, -1)
        backward = functional.pad(step, (1, 0)).transpose(axis, -1)
        valley = valley & (forward > 0) & (backward <= 0)
        peak = peak & (forward <= 0) & (backward > 0)
    return valley | peak


def extrema(s: Tensor, distance: PerRow, *, n_dims: int = 1, compete: bool = False) -> Tensor:
    """Keep extrema in falling order of magnitude, each dropping others within ``distance``.

    Parameters
    ----------
    s : Tensor, shape (..., kernels, n) or (..., kernels, h, w)
    distance : int, one per kernel, or integers that broadcast to the leading axes
        Minimum extrema distance ``med``; a kept extremum drops every other with ``|dt| <= med``, in images with
        ``|dx| <= med`` and ``|dy| <= med``. The paper takes ``max(1, m - tolerance)``.
    n_dims : 1 or 2
    compete : bool
        Kernels compete for territory: candidates of all kernels are suppressed together (the
        largest distance applies), so at one place only the kernel of largest ``|s|`` fires. Equal
        magnitudes are won by the lower index, then by the lower kernel.

    Returns
    -------
    Tensor, shape of ``s``

    Raises
    ------
    InputError
        When there are distances for another number of kernels, negative or fractional ones, or on NaN; so do all
        activations with a parameter.
    """
    if _check(s, n_dims):
        return s
    given = np.shape(distance)
    if s.ndim == n_dims and (given or compete):
        raise InputError(f"similarities of shape {tuple(s.shape)} have no axis of kernels")
    if given and given[-1] != s.shape[-1 - n_dims]:
        raise InputError(f"extrema got {given[-1]} distances for {s.shape[-1 - n_dims]} kernels")
    if compete and s.shape[-1 - n_dims] > 1:
        return _masked(s, _compete(s.detach(), distance, n_dims))
    if s.device.type == "cpu":
        return _masked(s, _marked(s, distance, n_dims, mark_extrema, n_dims == 2))
    return _masked(s, extrema_mask(s, distance, n_dims=n_dims))


def extrema_mask(s: Tensor, distance: PerRow, *, n_dims: int = 1) -> Tensor:
    """Mark what :func:`extrema` keeps, in parallel rounds on any device."""
    if _check(s, n_dims):
        return torch.zeros(s.shape, dtype=torch.bool, device=s.device)
    values = s.detach()
    return suppress_in_rounds(values.abs(), extrema_candidates(values, n_dims=n_dims), distance, n_dims=n_dims)


def _compete(s: Tensor, distance: PerRow, n_dims: int) -> Tensor:
    """Suppress across kernels: the best kernel of each place stands for it."""
    kernel = -1 - n_dims
    lead = s.shape[: s.ndim - n_dims]
    widest = torch.from_numpy(per_row(distance, s, n_dims)).reshape(lead).amax(dim=-1)
    candidates = extrema_candidates(s, n_dims=n_dims)
    strength = torch.where(candidates, s.abs(), torch.full_like(s, -1.0))
    best = strength.amax(dim=kernel, keepdim=True)
    top = (strength == best) & candidates
    first = top & (top.cumsum(dim=kernel) == 1)
    kept = suppress(best.squeeze(kernel), candidates.any(dim=kernel), widest, n_dims=n_dims)
    return first & kept.unsqueeze(kernel)


def minimum_extrema_distance(kernel_samples: int, tolerance: int = BORDER_TOLERANCE, *, reach: float = 1.0) -> int:
    """``med = max(1, m - tolerance)`` (san.md section 2), times ``reach`` while it is annealed."""
    return max(1, round(reach * max(1, kernel_samples - tolerance)))


def make_activation(
    name: str,
    *,
    n_samples: int,
    kernel_samples: Sequence[int] | Sequence[Sequence[int]],
    n_dims: int = 1,
    tolerance: int = BORDER_TOLERANCE,
    compete: bool = False,
    reach: float = 1.0,
) -> Activation:
    """Build an activation with the paper's parameters for windows of ``n_samples``.

    Parameters
    ----------
    name : str
        One of :data:`NAMES`.
    n_samples : int
        n; the shorter side of images.
    kernel_samples : sequence of int, or one such sequence per model
        Taps m of each kernel (m x m in images), which set ``k``, the pool and the extrema distance kernel by
        kernel. Similarities then have the axes (..., kernels, n), or (..., models, kernels, n).
    n_dims : 1 or 2
    tolerance : int
        Border tolerance of extrema, in samples.
    compete : bool
        Territory competition between kernels; for extrema only.
    reach : float
        Multiple of the minimum extrema distance (1 but while training anneals it).

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
    sizes = np.asarray(kernel_samples, dtype=np.int64)
    if not sizes.size or sizes.min() < 1:
        raise InputError(f"kernels of {kernel_samples} samples", hint="each needs at least 1")
    if name == "extrema":
        one = np.vectorize(partial(minimum_extrema_distance, tolerance=tolerance, reach=reach), otypes=[np.int64])
        return partial(extrema, distance=one(sizes), n_dims=n_dims, compete=compete)
    if name == "topk_absolutes":
        return partial(topk_absolutes, k=(n_samples // sizes) ** n_dims, n_dims=n_dims)
    return partial(extrema_pool, size=sizes, n_dims=n_dims)
