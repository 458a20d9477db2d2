"""Segments of one stream that overlap: the first that has a sample keeps it, later ones fill what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sanstream.archive_manifest import SegmentEntry
from sanstream.block import read_block
from sanstream.signal import Channel, IntSamples, Segment

if TYPE_CHECKING:
    from sanstream.archive_read import StreamReader


def present(samples: npt.NDArray[np.int32], missing: int | None) -> npt.NDArray[np.bool_]:
    """Return where a channel has a sample."""
    return np.ones(len(samples), bool) if missing is None else samples != missing


def fill(out: npt.NDArray[Any], held: npt.NDArray[np.bool_], values: npt.NDArray[Any], has: npt.NDArray[Any]) -> None:
    """Put the values that there are where none is held yet, and hold them."""
    free = has & ~held
    out[free] = values[free]
    held |= has


class Layers:
    """Segments laid one over the other until none overlaps: what a :class:`~sanstream.signal.Stream` can be.

    Samples that are missing in one are filled from those added after it where label, unit, gain, baseline and kind
    are the same; from one whose channels differ only where all channels are missing, as a segment of its own.
    """

    def __init__(self) -> None:
        self._pieces: list[Segment] = []

    def add(self, segment: Segment) -> None:
        """Lay a segment below those that are there."""
        pieces, below = [], []
        at = segment.start_sample
        for piece in self._pieces:
            if piece.stop_sample <= segment.start_sample or segment.stop_sample <= piece.start_sample:
                pieces.append(piece)
                continue
            if at < piece.start_sample:
                below.append(_cut(segment, at, piece.start_sample))
            at = max(at, piece.stop_sample)
            pieces += _filled(piece, segment)
        if at < segment.stop_sample or not segment.n_samples:
            below.append(_cut(segment, at, segment.stop_sample))
        self._pieces = sorted([*pieces, *below], key=lambda s: (s.start_sample, s.stop_sample))

    def segments(self) -> tuple[Segment, ...]:
        """Return what there is, by place."""
        return tuple(self._pieces)


def _cut(segment: Segment, first: int, stop: int) -> Segment:
    at = segment.start_sample
    return Segment(first, segment.channels, segment.samples[first - at : stop - at])


def _filled(piece: Segment, below: Segment) -> list[Segment]:
    """Fill what a piece lacks; it is cut where channels differ."""
    first, stop = max(piece.start_sample, below.start_sample), min(piece.stop_sample, below.stop_sample)
    own = piece.samples[first - piece.start_sample : stop - piece.start_sample]
    other = below.samples[first - below.start_sample : stop - below.start_sample]
    places = {c.label: i for i, c in enumerate(below.channels)}
    if set(places) == {c.label for c in piece.channels} and all(
        _alike(c, below.channels[places[c.label]]) for c in piece.channels
    ):
        channels = []
        for i, channel in enumerate(piece.channels):
            beneath = below.channels[places[channel.label]]
            column = other[:, places[channel.label]]
            free = ~present(own[:, i], channel.missing) & present(column, beneath.missing)
            own[free, i] = column[free]
            channels.append(_widened(channel, column[free]))
        return [Segment(piece.start_sample, tuple(channels), piece.samples)]
    empty = ~_any_present(own, piece.channels) & _any_present(other, below.channels)
    out, at = [], piece.start_sample
    for start, end in _runs(empty):
        if at < first + start:
            out.append(_cut(piece, at, first + start))
        out.append(_cut(below, first + start, first + end))
        at = first + end
    return [*out, _cut(piece, at, piece.stop_sample)] if at < piece.stop_sample else out


def _alike(a: Channel, b: Channel) -> bool:
    return (a.unit, a.gain, a.baseline, a.kind) == (b.unit, b.gain, b.baseline, b.kind)


def _widened(channel: Channel, values: IntSamples) -> Channel:
    if not len(values):
        return channel
    low, high = min(channel.digital_min, int(values.min())), max(channel.digital_max, int(values.max()))
    return replace(channel, digital_min=low, digital_max=high)


def _any_present(samples: IntSamples, channels: Sequence[Channel]) -> npt.NDArray[np.bool_]:
    out = np.zeros(len(samples), bool)
    for i, channel in enumerate(channels):
        out |= present(samples[:, i], channel.missing)
    return out


def _runs(flags: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def held_before(reader: StreamReader, segment: SegmentEntry, first: int, stop: int) -> npt.NDArray[np.bool_]:
    """Tell where the segments that stand before one have a sample in any channel; no block is decoded.

    Parameters
    ----------
    reader : StreamReader
    segment : SegmentEntry
    first, stop : int
        On the stream's grid.

    Returns
    -------
    ndarray, shape (stop - first,), bool
    """
    held = np.zeros(max(0, stop - first), bool)
    for other in reader.segments_between(first, stop):
        if other.name == segment.name:
            break
        step = other.coding.block_samples
        low = max(0, (first - other.start_sample) // step)
        high = min(other.n_blocks, -(-(stop - other.start_sample) // step))
        coding = reader.coding(other)
        for number, payload in enumerate(reader.blocks(other, low, high), start=low):
            parts = read_block(payload, number, coding)
            lacking = np.zeros(parts.n_samples, np.int32)
            for gaps in parts.gaps:
                for start, length in gaps:
                    lacking[start : start + length] += 1
            at = other.start_sample + number * step - first
            begin, end = max(0, at), min(len(held), at + parts.n_samples)
            held[begin:end] |= lacking[begin - at : end - at] < coding.n_channels
    return held
