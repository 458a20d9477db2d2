"""An engine on a clock that tests turn by hand, and messages to give it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from conftest import beats

import sanstream
from sanstream.chunk import Chunk, Delivery, Event
from sanstream.config import ArchiveSettings, LimitSettings, RetrainSettings, Settings
from sanstream.daemon.engine import Engine
from sanstream.daemon.inbox import FeedLink, Inbox
from sanstream.feeds import FeedState
from sanstream.signal import Channel

START_NS = 1_767_225_600_000_000_000 + 10 * 3600 * 10**9
"""2026-01-01T10:00:00Z."""
RATE = 250
CHANNELS = tuple(Channel(f"lead{i}", "mV", 200.0, 0, -32767, 32767, missing=-32768) for i in range(2))


class Clock:
    """Nanoseconds since 1970 that pass only when told."""

    def __init__(self, now_ns: int = START_NS) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns

    def pass_s(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


def samples(seconds: float, seed: int = 0) -> np.ndarray:
    return beats(round(seconds * RATE), 2, rate_hz=RATE, seed=seed)


def settings(folder: Path, **changes: object) -> Settings:
    quality = changes.pop("quality", {"default": "lossless"})
    limits = changes.pop("limits", LimitSettings())
    url = str(changes.pop("url", folder / "live.san"))
    archive = ArchiveSettings(url, folder / "state", effort="fast", **changes)  # type: ignore[arg-type]
    return Settings(archive, quality, retrain=RetrainSettings(mode="off"), limits=limits)  # type: ignore[arg-type]


class Ward:
    """An engine with one feed; keeps what was acknowledged."""

    def __init__(
        self, folder: Path, clock: Clock | None = None, *, disk: object = None, pool: object = None, **changes: object
    ) -> None:
        self.clock = clock or Clock()
        self.folder = folder
        self.acknowledged: list[object] = []
        (folder / "state").mkdir(exist_ok=True, mode=0o700)
        self.engine = Engine(settings(folder, **changes), clock=self.clock, disk=disk, pool=pool)  # type: ignore[arg-type]
        self.inbox = Inbox("bed", can_wait=True, queue_s=1e9, max_bytes=1 << 40)
        self.engine.add_feed(FeedLink("bed", "sim", self.inbox, FeedState(connected=True)))

    @property
    def url(self) -> Path:
        return self.folder / "live.san"

    def give(self, *items: Chunk | Event, tag: object = None) -> None:
        delivery = Delivery(tuple(items), 100, lambda: self.acknowledged.append(tag if tag is not None else items[0]))
        self.inbox.put(delivery)

    def turn(self, n: int = 1) -> None:
        for _ in range(n):
            self.engine.step()

    def stop(self) -> None:
        self.engine.drain()
        self.engine.close()

    def read(self, recording: str = "bed1", stream: str = "250hz") -> np.ndarray:
        with sanstream.open(self.url) as archive:
            return archive.recordings[recording].streams[stream].read()


def chunk(
    x: np.ndarray,
    first: int = 0,
    *,
    session: str = "s1",
    recording: str = "bed1",
    at_s: float | None = None,
    start_s: float = 0.0,
    arrival_ns: int | None = None,
    rate: int = RATE,
    channels: Sequence[Channel] = CHANNELS,
    device: bool = True,
) -> Chunk:
    """Return samples ``first`` ... of a session whose sample 0 was at ``start_s`` after START_NS."""
    at_ns = START_NS + round((start_s + first / rate if at_s is None else at_s) * 1e9)
    return Chunk(
        recording, f"{rate}hz", session, first, np.ascontiguousarray(x, np.int32), Fraction(rate), tuple(channels),
        at_ns if device else None, at_ns + round(len(x) * 1e9 / rate) if arrival_ns is None else arrival_ns,
    )  # fmt: skip


def feed_seconds(
    ward: Ward, x: np.ndarray, *, first: int = 0, step: int = RATE, turn: bool = True, **how: object
) -> None:
    """Give a signal second by second, the clock passing with it."""
    for at in range(0, len(x), step):
        part = x[at : at + step]
        ward.give(chunk(part, first + at, **how))  # type: ignore[arg-type]
        ward.clock.pass_s(len(part) / RATE)
        ward.turn()
