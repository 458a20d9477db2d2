"""A life of the engine on a disk that may fail, and what must be left of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import sanstream
from pipelines.faults.script import (
    COMPACT,
    DELETE,
    DELETED,
    EXPIRES,
    KEEP_S,
    MISSING,
    RESTART,
    START_NS,
    Step,
    expected,
    place_of,
    script,
)  # fmt: skip
from sanstream import durable, shard
from sanstream.archive import Archive
from sanstream.chunk import Chunk, Delivery, Event
from sanstream.config import ArchiveSettings, RetrainSettings, Settings
from sanstream.daemon.delete import delete_here
from sanstream.daemon.engine import Engine, FeedLink
from sanstream.daemon.home import Home
from sanstream.daemon.inbox import Inbox
from sanstream.daemon.keeping import compact_ledger
from sanstream.durable import Disk
from sanstream.durable_power import PowerCut
from sanstream.errors import InputError
from sanstream.feeds import FeedState

SHARD_S = 240
"""Seconds of a shard here, so that a short life fills several."""
JOURNAL_BYTES = 1800


class Killed(BaseException):
    """The process was killed: what it wrote is there, synced or not."""


class Lost(AssertionError):
    """Something acknowledged is gone, doubled or changed."""


@contextmanager
def short_shards() -> Iterator[None]:
    """Make shards of :data:`SHARD_S` meanwhile."""
    before, shard._SHARD_SECONDS = shard._SHARD_SECONDS, SHARD_S
    try:
        yield
    finally:
        shard._SHARD_SECONDS = before


class World:
    """What is outside the process: the folder, the clock, and publishers that know what was acknowledged.

    Parameters
    ----------
    root : Path
        Archive and state stand below.
    """

    def __init__(self, root: Path, steps: list[Step] | None = None) -> None:
        self.root = root
        self.now_ns = START_NS
        self.acknowledged: set[int] = set()
        self.deleted = False
        self.steps = script() if steps is None else steps
        self.expected, self.events = expected(self.steps)
        self.engine: Engine | None = None

    @property
    def archive(self) -> Path:
        """The archive's folder."""
        return self.root / "a" / "live.san"

    def live(self, disk: Disk, *, again: bool = False) -> None:
        """Run a process to its end on a disk; ``again``: with what was not acknowledged, and some that was."""
        with short_shards(), durable.using(disk):
            self._open(disk)
            for step in self.steps:
                self.now_ns = max(self.now_ns, START_NS + round(step.at_s * 1e9))
                if step.action:
                    self._act(step, disk)
                elif step.number not in self.acknowledged or (again and self._may_come_again(step)):
                    self._give(step)
            assert self.engine is not None
            self.engine.drain()
            self.engine.retain()
            self.engine.close()
            self.engine = None

    def _may_come_again(self, step: Step) -> bool:
        return step.number % 3 == 0 and not any(
            i.recording == DELETED for i in step.items if isinstance(i, Chunk | Event)
        )

    def _open(self, disk: Disk) -> None:
        archive = ArchiveSettings(
            str(self.archive), self.root / "var" / "state", effort="fast", keep_s=KEEP_S, container="zarr"
        )
        settings = Settings(archive, {"default": "lossless"}, retrain=RetrainSettings(mode="off"))
        with Home(archive.state_dir, disk) as home:
            home.remember(settings)
        self.engine = Engine(settings, disk=disk, clock=lambda: self.now_ns)
        self.engine.journal._file_bytes = JOURNAL_BYTES
        self.inbox = Inbox("bed", can_wait=True, queue_s=1e9, max_bytes=1 << 40)
        self.engine.add_feed(FeedLink("bed", "sim", self.inbox, FeedState(connected=True)))

    def _give(self, step: Step) -> None:
        assert self.engine is not None
        done = lambda: self.acknowledged.add(step.number)  # noqa: E731
        self.inbox.put(Delivery(step.items, 100, done, step.poison, "" if step.poison is None else "unreadable"))
        self.engine.step()

    def _act(self, step: Step, disk: Disk) -> None:
        engine = self.engine
        assert engine is not None
        if step.action == COMPACT:
            compact_ledger(engine.state, engine.ledger, always=True)
            engine.writer.know_all()
        elif step.action == DELETE and not self.deleted:
            try:
                delete_here(engine, DELETED, None, None, dry_run=False)
            except InputError:
                if DELETED in engine.state.recordings or DELETED in engine.archive.recordings():
                    raise  # else the process that was cut off had done it
            self.deleted = True
        elif step.action == RESTART:
            self._open(disk)

    # --- what must be left

    def check_acknowledged(self) -> None:
        """Look at what a reader finds before anything is fed again.

        Raises
        ------
        Lost
            When acknowledged samples or events are not there, or deleted ones are.
        """
        if not self.acknowledged:
            return
        with sanstream.open(self.archive) as archive:
            for step in self.steps:
                if step.number in self.acknowledged:
                    for item in step.items:
                        _look_for(archive, item)
            if self.deleted and DELETED in archive.recordings:
                raise Lost("a deleted recording is back")

    def check_all(self) -> None:
        """Look at the archive at the end of a life in which everything came.

        Raises
        ------
        Lost
        """
        with sanstream.open(self.archive) as archive:
            problems = archive.verify(deep=True)
            if problems:
                raise Lost(f"verify finds {problems[:3]}")
            for name, want in self.expected.items():
                if name == EXPIRES:
                    continue
                if name == DELETED:
                    if self.deleted and name in archive.recordings:
                        raise Lost("a deleted recording is back")
                    continue
                stream = archive.recordings[name].streams["4hz"]
                got = stream.read()
                if got.shape != want.shape or not np.array_equal(got, want):
                    raise Lost(f"{name}: {_difference(got, want)}")
                stored = sum(
                    int((stream.read_segment(e, 0, e.n_samples)[:, 0] != MISSING).sum()) for e in stream.entry.segments
                )
                if stored != int((want[:, 0] != MISSING).sum()):
                    raise Lost(f"{name}: {stored} samples stored of {int((want[:, 0] != MISSING).sum())}")
            _check_events(archive, self.events)


