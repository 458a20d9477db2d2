"""What the engine knows: rebuilt from ledger and journal after a crash, written into a fresh ledger now and then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sanstream.archive_manifest import SegmentEntry
from sanstream.archive_reached import Reached
from sanstream.bank import find_bank
from sanstream.bank_delta import read_delta
from sanstream.chunk import Event
from sanstream.daemon.coverage import Coverage
from sanstream.daemon.lanes import MAIN, Lane
from sanstream.daemon.rows import Row, event_row, lane_rows, numbers_without, recording_row, session_row, stream_row
from sanstream.daemon.sessions import Session
from sanstream.daemon.streams import RecordingState, StreamState, rate_of
from sanstream.encode_effort import effort_named
from sanstream.encode_kernels import KernelChoice
from sanstream.encode_plan import Plan
from sanstream.ledger import Place, Record
from sanstream.quality import parse_quality


@dataclass
class State:
    """Recordings, streams and events that are fed.

    Parameters
    ----------
    effort : str
        Effort of blocks to come.
    bank_folders : tuple of path
        Where banks stand besides the package.
    """

    effort: str = "default"
    bank_folders: tuple[Any, ...] = ()
    recordings: dict[str, RecordingState] = field(default_factory=dict)
    streams: dict[tuple[str, str], StreamState] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    """Events in the ledger that are not in the archive."""
    event_numbers: dict[tuple[str, str], Coverage] = field(default_factory=dict)
    unwritten: list[Event] = field(default_factory=list)
    """Events in the journal that are not in the ledger."""
    event_files: set[int] = field(default_factory=set)
    """Journal files that hold those."""
    touched: dict[StreamState, None] = field(default_factory=dict)
    """Streams that got samples since their lanes were last looked at, in order."""
    grown: dict[StreamState, None] = field(default_factory=dict)
    """Streams that may have blocks for the archive, in order."""

    def lanes(self) -> Iterator[tuple[StreamState, Lane]]:
        """Yield every lane with its stream."""
        for stream in self.streams.values():
            for lane in list(stream.lanes):
                yield stream, lane

    def take_event(self, event: Event) -> bool:
        """Count an event; False when it came before."""
        numbers = self.event_numbers.setdefault((event.recording, event.session), Coverage())
        if numbers.overlaps(event.number, event.number + 1):
            return False
        numbers.add(event.number, event.number + 1)
        return True

    # --- from the ledger

    def replay(self, records: Iterable[Record]) -> None:
        """Take up what a ledger says; records of unknown kinds are passed over."""
        for record in records:
            apply = getattr(self, f"_on_{record.kind}", None)
            if apply is not None:
                apply(record.head, record)
        for stream in self.streams.values():
            _order_lanes(stream)
        self.grown = dict.fromkeys(self.streams.values())

    def resume(self, now_ns: int) -> None:
        """Set the clocks of what was silent for nobody knows how long while no daemon ran."""
        for _, lane in self.lanes():
            lane.touched_ns = now_ns
        for stream in self.streams.values():
            if stream.end and not stream.last_arrival_ns:  # a silent stream must not look like a new one
                stream.last_arrival_ns = min(now_ns, stream.time_ns(stream.end))

    def _on_recording(self, head: Mapping[str, Any], record: Record) -> None:
        self.recordings.setdefault(
            head["recording"], RecordingState(head["recording"], head["start_ns"], head.get("feed", ""))
        )

    def _on_stream(self, head: Mapping[str, Any], record: Record) -> None:
        recording = self.recordings[head["recording"]]
        key = (head["recording"], head["stream"])
        stream = self.streams.get(key)
        if stream is None:
            stream = StreamState(recording, head["stream"], rate_of(head["rate"]), head["feed"], head["modality"])
            self.streams[key] = stream
        for low, high in head.get("coverage", ()):
            stream.committed.add(low, high)
        stream.end = max(stream.end, stream.committed.end)
        stream.last_arrival_ns = max(stream.last_arrival_ns, head.get("last_arrival_ns", 0))
        stream.n_channels = head.get("n_channels", stream.n_channels)
        stream.figures.update(head.get("figures", {}))

    def _on_session(self, head: Mapping[str, Any], record: Record) -> None:
        stream = self.streams[head["recording"], head["stream"]]
        stream.sessions[head["session"]] = Session.from_dict(head)

    def _on_segment(self, head: Mapping[str, Any], record: Record) -> None:
        stream = self.streams[head["recording"], head["stream"]]
        entry = SegmentEntry.from_dict(head["entry"])
        if any(lane.name == entry.name for lane in stream.lanes):
            return  # written again after a disk was full
        lane = Lane(
            stream.key,
            head["lane"],
            entry.start_sample,
            stream.rate,
            entry.channels,
            tuple(parse_quality(q, c) for q, c in zip(entry.qualities, entry.channels, strict=True)),
            entry.coding.block_samples,
            entry.shard_samples,
            flags=list(head["flags"]),
            name=entry.name,
        )
        bank = find_bank(entry.coding.bank_base, folders=self.bank_folders)
        delta = read_delta(entry.coding.bank_delta, entry.coding.n_channels)
        kernels = None
        if delta.kernels and delta.shifts is not None:
            kernels = KernelChoice(delta.kernels, delta.shifts[list(entry.coding.groups[0].channels)])
        lane.plan = Plan(entry.coding, bank, effort_named(self.effort), lane.qualities, kernels, "cpu")
        lane.reached = Reached(entry.coding, bank, lane.qualities)
        lane.limit = stream.midnight_after(lane.start) if lane.kind == MAIN else None
        stream.others.append(lane)
        stream.n_channels = len(entry.channels)

    def _on_block(self, head: Mapping[str, Any], record: Record) -> None:
        stream, lane = self._lane(head)
        if lane is None or head["number"] != lane.n_committed or lane.plan is None:
            return
        commit_block(stream, lane, head, record.place)

    def _on_sealed(self, head: Mapping[str, Any], record: Record) -> None:
        stream, lane = self._lane(head)
        if lane is None:
            return
        if "figures" in head and lane.plan is not None and lane.n_committed < head["n_blocks"]:
            # a compacted ledger: the blocks themselves are gone from it
            lane.reached = Reached.resume(lane.plan.coding, lane.plan.bank, lane.qualities, head["figures"])
            lane.n_ready = lane.n_committed = head["n_blocks"]
            lane.end = max(lane.end, lane.start + head["n_samples"])
            lane.anchors = [(a, b, c) for a, b, c in head.get("anchors", ())]
            lane.sealed_figures = head["figures"]
            lane.n_sealed = head["n_blocks"]
        forget_sealed(stream, lane, head["n_blocks"])

    def _on_closed(self, head: Mapping[str, Any], record: Record) -> None:
        stream, lane = self._lane(head)
        if lane is not None:
            lane.closed = True
            drop_sealed(stream, lane)

    def _on_event(self, head: Mapping[str, Any], record: Record) -> None:
        event = Event(**head)
        if self.take_event(event):
            self.events.setdefault(event.recording, []).append(event)

    def _on_event_numbers(self, head: Mapping[str, Any], record: Record) -> None:
        numbers = self.event_numbers.setdefault((head["recording"], head["session"]), Coverage())
        for low, high in head["numbers"]:
            numbers.add(low, high)

    def _on_events_sealed(self, head: Mapping[str, Any], record: Record) -> None:
        events = self.events.get(head["recording"], [])
        del events[: head["n"]]

    def _on_forgotten(self, head: Mapping[str, Any], record: Record) -> None:
        self.forget(head["recording"])

    def forget(self, recording: str) -> None:
        """Drop a recording that was deleted whole."""
        self.recordings.pop(recording, None)
        self.events.pop(recording, None)
        self.unwritten = [e for e in self.unwritten if e.recording != recording]
        for key in [k for k in self.streams if k[0] == recording]:
            gone = self.streams.pop(key)
            self.touched.pop(gone, None)
            self.grown.pop(gone, None)
        for pair in [k for k in self.event_numbers if k[0] == recording]:
            del self.event_numbers[pair]

    def _lane(self, head: Mapping[str, Any]) -> tuple[StreamState, Lane | None]:
        stream = self.streams[head["recording"], head["stream"]]
        found = [lane for lane in stream.lanes if lane.name == head["segment"]]
        return stream, found[-1] if found else None

    # --- into a fresh ledger

    def rows(self, read_body: Any) -> Iterator[Row]:
        """Yield the records of a ledger that says the same with the fewest bytes.

        Parameters
        ----------
        read_body : callable
            Gives a block's payload by its place in the present ledger.
        """
        for recording in self.recordings.values():
            yield recording_row(recording)
        for stream in self.streams.values():
            yield stream_row(stream, with_coverage=True)
            for session in stream.sessions.values():
                yield session_row(stream, session)
            for lane in stream.lanes:
                if lane.plan is not None:
                    yield from lane_rows(stream, lane, read_body)
        # events that wait come as records of their own, here or when they are committed
        waiting: dict[tuple[str, str], set[int]] = {}
        for event in (*(e for events in self.events.values() for e in events), *self.unwritten):
            waiting.setdefault((event.recording, event.session), set()).add(event.number)
        for (recording_name, session_name), numbers in self.event_numbers.items():
            without = waiting.get((recording_name, session_name), set())
            held = [[a, b] for low, high in numbers.to_list() for a, b in numbers_without(low, high, without)]
            yield "event_numbers", {"recording": recording_name, "session": session_name, "numbers": held}, b""
        for events in self.events.values():
            for event in events:
                yield event_row(event)

    def replace_places(self, places: Iterator[Any]) -> None:
        """Take up where :meth:`rows` stands in the fresh ledger; ``places`` come in the order of the rows."""
        queue = list(places)
        blocks = iter(self._block_places(queue))
        for stream in self.streams.values():
            for lane in stream.lanes:
                if lane.plan is not None:
                    lane.places = [(next(blocks), head) for _, head in lane.places]

    def move_places(self, moved: Mapping[int, int], epoch: int) -> None:
        """Take up where the blocks of a ledger stand that was rewritten in steps."""
        for _, lane in self.lanes():
            lane.places = [(Place(moved[place.offset], place.length, epoch), head) for place, head in lane.places]

    def _block_places(self, queue: list[Any]) -> list[Any]:
        # only blocks have bodies
        return [place for place in queue if place.length]


def commit_block(stream: StreamState, lane: Lane, head: Mapping[str, Any], place: Any) -> None:
    """Count a block that is in the ledger."""
    start = lane.start + head["number"] * lane.block_samples
    n, at = head["n_samples"], 0
    for low, high in [*head["holes"], [n, n]]:
        stream.committed.add(start + at, start + low)
        at = high
    lane.n_committed = head["number"] + 1
    lane.n_ready = max(lane.n_ready, lane.n_committed)
    lane.end = max(lane.end, start + n)
    lane.places.append((place, head))
    lane.anchors += [(a, b, c) for a, b, c in head.get("anchors", ())]
    stream.end = max(stream.end, start + n)
    if lane.plan is not None:
        lane.reached = Reached.resume(lane.plan.coding, lane.plan.bank, lane.qualities, head["figures"])


def forget_sealed(stream: StreamState, lane: Lane, n_blocks: int) -> None:
    """Count blocks that are in the archive, and forget where the ledger has them."""
    if n_blocks > lane.n_sealed:
        done = n_blocks - lane.n_sealed
        lane.sealed_figures = lane.places[done - 1][1]["figures"]
        del lane.places[:done]
        lane.n_sealed = n_blocks
    drop_sealed(stream, lane)


def drop_sealed(stream: StreamState, lane: Lane) -> None:
    """Forget a lane whose blocks are all in the archive and which gets no more."""
    if lane.closed and lane.n_sealed == lane.n_committed:
        if stream.main is lane:
            stream.main = None
        if lane in stream.others:
            stream.others.remove(lane)


def _order_lanes(stream: StreamState) -> None:
    """Let the last open main lane go on."""
    open_ones = [lane for lane in stream.others if lane.kind == MAIN and not lane.closed]
    if open_ones and stream.main is None:
        stream.main = max(open_ones, key=lambda lane: lane.start)
        stream.others.remove(stream.main)
    for lane in open_ones:
        if lane is not stream.main:
            lane.limit, lane.closing_ns = min(o.start for o in open_ones if o.start > lane.start), 0
