"""A live stream: its sessions, what is committed, and the lanes that its samples go to."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import google_crc32c
import numpy as np

from sanstream.chunk import Chunk
from sanstream.daemon.coverage import Coverage
from sanstream.daemon.lanes import GAP_S, LATE, MAIN, Lane
from sanstream.daemon.sessions import Piece, Session, ns_of
from sanstream.daemon.waiting import Waiting
from sanstream.signal import Channel

DAY_NS = 86_400 * 10**9
MAX_LATE_LANES = 4
MAX_BEGUN, BEGUN_S, SHORT_S = 100, 3600, 60
"""Segments of a stream that may begin within so long after ones so short; each makes manifest and ledger longer."""

OpenLane = Callable[["StreamState", str, int, tuple[Channel, ...], list[str]], Lane]
"""Opens a lane: stream, kind, start, channels, flags."""


@dataclass
class RecordingState:
    """A recording that is fed.

    Parameters
    ----------
    name : str
    start_ns : int
        Time of place 0 of all its streams.
    feed : str
    covered : dict of str to Coverage
        Samples per stream that the archive had before the state folder knew the recording.
    """

    name: str
    start_ns: int
    feed: str
    covered: dict[str, Coverage] = field(default_factory=dict)


@dataclass(eq=False)
class StreamState:
    """A stream that is fed.

    Parameters
    ----------
    recording : RecordingState
    name : str
    rate : Fraction
    feed : str
    modality : str
    committed : Coverage
        Places of samples in the ledger or the archive.
    flying : Coverage or None
        Places of samples that are being encoded.
    foreign : Coverage
        Places of segments that the archive holds, where other daemons write to it, too.
    tenure : str or None
        The share of a source that it comes from, while it comes to this daemon.
    begun : deque of int
        When its latest segments that follow a short one began, on the engine's clock.
    """

    recording: RecordingState
    name: str
    rate: Fraction
    feed: str
    modality: str
    committed: Coverage = field(default_factory=Coverage)
    sessions: dict[str, Session] = field(default_factory=dict)
    main: Lane | None = None
    others: list[Lane] = field(default_factory=list)
    end: int = 0
    last_arrival_ns: int = 0
    n_channels: int = 0
    definition: Any = None
    changed: set[str] = field(default_factory=set)
    figures: dict[str, float] = field(default_factory=dict)
    flying: Coverage | None = None
    foreign: Coverage = field(default_factory=Coverage)
    tenure: str | None = None
    begun: deque[int] = field(default_factory=lambda: deque(maxlen=MAX_BEGUN))

    @property
    def key(self) -> tuple[str, str]:
        """Names of recording and stream."""
        return self.recording.name, self.name

    @property
    def lanes(self) -> Iterator[Lane]:
        """All lanes that are not in the archive whole."""
        if self.main is not None:
            yield self.main
        yield from self.others

    def time_ns(self, place: int) -> int:
        """Return the time of a place on the grid, nanoseconds since 1970."""
        return self.recording.start_ns + ns_of(place, self.rate)

    def midnight_after(self, place: int) -> int:
        """Return the first place at or after the next 00:00 UTC."""
        day = (self.time_ns(place) // DAY_NS + 1) * DAY_NS
        return max(place + 1, -(-((day - self.recording.start_ns) * self.rate) // 10**9))

    def unclaimed(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the parts of ``start`` to ``stop`` that are neither committed nor in a block being encoded."""
        free = self.committed.free(start, stop)
        if self.flying is None or start >= self.flying.end:
            return free
        return [part for low, high in free for part in self.flying.free(low, high)]

    def is_free(self, start: int, stop: int, *, foreign: bool = False) -> bool:
        """Tell whether no sample is known for any of ``start`` to ``stop``, with ``foreign`` of other daemons, too."""
        if start >= self.end:
            return True
        if foreign and self.foreign.overlaps(start, stop):
            return False
        return self.unclaimed(start, stop) == [(start, stop)] and not any(
            lane.holds(max(start, lane.open_start), stop) for lane in self.lanes if stop > lane.open_start
        )

    def is_braked(self, now_ns: int) -> bool:
        """Tell whether no further segment may begin now: too many did."""
        return len(self.begun) == MAX_BEGUN and 0 <= now_ns - self.begun[0] < BEGUN_S * 10**9

    def release(self, now_ns: int) -> None:
        """End all lanes soon: the stream goes on in another daemon, and here, should it return, in a new segment."""
        for lane in self.lanes:
            lane.end_now(now_ns)
        self.tenure = None

    def goes_on(self, definition: Any, piece: Piece, first: int, stop: int) -> bool:
        """Tell whether session samples ``first`` to ``stop`` surely begin no segment."""
        main, at = self.main, piece.base + first
        if main is None or at < main.open_start or (main.limit is not None and piece.base + stop > main.limit):
            return False
        if definition.channels != main.channels or _leaves_gap(main, at):
            return False
        return not (piece.flag and at >= main.end and main.start < piece.base + piece.first)

    def is_waiting_as(self, chunk: Chunk, session: str) -> bool | None:
        """Tell whether a chunk equals what waits of the same session; None when nothing of it waits."""
        found = None
        first, stop = chunk.first_sample, chunk.first_sample + chunk.n_samples
        for lane in self.lanes:
            for other in (w.chunk for w in lane.waiting if w.chunk.session == session):
                low, high = max(first, other.first_sample), min(stop, other.first_sample + other.n_samples)
                if low >= high or other.samples.shape[1] != chunk.samples.shape[1]:
                    continue
                mine = chunk.samples[low - first : high - first]
                if not np.array_equal(mine, other.samples[low - other.first_sample : high - other.first_sample]):
                    return False
                found = True
        return found

    def digest_says(self, session: Session, chunk: Chunk) -> bool | None:
        """Tell whether a chunk equals one of the same place and length that came before; None when unknown."""
        held = session.digests.get(chunk.first_sample)
        if held is None or held[0] != chunk.n_samples:
            return None
        return held[1] == digest(chunk)


