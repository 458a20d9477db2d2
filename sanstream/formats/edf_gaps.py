"""Missing samples in new EDF and BDF files: the lowest value stands for them, and an annotation marks each gap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from sanstream.signal import Annotations, Channel, IntSamples

NO_SIGNAL = "No signal"


def coded(
    channel: Channel, samples: IntSamples, limit: int
) -> tuple[Channel, IntSamples, npt.NDArray[np.bool_] | None]:
    """Give missing samples the format's lowest value, where their own code lies outside the format.

    Parameters
    ----------
    channel : Channel
    samples : ndarray, shape (n_samples,), int32
    limit : int
        The format's samples are ``-limit`` to ``limit - 1``.

    Returns
    -------
    channel : Channel
    samples : ndarray, shape (n_samples,), int32
    gone : ndarray of bool or None
        Where samples were given the value; None when none was, also because a sample has it already.
    """
    code = channel.missing
    if code is None or -limit <= code < limit:
        return channel, samples, None
    gone = samples == code
    if not gone.any() or bool((samples == -limit).any()):
        return channel, samples, None
    low, high = max(channel.digital_min, -limit), min(channel.digital_max, limit - 1)
    return replace(channel, missing=-limit, digital_min=low, digital_max=high), np.where(gone, -limit, samples), gone


def gap_annotations(gaps: Sequence[tuple[Fraction, npt.NDArray[np.bool_]]]) -> tuple[Annotations, ...]:
    """Return one event per stretch without samples.

    Parameters
    ----------
    gaps : sequence of (Fraction, ndarray of bool)
        Per stream its rate, and where a channel lacks samples.
    """
    times: list[int] = []
    lengths: list[float] = []
    for rate, gone in gaps:
        edges = np.flatnonzero(np.diff(np.concatenate([[False], gone, [False]]).astype(np.int8)))
        for first, stop in edges.reshape(-1, 2).tolist():
            times.append(round(first * 10**9 / rate))
            lengths.append(float((stop - first) / rate))
    if not times:
        return ()
    columns = {
        "time_ns": np.array(times, np.int64),
        "duration_s": np.array(lengths),
        "text": np.array([NO_SIGNAL] * len(times), dtype=object),
    }
    return (Annotations("gaps", columns),)
