"""Greedy suppression of close candidates, exact: compiled row by row on the CPU, in parallel rounds elsewhere.

Sorting candidates by strength and letting each one kept suppress all others within a distance is
sequential as written. The same set comes from rounds: whatever is the strongest undecided
candidate within its own reach can be kept at once, because nothing stronger is left to suppress it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from sanstream._loops_extrema import mark_strongest
from sanstream.errors import InputError

PerRow = int | Sequence[int] | npt.NDArray[Any] | Tensor
"""A parameter of all rows, or integers that broadcast to the axes before those of the signal."""


def sliding_max(values: Tensor, radius: int) -> Tensor:
    """Maximum over ``[t - radius, t + radius]``, in O(n log radius).

    Parameters
    ----------
    values : Tensor, shape (..., n), any ordered dtype
    radius : int
        Non-negative number of samples on each side.

    Returns
    -------
    Tensor, shape (..., n), dtype of ``values``
    """
    radius = min(radius, values.shape[-1] - 1)
    if radius <= 0:
        return values
    return _forward_max(functional.pad(values, (radius, radius), value=_least(values.dtype)), 2 * radius + 1)


def _least(dtype: torch.dtype) -> float:
    return -torch.inf if dtype.is_floating_point else torch.iinfo(dtype).min


def _forward_max(values: Tensor, width: int) -> Tensor:
    """Maximum over ``[t, t + width)``, (..., n - width + 1), by doubling the width that each element stands for."""
    out, reached = values, 1
    while reached < width:
        step = min(reached, width - reached)
        out = torch.maximum(out[..., :-step], out[..., step:])
        reached += step
    return out


def as_rows(values: Tensor, n_dims: int) -> Tensor:
    """View (..., n) or (..., h, w) as (rows, h, w); signals have h = 1."""
    shape = values.shape[-n_dims:]
    return values.reshape(-1, *((1, *shape) if n_dims == 1 else shape))


def per_row(parameter: PerRow, values: Tensor, n_dims: int, *, least: int = 0) -> npt.NDArray[np.int64]:
    """Broadcast a parameter to the axes before the signal's, one value a row of :func:`as_rows`.

    Raises
    ------
    InputError
        When it is no whole number of at least ``least``, or does not broadcast.
    """
    lead = values.shape[: values.ndim - n_dims]
    given = np.asarray(parameter.cpu().numpy() if isinstance(parameter, Tensor) else parameter)
    if given.dtype.kind not in "iu" or (given.size and int(given.min()) < least):
        raise InputError(f"a parameter of {parameter!r}", hint=f"give whole numbers of at least {least}")
    try:
        wide = np.broadcast_to(np.minimum(given, 1 << 40), lead)
    except ValueError:
        raise InputError(
            f"parameters of shape {given.shape} for similarities of shape {tuple(values.shape)}",
            hint="give one number, or one per kernel",
        ) from None
    return np.array(wide, dtype=np.int64).reshape(-1)


def by_parameter(rows: Tensor, parameters: npt.NDArray[np.int64], mark: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Apply ``mark`` to all rows of the same parameter at once; gives a boolean mask of the rows' shape."""
    values = np.unique(parameters).tolist()
    if len(values) == 1:
        return mark(rows, values[0])
    mask = torch.zeros(rows.shape, dtype=torch.bool, device=rows.device)
    own = torch.from_numpy(parameters).to(rows.device)
    for value in values:
        mine = own == value
        mask[mine] = mark(rows[mine], value)
    return mask


def suppress(strength: Tensor, candidates: Tensor, distance: PerRow, *, n_dims: int = 1) -> Tensor:
    """Keep candidates in falling order of strength; each kept one drops those within ``distance``.

    Parameters
    ----------
    strength : Tensor, shape (..., n), or (..., h, w) for ``n_dims`` 2, float
        Compared between candidates; equal strengths are won by the lower index (in images, row by row). A
        candidate of strength NaN or minus infinity is never kept.
    candidates : Tensor, shape of ``strength``, bool
    distance : int, or integers that broadcast to the leading axes
        A kept candidate drops every other one with ``|dt| <= distance``; in images, with ``|dx| <= distance``
        and ``|dy| <= distance``.
    n_dims : 1 or 2

    Returns
    -------
    Tensor, shape of ``strength``, bool
        The candidates that the sequential greedy pass keeps.
    """
    if strength.device.type != "cpu":
        return suppress_in_rounds(strength, candidates, distance, n_dims=n_dims)
    rows = as_rows(strength.detach(), n_dims).contiguous()
    mask = np.zeros(rows.shape, dtype=np.bool_)
    asked = as_rows(candidates, n_dims).contiguous().numpy()
    mark_strongest(rows.numpy(), asked, per_row(distance, strength, n_dims), n_dims == 2, mask)
    return torch.from_numpy(mask).reshape(strength.shape)


def suppress_in_rounds(strength: Tensor, candidates: Tensor, distance: PerRow, *, n_dims: int = 1) -> Tensor:
    """Do what :func:`suppress` does in parallel rounds, on any device."""
    allowed = candidates & (strength > -torch.inf)
    undecided = as_rows(strength.masked_fill(~allowed, -torch.inf), n_dims)

    def rounds(rows: Tensor, d: int) -> Tensor:
        return _rounds(rows, max(0, min(d, max(rows.shape[1:]) - 1)), across=n_dims == 2)

    return by_parameter(undecided, per_row(distance, strength, n_dims), rounds).reshape(strength.shape)


def _rounds(rows: Tensor, d: int, *, across: bool) -> Tensor:
    """Suppress within ``d`` in rows (R, h, w) of which minus infinity marks what is no candidate."""
    if d == 0:
        return rows > -torch.inf
    h, w = rows.shape[1:]
    tall = d if across else 0
    undecided = functional.pad(rows, (d, d, tall, tall), value=-torch.inf)
    inside = undecided[:, tall : tall + h, d : d + w]
    kept = torch.zeros(rows.shape, dtype=torch.bool, device=rows.device)
    while bool(inside.amax() > -torch.inf):
        near = _forward_max(undecided, d)
        before, after = near[..., :w], near[..., d + 1 :]
        if across:
            beside = torch.maximum(torch.maximum(before, after), undecided[..., d : d + w])
            far = _forward_max(beside.transpose(1, 2), d).transpose(1, 2)
            before = torch.maximum(before[:, d : d + h], far[:, :h])
            after = torch.maximum(after[:, d : d + h], far[:, d + 1 :])
        # stronger than all before within reach and no weaker than all after: equals go to the first
        top = (inside > before) & (inside >= after)
        kept |= top
        near_top = sliding_max(top.to(torch.uint8), d)
        if across:
            near_top = sliding_max(near_top.transpose(1, 2), d).transpose(1, 2)
        inside.masked_fill_(near_top.to(torch.bool), -torch.inf)
    return kept
