"""A recording as its daemon has it: sealed shards, blocks of the ledger, and the newest samples from the journal."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

import numpy as np

from sanstream.archive_grow_events import EVENTS, event_columns, join_events
from sanstream.archive_live_state import LiveRecording, LiveSegment, RawChunk, unsealed
from sanstream.archive_manifest import LATE, RAW, Manifest, SegmentEntry, StreamEntry
from sanstream.archive_objects import Objects
from sanstream.archive_read import BankFinder, StreamReader
from sanstream.archive_recording import RecordingReader
from sanstream.archive_zarr import ZarrReader
from sanstream.bank import Bank
from sanstream.block_coding import MAX_BLOCK_VALUES, MAX_GROUP_CHANNELS, Group, SegmentCoding
from sanstream.chunk import Event
from sanstream.errors import BankError
from sanstream.ledger import Record
from sanstream.signal import Annotations, Channel, IntSamples

_LONGEST_HOLE_S = 60


class LiveRecordingReader(RecordingReader):
    """A recording of an archive together with what its daemon has not sealed yet.

    ``manifest`` describes both; ``stored`` is the archive's own, None where nothing is sealed yet. Raw stretches are
    segments flagged ``"late"`` and ``"raw"``: they fill what blocks lack.
    """

    def __init__(self, stored: Manifest | None, live: LiveRecording, objects: Objects, find_bank: BankFinder) -> None:
        head = stored or Manifest(live.name, live.start_ns, live.timezone, "wfdb", {}, "zarr", (), grows=True)
        fits = live.start_ns == head.start_ns
        overlay = _Overlay(head, live if fits else LiveRecording(live.name, live.start_ns), objects)
        super().__init__(head, objects, find_bank)
        self.stored = stored
        self.manifest = replace(head, streams=tuple(e for e, _ in overlay.streams))
        self._events: Sequence[Event] = live.events
        self.streams = {
            entry.name: LiveStreamReader(self.manifest, entry, overlay, find_bank, chunks)
            for entry, chunks in overlay.streams
        }

    @cached_property
    def annotations(self) -> tuple[Annotations, ...]:
        """The annotation sets; the newest events too.

        Raises
        ------
        CorruptError
            When a file of theirs is missing or has changed.
        """
        sets = super().annotations
        if not self._events:
            return sets
        own = [a for a in sets if a.name == EVENTS]
        new = event_columns(self._events, self.start_ns or 0)
        return (*(a for a in sets if a.name != EVENTS), join_events([*own, new]))


class LiveStreamReader(StreamReader):
    """A stream with stretches that are not coded yet.

    Parameters
    ----------
    manifest, entry, container, find_bank
        As for :class:`~sanstream.archive_read.StreamReader`.
    chunks : mapping of str to list of RawChunk
        Those of each raw segment, by place.
    """

    def __init__(
        self,
        manifest: Manifest,
        entry: StreamEntry,
        container: _Overlay,
        find_bank: BankFinder,
        chunks: dict[str, list[RawChunk]],
    ) -> None:
        super().__init__(manifest, entry, container, find_bank)
        self._chunks = chunks

    def blocks(self, segment: SegmentEntry, first: int, stop: int) -> list[bytes]:
        """Return the payloads of a segment's blocks; a raw one has none."""
        return [] if RAW in segment.flags else super().blocks(segment, first, stop)

    def bank(self, segment: SegmentEntry) -> Bank:
        """Return the bank of a segment.

        Raises
        ------
        BankError
            When it is raw.
        """
        if RAW in segment.flags:
            raise BankError(f"segment {self.name}/{segment.name} is not coded yet and has no bank")
        return super().bank(segment)

    def _state(self, segment: SegmentEntry, first: int, stop: int) -> Hashable:
        if RAW not in segment.flags:
            return super()._state(segment, first, stop)
        # chunks are added and, once coded, go; none changes
        chunks = _overlapping(self._chunks[segment.name], first, stop)
        sessions = tuple(dict.fromkeys(c.definition.session for c in chunks))
        return RAW, sessions, len(chunks), sum(len(c.samples) for c in chunks), chunks[0].start_sample if chunks else 0

    def read_segment(
        self, segment: SegmentEntry, first: int, stop: int, channels: Sequence[int] | None = None
    ) -> IntSamples:
        """Return samples ``first`` to ``stop`` of one segment, shape (stop - first, n_channels), int32."""
        if RAW not in segment.flags:
            return super().read_segment(segment, first, stop, channels)
        codes = [c.missing or 0 for c in segment.channels]
        out = np.tile(np.array(codes, np.int32), (max(0, stop - first), 1))
        low, high = segment.start_sample + first, segment.start_sample + stop
        # the first that came wins, and stands before others of the same place
        for chunk in reversed(_overlapping(self._chunks[segment.name], low, high)):
            begin, end = max(low, chunk.start_sample), min(high, chunk.stop_sample)
            part = chunk.samples[begin - chunk.start_sample : end - chunk.start_sample]
            for i, (own, given) in enumerate(zip(segment.channels, chunk.definition.channels, strict=True)):
                has = part[:, i] != given.missing if given.missing is not None else slice(None)
                column = out[begin - low : end - low, i]
                column[has] = part[has, i]
                assert own.label == given.label
        return out if channels is None else out[:, list(channels)]


