"""From lanes to the ledger: whole blocks of all streams are encoded in a batch, checked, and committed together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sanstream.archive_reached import Reached, ReachedWindow
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
from sanstream.daemon.streams import StreamState, segment_id
from sanstream.durable import DiskFull, reach
from sanstream.encode_live import LiveStart, Part, encode_part, plan_live
from sanstream.encode_plan import Plan
from sanstream.ledger import Ledger, Place
from sanstream.quality import LOSSLESS, Quality


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


@dataclass
class _Work:
    """Blocks of one lane, in order; what they became."""

    stream: StreamState
    lane: Lane
    blocks: list[Block]
    is_new: bool
    payloads: list[bytes]
    windows: list[list[ReachedWindow]]
    states: list[dict[str, Any]]
    n_exact: int = 0


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
        self.know_all()

    def know_all(self) -> None:
        """Take all recordings and streams for introduced: a fresh ledger names them."""
        self._known = {*((name,) for name in self._state.recordings), *self._state.streams}

    def forget(self, recording: str) -> None:
        """Introduce a recording again, should it come back."""
        self._known = {k for k in self._known if k[0] != recording}

    def run(self, reorder_s: Mapping[str, float], now_ns: int, *, most: int, finish: bool = False) -> int:
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
        work = self._gather(reorder_s, now_ns, most, finish)
        ended = [w for w in work if w.lane.ending]
        work = [w for w in work if w.blocks]
        self._encode(work)
        return self._commit(work, ended)

    def _gather(self, reorder_s: Mapping[str, float], now_ns: int, most: int, finish: bool) -> list[_Work]:
        out = []
        touched = self._state.touched
        if finish or self._looked_ns is None or not 0 <= now_ns - self._looked_ns < _LOOK_NS:
            self._looked_ns = now_ns
            touched.update(dict.fromkeys(self._state.streams.values()))
        for stream in list(touched):
            wait = reorder_s.get(stream.feed, 0.0)
            for lane in list(stream.lanes):
                if lane.closed:
                    continue
                ends = finish or lane.is_over(now_ns, wait)
                blocks = lane.ready(wait, finish=ends, most=most)
                if ends and lane.open_start >= lane.end:
                    lane.ending = True
                if blocks or lane.ending:
                    out.append(_Work(stream, lane, blocks, lane.plan is None, [], [], []))
                    most -= len(blocks)
            if most <= 0:
                break  # this stream may have more
            del touched[stream]
        return out

    def look_at_all(self) -> None:
        """Look at every lane in the next run, also at those that got no samples."""
        self._looked_ns = None

    def _encode(self, work: Sequence[_Work]) -> None:
        for w in work:
            if w.lane.plan is None:
                w.lane.plan = self._plan(w)
                w.lane.reached = Reached(w.lane.plan.coding, w.lane.plan.bank, w.lane.qualities)
        list(map(_encode_lane, work) if self._pool is None else self._pool.map(_encode_lane, work))

    def _plan(self, w: _Work) -> Plan:
        lane = w.lane
        first = w.blocks[0].samples
        return plan_live(
            bridged(first, [c.missing for c in lane.channels]),
            lane.channels,
            lane.qualities,
            lane.rate,
            segment_id=segment_id(lane.key, lane.name, np.ascontiguousarray(first, "<i4").tobytes()),
            start=self._start_for(w.stream, lane),
            effort=self._state.effort,
        )

    def _commit(self, work: Sequence[_Work], ended: Sequence[_Work]) -> int:
        """Append all that goes with the blocks, sync once, then count them."""
        places: list[tuple[_Work, int, dict[str, Any], Place]] = []
        written: list[tuple[StreamState, str]] = []
        events = list(self._state.unwritten)
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
            # nothing of this batch counts; a record that came through stands twice later, and the second is passed over
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

    def _reached_before(self, w: _Work) -> Reached | None:
        plan = w.lane.plan
        if plan is None:
            return None
        if w.lane.n_committed:
            figures = w.lane.places[-1][1]["figures"] if w.lane.places else w.lane.sealed_figures
            return Reached.resume(plan.coding, plan.bank, w.lane.qualities, figures)
        return Reached(plan.coding, plan.bank, w.lane.qualities)

    def _introduce(self, w: _Work, written: list[tuple[StreamState, str]]) -> None:
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
            if w.is_new:
                self._observer.began(lane)

    def _append(self, row: Row) -> None:
        self._ledger.append(*row)


def _encode_lane(work: _Work) -> None:
    plan, reached = work.lane.plan, work.lane.reached
    if plan is None or reached is None:
        raise AssertionError("a lane is planned before it is encoded")
    for block in work.blocks:
        try:
            payload = encode_part(Part(plan, block.number, block.samples))
            windows = reached.add(payload, block.number, block.samples)
        except Exception:
            # a defect of the encoder must not stop the ward: without loss there is no bound to miss
            exact = tuple(Quality(LOSSLESS, 0.0, LOSSLESS) for _ in plan.qualities)
            payload = encode_part(Part(replace(plan, qualities=exact, kernels=None), block.number, block.samples))
            windows = reached.add(payload, block.number, block.samples)
            work.n_exact += 1
        work.windows.append(windows)
        work.payloads.append(payload)
        work.states.append(reached.state())


def _block_head(w: _Work, block: Block, figures: dict[str, Any]) -> dict[str, Any]:
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
    if stream.main is lane:
        stream.main = None
        stream.others.append(lane)
    drop_sealed(stream, lane)


def bridged(samples: npt.NDArray[np.int32], missing: Sequence[int | None]) -> npt.NDArray[np.int32]:
    """Return samples for planning: missing ones repeat the one before, or the first that is there."""
    out = samples.copy()
    for c, code in enumerate(missing):
        gone = samples[:, c] == code if code is not None else np.zeros(len(samples), np.bool_)
        if not gone.any():
            continue
        held = np.flatnonzero(~gone)
        if not len(held):
            out[:, c] = 0
            continue
        before = np.maximum(np.searchsorted(held, np.arange(len(samples)), side="right") - 1, 0)
        out[:, c] = samples[held[before], c]
    return out
