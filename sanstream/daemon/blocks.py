"""From lanes to the ledger: whole blocks of all streams are encoded in a batch, checked, and committed together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Protocol

from sanstream.archive_reached import Reached, ReachedWindow
from sanstream.daemon.coverage import Coverage
from sanstream.daemon.encoding import Work
from sanstream.daemon.lanes import Block, Lane
from sanstream.daemon.rows import (
    Row,
    event_row,
    opening_entry,
    place_of_lane,
    recording_row,
    segment_row,
    session_row,
    stream_row,
)
from sanstream.daemon.state import State, commit_block, drop_sealed
from sanstream.daemon.streams import StreamState
from sanstream.durable import DiskFull, reach
from sanstream.encode_live import LiveStart
from sanstream.ledger import Ledger, Place


class Observer(Protocol):
    """Told of committed blocks."""

    def committed(self, stream: StreamState, block: Block, n_bytes: int, windows: list[ReachedWindow]) -> None:
        """Count a block and look at it."""

    def began(self, lane: Lane) -> None:
        """Count a segment that began."""


_LOOK_NS = 500_000_000
"""How often all lanes are looked at: those that end because nothing came; others are when their samples come."""

StartFor = Callable[[StreamState, Lane], LiveStart]
"""Returns what a new segment starts from."""


@dataclass(frozen=True)
class _Flight:
    """A batch that the pool encodes while the loop goes on."""

    work: list[Work]
    encoded: list[Future[None]]
    began: float

    @property
    def landed(self) -> bool:
        """Whether all is encoded."""
        return all(f.done() for f in self.encoded)


class BlockWriter:
    """Encodes and commits blocks; lives in the engine's thread.

    Parameters
    ----------
    state : State
    ledger : Ledger
    observer : Observer
    start_for : callable
    pool : Executor or None
        Encodes several lanes at a time.

    Attributes
    ----------
    encode_s : float
        How long the last batch took, from its gathering on.
    """

    def __init__(
        self, state: State, ledger: Ledger, observer: Observer, start_for: StartFor, pool: Executor | None
    ) -> None:
        self._state = state
        self._ledger = ledger
        self._observer = observer
        self._start_for = start_for
        self._pool = pool
        self._known: set[tuple[str, ...]] = set()
        self._looked_ns: int | None = None
        self._flight: _Flight | None = None
        self.encode_s = 0.0
        self.know_all()

    def know_all(self) -> None:
        """Take all recordings and streams for introduced: a fresh ledger names them."""
        self._known = {*((name,) for name in self._state.recordings), *self._state.streams}

    def forget(self, recording: str) -> None:
        """Introduce a recording again, should it come back."""
        self._known = {k for k in self._known if k[0] != recording}

    def run(
        self, reorder_s: Mapping[str, float], now_ns: int, *, most: int, finish: bool = False, wait: bool = True
    ) -> int:
        """Encode and commit what is ready.

        Parameters
        ----------
        reorder_s : mapping of str to float
            Per feed, seconds for which samples may come in another order.
        now_ns : int
            The engine's clock.
        most : int
            Blocks at most.
        finish : bool
            End every lane.
        wait : bool
            Commit all of it now; else what the pool has not encoded yet is committed by a later call.

        Returns
        -------
        int
            Blocks committed.

        Raises
        ------
        DiskFull
            The blocks that found no room wait.
        SyncError
        """
        n = 0
        if self._flight is not None:
            if not (wait or finish or self._flight.landed):
                return self._commit([])
            n = self._land(self._flight)
        work = self._gather(reorder_s, now_ns, most, finish)
        began = time.perf_counter()
        if self._pool is None or wait or finish:
            list(map(Work.encode, work) if self._pool is None else self._pool.map(Work.encode, work))
            return n + self._land(_Flight(work, [], began))
        if work:
            self._fly(work)
            self._flight = _Flight(work, [self._pool.submit(w.encode) for w in work if w.blocks], began)
        return n + self._commit([])

    def _gather(self, reorder_s: Mapping[str, float], now_ns: int, most: int, finish: bool) -> list[Work]:
        out = []
        touched = self._state.touched
        if finish or self._looked_ns is None or not 0 <= now_ns - self._looked_ns < _LOOK_NS:
            self._looked_ns = now_ns
            touched.update(dict.fromkeys(self._state.streams.values()))
        for stream in list(touched):
            if not finish and stream.main is not None and not stream.others and stream.main.is_filling(now_ns):
                del touched[stream]
                continue
            wait = reorder_s.get(stream.feed, 0.0)
            for lane in list(stream.lanes):
                if lane.closed:
                    continue
                ends = finish or lane.is_over(now_ns, wait)
                blocks = lane.ready(wait, finish=ends, most=most)
                if ends and lane.open_start >= lane.end:
                    lane.ending = True
                if blocks or lane.ending:
                    start = self._start_for(stream, lane) if lane.plan is None and blocks else None
                    out.append(Work(stream, lane, blocks, self._state.effort, start, lane.plan, lane.reached))
                    most -= len(blocks)
            if most <= 0:
                break  # this stream may have more
            del touched[stream]
        return out

    @property
    def busy(self) -> bool:
        """Whether a batch is still being encoded."""
        return self._flight is not None and not self._flight.landed

    def look_at_all(self) -> None:
        """Look at every lane in the next run, also at those that got no samples."""
        self._looked_ns = None

    def _fly(self, work: Sequence[Work]) -> None:
        """Let nobody take the places of blocks that are handed out, nor go on with a lane that ends."""
        for w in work:
            runs = [run for block in w.blocks for run in block.runs.held(block.start)]
            w.stream.flying = Coverage([*(w.stream.flying.to_list() if w.stream.flying else ()), *runs])
            if w.lane.ending:
                _step_back(w.stream, w.lane)

    def _land(self, flight: _Flight) -> int:
        """Commit a flight that is encoded, or wait for it."""
        self._flight = None
        for done in flight.encoded:
            done.result()
        self.encode_s = time.perf_counter() - flight.began
        for w in flight.work:
            w.stream.flying = None
            if w.lane.plan is None:
                w.lane.plan = w.plan
        return self._commit(flight.work)

    def _commit(self, works: Sequence[Work]) -> int:
        """Append all that goes with the blocks, sync once, then count them."""
        ended = [w for w in works if w.lane.ending]
        work = [w for w in works if w.blocks]
        places: list[tuple[Work, int, dict[str, Any], Place]] = []
        written: list[tuple[StreamState, str]] = []
        events = list(self._state.unwritten)
        begin, known = self._ledger.size_bytes, set(self._known)
        try:
            for event in events:
                self._append(event_row(event))
            for w in work:
                self._introduce(w, written)
                for i, block in enumerate(w.blocks):
                    head = _block_head(w, block, w.states[i])
                    places.append((w, i, head, self._ledger.append("block", head, w.payloads[i])))
            for w in ended:
                if w.lane.n_ready:
                    self._append(("closed", place_of_lane(w.stream, w.lane), b""))
            self._ledger.sync()
        except DiskFull:
            # nothing of this batch counts or comes later: until then its last blocks may grow
            self._ledger.take_back(begin)
            self._known = known
            self.look_at_all()
            for w in {id(w): w for w in (*work, *ended)}.values():
                w.lane.take_back(w.blocks)
                w.lane.ending = False
                w.lane.reached = self._reached_before(w)
            raise
        reach("engine.committed")
        self._state.grown.update(dict.fromkeys(w.stream for w in (*work, *ended)))
        for stream, name in written:
            stream.changed.discard(name)
        for event in events:
            self._state.events.setdefault(event.recording, []).append(event)
        del self._state.unwritten[: len(events)]
        for w, i, head, place in places:
            commit_block(w.stream, w.lane, head, place)
            stop = head["number"] * w.lane.block_samples + head["n_samples"]
            w.lane.fresh_anchors = [a for a in w.lane.fresh_anchors if a[0] >= stop]
            self._observer.committed(w.stream, w.blocks[i], len(w.payloads[i]), w.windows[i])
        for w in ended:
            _end(w.stream, w.lane)
        return len(places)

    def _reached_before(self, w: Work) -> Reached | None:
        plan = w.lane.plan
        if plan is None:
            return None
        if w.lane.n_committed:
            figures = w.lane.places[-1][1]["figures"] if w.lane.places else w.lane.sealed_figures
            return Reached.resume(plan.coding, plan.bank, w.lane.qualities, figures)
        return Reached(plan.coding, plan.bank, w.lane.qualities)

    def _introduce(self, w: Work, written: list[tuple[StreamState, str]]) -> None:
        stream, lane = w.stream, w.lane
        if (stream.recording.name,) not in self._known:
            self._append(recording_row(stream.recording))
            self._known.add((stream.recording.name,))
        if stream.key not in self._known:
            self._append(stream_row(stream))
            self._known.add(stream.key)
        for name in sorted(stream.changed):
            if name in stream.sessions:
                self._append(session_row(stream, stream.sessions[name]))
                written.append((stream, name))
        if not lane.n_committed:
            self._append(segment_row(stream, lane, opening_entry(lane)))
            if w.start is not None:
                self._observer.began(lane)

    def _append(self, row: Row) -> None:
        self._ledger.append(*row)


def _block_head(w: Work, block: Block, figures: dict[str, Any]) -> dict[str, Any]:
    head = {
        **place_of_lane(w.stream, w.lane),
        "number": block.number,
        "n_samples": block.runs.n_samples,
        "holes": [list(h) for h in block.runs.holes],
        "figures": figures,
    }
    stop = block.number * w.lane.block_samples + block.runs.n_samples
    start = block.number * w.lane.block_samples
    anchors = [list(a) for a in w.lane.fresh_anchors if start <= a[0] < stop]
    if anchors:
        head["anchors"] = anchors
    return head


def _end(stream: StreamState, lane: Lane) -> None:
    """Let no more samples come to a lane; it stays until its blocks are in the archive."""
    lane.closed = True
    _step_back(stream, lane)
    drop_sealed(stream, lane)


def _step_back(stream: StreamState, lane: Lane) -> None:
    if stream.main is lane:
        stream.main = None
        stream.others.append(lane)
