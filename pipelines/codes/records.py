"""Records of segments, (kernel, index, amplitude), and what a classifier reads from them without decoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sanstream.san.matching import Activations, omp, synthesize

_ROUNDS, _STEPS, _LEARN_ATOMS, _LEARN_SEGMENTS = 8, 30, 12, 1500
_INTERVALS = (2, 4, 6, 9, 13, 19, 28, 41, 60)
"""Edges of interval bins, in samples."""


@dataclass(frozen=True)
class Records:
    """Sparse codes of segments.

    Parameters
    ----------
    activations : Activations
        Of one channel.
    mean : Tensor, shape (n_segments,), float32
        Mean of each segment, one number more a record.
    n_samples, n_kernels, kernel_samples : int
    """

    activations: Activations
    mean: Tensor
    n_samples: int
    n_kernels: int
    kernel_samples: int

    @property
    def counts(self) -> Tensor:
        """Activations of each segment, (n_segments,), int64."""
        return self.activations.counts(len(self.mean))

    @property
    def numbers(self) -> Tensor:
        """Numbers of each record: a position and an amplitude an activation, and the mean; (n_segments,)."""
        return 2 * self.counts + 1


def learn_kernels(x: Tensor, n_kernels: int, kernel_samples: int, *, seed: int = 0) -> Tensor:
    """Learn kernels for orthogonal matching pursuit: pursue, then fit the kernels to what was chosen, in turns.

    Parameters
    ----------
    x : Tensor, shape (n_segments, n), float32
        Training segments; each counts alike, whatever its amplitude.
    n_kernels, kernel_samples : int
    seed : int
        Of the segments learned from, and of the pieces that kernels start as.

    Returns
    -------
    Tensor, shape (n_kernels, kernel_samples), float32
        Of norm 1.
    """
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(x), generator=rng)[:_LEARN_SEGMENTS]
    centred = x[rows.to(x.device)] - x[rows.to(x.device)].mean(dim=1, keepdim=True)
    centred = centred / centred.abs().mean(dim=1, keepdim=True).clamp_min(1e-6)
    taper = torch.hann_window(kernel_samples + 2, periodic=False, device=x.device)[1:-1]
    kernels = _unit(_pieces(centred, n_kernels, kernel_samples, rng) * taper)
    for _ in range(_ROUNDS):
        chosen = omp(centred[:, None], kernels[:, None], stop=_LEARN_ATOMS).activations
        kernels = _fitted(centred, kernels, chosen)
        idle = torch.bincount(chosen.kernel, minlength=n_kernels) == 0
        if bool(idle.any()):
            kernels[idle] = _unit(_pieces(centred, int(idle.sum()), kernel_samples, rng) * taper)
    return kernels


def _pieces(x: Tensor, count: int, length: int, rng: torch.Generator) -> Tensor:
    rows = torch.randint(len(x), (count,), generator=rng).tolist()
    starts = torch.randint(x.shape[1] - length + 1, (count,), generator=rng).tolist()
    return torch.stack([x[r, s : s + length] for r, s in zip(rows, starts, strict=True)])


def _unit(kernels: Tensor) -> Tensor:
    norm: Tensor = kernels.norm(dim=1, keepdim=True).clamp_min(1e-6)
    return kernels / norm


def _fitted(x: Tensor, kernels: Tensor, chosen: Activations) -> Tensor:
    """Descend the mean squared error of given activations; amplitudes are fitted anew by the next pursuit."""
    moving = kernels.clone().requires_grad_()
    descent = torch.optim.Adam([moving], lr=0.02)
    for _ in range(_STEPS):
        descent.zero_grad()
        left = x - synthesize(chosen, moving[:, None], len(x), x.shape[1])[:, 0]
        loss: Any = left.pow(2).mean()
        loss.backward()
        descent.step()
    fitted: Tensor = moving.detach()
    return _unit(fitted)


def record(x: Tensor, kernels: Tensor, *, stop: int | None = None) -> Records:
    """Code segments by orthogonal matching pursuit.

    Parameters
    ----------
    x : Tensor, shape (n_segments, n), float32
    kernels : Tensor, shape (q, m), float32
    stop : int, optional
        Activations of each segment; the number of least phi when not given.
    """
    found = omp(x[:, None], kernels[:, None], stop="phi" if stop is None else stop)
    return Records(found.activations, x.mean(dim=1), x.shape[1], len(kernels), kernels.shape[1])


def decoded(records: Records, kernels: Tensor) -> Tensor:
    """Reconstruct segments, (n_segments, n)."""
    waves = synthesize(records.activations, kernels[:, None], len(records.mean), records.n_samples)[:, 0]
    return waves + records.mean[:, None]


def as_map(records: Records) -> Tensor:
    """Put each amplitude at its kernel and the sample of its middle tap: (n_segments, q + 1, n), mostly zeros.

    The last row holds the segment's mean.
    """
    a = records.activations
    shape = (len(records.mean), records.n_kernels + 1, records.n_samples)
    out = torch.zeros(shape, device=records.mean.device)
    at = (a.index + (records.kernel_samples - 1) // 2).clamp(0, records.n_samples - 1)
    out.index_put_((a.window, a.kernel, at), a.amplitude[:, 0], accumulate=True)
    out[:, -1] = records.mean[:, None]
    return out


def as_features(records: Records) -> Tensor:
    """Describe each record by counts: (n_segments, 4 q + 21), float32.

    A kernel: its activations, their log energy, log largest and mean sign. All kernels: a histogram of the intervals
    between activations, each weighed 1 and by amplitude, and the mean.
    """
    a, total = records.activations, len(records.mean)
    place = a.window * records.n_kernels + a.kernel
    height = a.amplitude[:, 0]
    size = total * records.n_kernels

    def added(values: Tensor) -> Tensor:
        return torch.zeros(size, device=height.device).index_add_(0, place, values)

    count = added(torch.ones_like(height))
    peak = as_map(records)[:, :-1].abs().amax(dim=2).reshape(-1)
    kernelwise = [
        count,
        (added(height**2) + 1e-4).log(),
        (peak + 1e-2).log(),
        added(height.sign()) / count.clamp_min(1),
    ]
    order = torch.argsort(a.window * 4096 + a.index + 1024, stable=True)
    window, index, strength = a.window[order], a.index[order], height.abs()[order]
    same = window[1:] == window[:-1]
    gap = torch.bucketize((index[1:] - index[:-1])[same], torch.tensor(_INTERVALS, device=index.device))
    bins = len(_INTERVALS) + 1
    cell = window[1:][same] * bins + gap
    weight = torch.minimum(strength[1:], strength[:-1])[same]
    often = torch.zeros(total * bins, device=height.device).index_add_(0, cell, torch.ones_like(weight))
    strong = torch.zeros(total * bins, device=height.device).index_add_(0, cell, weight)
    blocks = [v.reshape(total, -1) for v in kernelwise]
    return torch.cat(
        [*blocks, often.reshape(total, bins), (strong + 1e-2).log().reshape(total, bins), records.mean[:, None]], dim=1
    )
