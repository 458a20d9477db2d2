"""From messages to the journal and the lanes: identity, repetitions, contradictions, events (design section 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol

from sanstream.chunk import Chunk, Delivery, Event, stream_name
from sanstream.daemon.claims import Claims
from sanstream.daemon.coverage import Coverage
from sanstream.daemon.descriptors import Descriptors
from sanstream.daemon.holding import Stood, StoodEvent, StoodSamples, stood_before
from sanstream.daemon.lanes import MAIN, MOVED, Lane
from sanstream.daemon.placing import Located, Misplaced, check_sane, locate, origin_of, settle
from sanstream.daemon.sessions import Piece, Session
from sanstream.daemon.state import State
from sanstream.daemon.streams import (
    BEGUN_S,
    MAX_BEGUN,
    SHORT_S,
    RecordingState,
    StreamState,
    take,
)
from sanstream.journal import Journal
from sanstream.journal_records import ChunkEntry, Definition, EventEntry
from sanstream.modality import modality_of_all
from sanstream.signal import Channel


class Counters(Protocol):
    """What the intake counts; every method takes the feed's name first."""

    def received(self, feed: str, modality: str, chunk: Chunk) -> None:
        """Count a chunk that was taken."""

    def duplicate(self, feed: str) -> None:
        """Count a chunk, or a part, that came before."""

    def conflict(self, feed: str, reason: str) -> None:
        """Count a chunk that contradicts what came before, or has no place."""

    def late(self, feed: str, n: int) -> None:
        """Count samples that came after their block."""

    def event(self, feed: str) -> None:
        """Count an event."""


SetAside = Callable[[Chunk, str], None]
"""Takes a chunk that cannot be archived, and why."""
OpenLane = Callable[[StreamState, str, int, tuple[Channel, ...], list[str]], Lane]


