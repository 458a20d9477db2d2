"""What a daemon's state folder holds that is not in the archive yet: raw chunks, blocks, events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from sanstream.archive_manifest import LATE, SegmentEntry
from sanstream.chunk import Event
from sanstream.errors import CorruptError, InputError, SanstreamError
from sanstream.journal import read_journal
from sanstream.journal_records import ChunkEntry, Definition
from sanstream.ledger import Record, read_ledger

_EVENT = ("recording", "session", "number", "time_ns", "kind", "text", "duration_ns")


@dataclass(frozen=True, eq=False)
class RawChunk:
    """A chunk of the journal by its place on the stream's grid."""

    definition: Definition
    start_sample: int
    samples: Any

    @property
    def stop_sample(self) -> int:
        """One past the last sample's place."""
        return self.start_sample + len(self.samples)


@dataclass
class LiveSegment:
    """A segment that the ledger knows.

    Parameters
    ----------
    entry : SegmentEntry
        Without samples.
    blocks : dict of int to Record
        Its blocks by number, those that are sealed among them.
    n_sealed : int
        Blocks that the ledger says are in the archive.
    """

    entry: SegmentEntry
    blocks: dict[int, Record] = field(default_factory=dict)
    n_sealed: int = 0


@dataclass
class LiveStream:
    """What the state holds of one stream; ``coded`` are the places of samples that some block holds, half-open."""

    rate: Fraction
    segments: dict[str, LiveSegment] = field(default_factory=dict)
    chunks: list[RawChunk] = field(default_factory=list)
    coded: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class LiveRecording:
    """What the state holds of one recording."""

    name: str
    start_ns: int
    timezone: str = "utc"
    streams: dict[str, LiveStream] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)


def read_state(state_dir: Path, *, only: str | None = None) -> dict[str, LiveRecording]:
    """Take a snapshot of a state folder, also while its daemon writes to it.

    The journal is read before the ledger, since data go from the first to the second; a reader opens the archive's
    manifests only after this, and so misses nothing.

    Parameters
    ----------
    state_dir : Path
    only : str, optional
        The recording whose samples are wanted; others are named and have no streams.

    Returns
    -------
    dict of str to LiveRecording
        Empty when the folder is missing, or is not this user's to read.

    Raises
    ------
    CorruptError
        When bytes that were safe have changed.
    UnsupportedError
        When a newer sanstream writes it.
    """
    try:
        passed: dict[str, Definition] = {}
        entries = [entry for _, entry in read_journal(state_dir / "journal", wanted=_only(only, passed))]
        records = list(read_ledger(state_dir / "ledger.log"))
    except OSError:
        return {}
    except SanstreamError as error:
        hint = "read what is sealed with sanstream.archive.open(archive, live=False)"
        raise type(error)(f"{state_dir.name}: {error.message}", hint=hint) from error
    snapshot = _Snapshot(only)
    for name, own in passed.items():
        snapshot.found[name] = LiveRecording(name, own.start_ns, own.timezone)
    for entry in entries:
        if isinstance(entry, ChunkEntry):
            snapshot.take_chunk(entry)
    try:
        for record in records:
            snapshot.take_record(record.kind, record.head, record)
    except (LookupError, TypeError, ValueError, InputError) as error:
        raise CorruptError(f"{state_dir.name}: a record of the ledger cannot be read ({error!r})") from error
    for entry in entries:
        if not isinstance(entry, ChunkEntry):
            snapshot.events.setdefault(entry.event.recording, []).append(entry.event)
    for name, recording in snapshot.found.items():
        recording.events += snapshot.events.get(name, ())
    return snapshot.found


def _only(name: str | None, passed: dict[str, Definition]) -> Callable[[Definition], bool] | None:
    """Return the choice of one recording's chunks, which keeps the latest definition of every other recording."""

    def wanted(definition: Definition) -> bool:
        if definition.recording == name:
            return True
        passed[definition.recording] = definition
        return False

    return None if name is None else wanted


