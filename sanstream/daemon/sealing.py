"""From the ledger to the archive: full shards, and the rest of segments that have ended, with the events meanwhile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from sanstream.archive_grow import GrowingArchive, GrownSegment, Growth
from sanstream.archive_manifest import Manifest
from sanstream.archive_reached import Reached
from sanstream.chunk import Event
from sanstream.daemon.lanes import Lane
from sanstream.daemon.rows import opening_entry, place_of_lane
from sanstream.daemon.sessions import ns_of
from sanstream.daemon.state import State, forget_sealed
from sanstream.daemon.streams import RecordingState, StreamState
from sanstream.durable import reach
from sanstream.errors import InputError
from sanstream.ledger import Ledger
from sanstream.shard import shard_samples

RETRY_S = 5
EVENTS_S = 3600
"""Events of a recording that gets no samples are brought to the archive so often."""


class Sealer:
    """Brings what is committed to the archive; lives in the engine's thread.

    Parameters
    ----------
    state : State
    ledger : Ledger
    archive : GrowingArchive
    clock : callable
        Nanoseconds since 1970.
    note : callable
        Told of every manifest that is committed.

    Attributes
    ----------
    refused : dict of str to int
        Recordings that the archive did not take, and when they are tried again; nothing of them is lost meanwhile.
    """

    def __init__(
        self,
        state: State,
        ledger: Ledger,
        archive: GrowingArchive,
        clock: Callable[[], int],
        note: Callable[[Manifest], None] = lambda manifest: None,
    ) -> None:
        self._note = note
        self._state = state
        self._ledger = ledger
        self._archive = archive
        self._clock = clock
        self._events_ns: dict[str, int] = {}
        self.refused: dict[str, int] = {}

    def run(self, *, most: int, finish: bool = False) -> int:
        """Seal what is due.

        Parameters
        ----------
        most : int
            Recordings at most.
        finish : bool
            Bring all events too.

        Returns
        -------
        int
            Recordings that grew.

        Raises
        ------
        DiskFull
            When the ledger has no room.
        SyncError
        """
        due: dict[str, list[tuple[StreamState, Lane]]] = defaultdict(list)
        for stream in list(self._state.grown):
            lanes = [(stream, lane) for lane in stream.lanes if _due_blocks(lane)]
            if lanes:
                due[stream.recording.name] += lanes
            else:
                del self._state.grown[stream]
        now = self._clock()
        for name, events in self._state.events.items():
            waits = events and name not in due and name in self._state.recordings
            if waits and (finish or now - self._events_ns.setdefault(name, now) >= EVENTS_S * 10**9):
                due[name] = []
        done = 0
        for name, lanes in due.items():
            if done >= most:
                break
            if now < self.refused.get(name, 0):
                continue
            try:
                self._seal(self._state.recordings[name], lanes)
            except InputError:
                # one recording's archive must not hold up the others: try it again later
                self.refused[name] = now + RETRY_S * 10**9
                continue
            self.refused.pop(name, None)
            self._events_ns.pop(name, None)
            done += 1
        return done

    def _seal(self, recording: RecordingState, lanes: Sequence[tuple[StreamState, Lane]]) -> None:
        events = tuple(self._state.events.get(recording.name, ()))
        grown = tuple(self._grown(stream, lane) for stream, lane in lanes)
        manifest = self._archive.commit(Growth(recording.name, recording.start_ns, segments=grown, events=events))
        self._note(manifest)
        for stream, lane in lanes:
            n = lane.n_sealed + _due_blocks(lane)
            stop = n * lane.block_samples
            lane.anchors = [*_knots([a for a in lane.anchors if a[0] < stop], lane), *_from(lane.anchors, stop)]
            self._ledger.append("sealed", {**place_of_lane(stream, lane), "n_blocks": n})
            forget_sealed(stream, lane, n)
        if events:
            self._ledger.append("events_sealed", {"recording": recording.name, "n": len(events)})
            del self._state.events[recording.name][: len(events)]
        # a lost record is made good by sealing the same again; only deletion must not come before it
        self._ledger.sync()
        reach("seal.recorded")

    def _grown(self, stream: StreamState, lane: Lane) -> GrownSegment:
        n = _due_blocks(lane)
        plan = lane.plan
        if plan is None:
            raise AssertionError("a lane is planned before it is sealed")
        chosen = lane.places[:n]
        head = chosen[-1][1]
        reached = Reached.resume(plan.coding, plan.bank, lane.qualities, head["figures"])
        n_samples = head["number"] * lane.block_samples + head["n_samples"]
        entry = replace(
            opening_entry(lane),
            n_samples=n_samples,
            n_windows=reached.n_windows,
            reached=reached.figures(),
            samples_crc=reached.samples_crc,
            clock=tuple(_knots([a for a in lane.anchors if a[0] < n_samples], lane)),
            committed_ns=self._clock(),
        )
        blocks = tuple(self._ledger.read_body(place) for place, _ in chosen)
        return GrownSegment(stream.name, stream.rate, entry, plan.bank, lane.n_sealed, blocks)


def pending_events(state: State, recording: str) -> tuple[Event, ...]:
    """Return the events of a recording that are not in the archive."""
    return (*state.events.get(recording, ()), *(e for e in state.unwritten if e.recording == recording))


def _due_blocks(lane: Lane) -> int:
    """Return how many blocks should go to the archive now."""
    if lane.plan is None:
        return 0
    waiting = lane.n_committed - lane.n_sealed
    if lane.closed:
        return waiting
    per_shard = opening_shard(lane) // lane.block_samples
    return waiting // per_shard * per_shard


def opening_shard(lane: Lane) -> int:
    """Return the samples of a lane's full shard."""
    return shard_samples(float(lane.rate), len(lane.channels), lane.block_samples)


def _knots(anchors: Sequence[tuple[int, int, int]], lane: Lane) -> Iterator[tuple[int, int, int]]:
    """Leave out the anchors that the line between their neighbours gives to half a sample."""
    half = max(1, ns_of(1, lane.rate) // 2)
    last: tuple[int, int, int] | None = None
    between: list[tuple[int, int, int]] = []
    for anchor in anchors:
        if last is None:
            yield anchor
            last = anchor
            continue
        if between and any(abs(_on_line(last, anchor, b[0]) - b[1]) > half for b in between):
            last = between[-1]
            yield last
            between = []
        between.append(anchor)
    if between:
        yield between[-1]


def _from(anchors: Sequence[tuple[int, int, int]], stop: int) -> list[tuple[int, int, int]]:
    return [a for a in anchors if a[0] >= stop]


def _on_line(first: tuple[int, int, int], last: tuple[int, int, int], sample: int) -> int:
    return first[1] + (last[1] - first[1]) * (sample - first[0]) // max(1, last[0] - first[0])