@dataclass
class Intake:
    """Takes messages up; lives in the engine's thread.

    Parameters
    ----------
    state : State
    journal : Journal
    open_lane : callable
    set_aside : callable
    counters : Counters
    tolerance_ns : int
        Larger steps of a device's clock begin a segment.
    clock : callable
        Nanoseconds since 1970.
    known_recording : callable
        Returns a recording that the archive has already, or another name for one that cannot grow.
    claims : Claims, optional
        Where other daemons archive the same recordings, what they agree on with this one.
    """

    state: State
    journal: Journal
    open_lane: OpenLane
    set_aside: SetAside
    counters: Counters
    tolerance_ns: int
    clock: Callable[[], int]
    known_recording: Callable[[str], RecordingState | str | None] = lambda name: None
    claims: Claims | None = None

    def __post_init__(self) -> None:
        self._definitions: dict[tuple[Any, ...], Definition] = {}
        self._renamed: dict[str, str] = {}
        self._other_rates: set[tuple[str, str, Fraction]] = set()
        self._channels = Descriptors()

    def accept(self, delivery: Delivery, feed: str) -> list[Stood]:
        """Journal what a message brought. Nothing is durable before the journal's next sync.

        Parameters
        ----------
        delivery : Delivery
        feed : str
            Name of its feed.

        Returns
        -------
        list of Stood
            What of it is stored now, or was before; not what was set aside.

        Raises
        ------
        DiskFull
            When the journal has no room; the same message may be given again.
        """
        if delivery.ends:
            self.release(delivery.tenure)
        stood: list[Stood] = []
        for item in delivery.items:
            if isinstance(item, Event):
                stood.append(self.accept_event(item, feed))
            else:
                stood += self._accept_chunk(item, feed, delivery.tenure)
        return stood

    def accept_event(self, event: Event, feed: str) -> StoodEvent:
        """Journal an event, unless it came before."""
        name = self._name_of(event, feed)
        if name != event.recording:
            event = replace(event, recording=name)
        numbers = self.state.event_numbers.get((event.recording, event.session))
        if numbers is not None and numbers.overlaps(event.number, event.number + 1):
            self.counters.duplicate(feed)
            return StoodEvent(event.recording, event.session, event.number)
        self.state.event_files.add(self.journal.append_event(event))
        self.state.take_event(event)
        self.state.unwritten.append(event)
        self.counters.event(feed)
        return StoodEvent(event.recording, event.session, event.number)

    def replay(self, entry: ChunkEntry | EventEntry, file: int) -> None:
        """Take up a record of the journal after a restart; what the ledger has already is passed over."""
        if isinstance(entry, EventEntry):
            if self.state.take_event(entry.event):
                self.state.unwritten.append(entry.event)
                self.state.event_files.add(file)
            return
        definition, chunk = entry.definition, entry.chunk
        stream = self._stream_of(chunk, definition.feed, definition.start_ns, definition.stream)
        session = stream.sessions.get(chunk.session)
        piece = Piece(chunk.first_sample, definition.base, definition.flag)
        if session is None:
            session = stream.sessions[chunk.session] = Session(chunk.session, [piece])
        elif session.piece_at(chunk.first_sample).base != definition.base:
            session.add_piece(piece)
        session.received.add(chunk.first_sample, chunk.first_sample + chunk.n_samples)
        stream.changed.add(chunk.session)
        self.state.touched[stream] = None
        take(stream, definition, chunk, file, self.open_lane, self.clock())

    def release(self, tenure: str | None = None) -> None:
        """Let the segments of a tenure's streams, or of all, end soon: others go on with them."""
        for stream in self.state.streams.values():
            if tenure is None or stream.tenure == tenure:
                stream.release(self.clock())
                self.state.touched[stream] = None

    def _accept_chunk(self, chunk: Chunk, feed: str, tenure: str) -> list[Stood]:
        try:
            check_sane(chunk)
        except Misplaced as reason:
            self._refuse(chunk, str(reason), feed)
            return []
        name = self._name_of(chunk, feed)
        if name != chunk.recording:
            chunk = replace(chunk, recording=name)
        stream = self._stream_of(chunk, feed)
        if stream.name != chunk.stream:
            chunk = replace(chunk, stream=stream.name)
        if self.claims is not None and stream.tenure != tenure:
            self.claims.adopt(stream)
            stream.release(self.clock())
            stream.tenure = tenure
        session = stream.sessions.get(chunk.session)
        first, stop = chunk.first_sample, chunk.first_sample + chunk.n_samples
        parts = [(first, stop)] if session is None else session.received.free(first, stop)
        stood: list[Stood] = []
        if parts != [(first, stop)] and session is not None:
            stood += stood_before(stream, session, chunk, parts)
            equal = stream.is_waiting_as(chunk, chunk.session)
            if equal is None:
                equal = stream.digest_says(session, chunk)
            if equal is False:
                self._refuse(chunk, "it contradicts what came before", feed, stream)
            else:
                self.counters.duplicate(feed)
        for low, high in parts:
            part = chunk if (low, high) == (first, stop) else _part(chunk, low, high)
            stood += self._take(stream, part, feed)
        return stood

    def _take(self, stream: StreamState, chunk: Chunk, feed: str) -> list[StoodSamples]:
        try:
            found = self._locate(stream, chunk)
        except Misplaced as reason:
            self._refuse(chunk, str(reason), feed, stream)
            return []
        definition = self._define(stream, chunk, found.piece.base, found.piece.flag)
        first, stop = chunk.first_sample, chunk.first_sample + chunk.n_samples
        if stream.is_braked(self.clock()) and not stream.goes_on(definition, found.piece, first, stop):
            why = f"its stream began {MAX_BEGUN} segments within {BEGUN_S} s after ones of less than {SHORT_S} s each"
            self._refuse(chunk, why, feed, stream)
            return []
        file = self.journal.append_chunk(definition, chunk)
        settle(stream, chunk, found)
        self.state.touched[stream] = None
        late = take(stream, definition, chunk, file, self._begin, self.clock())
        if found.is_anchor and chunk.device_ns is not None and stream.main is not None:
            place = found.piece.base + chunk.first_sample - stream.main.start
            if place >= 0:
                stream.main.fresh_anchors.append((place, chunk.device_ns, chunk.arrival_ns))
        if late:
            self.counters.late(feed, late)
        self.counters.received(feed, stream.modality, chunk)
        return [StoodSamples(stream, definition.base + first, definition.base + stop)]

    def _locate(self, stream: StreamState, chunk: Chunk) -> Located:
        """Find a chunk's place; a new one is no place before all daemons that share the recording know of it."""
        found = locate(stream, chunk, self.tolerance_ns)
        if self.claims is None:
            return found
        looked = False
        while True:
            known = found.session.name in stream.sessions
            if known and found.piece is found.session.piece_at(chunk.first_sample):
                return found
            if not known and not looked:
                self.claims.look(stream)  # a new session stays off what others have sealed meanwhile
                looked = True
            elif self.claims.settle(stream, found.session, found.piece):
                return found
            found = locate(stream, chunk, self.tolerance_ns)

    def _begin(
        self, stream: StreamState, kind: str, start: int, channels: tuple[Channel, ...], flags: list[str]
    ) -> Lane:
        # days, gaps and channels that change make long segments, however fast they are replayed
        last = stream.main if kind == MAIN else next((o for o in reversed(stream.others) if o.kind == kind), None)
        if last is not None and last.end - last.start < SHORT_S * stream.rate and MOVED not in flags:
            stream.begun.append(self.clock())
        return self.open_lane(stream, kind, start, channels, flags)

    def _refuse(self, chunk: Chunk, reason: str, feed: str, stream: StreamState | None = None) -> None:
        """Set a chunk aside; durable with the next sync, before its message is acknowledged."""
        self.set_aside(chunk, reason)
        self.counters.conflict(feed, reason)
        if stream is not None:
            stream.figures["conflicts"] = stream.figures.get("conflicts", 0) + 1

    def _stream_of(self, chunk: Chunk, feed: str, start_ns: int | None = None, name: str | None = None) -> StreamState:
        """Return the chunk's stream; one whose rate differs from its namesake's has the rate in its name."""
        name = name or chunk.stream
        stream = self.state.streams.get((chunk.recording, name))
        other = (chunk.recording, name, chunk.rate) in self._other_rates
        if other or (stream is not None and stream.rate != chunk.rate):
            name = _with_rate(chunk)
            stream = self.state.streams.get((chunk.recording, name))
        if stream is None:
            recording = self.state.recordings.get(chunk.recording)
            start = origin_of(chunk) if start_ns is None else start_ns
            if self.claims is not None and start_ns is None:
                first = start if recording is None else recording.start_ns
                start, mine = self.claims.open(chunk.recording, first, name, chunk.rate)
                if not mine:  # another daemon has a stream of another rate under its name
                    self._other_rates.add((chunk.recording, chunk.stream, chunk.rate))
                    return self._stream_of(replace(chunk, stream=_with_rate(chunk)), feed)
            if recording is None:
                recording = self.state.recordings[chunk.recording] = RecordingState(chunk.recording, start, feed)
            stream = StreamState(recording, name, Fraction(chunk.rate), feed, modality_of_all(chunk.channels))
            covered = recording.covered.pop(name, Coverage())
            if self.claims is None:
                stream.committed = covered
            else:
                stream.foreign = covered
            stream.end = covered.end
            self.state.streams[chunk.recording, name] = stream
        return stream

    def _name_of(self, item: Chunk | Event, feed: str) -> str:
        """Return the recording's name: another one where the archive has one of files under it."""
        if item.recording not in self.state.recordings:
            self._meet(item.recording, feed)
        return self._renamed.get(item.recording, item.recording)

    def _meet(self, name: str, feed: str) -> None:
        """Go on with a recording that only the archive knows; choose another name where it cannot grow."""
        found = self.known_recording(name)
        if isinstance(found, str):
            self._renamed[name] = found
            if found not in self.state.recordings and not isinstance(self.known_recording(found), str):
                found = self.known_recording(found)
        if isinstance(found, RecordingState):
            found.feed = feed
            self.state.recordings[found.name] = found

    def _define(self, stream: StreamState, chunk: Chunk, base: int, flag: str) -> Definition:
        channels = self._channels.fitting(chunk)
        last = stream.definition
        if (
            last is not None
            and (last.base == base and last.channels is channels)
            and (last.session == chunk.session and last.flag == flag)
        ):
            return last  # type: ignore[no-any-return]
        key = (stream.key, chunk.session, base, flag, id(channels))
        found = self._definitions.get(key)
        if found is None:
            if len(self._definitions) > 100_000:
                self._definitions.clear()
            found = self._definitions[key] = Definition(
                recording=stream.recording.name,
                stream=stream.name,
                session=chunk.session,
                base=base,
                start_ns=stream.recording.start_ns,
                rate=stream.rate,
                channels=channels,
                feed=stream.feed,
                flag=flag,
            )
        return found

    def forget(self, recording: str) -> None:
        """Drop what is kept of a recording that was deleted."""
        for key in [k for k in self._definitions if k[0][0] == recording]:
            del self._definitions[key]


def _with_rate(chunk: Chunk) -> str:
    return f"{chunk.stream[:96]}.{stream_name(chunk.rate)}"


def _part(chunk: Chunk, low: int, high: int) -> Chunk:
    """Cut a chunk to the session samples ``low`` to ``high``."""
    skip = low - chunk.first_sample
    device = chunk.device_ns
    if device is not None:
        device += round(skip * 10**9 / chunk.rate)
    samples = chunk.samples[skip : high - chunk.first_sample]
    return replace(chunk, first_sample=low, samples=samples, device_ns=device)