def _look_for(archive: Archive, item: Chunk | Event) -> None:
    if item.recording in (DELETED, EXPIRES):
        return
    if item.recording not in archive.recordings:
        raise Lost(f"{item.recording} is gone")
    recording = archive.recordings[item.recording]
    if isinstance(item, Event):
        found = [a.columns for a in recording.annotations if a.name == "events"]
        n = sum(int(((c["session"] == item.session) & (c["number"] == item.number)).sum()) for c in found)
        if n != 1:
            raise Lost(f"event {item.number} is there {n} times")
        return
    first = place_of(item)
    got = recording.streams["4hz"].read()[first : first + item.n_samples]
    if not np.array_equal(got, item.samples):
        raise Lost(f"{item.recording}: samples {first} to {first + item.n_samples} are not there")


def _check_events(archive: Archive, events: list[Event]) -> None:
    (found,) = (a.columns for a in archive.recordings["bed1"].annotations if a.name == "events")
    got = Counter(zip(found["session"].tolist(), found["number"].tolist(), strict=True))
    if got != Counter((e.session, e.number) for e in events):
        raise Lost(f"events {got}")


def _difference(got: np.ndarray, want: np.ndarray) -> str:
    if got.shape != want.shape:
        return f"shape {got.shape}, not {want.shape}"
    differ = np.flatnonzero((got != want).any(axis=1))
    return f"{len(differ)} samples differ, {differ[0]} to {differ[-1]}"


def cut(root: Path, *, kill: str = "", steps: list[Step] | None = None, **how: object) -> tuple[World, PowerCut]:
    """Live, lose power, and look at what survived.

    Parameters
    ----------
    root : Path
        An empty folder.
    kill : str
        First kill the process at a fault point, ``"point:nth"``; the power goes in the life of the next one.
    steps : list of Step, optional
        What happens; default: :func:`script`.
    how
        As for :class:`PowerCut`; without, the power goes when all is done.

    Returns
    -------
    world : World
    disk : PowerCut

    Raises
    ------
    Lost
    """
    world = World(root, steps)
    with PowerCut(root, **how) as disk:  # type: ignore[arg-type]
        if kill:
            dies(lambda: world.live(disk), kill)
            world.engine = None
        world.live(disk, again=bool(kill))
        disk.cut()
    world.engine = None
    world.check_acknowledged()
    return world, disk


def cut_and_go_on(root: Path, **how: Any) -> PowerCut:
    """Live, lose power, live again, and look at the end; as :func:`cut`.

    Raises
    ------
    Lost
    """
    world, disk = cut(root, **how)
    world.live(Disk(), again=True)
    world.check_all()
    return disk


def dies(run: Callable[[], object], point: str) -> None:
    """Run until a point is reached, as if the process were killed there: ``"point:nth"``."""
    name, nth = durable.parse_fault(point) or ("", 0)
    seen = 0

    def watch(reached: str) -> None:
        nonlocal seen
        seen += reached == name
        if reached == name and seen == nth:
            raise Killed

    before, durable.watcher = durable.watcher, watch
    try:
        run()
    except Killed:
        pass
    finally:
        durable.watcher = before