def digest(chunk: Chunk) -> int:
    """Return the CRC32C of a chunk's samples."""
    return int(google_crc32c.value(np.ascontiguousarray(chunk.samples, dtype="<i4").tobytes()))


def take(stream: StreamState, definition: Any, chunk: Chunk, file: int, open_lane: OpenLane, now_ns: int) -> int:
    """Give a journalled chunk's samples to the lanes that they belong to; what is committed already is passed over.

    Parameters
    ----------
    stream : StreamState
    definition : Definition
        Its ``base`` places the chunk, its ``channels`` describe it, its ``flag`` may begin a segment.
    chunk : Chunk
    file : int
        The journal's file that holds it.
    open_lane : callable
    now_ns : int
        The engine's clock.

    Returns
    -------
    int
        Samples that came late, after their block.
    """
    start = definition.base + chunk.first_sample
    late = 0
    for low, high in stream.unclaimed(start, start + chunk.n_samples):
        at = low
        while at < high:
            lane = _lane_for(stream, definition, at, high, open_lane, now_ns)
            stop = high if lane.limit is None else min(high, lane.limit)
            lane.put(at, chunk.samples[at - start : stop - start], chunk.arrival_ns)
            lane.waiting.append(Waiting(file, definition, chunk, stop))
            lane.touched_ns = now_ns
            if lane.kind == LATE:
                late += stop - at
                if lane.limit is not None and lane.end >= lane.limit and lane.closing_ns is None:
                    lane.closing_ns = now_ns
            at = stop
    stream.end = max(stream.end, start + chunk.n_samples)
    stream.last_arrival_ns = max(stream.last_arrival_ns, chunk.arrival_ns)
    stream.definition, stream.n_channels = definition, len(definition.channels)
    return late


def _lane_for(stream: StreamState, definition: Any, at: int, stop: int, open_lane: OpenLane, now_ns: int) -> Lane:
    main = stream.main
    if main is None:
        if at >= stream.end or not any(True for _ in stream.lanes):
            return _begin(stream, definition, at, [], open_lane)
    elif _moved_back(stream, main, definition, at, stop):
        return main
    elif at >= main.open_start:
        flags = _cut(stream, main, definition, at)
        if not flags:
            return main
        if at >= main.end:
            main.limit, main.closing_ns = at, now_ns
            stream.others.append(main)
            return _begin(stream, definition, at, flags, open_lane)
    for lane in stream.others:
        fits = lane.open_start <= at and not (lane.closed or lane.ending) and lane.channels == definition.channels
        if fits and not _leaves_gap(lane, at) and (at < lane.limit if lane.limit is not None else lane.kind == LATE):
            return lane
    lane = open_lane(stream, LATE, at, definition.channels, [LATE])
    lane.definition = definition
    ends = [e for e in (stream.committed.next_after(at), _next_start(stream, at)) if e is not None]
    lane.limit = min(ends) if ends else max(stop, at + 1)
    late = [o for o in stream.others if o.kind == LATE and o.closing_ns is None]
    if len(late) >= MAX_LATE_LANES:
        late[0].closing_ns = now_ns
    stream.others.append(lane)
    return lane


