"""Start weights of the sample predictor: least squares over the segment, so that a block starts where it would end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sanstream._loops_samples import SAN_REACH
from sanstream.block_coding import SegmentCoding
from sanstream.group_state import place_of
from sanstream.signal import IntSamples

_LOOK_SAMPLES = 30_000
_LEAST_SAMPLES = 4_000
"""Shorter segments cannot repay the bytes of their weights."""
_PRIOR_SAMPLES = 1000
_LIMIT = (1 << 21) - 64


def start_weights(
    samples: IntSamples, coding: SegmentCoding
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Fit the weights that every block of a segment starts from.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels), int32
    coding : SegmentCoding

    Returns
    -------
    weights : ndarray, shape (n_channels, n), int64
        Q16; regressors in the predictor's order, those on the SAN reconstruction zero.
    ridges : ndarray, shape (n_channels,), int64
        log2 of the start diagonal: the error energy of 1000 samples.
    """
    if len(samples) < _LEAST_SAMPLES:
        return None
    shape = coding.predictor
    most = max((len(r) for g in coding.groups for r in g.references), default=0)
    n = shape.own + shape.cross * most
    weights = np.zeros((coding.n_channels, n), np.int64)
    ridges = np.zeros(coding.n_channels, np.int64)
    look = _stretches(samples, coding)
    for number, group in enumerate(coding.groups):
        columns = place_of(coding, number).columns
        for i, channel in enumerate(group.channels):
            references = group.references[i] if group.references else ()
            fitted, error = _fit(look, channel, references, columns, coding)
            weights[channel, : len(fitted)] = np.clip(np.round(fitted * 65536), -_LIMIT, _LIMIT)
            ridges[channel] = int(np.clip(np.round(np.log2(max(error, 0.25) * _PRIOR_SAMPLES)), 0, 40))
    return weights, ridges


def _stretches(samples: IntSamples, coding: SegmentCoding) -> list[npt.NDArray[np.float64]]:
    """Evenly spaced stretches, bases removed, missing samples held."""
    size = min(len(samples), _LOOK_SAMPLES // 6)
    out = []
    for start in np.linspace(0, len(samples) - size, 6).astype(int):
        part = samples[start : start + size].astype(np.float64)
        for c, code in enumerate(coding.missing):
            gone = samples[start : start + size, c] == code if code is not None else np.zeros(size, bool)
            if gone.any():
                at = np.flatnonzero(~gone)
                part[:, c] = np.interp(np.arange(size), at, part[at, c]) if len(at) else 0.0
        out.append(part - part.mean(axis=0))
    return out


def _fit(
    look: list[npt.NDArray[np.float64]],
    channel: int,
    references: tuple[int, ...],
    columns: tuple[int, ...],
    coding: SegmentCoding,
) -> tuple[npt.NDArray[np.float64], float]:
    """Weights of one channel and its mean squared error."""
    shape = coding.predictor
    reach = shape.own + shape.cross + SAN_REACH
    rows, targets = [], []
    for part in look:
        n = len(part)
        parts = [part[reach - k : n - k, channel] for k in range(1, shape.own + 1)]
        for r in references:
            lag = 0 if columns.index(r) < columns.index(channel) else 1
            parts += [part[reach - lag - k : n - lag - k, r] for k in range(shape.cross)]
        rows.append(np.stack(parts, axis=1))
        targets.append(part[reach:n, channel])
    a, y = np.concatenate(rows), np.concatenate(targets)
    gram = a.T @ a
    gram[np.diag_indices_from(gram)] *= 1 + 1e-5
    gram[np.diag_indices_from(gram)] += 1.0
    w = np.linalg.solve(gram, a.T @ y)
    rest = y - a @ w
    return np.asarray(w, np.float64), float(np.mean(rest * rest))
