"""Figures of every window and channel at once: PRDN, PRD, RMSE, maximum error, SNR, phi, and what broke its bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.quality import LOSSLESS, MAX_ERROR, PRDN, RMSE, SPARSE, Quality
from sanstream.signal import Channel

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SLACK = 1e-9
"""Relative slack of a comparison with a bound: rounding of float64 sums, nothing else."""


@dataclass(frozen=True)
class WindowFigures:
    """What the windows of one channel reached; every array has shape (n_windows,).

    Parameters
    ----------
    start : ndarray of int64
        First sample, from the segment's start.
    n_samples : ndarray of int64
        Samples in the window, missing ones included.
    n_missing : ndarray of int64
        Missing samples; they are left out of every norm.
    prdn, prd_1024, prd : ndarray of float64
        Per cent: denominator without the mean, against an offset of 1024, on stored values.
    rmse_adu, max_error_adu : ndarray of float64
        Digital steps.
    snr_db : ndarray of float64
        ``20 log10(100 / prdn)``.
    phi : ndarray of float64
        ``sqrt((2 A / n)^2 + RL^2)`` of the decoded window with A its activations.
    bits : ndarray of float64
        Coded bits: the block's, shared by samples and channels alike.
    exact : ndarray of bool
        Every sample equal.
    constant : ndarray of bool
        All samples that are not missing have one value.
    gaps_kept : ndarray of bool
        Missing in one exactly where missing in the other.
    """

    start: IntArray
    n_samples: IntArray
    n_missing: IntArray
    prdn: FloatArray
    prd_1024: FloatArray
    prd: FloatArray
    rmse_adu: FloatArray
    max_error_adu: FloatArray
    snr_db: FloatArray
    phi: FloatArray
    bits: FloatArray
    exact: npt.NDArray[np.bool_]
    constant: npt.NDArray[np.bool_]
    gaps_kept: npt.NDArray[np.bool_]

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the columns as JSON values.

        Returns
        -------
        dict of str to list
        """
        return {name: column.tolist() for name, column in self.__dict__.items()}


def _ratio(error: FloatArray, norm: FloatArray) -> FloatArray:
    """Divide norms: no error is 0, an error against nothing is infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, 0.0, error / norm)


def measure_windows(
    original: npt.NDArray[np.int32],
    decoded: npt.NDArray[np.int32],
    channel: Channel,
    *,
    window_samples: int,
    n_activations: npt.NDArray[np.int64],
    bits: FloatArray,
) -> WindowFigures:
    """Measure the windows of one channel.

    Parameters
    ----------
    original, decoded : ndarray, shape (n_samples,), int32
        Digital samples of one segment.
    channel : Channel
        Gives the missing code.
    window_samples : int
        Samples in a full window; the last may be shorter.
    n_activations : ndarray, shape (n_windows,), int64
    bits : ndarray, shape (n_windows,), float64
    """
    n = len(original)
    start = np.arange(0, n, window_samples, dtype=np.int64)
    length = np.diff(start, append=n)
    gap_x, gap_y = _gaps(original, channel), _gaps(decoded, channel)
    valid = length - np.add.reduceat(gap_x, start, dtype=np.int64)
    count = np.maximum(valid, 1)

    keep = ~gap_x
    x = np.where(keep, original, 0).astype(np.float64)
    difference = np.where(keep, original.astype(np.int64) - decoded, 0)
    mean = np.add.reduceat(x, start) / count
    centred = np.where(keep, x - np.repeat(mean, length), 0.0)
    error = np.sqrt(np.add.reduceat(difference.astype(np.float64) ** 2, start))
    high = np.maximum.reduceat(np.where(keep, original, -(2**31)), start)
    low = np.minimum.reduceat(np.where(keep, original, 2**31 - 1), start)
    rl = _ratio(np.add.reduceat(np.abs(difference), start).astype(float), np.add.reduceat(np.abs(centred), start))
    prdn = 100 * _ratio(error, np.sqrt(np.add.reduceat(centred**2, start)))
    with np.errstate(divide="ignore"):
        snr = 20 * np.log10(100 / prdn)
    return WindowFigures(
        start=start,
        n_samples=length,
        n_missing=length - valid,
        prdn=prdn,
        prd_1024=100 * _ratio(error, np.sqrt(np.add.reduceat(np.where(keep, x - 1024, 0.0) ** 2, start))),
        prd=100 * _ratio(error, np.sqrt(np.add.reduceat(x**2, start))),
        rmse_adu=error / np.sqrt(count),
        max_error_adu=np.maximum.reduceat(np.abs(difference), start).astype(np.float64),
        snr_db=snr,
        phi=np.hypot(2 * n_activations / count, rl),
        bits=bits,
        exact=np.logical_and.reduceat(original == decoded, start),
        constant=high <= low,
        gaps_kept=np.logical_and.reduceat(gap_x == gap_y, start),
    )


def _gaps(samples: npt.NDArray[np.int32], channel: Channel) -> npt.NDArray[np.bool_]:
    if channel.missing is None:
        return np.zeros(len(samples), dtype=np.bool_)
    return np.asarray(samples == channel.missing, dtype=np.bool_)


def find_broken(figures: WindowFigures, quality: Quality) -> npt.NDArray[np.bool_]:
    """Say which windows miss what was promised.

    A window's missing samples must be exact in every mode, and so must a window whose channel is
    constant, except under ``sparse``, which promises nothing but the gaps.

    Parameters
    ----------
    figures : WindowFigures
    quality : Quality
        As asked for this channel, in digital steps.

    Returns
    -------
    ndarray, shape (n_windows,), bool
    """
    limit = quality.value * (1 + SLACK)
    broken = ~figures.gaps_kept
    if quality.kind == SPARSE:
        return broken
    broken |= figures.constant & ~figures.exact
    if quality.kind == LOSSLESS:
        return broken | ~figures.exact
    reached = {PRDN: figures.prdn, RMSE: figures.rmse_adu, MAX_ERROR: figures.max_error_adu}[quality.kind]
    return broken | (reached > limit)


def join_figures(parts: Sequence[WindowFigures]) -> WindowFigures:
    """Put the windows of consecutive segments into one table."""
    names = WindowFigures.__dataclass_fields__
    return WindowFigures(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})