def _moved_back(stream: StreamState, main: Lane, definition: Any, at: int, stop: int) -> bool:
    """Let a lane of which no block went out begin earlier, for messages that come in another order at its start."""
    if not main.start - main.block_samples <= at < main.start or main.n_ready or main.plan is not None:
        return False
    near = [lane for lane in stream.others if lane.end > at or (lane.limit is not None and lane.limit > at)]
    fits = definition.channels == main.channels and stream.midnight_after(at) == stream.midnight_after(main.start)
    if near or not fits or at < stream.committed.end or (stop < main.start and not main.may_have_holes):
        return False
    main.begin_at(at)
    return True


def _begin(stream: StreamState, definition: Any, at: int, flags: list[str], open_lane: OpenLane) -> Lane:
    lane = open_lane(stream, MAIN, at, definition.channels, flags)
    lane.limit = stream.midnight_after(at)
    lane.definition = definition
    stream.main = lane
    return lane


def _cut(stream: StreamState, main: Lane, definition: Any, at: int) -> list[str]:
    """Say why a sample at ``at`` begins a new segment; empty when it does not."""
    flags = []
    if main.limit is not None and at >= main.limit:
        flags.append(main.limit_flag)
    if definition.channels is not main.channels and definition.channels != main.channels:
        flags.append("channels")
    if _leaves_gap(main, at):
        flags.append("gap")
    if definition.flag and at >= main.end and main.start < _piece_start(stream, definition, at):
        flags.append(definition.flag)
    if not flags:
        main.definition = definition
    return flags


def _leaves_gap(lane: Lane, at: int) -> bool:
    """Tell whether samples at a place would leave a stretch before them that the lane's segment cannot have."""
    gap = at - lane.end
    return gap > 0 and (gap > GAP_S * lane.rate or not lane.may_have_holes)


def _piece_start(stream: StreamState, definition: Any, at: int) -> int:
    """Return the place where the stretch of a session began that holds ``at``."""
    base: int = definition.base
    return base + stream.sessions[definition.session].piece_at(at - base).first


def _next_start(stream: StreamState, at: int) -> int | None:
    """Return where the next lane after a place begins to wait for samples."""
    starts = [lane.open_start for lane in stream.lanes if lane.open_start > at]
    starts += [lane.start for lane in stream.lanes if lane.start > at]
    return min(starts, default=None)


def segment_name(start: int, kind: str, taken: set[str]) -> str:
    """Name a segment after its first sample; one that came late says so."""
    name = str(start) if kind == MAIN else f"{start}-late"
    n = 2
    while name in taken:
        name, n = f"{start}-{kind}-{n}", n + 1
    return name


def segment_id(key: tuple[str, str], name: str, first: bytes) -> str:
    """Derive a segment's id, sixteen hex digits, from its place and its first block's samples."""
    return hashlib.blake2b("\0".join((*key, name, "")).encode() + first, digest_size=8).hexdigest()


def range_of_all(channels: tuple[Channel, ...]) -> tuple[int, int]:
    """Return the range in which a sample is right for every one of the channels."""
    # a missing code next to a range widens it; of one far away the values between would be wrong
    low = max(c.digital_min - (c.missing == c.digital_min - 1) for c in channels)
    return low, min(c.digital_max + (c.missing == c.digital_max + 1) for c in channels)


def is_in_range(chunk: Chunk, channels: tuple[Channel, ...]) -> bool:
    """Tell whether all samples lie in their channels' digital ranges or are missing codes."""
    low, high = chunk.samples.min(axis=0).tolist(), chunk.samples.max(axis=0).tolist()
    for column, (channel, least, most) in enumerate(zip(channels, low, high, strict=True)):
        if least >= channel.digital_min and most <= channel.digital_max:
            continue
        x = chunk.samples[:, column]
        outside = (x < channel.digital_min) | (x > channel.digital_max)
        if channel.missing is None or (x[outside] != channel.missing).any():
            return False
    return True


def rate_of(text: str) -> Fraction:
    """Read a rate as the ledger writes it."""
    return Fraction(text)
