"""Greedy suppression of close candidates, exact, in parallel rounds over a batch.

Sorting candidates by strength and letting each one kept suppress all others within a distance is
sequential as written. The same set comes from rounds: whatever is the strongest undecided
candidate within its own reach can be kept at once, because nothing stronger is left to suppress it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


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


def suppress(strength: Tensor, candidates: Tensor, distance: int) -> Tensor:
    """Keep candidates in falling order of strength; each kept one drops those within ``distance``.

    Parameters
    ----------
    strength : Tensor, shape (..., n), float
        Compared between candidates; equal strengths are won by the lower position. A candidate of
        strength NaN is never kept.
    candidates : Tensor, shape (..., n), bool
    distance : int
        A kept candidate drops every other one with ``|dt| <= distance``.

    Returns
    -------
    Tensor, shape (..., n), bool
        The candidates that the sequential greedy pass keeps.
    """
    n = strength.shape[-1]
    distance = max(0, min(distance, n - 1))
    kept = candidates & ~torch.isnan(strength)
    if distance == 0:
        return kept
    undecided = functional.pad(strength.masked_fill(~kept, -torch.inf), (distance, distance), value=-torch.inf)
    kept = torch.zeros_like(candidates)
    inside = undecided[..., distance : distance + n]
    while bool(undecided.amax() > -torch.inf):
        near = _forward_max(undecided, distance)
        # stronger than all before within reach and no weaker than all after: equals go to the first
        top = (inside > near[..., :n]) & (inside >= near[..., distance + 1 :])
        kept |= top
        inside.masked_fill_(sliding_max(top.to(torch.uint8), distance).to(torch.bool), -torch.inf)
    return kept
