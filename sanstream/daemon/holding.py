"""Acknowledgements that wait until the archive has what their messages brought (``durability = "remote"``)."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from sanstream.chunk import Chunk, Delivery
from sanstream.daemon.coverage import Coverage
from sanstream.daemon.lanes import Lane
from sanstream.daemon.sealing import pending_events
from sanstream.daemon.sessions import Session
from sanstream.daemon.state import State
from sanstream.daemon.streams import StreamState

HANDLE_BYTES = 1024
"""What a held acknowledgement takes, about, with the feed's part of it."""


class StoodSamples(NamedTuple):
    """Places of a stream where samples of a message stand."""

    stream: StreamState
    start: int
    stop: int


class StoodEvent(NamedTuple):
    """An event of a message."""

    recording: str
    session: str
    number: int


Stood = StoodSamples | StoodEvent
Told = Callable[[str, int | None, int], None]
"""Told of a message that was acknowledged: its feed, when it came, now."""


def stood_before(
    stream: StreamState, session: Session, chunk: Chunk, new: Iterable[tuple[int, int]]
) -> list[StoodSamples]:
    """Return where those samples of a chunk stand that came before it, all but the session samples of ``new``."""
    out = []
    for low, high in Coverage(new).free(chunk.first_sample, chunk.first_sample + chunk.n_samples):
        cuts = [low, *(p.first for p in session.pieces if low < p.first < high), high]
        for start, stop in pairwise(cuts):
            base = session.piece_at(start).base
            out.append(StoodSamples(stream, base + start, base + stop))
    return out


@dataclass(eq=False, slots=True)
class _Held:
    """A message that is not acknowledged yet."""

    acknowledge: Callable[[], None]
    feed: str
    arrival_ns: int | None
    since_ns: int
    left: int


class Holding:
    """Holds acknowledgements back; lives in the engine's thread.

    What a message waits for are the growing segments that have its samples, until their blocks are in the archive,
    and its events. It holds no samples.

    Parameters
    ----------
    state : State
    clock : callable
        Nanoseconds since 1970.
    told : callable
        Told of every acknowledgement.
    held_s : float
        Segments that a message waits for longer are ended, those with long blocks after two of them.
    max_bytes : int
        What all that is held may take.

    Attributes
    ----------
    n_held : int
        Messages that are not acknowledged.
    """

    def __init__(self, state: State, clock: Callable[[], int], told: Told, held_s: float, max_bytes: int) -> None:
        self._state, self._clock, self._told = state, clock, told
        self._held_s = held_s
        self._most = max_bytes // HANDLE_BYTES
        self._waiting: dict[str, dict[str, deque[tuple[Stood, _Held]]]] = defaultdict(lambda: defaultdict(deque))
        self._grown: set[str] = set()
        self.n_held = 0

    @property
    def is_full(self) -> bool:
        """Whether no more should be taken before some is acknowledged."""
        return self.n_held >= self._most

    def hold(self, delivery: Delivery, feed: str, stood: Iterable[Stood]) -> bool:
        """Hold a message's acknowledgement back; False when the archive has all of it."""
        events: dict[str, set[tuple[str, int]]] = {}
        parts = [s for s in stood if self._waits(s, events)]
        if not parts:
            return False
        held = _Held(delivery.acknowledge, feed, delivery.arrival_ns, self._clock(), len(parts))
        for part in parts:
            recording, stream = part.stream.key if isinstance(part, StoodSamples) else (part.recording, "")
            self._waiting[recording][stream].append((part, held))
        self.n_held += 1
        return True

    def note(self, recording: str) -> None:
        """Look at a recording again, since the archive has more of it, or since it was deleted."""
        self._grown.add(recording)

    def release(self) -> None:
        """Acknowledge what the archive has now."""
        for recording in self._grown:
            streams = self._waiting.pop(recording, {})
            events: dict[str, set[tuple[str, int]]] = {}
            for stream, parts in streams.items():
                left: deque[tuple[Stood, _Held]] = deque()
                for part, held in parts:
                    if self._waits(part, events):
                        left.append((part, held))
                        continue
                    held.left -= 1
                    if not held.left:
                        self.n_held -= 1
                        held.acknowledge()
                        self._told(held.feed, held.arrival_ns, self._clock())
                if left:
                    self._waiting[recording][stream] = left
        self._grown.clear()

    def end_overdue(self) -> None:
        """End the segments that hold a message back for long: their streams have fallen silent, or are slow."""
        now = self._clock()
        for streams in self._waiting.values():
            for parts in streams.values():
                part, held = parts[0]
                if isinstance(part, StoodEvent) or abs(now - held.since_ns) < self._held_s * 10**9:
                    continue
                for lane in part.stream.lanes:
                    patience = max(self._held_s, 2 * lane.block_samples / float(lane.rate))
                    if abs(now - held.since_ns) >= patience * 10**9 and _needs_more(lane, part):
                        lane.end_now(now)
                        self._state.touched[part.stream] = None

    def _waits(self, part: Stood, events: dict[str, set[tuple[str, int]]]) -> bool:
        """Tell whether something is not in the archive; ``events`` keeps those that are not, by recording."""
        if isinstance(part, StoodSamples):
            if self._state.streams.get(part.stream.key) is not part.stream:
                return False  # deleted
            return any(_sealed_end(lane) < part.stop and part.start < lane.end for lane in part.stream.lanes)
        if part.recording not in events:
            events[part.recording] = {(e.session, e.number) for e in pending_events(self._state, part.recording)}
        return (part.session, part.number) in events[part.recording]


def _sealed_end(lane: Lane) -> int:
    """Return the place up to which a lane's samples are in the archive."""
    return lane.start + lane.n_sealed * lane.block_samples


def _needs_more(lane: Lane, part: StoodSamples) -> bool:
    """Tell whether a lane holds a place back because its shard is not full, not because encoder or store are slow."""
    if lane.closed or lane.closing_ns is not None:
        return False
    return lane.coming < part.stop and part.start < lane.end
