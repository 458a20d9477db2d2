"""A feed in a thread, and what it delivered."""

from __future__ import annotations

import threading
from fractions import Fraction
from typing import Any

import numpy as np
from brokers import wait_for

from sanstream.chunk import Chunk, Delivery, Event
from sanstream.feeds import FeedOptions, Stopped, make_feed
from sanstream.signal import Annotations, Channel, Recording, Segment, Stream

CHANNELS = (Channel("II", "mV", 200.0, missing=-32768), Channel("V5", "mV", 200.0, missing=-32768))


def recording(name: str = "bed", seconds: int = 20, rate: int = 100) -> Recording:
    """Two leads that count, with a gap of half a second after five, and an event a second."""
    n = seconds * rate
    samples = (np.arange(2 * n).reshape(-1, 2) % 30_000).astype(np.int32)
    cut = 5 * rate
    segments = (
        Segment(0, CHANNELS, samples[:cut]),
        Segment(cut + rate // 2, CHANNELS, samples[cut + rate // 2 :]),
    )
    times = (np.arange(seconds) * 10**9).astype(np.int64)
    notes = Annotations("edf", {"time_ns": times, "text": np.array([f"note {n}" for n in range(seconds)], object)})
    return Recording(name, (Stream(f"{rate}hz", Fraction(rate), segments),), annotations=(notes,))


class Running:
    """A feed that runs until :meth:`stop`; keeps every delivery, and acknowledges at once, on call, or never.

    A run that fails is begun again, as the daemon does. ``allow`` is how many deliveries ``put`` takes before it
    blocks; None for all.
    """

    def __init__(self, url: str, *, acknowledge: bool = True, allow: int | None = None, **options: Any) -> None:
        more = {k: options.pop(k) for k in ("user", "password", "streams", "state_dir") if k in options}
        self.feed: Any = make_feed(FeedOptions("ward", url, options=options, **more))
        self.deliveries: list[Delivery] = []
        self.acknowledge = acknowledge
        self.allow = allow
        self.error: BaseException | None = None
        self.fail_at = -1
        self.failures = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.feed.run(self._put, self._stop)
            except RuntimeError:
                self.failures += 1
            except BaseException as error:
                self.error = error
                return

    def _put(self, delivery: Delivery) -> None:
        while self.allow is not None and len(self.deliveries) >= self.allow:
            if self._stop.wait(0.01):
                raise Stopped
        if len(self.deliveries) == self.fail_at:
            self.fail_at = -1
            raise RuntimeError("the daemon's own fault")
        self.deliveries.append(delivery)
        if self.acknowledge:
            delivery.acknowledge()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        assert self.error is None, self.error

    def wait(self, n: int) -> list[Delivery]:
        wait_for(lambda: len(self.deliveries) >= n, f"{n} deliveries, came {len(self.deliveries)}")
        return self.deliveries

    def wait_connected(self) -> None:
        wait_for(lambda: self.feed.state.connected, "a connection")

    @property
    def keys(self) -> list[tuple[Any, ...]]:
        """Identity of everything that came, in its order."""
        return [key(item) for d in list(self.deliveries) for item in d.items]

    @property
    def poison(self) -> list[bytes]:
        return [d.poison for d in list(self.deliveries) if d.poison is not None]


def key(item: Chunk | Event) -> tuple[Any, ...]:
    if isinstance(item, Event):
        return (item.recording, "", item.session, item.number)
    return (item.recording, item.stream, item.session, item.first_sample)


def assert_whole(deliveries: list[Delivery], source: Recording, copies: int = 1) -> None:
    """Assert that all samples and events of the copies of a recording are there, equal, duplicates aside."""
    (stream,) = source.streams
    found: dict[str, np.ndarray[Any, Any]] = {}
    events: dict[str, set[str]] = {}
    for item in (i for d in deliveries for i in d.items):
        if isinstance(item, Event):
            events.setdefault(item.recording, set()).add(item.text)
            continue
        grid = found.setdefault(item.recording, np.full((stream.n_samples, 2), -1, np.int32))
        grid[item.first_sample : item.first_sample + item.n_samples] = item.samples
    expected = np.full((stream.n_samples, 2), -1, np.int32)
    for segment in stream.segments:
        expected[segment.start_sample : segment.stop_sample] = segment.samples
    assert len(found) == copies
    for grid in found.values():
        assert np.array_equal(grid, expected)
    notes = {str(t) for t in source.annotations[0].columns["text"]}
    assert len(events) == copies
    assert all(texts == notes for texts in events.values())
