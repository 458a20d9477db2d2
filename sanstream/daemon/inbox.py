"""The queue between a feed's thread and the engine: bounded; full, it blocks the feed or drops the oldest message."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sanstream.chunk import Chunk, Delivery
from sanstream.feeds import FeedState, Stopped

_WAIT_S = 0.2


@dataclass(frozen=True)
class Dropped:
    """What a feed that cannot wait lost since the last look, per recording.

    Parameters
    ----------
    recording : str
    n_messages : int
    first_ns, last_ns : int
        Arrival of the first and the last message dropped.
    """

    recording: str
    n_messages: int
    first_ns: int
    last_ns: int


class Inbox:
    """Messages of one feed that the engine has not taken yet.

    Parameters
    ----------
    name : str
        The feed's.
    can_wait : bool
        Whether a full queue blocks the feed; else its oldest whole message is dropped.
    queue_s : float
        Seconds of signal that may wait, per stream.
    max_bytes : int
        Bytes that may wait in all.
    wake : callable
        Tells the engine that something came.

    Attributes
    ----------
    presses : bool
        The feed has more than there is room for.
    """

    def __init__(
        self, name: str, *, can_wait: bool, queue_s: float, max_bytes: int, wake: Callable[[], None] = lambda: None
    ) -> None:
        self.name = name
        self.can_wait = can_wait
        self.ended = False
        self._queue_s, self._max_bytes, self._wake = queue_s, max_bytes, wake
        self._messages: deque[Delivery] = deque()
        self._seconds: dict[tuple[str, str], float] = {}
        self._bytes = 0
        self._dropped: dict[str, Dropped] = {}
        self._stopped = self._paused = False
        self.presses = False
        self._space = threading.Condition()

    def put(self, delivery: Delivery) -> None:
        """Queue a message; called from the feed's thread.

        Raises
        ------
        Stopped
            When the daemon stops.
        """
        with self._space:
            while (self._paused or self._is_full(delivery)) and not self._stopped:
                if self.can_wait or self._paused:
                    self.presses = True
                    self._space.wait(_WAIT_S)
                else:
                    self._drop()
            self.presses = False
            if self._stopped:
                raise Stopped
            self._messages.append(delivery)
            self._count(delivery, 1)
        self._wake()

    def take(self, n: int) -> list[Delivery]:
        """Return up to ``n`` messages, oldest first."""
        with self._space:
            out = [self._messages.popleft() for _ in range(min(n, len(self._messages)))]
            for delivery in out:
                self._count(delivery, -1)
            if out:
                self._space.notify_all()
            return out

    def give_back(self, deliveries: list[Delivery]) -> None:
        """Put messages that could not be handled back to the front."""
        with self._space:
            for delivery in reversed(deliveries):
                self._messages.appendleft(delivery)
                self._count(delivery, 1)

    def dropped(self) -> list[Dropped]:
        """Return what was dropped since the last call."""
        with self._space:
            out, self._dropped = list(self._dropped.values()), {}
            return out

    def pause(self) -> None:
        """Take no more for now: a feed that puts waits, and can still be told of acknowledgements."""
        with self._space:
            self._paused = True

    def stop(self) -> None:
        """Take no more: a feed that puts is told to stop."""
        with self._space:
            self._stopped = True
            self._space.notify_all()

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def n_bytes(self) -> int:
        """Bytes that wait."""
        return self._bytes

    @property
    def seconds(self) -> float:
        """Seconds of signal that wait, of the stream that has most."""
        with self._space:
            return max(self._seconds.values(), default=0.0)

    def _is_full(self, delivery: Delivery) -> bool:
        if not self._messages:
            return False
        if self._bytes + delivery.n_bytes > self._max_bytes:
            return True
        chunks = [i for i in delivery.items if isinstance(i, Chunk)]
        return any(
            held + _seconds(c) > self._queue_s
            for c in chunks
            if (held := self._seconds.get((c.recording, c.stream), 0.0))
        )

    def _count(self, delivery: Delivery, sign: int) -> None:
        self._bytes += sign * delivery.n_bytes
        for item in delivery.items:
            if isinstance(item, Chunk):
                key = (item.recording, item.stream)
                seconds = self._seconds.get(key, 0.0) + sign * _seconds(item)
                if seconds > 1e-9:
                    self._seconds[key] = seconds
                else:
                    self._seconds.pop(key, None)

    def _drop(self) -> None:
        delivery = self._messages.popleft()
        self._count(delivery, -1)
        for item in delivery.items:
            if isinstance(item, Chunk):
                old = self._dropped.get(item.recording)
                n, first = (old.n_messages, old.first_ns) if old else (0, item.arrival_ns)
                self._dropped[item.recording] = Dropped(item.recording, n + 1, first, item.arrival_ns)


@dataclass
class FeedLink:
    """A feed as the engine sees it.

    Parameters
    ----------
    name, scheme : str
    inbox : Inbox
    state : FeedState
    reorder_s : float
    n_dropped : int
    replays : bool
        What was not acknowledged comes again.
    """

    name: str
    scheme: str
    inbox: Inbox
    state: FeedState
    reorder_s: float = 5.0
    n_dropped: int = 0
    replays: bool = True


def _seconds(chunk: Chunk) -> float:
    return chunk.n_samples * chunk.rate.denominator / chunk.rate.numerator
