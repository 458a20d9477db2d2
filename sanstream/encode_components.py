"""Components: kernels that say how events differ from their kernel, activated at the same index right after it.

One kernel an event leaves what varies from one to the next: where between two samples it lies, how its waves grow,
narrow and move. The principal components of what is left, aligned by the events, say most of that with an amplitude
each; gap and kernel of such an activation are always the same and cost next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from sanstream.bank import MAX_KERNELS, Kernel, kernel_id
from sanstream.encode_bounds import window_bound
from sanstream.encode_kernels import UNIT, KernelChoice
from sanstream.encode_match import match_quickly
from sanstream.quality import MAX_ERROR, PRDN, RMSE, Quality

_LEAST_EVENTS = 24
_LOUD = 4.0
"""Events of more than so many times the usual energy left are not learned from."""
_WINDOW_S = 10.0
_ROUNDING = 0.29
_SLOW = 3
"""Polynomials below this degree are wander's."""
_STEP = 5.0
"""Amplitude step in units of what is left anyway: a finer one costs the bits that it saves (3.5 to 7 do alike)."""


def with_components(
    samples: npt.NDArray[np.int32],
    present: npt.NDArray[np.bool_],
    choice: KernelChoice,
    errors: npt.NDArray[np.float64],
    n_components: int,
) -> KernelChoice | None:
    """Learn components of kernels from what these leave over.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels)
        Channels of the first group.
    present : ndarray, shape (n_samples,)
        Where no channel is missing.
    choice : KernelChoice
        Its components, if any, are replaced.
    errors : ndarray, shape (n_channels,)
        RMSE, digital steps, that is left of each channel anyway, as :func:`errors_anyway` gives it.
    n_components : int
        At most.

    Returns
    -------
    KernelChoice or None
        None where too few events repeat, or no more kernels fit.
    """
    choice = choice.leading()
    n_components = min(n_components, MAX_KERNELS - len(choice.kernels))
    left = _left_over(samples, present, choice)
    if n_components < 1 or len(left) < _LEAST_EVENTS:
        return None
    m = left.shape[2]
    taper = _taper(m)
    shapes = np.zeros((n_components, left.shape[1], m))
    for c in range(left.shape[1]):
        part = _without_slow(left[:, c]) * taper
        energy = (part**2).sum(axis=1)
        part = part[energy <= _LOUD * np.median(energy)]
        if len(part) < _LEAST_EVENTS:
            return None
        _, sizes, rows = np.linalg.svd(part, full_matrices=False)
        # what varies less than what is left anyway is no component: of a dead channel, rounding
        n = min(n_components, int((sizes**2 > len(part) * errors[c] ** 2).sum()))
        shapes[:n, c] = rows[:n] * (32 * _STEP * errors[c]) * taper
    taps = np.round(shapes * UNIT / 2.0 ** choice.shifts[:, None]).clip(-32767, 32767).astype(np.int16)
    fiducial = min(choice.kernels[0].fiducial, m - 1)
    added = tuple(Kernel(kernel_id(t, component=True), t, fiducial) for t in taps if t.any())
    return replace(choice, kernels=(*choice.kernels, *added)) if added else None


def errors_anyway(
    samples: npt.NDArray[np.int32], present: npt.NDArray[np.bool_], qualities: Sequence[Quality], rate: Fraction
) -> npt.NDArray[np.float64]:
    """Return the RMSE that is left of each channel anyway: its noise, or what its bound allows where that is more.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels)
    present : ndarray, shape (n_samples,)
        Where no channel is missing.
    qualities : sequence of Quality
        One per channel.
    rate : Fraction

    Returns
    -------
    ndarray, shape (n_channels,), digital steps
    """
    size = max(8, round(_WINDOW_S * float(rate)))
    out = []
    for row, quality in zip(_bridged(samples, present), qualities, strict=True):
        noise = float(np.median(np.abs(np.diff(row, n=2)))) / 0.6745 / 6**0.5 if len(row) > 2 else 0.0
        deviation = float(np.median([row[a : a + size].std() for a in range(0, max(1, len(row)), size)]))
        allowed = 0.0
        if quality.kind in (PRDN, RMSE, MAX_ERROR):
            _, allowed, _ = window_bound(quality, deviation, math.inf)
        out.append(max(noise, allowed, _ROUNDING))
    return np.array(out)


def _left_over(
    samples: npt.NDArray[np.int32], present: npt.NDArray[np.bool_], choice: KernelChoice
) -> npt.NDArray[np.float64]:
    """Return what the kernels leave of each event, shape (n_events, n_channels, n_taps)."""
    block = _bridged(samples, present)
    kernel, index, amplitude = match_quickly(block.astype(np.float32), choice)
    taps = choice.digital().astype(np.float64)
    n, m = len(samples), taps.shape[2]
    left = block.copy()
    for k, i, a in zip(kernel, index, amplitude / 32.0, strict=True):
        first, stop = max(0, -i), min(m, n - i)
        left[:, i + first : i + stop] -= a[:, None] * taps[k][:, first:stop]
    whole = [i for i in index if i >= 0 and i + m <= n and present[i : i + m].all()]
    return np.stack([left[:, i : i + m] for i in whole]) if whole else np.zeros((0, len(left), m))


def _bridged(samples: npt.NDArray[np.int32], present: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return channels as rows, missing samples on their neighbours' line, (n_channels, n_samples)."""
    out = np.ascontiguousarray(samples.T.astype(np.float64))
    at, gone = np.flatnonzero(present), np.flatnonzero(~present)
    for row in out:
        row[gone] = np.interp(gone, at, row[at]) if len(at) else 0.0
    return out


def _without_slow(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Remove from each row (n, m) its polynomial of low degree."""
    at = np.linspace(-1, 1, rows.shape[1])
    basis, _ = np.linalg.qr(at[:, None] ** np.arange(_SLOW))
    return np.asarray(rows - (rows @ basis) @ basis.T)


def _taper(m: int) -> npt.NDArray[np.float64]:
    length = max(2, m // 16)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(length) / length)
    out = np.ones(m)
    out[:length], out[m - length :] = ramp, ramp[::-1]
    return out