def unsealed(segment: LiveSegment, sealed: SegmentEntry | None) -> tuple[SegmentEntry, dict[int, Record]]:
    """Join what the archive and the ledger hold of one segment.

    Parameters
    ----------
    segment : LiveSegment
    sealed : SegmentEntry or None
        As the manifest has it.

    Returns
    -------
    entry : SegmentEntry
        As long as both reach without a hole; of no samples when what was sealed is gone.
    blocks : dict of int to Record
        Those that only the ledger has.
    """
    entry = segment.entry if sealed is None else sealed
    blocks: dict[int, Record] = {}
    if sealed is None and segment.n_sealed:
        return entry, blocks
    n_samples = entry.n_samples
    while n_samples % entry.coding.block_samples == 0:
        number = n_samples // entry.coding.block_samples
        if number not in segment.blocks:
            break
        blocks[number] = segment.blocks[number]
        n_samples += int(segment.blocks[number].head["n_samples"])
    return replace(entry, n_samples=n_samples), blocks


class _Snapshot:
    """What journal and ledger say, while they are read, the journal first."""

    def __init__(self, only: str | None = None) -> None:
        self._only = only
        self.found: dict[str, LiveRecording] = {}
        # apart: the ledger may tell of events before it introduces their recording
        self.events: dict[str, list[Event]] = {}
        self._starts: dict[str, int] = {}

    def take_chunk(self, entry: ChunkEntry) -> None:
        """Take a chunk of the journal."""
        own, chunk = entry.definition, entry.chunk
        recording = self.found.get(own.recording)
        if recording is None or recording.start_ns != own.start_ns:
            # a recording that was deleted and began anew: only the newer one is shown
            recording = self.found[own.recording] = LiveRecording(own.recording, own.start_ns, own.timezone)
        stream = recording.streams.setdefault(own.stream, LiveStream(own.rate))
        if stream.rate == own.rate and own.base + chunk.first_sample >= 0:
            stream.chunks.append(RawChunk(own, own.base + chunk.first_sample, chunk.samples))

    def take_record(self, kind: str, head: Mapping[str, Any], record: Record) -> None:
        """Take a record of the ledger; kinds that say nothing of samples or events are passed over."""
        name = head.get("recording", "")
        if kind == "event":
            self.events.setdefault(name, []).append(Event(**{n: head[n] for n in _EVENT}))
        elif kind == "events_sealed":
            del self.events.get(name, [])[: int(head["n"])]
        elif kind == "forgotten":
            self.events.pop(name, None)
        if kind == "recording":
            self._starts[name] = head["start_ns"]
            self.found.setdefault(name, LiveRecording(name, head["start_ns"], head.get("timezone", "utc")))
        recording = self.found.get(name)
        if recording is None or recording.start_ns != self._starts.get(name):
            return
        if kind == "forgotten":
            del self.found[name]
        elif self._only not in (None, name):
            return
        elif kind == "segment":
            stream = recording.streams.setdefault(head["stream"], LiveStream(Fraction(head["rate"])))
            entry = SegmentEntry.from_dict(head["entry"])
            flags = dict.fromkeys([*([LATE] if head.get("lane") == LATE else []), *entry.flags, *head.get("flags", ())])
            stream.segments.setdefault(head["segment"], LiveSegment(replace(entry, flags=tuple(flags))))
        elif kind == "stream":
            stream = recording.streams.setdefault(head["stream"], LiveStream(Fraction(head["rate"])))
            stream.coded += [(int(low), int(high)) for low, high in head.get("coverage", ())]
        elif kind in ("block", "sealed"):
            held = recording.streams.get(head["stream"])
            segment = held.segments.get(head["segment"]) if held is not None else None
            if held is not None and segment is not None and kind == "block":
                segment.blocks[int(head["number"])] = record
                held.coded += _places(segment.entry, head)
            elif segment is not None:
                segment.n_sealed = max(segment.n_sealed, int(head["n_blocks"]))


def _places(entry: SegmentEntry, head: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return where a block has samples: all but its holes."""
    start, n = entry.start_sample + int(head["number"]) * entry.coding.block_samples, int(head["n_samples"])
    edges = [0, *(int(edge) for hole in head.get("holes", ()) for edge in hole), n]
    return [(start + a, start + b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]