class _Overlay(ZarrReader):
    """Blocks from shards and, after those, from the ledger."""

    def __init__(self, head: Manifest, live: LiveRecording, objects: Objects) -> None:
        super().__init__(objects, head)
        self._sealed: dict[tuple[str, str], SegmentEntry] = {
            (s.name, e.name): e for s in head.streams for e in s.segments
        }
        self._records: dict[tuple[str, str], dict[int, Record]] = {}
        self.streams: list[tuple[StreamEntry, dict[str, list[RawChunk]]]] = []
        stored = {s.name: s for s in head.streams}
        for name in dict.fromkeys([*stored, *live.streams]):
            own = live.streams.get(name)
            rate = stored[name].rate if name in stored else live.streams[name].rate
            if own is None or own.rate != rate:
                self.streams += [(stored[name], {})] if name in stored else []
                continue
            coded = self._coded(name, stored.get(name), own.segments)
            raw, chunks = _raw_segments(own.chunks, own.coded)
            segments = (*coded, *raw)
            if segments:
                length = max(s.stop_sample for s in segments)
                self.streams.append((StreamEntry(name, rate, length, segments), chunks))

    def blocks(self, stream: str, entry: SegmentEntry, first: int, stop: int) -> list[bytes]:
        """Return the payloads of blocks ``first`` to ``stop``."""
        sealed = self._sealed.get((stream, entry.name))
        n_sealed = sealed.n_blocks if sealed is not None else 0
        payloads = super().blocks(stream, sealed, first, min(stop, n_sealed)) if sealed and first < n_sealed else []
        records = self._records.get((stream, entry.name), {})
        return payloads + [records[n].body() for n in range(max(first, n_sealed), stop)]

    def _coded(self, stream: str, stored: StreamEntry | None, live: dict[str, LiveSegment]) -> list[SegmentEntry]:
        """Return the segments that have blocks, as long as archive and ledger know them; late ones last."""
        entries = {e.name: e for e in (stored.segments if stored is not None else ())}
        for name, segment in live.items():
            entry, records = unsealed(segment, entries.get(name))
            if entry.n_samples:
                entries[name] = entry
                self._records[stream, name] = records
        return sorted(entries.values(), key=lambda e: (e.late, 0 if e.late else e.start_sample))


def _raw_segments(
    chunks: Sequence[RawChunk], coded: Sequence[tuple[int, int]]
) -> tuple[list[SegmentEntry], dict[str, list[RawChunk]]]:
    """Join the chunks of which not every sample is in a block into segments of one channel set."""
    starts, stops = _joined(coded)
    lanes: dict[tuple[str, tuple[str, ...]], list[RawChunk]] = {}
    for chunk in chunks:
        own, place = chunk.definition, bisect_right(starts, chunk.start_sample) - 1
        if place < 0 or stops[place] < chunk.stop_sample:
            lanes.setdefault((own.lane, tuple(c.label for c in own.channels)), []).append(chunk)
    entries: list[SegmentEntry] = []
    held: dict[str, list[RawChunk]] = {}
    for (lane, _), found in sorted(lanes.items(), key=lambda item: item[0][0] == LATE):
        found.sort(key=lambda c: c.start_sample)  # stable: of one place, the first that came stays first
        for run in _runs(found):
            name = f"{RAW}-{lane}-{run[0].start_sample}-{len(entries)}"
            entries.append(_raw_entry(name, run))
            held[name] = run
    return entries, held


def _joined(stretches: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Return starts and stops of the stretches, those that touch joined, in order."""
    starts: list[int] = []
    stops: list[int] = []
    for low, high in sorted(stretches):
        if stops and low <= stops[-1]:
            stops[-1] = max(stops[-1], high)
        else:
            starts.append(low)
            stops.append(high)
    return starts, stops


def _runs(chunks: Sequence[RawChunk]) -> list[list[RawChunk]]:
    """Cut chunks, by place, where the calibration changes or nothing came for a minute."""
    cuts, stop = [0], chunks[0].stop_sample
    for i, (before, after) in enumerate(pairwise(chunks), 1):
        hole = after.start_sample - stop
        if _calibration(before) != _calibration(after) or hole > _LONGEST_HOLE_S * after.definition.rate:
            cuts.append(i)
        stop = max(stop, after.stop_sample)
    return [list(chunks[a:b]) for a, b in pairwise([*cuts, len(chunks)])]


def _calibration(chunk: RawChunk) -> tuple[tuple[str, float, float, str], ...]:
    return tuple((c.unit, c.gain, c.baseline, c.kind) for c in chunk.definition.channels)


def _raw_entry(name: str, run: Sequence[RawChunk]) -> SegmentEntry:
    first, own = run[0], run[0].definition
    channels = own.channels
    start, stop = first.start_sample, max(c.stop_sample for c in run)
    coding = _placeholder(own.rate, channels)
    quality = ("lossless",) * len(channels)
    return SegmentEntry(name, start, stop - start, coding.block_samples, channels, coding, quality, flags=(LATE, RAW))


def _placeholder(rate: Fraction, channels: Sequence[Channel]) -> SegmentCoding:
    """Return a coding that says ranges and missing codes, and whose blocks no one has written."""
    n = len(channels)
    size = max(1, min(1 << 16, MAX_BLOCK_VALUES // max(1, n)))
    groups = [tuple(range(i, min(n, i + MAX_GROUP_CHANNELS))) for i in range(0, n, MAX_GROUP_CHANNELS)]
    return SegmentCoding(
        "0" * 16,
        rate,
        tuple(c.digital_min for c in channels),
        tuple(c.digital_max for c in channels),
        tuple(c.missing for c in channels),
        size,
        size,
        tuple(Group(g) for g in groups),
        "0" * 64,
    )


def _overlapping(chunks: Sequence[RawChunk], low: int, high: int) -> list[RawChunk]:
    """Return the chunks with samples in ``[low, high)``; they are sorted by place."""
    stop = bisect_left(chunks, high, key=lambda c: c.start_sample)
    return [c for c in chunks[:stop] if c.stop_sample > low]
