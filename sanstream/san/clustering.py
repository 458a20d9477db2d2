"""Spherical k-means of aligned segments: the starting shapes of kernels."""

from __future__ import annotations

import torch
from torch import Tensor


def cluster_shapes(segments: Tensor, count: int, *, n_rounds: int = 8, least: int = 2) -> Tensor:
    """Cluster segments by shape, without regard to amplitude or sign.

    Starts with the typical shape and adds, one by one, the segment that the clusters so far
    explain worst (by energy), which finds rare large events; deterministic.

    Parameters
    ----------
    segments : Tensor, shape (A, C, m), float32
    count : int
        Clusters wanted.
    n_rounds : int
        Rounds of assignment and averaging.
    least : int
        Clusters of fewer segments are dropped.

    Returns
    -------
    Tensor, shape (<= count, C, m), float32
        Unit norm.
    """
    flat = segments.reshape(len(segments), -1)
    energy = flat.pow(2).sum(dim=1)
    flat, energy = flat[energy > 0], energy[energy > 0]
    if len(flat) == 0 or count < 1:
        return segments.new_zeros((0, *segments.shape[1:]))
    centres = _start(flat, energy, count)
    size = torch.zeros(len(centres), device=flat.device)
    for _ in range(n_rounds):
        fit = flat @ centres.T
        owner = fit.abs().argmax(dim=1)
        weight = torch.zeros_like(fit).scatter_(1, owner[:, None], fit.gather(1, owner[:, None]))
        total = weight.T @ flat
        norm = total.norm(dim=1, keepdim=True)
        centres = torch.where(norm > 0, total / norm.clamp_min(1e-12), centres)
        size = torch.bincount(owner, minlength=len(centres))
    kept: Tensor = centres[size >= min(least, len(flat))]
    shapes: Tensor = kept.reshape(-1, *segments.shape[1:])
    return shapes


def _start(flat: Tensor, energy: Tensor, count: int) -> Tensor:
    """First the median segment; then worst-explained first."""
    first = flat.median(dim=0).values
    if float(first.norm()) == 0:
        first = flat[energy.argmax()]
    centres: Tensor = (first / first.norm())[None]
    while len(centres) < min(count, len(flat)):
        left = energy - (flat @ centres.T).pow(2).amax(dim=1)
        # the very worst segment is often an artefact: take one that is bad but has company
        worst = int(torch.argsort(left, descending=True, stable=True)[min(len(flat) // 50, 5)])
        if float(left[worst]) <= 1e-6 * float(energy[worst]):
            break
        centres = torch.cat([centres, (flat[worst] / flat[worst].norm())[None]])
    return centres
