"""Putting channels on streams: pieces of a source joined to segments, and streams flattened for simple formats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.errors import InputError, UnsupportedError
from sanstream.formats.labels import stream_name
from sanstream.signal import Channel, IntSamples, Segment, Stream

LONGEST_FILL_S = 3600
"""A gap longer than this, in seconds, ends a segment."""


@dataclass(frozen=True)
class Piece:
    """One channel over one contiguous stretch of the source.

    Parameters
    ----------
    start : int
        Position of the first sample on the channel's own sample grid.
    channel : Channel
    samples : ndarray, shape (n,), integer
    """

    rate: Fraction
    start: int
    channel: Channel
    samples: npt.NDArray[np.integer[Any]]


def widened(channel: Channel, samples: npt.NDArray[np.integer[Any]]) -> Channel:
    """Widen the channel's digital range to the samples that it really has (missing code aside)."""
    if samples.size == 0:
        return channel
    low, high = int(samples.min()), int(samples.max())
    if channel.missing is not None and (low < channel.digital_min or high > channel.digital_max):
        present = samples[samples != channel.missing]
        if present.size == 0:
            return channel
        low, high = int(present.min()), int(present.max())
    if low >= channel.digital_min and high <= channel.digital_max:
        return channel
    return replace(channel, digital_min=min(low, channel.digital_min), digital_max=max(high, channel.digital_max))


def _merge(old: Sequence[Channel], new: Sequence[Channel]) -> tuple[Channel, ...] | None:
    """Return the channels of two stretches as one set, or None when their calibration differs."""
    if len(old) != len(new):
        return None
    merged = []
    for a, b in zip(old, new, strict=True):
        low, high = min(a.digital_min, b.digital_min), max(a.digital_max, b.digital_max)
        both = [replace(c, digital_min=low, digital_max=high) for c in (a, b)]
        if both[0] != both[1]:
            return None
        merged.append(both[0])
    return tuple(merged)


def _fill(channels: Sequence[Channel], n: int) -> IntSamples | None:
    codes = [c.missing for c in channels]
    if n and None in codes:
        return None
    return np.tile(np.array([c or 0 for c in codes], dtype=np.int32), (n, 1))


def _segments(stretches: Sequence[tuple[int, tuple[Channel, ...], IntSamples]], rate: Fraction) -> tuple[Segment, ...]:
    """Join stretches of one stream where calibration allows it and the gap is short."""
    out: list[Segment] = []
    run: list[IntSamples] = []
    start, stop, channels = 0, 0, ()  # type: int, int, tuple[Channel, ...]
    for first, own, samples in stretches:
        merged = _merge(channels, own) if run else None
        gap = _fill(channels, first - stop) if merged and 0 <= first - stop <= LONGEST_FILL_S * rate else None
        if merged is None or gap is None:
            if run:
                out.append(Segment(start, channels, np.concatenate(run)))
            run, start, channels = [samples], first, own
        else:
            run += [gap, samples]
            channels = merged
        stop = first + len(samples)
    if run:
        out.append(Segment(start, channels, np.concatenate(run) if len(run) > 1 else run[0]))
    return tuple(out)


def build_streams(pieces: Iterable[Piece], lengths: dict[Fraction, int] | None = None) -> tuple[Stream, ...]:
    """Group pieces by rate into streams, and join those that follow each other.

    Parameters
    ----------
    pieces : iterable of Piece
        Channels of one stretch follow each other in source order.
    lengths : dict, optional
        Length of each rate's grid, where the source ends after its last sample.

    Returns
    -------
    tuple of Stream
        In order of first appearance.
    """
    by_rate: dict[Fraction, dict[tuple[int, int], list[Piece]]] = {}
    for piece in pieces:
        by_rate.setdefault(piece.rate, {}).setdefault((piece.start, len(piece.samples)), []).append(piece)
    streams = []
    for rate, groups in by_rate.items():
        stretches = []
        for (start, _), group in sorted(groups.items()):
            channels = tuple(widened(p.channel, p.samples) for p in group)
            samples = np.stack([p.samples for p in group], axis=1).astype(np.int32, copy=False)
            stretches.append((start, channels, np.ascontiguousarray(samples)))
        streams.append(Stream(stream_name(rate), rate, _segments(stretches, rate), (lengths or {}).get(rate, -1)))
    return tuple(streams)


def position(channel: Channel, default: int) -> int:
    """Return the channel's place in its source, which streams of several rates would lose."""
    value = channel.header.get("position", default)
    return int(value) if isinstance(value, int | float) else default


def flatten(stream: Stream, target: str) -> tuple[tuple[Channel, ...], IntSamples]:
    """Join a stream's segments into one array for formats that know no gaps.

    Parameters
    ----------
    stream : Stream
    target : str
        Name of the format that is to hold it, for the message.

    Returns
    -------
    channels : tuple of Channel
    samples : ndarray, shape (stream.n_samples, n_channels), int32
        Gaps hold the missing code.

    Raises
    ------
    UnsupportedError
        When channels or calibration change, or a gap has no missing code.
    """
    if not stream.segments:
        raise InputError(f"stream {stream.name!r} holds no samples", hint="choose another stretch")
    channels: tuple[Channel, ...] = ()
    parts: list[IntSamples] = []
    stop = 0
    ends = [*stream.segments, Segment(stream.n_samples, (), np.empty((0, 0), dtype=np.int32))]
    for number, segment in enumerate(ends):
        last = number == len(stream.segments)
        merged = segment.channels if not parts else (channels if last else _merge(channels, segment.channels))
        if merged is None:
            raise UnsupportedError(
                f"stream {stream.name!r} changes channels or calibration at sample {segment.start_sample}, "
                f"which {target} cannot hold",
                hint="use --format wfdb, or restore each stretch by --from and --until",
            )
        channels = merged
        gap = _fill(channels, segment.start_sample - stop)
        if gap is None:
            raise UnsupportedError(
                f"stream {stream.name!r} has a gap before sample {segment.start_sample} and no missing code, "
                f"so {target} cannot hold it",
                hint="use --format wfdb, or restore each stretch by --from and --until",
            )
        parts += [gap] if last else [gap, segment.samples]
        stop = segment.stop_sample
    return channels, np.concatenate(parts)


def common_rate(rates: Sequence[Fraction]) -> Fraction:
    """Return the greatest rate that divides all of them."""
    numerator = math.lcm(*(r.denominator for r in rates))
    return Fraction(math.gcd(*(int(r * numerator) for r in rates)), numerator)
