"""Segments of the new archive, and which samples of the old one each is made of."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from sanstream.archive_manifest import LATE, SegmentEntry
from sanstream.archive_read import StreamReader
from sanstream.archive_recording import RecordingReader
from sanstream.archive_sealed import compact_json
from sanstream.reencode_request import Request, is_moved, wanted_texts
from sanstream.signal import Channel, IntSamples

_DIVIDES = {LATE, "clock_step", "channels"}
"""Flags of segments that are never joined to the one before."""
_MOST_GAP_S = 3600
_MOST_S = 86400


@dataclass(frozen=True)
class Piece:
    """A segment of the source, and the place of its first sample in the new segment."""

    entry: SegmentEntry
    at: int


@dataclass(frozen=True)
class Target:
    """One segment of the new archive.

    Parameters
    ----------
    recording, stream : str
    rate : Fraction
    name : str
    start_sample : int
        On the new stream's grid.
    n_samples : int
    pieces : tuple of Piece
        In order, without overlap; what lies between them is missing.
    qualities : tuple of str
        Wanted, per channel, as written.
    moved : bool
        Whether the one piece's blocks are carried over as they are.
    """

    recording: str
    stream: str
    rate: Fraction
    name: str
    start_sample: int
    n_samples: int
    pieces: tuple[Piece, ...]
    qualities: tuple[str, ...]
    moved: bool

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels, which all pieces share."""
        return self.pieces[0].entry.channels

    @property
    def n_values(self) -> int:
        """Samples of all channels."""
        return self.n_samples * len(self.channels)

    @property
    def where(self) -> str:
        """Recording, stream and segment, for messages."""
        return f"{self.recording}/{self.stream}/{self.name}"

    def identity(self, *more: object) -> str:
        """Return a hash of what it is made of, and of whatever else decides its bytes."""
        pieces = [[p.entry.to_dict(), p.at] for p in self.pieces]
        text = compact_json(
            {"of": [self.recording, self.stream, self.n_samples, pieces, self.qualities], "more": list(map(str, more))}
        )
        return hashlib.sha256(text).hexdigest()

    def within(self, first: int, stop: int) -> Iterator[Piece]:
        """Yield the pieces with samples in ``[first, stop)``."""
        for piece in self.pieces:
            if piece.at < stop and first < piece.at + piece.entry.n_samples:
                yield piece

    def read(self, reader: StreamReader, first: int, stop: int) -> IntSamples:
        """Decode samples ``first`` to ``stop``, shape (stop - first, n_channels)."""
        codes = [m if m is not None else 0 for m in (c.missing for c in self.channels)]
        out = np.tile(np.array(codes, np.int32), (stop - first, 1))
        for piece in self.within(first, stop):
            low, high = max(first, piece.at), min(stop, piece.at + piece.entry.n_samples)
            out[low - first : high - first] = reader.read_segment(piece.entry, low - piece.at, high - piece.at)
        return out


def targets_of(reader: RecordingReader, request: Request) -> tuple[Fraction, dict[str, list[Target]]]:
    """Divide a recording into the segments of the new one.

    Returns
    -------
    shift : Fraction
        Seconds by which the new recording starts later: whole samples of every stream.
    targets : dict
        By stream, in the order of its segments.
    """
    chosen = {name: list(_chosen(stream, reader, request)) for name, stream in reader.streams.items()}
    shift = Fraction(0) if request.between is None else _shift(reader, chosen, request.between)
    return shift, {
        name: _of_stream(reader.name, reader.streams[name], entries, request, int(shift * reader.streams[name].rate))
        for name, entries in chosen.items()
        if entries or request.between is None
    }


def _chosen(stream: StreamReader, reader: RecordingReader, request: Request) -> Iterator[SegmentEntry]:
    for entry in stream.entry.segments:
        if request.between is None:
            yield entry
            continue
        at_ns = (reader.start_ns or 0) + Fraction(entry.start_sample) / stream.rate * 10**9
        if request.between[0] <= at_ns < request.between[1]:
            yield entry


def _shift(reader: RecordingReader, chosen: dict[str, list[SegmentEntry]], between: tuple[int, int]) -> Fraction:
    """Return the latest whole second that lies on every stream's grid, before every chosen segment and event."""
    starts = [Fraction(e.start_sample) / reader.streams[n].rate for n, entries in chosen.items() for e in entries]
    low, high = (Fraction(t - (reader.start_ns or 0), 10**9) for t in between)
    for events in reader.annotations if starts else ():
        seconds = [Fraction(int(t), 10**9) for t in events.columns["time_ns"]]
        starts += [s for s in seconds if max(low, Fraction(0)) <= s < high]
    step = math.lcm(*(s.rate.denominator for s in reader.streams.values()))
    return Fraction(int(min(starts, default=Fraction(0)) // step) * step)


def _of_stream(
    recording: str, stream: StreamReader, entries: Sequence[SegmentEntry], request: Request, shift: int
) -> list[Target]:
    out: list[Target] = []
    for pieces in _joined(stream, entries, request):
        first = pieces[0]
        start = first.start_sample - shift
        name = first.name if not shift else _free(str(start), {t.name for t in out})
        out.append(
            Target(
                recording,
                stream.name,
                stream.rate,
                name,
                start,
                pieces[-1].stop_sample - first.start_sample,
                tuple(Piece(p, p.start_sample - first.start_sample) for p in pieces),
                wanted_texts(request, first),
                is_moved(request, first),
            )
        )
    return out


def _joined(
    stream: StreamReader, entries: Iterable[SegmentEntry], request: Request
) -> Iterator[tuple[SegmentEntry, ...]]:
    run: list[SegmentEntry] = []
    for entry in entries:
        if run and not (request.join and _joins(run, entry, request, stream.rate)):
            yield tuple(run)
            run = []
        run.append(entry)
    if run:
        yield tuple(run)


def _joins(run: Sequence[SegmentEntry], entry: SegmentEntry, request: Request, rate: Fraction) -> bool:
    """Tell whether a segment may go on the one that consists of ``run``."""
    first, last = run[0], run[-1]
    gap = entry.start_sample - last.stop_sample
    fits = 0 <= gap <= _MOST_GAP_S * rate and entry.stop_sample - first.start_sample <= _MOST_S * rate
    alike = entry.channels == first.channels and entry.qualities == first.qualities and not first.late
    gaps = not gap or all(c.missing is not None for c in first.channels)
    anew = not is_moved(request, first) and not is_moved(request, entry)
    return fits and alike and gaps and anew and not _DIVIDES & set(entry.flags)


def _free(name: str, taken: set[str]) -> str:
    number = 1
    while (found := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return found


def clock_of(target: Target) -> tuple[tuple[int, int | None, int], ...]:
    """Return the anchors of all pieces, counted from the new segment's start."""
    return tuple((sample + p.at, device, own) for p in target.pieces for sample, device, own in p.entry.clock)


def moved_entry(target: Target, stream: StreamReader) -> SegmentEntry:
    """Return the entry of a segment that is carried over, at its new place."""
    entry = target.pieces[0].entry
    return replace(
        entry, name=target.name, start_sample=target.start_sample, coding=stream.coding(entry), has_delta=False
    )
