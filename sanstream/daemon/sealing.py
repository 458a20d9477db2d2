"""From the ledger to the archive: full shards, and the rest of segments that have ended, with the events meanwhile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace

from sanstream.archive_grow import GrowingArchive
from sanstream.archive_growth import GrownSegment, Growth
from sanstream.archive_manifest import Manifest
from sanstream.archive_reached import Reached
from sanstream.chunk import Event
from sanstream.daemon.claims import Claims
from sanstream.daemon.lanes import Lane
from sanstream.daemon.refusals import cause_of
from sanstream.daemon.rows import opening_entry, place_of_lane, recording_row
from sanstream.daemon.sessions import ns_of
from sanstream.daemon.state import State, forget_sealed
from sanstream.daemon.streams import RecordingState, StreamState
from sanstream.durable import reach
from sanstream.errors import InputError
from sanstream.ledger import Ledger

RETRY_S = 5
_PAST_S = 86_400
"""A recording of events alone begins with the first of them, but no earlier than so long ago."""
EVENTS_S = 3600
"""Events of a recording that gets no samples are brought to the archive so often."""
_AT_ONCE = 8
"""Recordings that share a record's fsync; with threads their own, too, are waited for together."""

Lanes = Sequence[tuple[StreamState, Lane]]
_ON_THE_WAY = 64
"""Recordings at most that are on their way to an object store."""


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
    threads : int
        Recordings that are brought to the archive at a time. What goes to an object store is not waited for: a later
        turn records what has arrived.
    known : callable
        Returns a recording that the archive has already, or another name for one that cannot grow.
    claims : Claims, optional
        Where other daemons archive the same recordings, what they agree on with this one.
    events_s : float
        How long events of a recording that gets no samples wait.

    Attributes
    ----------
    refused : dict of str to int
        Recordings that the archive did not take, and when they are tried again; nothing of them is lost meanwhile.
    cause : str
        Why the last of them was not taken; no name stands in it.
    grown : set of str
        Recordings to which something was brought.
    """

    def __init__(
        self,
        state: State,
        ledger: Ledger,
        archive: GrowingArchive,
        clock: Callable[[], int],
        note: Callable[[Manifest], None] = lambda manifest: None,
        threads: int = 1,
        known: Callable[[str], RecordingState | str | None] = lambda name: None,
        claims: Claims | None = None,
        events_s: float = EVENTS_S,
    ) -> None:
        self._known, self._claims, self._events_s = known, claims, events_s
        self._pool = ThreadPoolExecutor(threads, "seal") if threads > 1 else None
        self._note = note
        self._state = state
        self._ledger = ledger
        self._archive = archive
        self._clock = clock
        self._events_ns: dict[str, int] = {}
        self._on_the_way: dict[str, tuple[Growth, list[tuple[StreamState, Lane, int]], Future[Manifest | None]]] = {}
        self.refused: dict[str, int] = {}
        self.cause = ""
        self.grown: set[str] = set()

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
        arrived = self._arrived()
        due: dict[str, list[tuple[StreamState, Lane]]] = defaultdict(list)
        for stream in list(self._state.grown):
            lanes = [(stream, lane) for lane in stream.lanes if _due_blocks(lane)]
            if lanes:
                due[stream.recording.name] += lanes
            else:
                del self._state.grown[stream]
        now = self._clock()
        for name, events in self._state.events.items():
            waits = events and name not in due
            if waits and (finish or abs(now - self._events_ns.setdefault(name, now)) >= self._events_s * 10**9):
                if name not in self._state.recordings:
                    self._begin(name, events)
                if name in self._state.recordings:
                    due[name] = []
        waits_s = 0 if finish else RETRY_S
        ready = [name for name in due if not 0 < self.refused.get(name, 0) - now <= waits_s * 10**9][:most]
        if self._archive.is_remote and self._pool is not None:
            self._send(self._pool, {name: due[name] for name in ready if name not in self._on_the_way})
            return arrived + (self.settle() if finish else 0)
        return sum(
            self._seal({name: due[name] for name in ready[at : at + _AT_ONCE]}) for at in range(0, len(ready), _AT_ONCE)
        )

    def _begin(self, name: str, events: Sequence[Event]) -> None:
        """Let a recording begin of which only events came."""
        now, found = self._clock(), self._known(name)
        if isinstance(found, str):
            return  # made of files meanwhile
        begin = max(now - _PAST_S * 10**9, min(now, *(e.time_ns for e in events)))
        if self._claims is not None and found is None:
            begin = self._claims.start(name, begin)
        recording = self._state.recordings[name] = found or RecordingState(name, begin, "")
        self._ledger.append(*recording_row(recording))

    def _seal(self, due: Mapping[str, Lanes]) -> int:
        """Bring some recordings to the archive, several at a time where there are threads; returns how many grew."""
        growths = [self._growth(self._state.recordings[name], lanes) for name, lanes in due.items()]
        done = 0
        for growth, manifest in zip(growths, self._committed(growths), strict=True):
            lanes = due[growth.recording]
            counted = [(stream, lane, lane.n_sealed + _due_blocks(lane)) for stream, lane in lanes]
            done += self._take_up(growth, counted, manifest)
        # a lost record is made good by sealing the same again; only deletion must not come before it
        self._ledger.sync()
        reach("seal.recorded")
        return done

    def _send(self, pool: ThreadPoolExecutor, due: Mapping[str, Lanes]) -> None:
        """Bring recordings on their way; after a failure one at a time tries whether the store is there again."""
        for name, lanes in due.items():
            if len(self._on_the_way) >= (1 if self.refused else _ON_THE_WAY):
                return
            growth = self._growth(self._state.recordings[name], lanes)
            counted = [(stream, lane, lane.n_sealed + _due_blocks(lane)) for stream, lane in lanes]
            self._on_the_way[name] = (growth, counted, pool.submit(self._commit, growth))

    def _arrived(self) -> int:
        """Record what has come to the archive; returns how many recordings."""
        done = [name for name, (_, _, future) in self._on_the_way.items() if future.done()]
        n = 0
        for name in done:
            growth, lanes, future = self._on_the_way.pop(name)
            n += self._take_up(growth, lanes, future.result())
        if done:
            self._ledger.sync()
            reach("seal.recorded")
        return n

    @property
    def busy(self) -> Container[str]:
        """Recordings that are on their way to an object store."""
        return self._on_the_way.keys()

    def settle(self) -> int:
        """Wait for what is on its way; returns how many recordings came."""
        wait([future for _, _, future in self._on_the_way.values()])
        return self._arrived()

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _committed(self, growths: Sequence[Growth]) -> Iterable[Manifest | None]:
        return map(self._commit, growths) if self._pool is None else list(self._pool.map(self._commit, growths))

    def _commit(self, growth: Growth) -> Manifest | None:
        try:
            return self._archive.commit(growth)
        except InputError as error:
            self.cause = cause_of(error)
            return None

    def _growth(self, recording: RecordingState, lanes: Lanes) -> Growth:
        events = tuple(self._state.events.get(recording.name, ()))
        grown = tuple(self._grown(stream, lane) for stream, lane in lanes)
        return Growth(recording.name, recording.start_ns, segments=grown, events=events)

    def _take_up(
        self, growth: Growth, lanes: Sequence[tuple[StreamState, Lane, int]], manifest: Manifest | None
    ) -> bool:
        """Record what a commit came to; tells whether the recording grew."""
        if manifest is None:
            # one recording's archive must not hold up the others: try it again later
            self.refused[growth.recording] = self._clock() + RETRY_S * 10**9
            return False
        self._note(manifest)
        self._record(growth, lanes)
        self.refused.pop(growth.recording, None)
        self._events_ns.pop(growth.recording, None)
        return True

    def _record(self, growth: Growth, lanes: Sequence[tuple[StreamState, Lane, int]]) -> None:
        """Let ledger and state know what the archive has now: of each lane, so many blocks."""
        self.grown.add(growth.recording)
        for stream, lane, n in lanes:
            stop = n * lane.block_samples
            lane.anchors = [*_knots([a for a in lane.anchors if a[0] < stop], lane), *_from(lane.anchors, stop)]
            self._ledger.append("sealed", {**place_of_lane(stream, lane), "n_blocks": n})
            forget_sealed(stream, lane, n)
        if growth.events:
            self._ledger.append("events_sealed", {"recording": growth.recording, "n": len(growth.events)})
            del self._state.events[growth.recording][: len(growth.events)]

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
    per_shard = lane.shard_samples // lane.block_samples
    return waiting // per_shard * per_shard


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
