"""Greedy suppression of close candidates, exact, in parallel rounds over a batch.

Sorting candidates by strength and letting each one kept suppress all others within a distance is
sequential as written. The same set comes from rounds: whatever is the strongest undecided
candidate within its own reach can be kept at once, because nothing stronger is left to suppress it.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
    n = values.shape[-1]
    radius = min(radius, n - 1)
    if radius <= 0:
        return values
    forward = _leading_max(values, radius + 1)
    backward = _leading_max(values.flip(-1), radius + 1).flip(-1)
    return torch.maximum(forward, backward)


def _leading_max(values: Tensor, width: int) -> Tensor:
    """Maximum over ``[t, t + width)``, cut at the end."""
    out, reached = values, 1
    while reached < width:
        step = min(reached, width - reached)
        shifted = torch.maximum(out[..., :-step], out[..., step:])
        out = torch.cat([shifted, out[..., -step:]], dim=-1)
        reached += step
    return out


def suppress(strength: Tensor, candidates: Tensor, distance: int) -> Tensor:
    """Keep candidates in falling order of strength; each kept one drops those within ``distance``.

    Parameters
    ----------
    strength : Tensor, shape (..., n), float
        Compared between candidates; equal strengths are won by the lower position.
    candidates : Tensor, shape (..., n), bool
    distance : int
        A kept candidate drops every other one with ``|dt| <= distance``.

    Returns
    -------
    Tensor, shape (..., n), bool
        The candidates that the sequential greedy pass keeps.
    """
    rank = _ranks(strength, candidates)
    kept = torch.zeros_like(candidates)
    while bool((rank > 0).any()):
        winners = (rank > 0) & (rank == sliding_max(rank, distance))
        kept |= winners
        dropped = sliding_max(winners.to(torch.int32), distance) > 0
        rank = torch.where(dropped, 0, rank)
    return kept


def _ranks(strength: Tensor, candidates: Tensor) -> Tensor:
    """Unique int32 ranks, 0 where there is no candidate, n for the strongest; lower index wins ties."""
    n = strength.shape[-1]
    key = torch.where(candidates, strength, torch.full_like(strength, -torch.inf))
    order = torch.sort(key, dim=-1, descending=True, stable=True).indices
    places = torch.arange(n, 0, -1, dtype=torch.int32, device=strength.device)
    rank = torch.zeros(strength.shape, dtype=torch.int32, device=strength.device)
    rank.scatter_(-1, order, places.expand(strength.shape))
    return torch.where(candidates, rank, 0)
