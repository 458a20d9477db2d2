"""The engine: one thread, one clock; every turn brings messages one stage further (design section 6)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

from sanstream.archive_grow import GrowingArchive
from sanstream.archive_manifest import Manifest
from sanstream.archive_reached import ReachedWindow
from sanstream.chunk import Delivery
from sanstream.config import Settings
from sanstream.daemon.adapting import Adapting
from sanstream.daemon.aside import Aside
from sanstream.daemon.blocks import BlockWriter
from sanstream.daemon.claims import Claims
from sanstream.daemon.compacting import Compactor
from sanstream.daemon.counts import Counts
from sanstream.daemon.holding import Holding, Stood
from sanstream.daemon.inbox import FeedLink
from sanstream.daemon.intake import Intake
from sanstream.daemon.keeping import free_journal
from sanstream.daemon.lanes import Block, Lane
from sanstream.daemon.losses import Losses
from sanstream.daemon.opening import Opener, StoreDown
from sanstream.daemon.retention import Keeper
from sanstream.daemon.sealing import EVENTS_S, Sealer
from sanstream.daemon.state import State
from sanstream.daemon.streams import StreamState
from sanstream.durable import Disk, DiskFull, NoHandles, current_disk, handles, reach
from sanstream.journal import Journal, read_journal
from sanstream.ledger import Ledger
from sanstream.telemetry import Telemetry

TAKE, BLOCKS, SEALS = 1024, 64, 8
"""Messages, blocks and recordings of one turn at most, so that acknowledging never waits long."""
KEEP_S, TIDY_S = 60, 2


class Engine:
    """Takes what feeds bring, and archives it.

    Parameters
    ----------
    settings : Settings
    telemetry : Telemetry, optional
    disk : Disk, optional
        Default: the one in use.
    clock : callable
        Nanoseconds since 1970.
    pool : Executor, optional
        Encodes several streams at a time.
    adapting : Adapting, optional
        Watches drift and chooses what segments start from.

    Attributes
    ----------
    disk_full : bool
        Nothing is acknowledged until there is room.
    store_down, no_handles : bool
        Whether that is because the archive does not say what it has of a recording, or too many files are open.
    n_journalled, n_committed : int
        How often the journal's and the ledger's stage of a turn came to its end.

    Raises
    ------
    SanstreamError
        When the state folder is another version's or damaged, or the archive cannot grow.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        telemetry: Telemetry | None = None,
        disk: Disk | None = None,
        clock: Callable[[], int] = time.time_ns,
        pool: Executor | None = None,
        adapting: Adapting | None = None,
    ) -> None:
        self.settings, self.clock = settings, clock
        self.telemetry = telemetry or Telemetry()
        self.counts = Counts(self.telemetry)
        self.feeds: dict[str, FeedLink] = {}
        self.adapting = adapting or Adapting(None)
        self.disk_full = self.store_down = self.no_handles = False
        self.n_journalled = self.n_committed = 0
        self._disk = disk or current_disk()
        folder = settings.archive.state_dir
        self.archive = GrowingArchive(
            settings.archive.url, container=settings.archive.container, state_dir=folder, clock=clock,
            shared=settings.archive.shared,
        )  # fmt: skip
        self.state = State(settings.archive.effort, self.archive.bank_folders)
        self.ledger = Ledger(folder / "ledger.log", self._disk)
        self.state.replay(self.ledger.records())
        # before the journal is read: what only the journal has, the ledger must still be told
        self.writer = BlockWriter(self.state, self.ledger, self, self.adapting.start, pool)
        self.aside = Aside(folder / "aside", self._disk, settings.limits.poison_bytes, clock)
        self.journal = Journal(folder / "journal", self._disk)
        seal_s = settings.archive.seal_s if settings.archive.until_archived else None
        opener = Opener(self.archive, settings.quality, settings.archive.effort, seal_s)
        self.intake = Intake(
            self.state, self.journal, opener.lane, self.aside.conflict, self.counts,
            int(settings.limits.clock_tolerance_s * 1e9), clock, opener.recording,
            Claims(self.archive) if settings.archive.shared else None,
        )  # fmt: skip
        for file, entry in read_journal(folder / "journal"):
            self.intake.replay(entry, file)
        self.state.resume(clock())
        if settings.archive.shared:
            self.intake.release()  # others may have gone on with them meanwhile
        self.compactor = Compactor(self.state, self.ledger)
        self.keeper = Keeper(self.archive, settings.archive, self.state)
        self.holding = Holding(
            self.state, clock, self.counts.acknowledged, settings.archive.held_s, settings.limits.memory_bytes // 4
        )
        self.sealer = Sealer(
            self.state, self.ledger, self.archive, clock, self._sealed,
            threads=SEALS if pool is not None else 1, known=opener.recording, claims=self.intake.claims,
            events_s=seal_s or EVENTS_S,
        )  # fmt: skip
        self._unacknowledged: list[tuple[Delivery, str, list[Stood]]] = []
        self.losses = Losses(self.counts, self.intake, clock())
        self._tidied_ns = self._kept_ns = self._turned_ns = clock()
        self._began_ns = clock()

    # --- feeds

    def add_feed(self, link: FeedLink) -> None:
        """Take messages of a feed from now on."""
        self.feeds[link.name] = link
        self.counts.begin(link.name)

    # --- turns

    def step(self) -> bool:
        """Bring everything one stage further.

        Returns
        -------
        bool
            Whether anything moved.

        Raises
        ------
        SyncError
            When the disk failed: the process must end, and the next one recovers.
        """
        try:
            if self.disk_full:  # nothing more is taken before what was taken is safe: the queue fills, and feeds wait
                self.losses.note(self.feeds.values(), "disk_full")
                self.acknowledge()
            moved = self._take()
            self.acknowledge()
            moved |= self.commit(wait=False)
            moved |= self._seal(most=SEALS)
            with handles("state folder"):
                self._tend()
            self.disk_full = self.store_down = self.no_handles = False
        except DiskFull as error:
            moved, self.disk_full = False, True
            self.store_down, self.no_handles = isinstance(error, StoreDown), isinstance(error, NoHandles)
            self._salvage()
        self._turned_ns = self.clock()
        return moved

    def drain(self) -> None:
        """Take what waits, end every segment, and bring all to the archive.

        Raises
        ------
        DiskFull, SyncError
        """
        while self._take():
            self.acknowledge()
        self.acknowledge()
        while self.commit(finish=True):
            pass
        while self._seal(most=1 << 30, finish=True):
            pass
        with suppress(DiskFull):
            self.journal.roll()  # so that the last file can go, too
        free_journal(self.state, self.journal)
        self.compactor.all()

    def close(self) -> None:
        """Close the files; nothing that is acknowledged waits for it."""
        self.adapting.close()
        self.sealer.close()
        self.compactor.drop()
        self.aside.close()
        self.journal.close()
        self.ledger.close()

    def _take(self) -> bool:
        self.losses.note(self.feeds.values(), "disk_full" if self.disk_full else "full_queue")
        moved = self.losses.record()
        for link in self.feeds.values():
            if self._is_behind():
                break
            deliveries = link.inbox.take(TAKE)
            moved |= bool(deliveries)
            for i, delivery in enumerate(deliveries):
                try:
                    with handles("state folder"):
                        stood = self._accept(delivery, link)
                except DiskFull:
                    link.inbox.give_back(deliveries[i:])
                    raise
                self.counts.child("received_bytes", link.name).inc(delivery.n_bytes)
                self._unacknowledged.append((delivery, link.name, stood))
        return moved

    def _accept(self, delivery: Delivery, link: FeedLink) -> list[Stood]:
        if delivery.poison is not None:
            self.aside.poison(link.name, delivery.poison, delivery.reason)
            self.counts.poison(link.name, delivery.reason)
        return self.intake.accept(delivery, link.name)

    def _is_behind(self) -> bool:
        """Tell whether so much waits for the encoder that no more should be taken."""
        return self.journal.size_bytes > self.settings.limits.journal_bytes or self.holding.is_full

    def acknowledge(self) -> None:
        """Make durable what was taken, and tell the feeds so, or once the archive has it, as is configured."""
        self.journal.sync()
        self.aside.sync()
        self.n_journalled += 1
        done, self._unacknowledged = self._unacknowledged, []
        late = self.settings.archive.until_archived
        for delivery, feed, stood in done:
            if late and self.feeds[feed].replays and self.holding.hold(delivery, feed, stood):
                continue
            delivery.acknowledge()
            self.counts.acknowledged(feed, delivery.arrival_ns, self.clock())
        if done:
            reach("engine.acknowledged")

    def _seal(self, *, most: int, finish: bool = False) -> bool:
        n = self.sealer.run(most=most, finish=finish)
        self.holding.release()
        return bool(n)

    def _sealed(self, manifest: Manifest) -> None:
        self.keeper.note(manifest)
        self.holding.note(manifest.name)

    def commit(self, *, finish: bool = False, wait: bool = True) -> bool:
        """Encode and commit the blocks that are whole; with ``finish``, end every segment.

        Without ``wait``, what the pool has not encoded yet is committed by a later call.
        """
        reorder = {link.name: link.reorder_s for link in self.feeds.values()}
        n = self.writer.run(reorder, self.clock(), most=BLOCKS, finish=finish, wait=wait)
        self.n_committed += not self.writer.busy
        if n:
            self.telemetry.encode_seconds.observe(self.writer.encode_s)
        return bool(n)

    def _salvage(self) -> None:
        """Write what needs no new room in the journal, so that a full disk can empty itself."""
        try:
            self._seal(most=SEALS)
            free_journal(self.state, self.journal)
        except DiskFull:
            pass

    def _tend(self) -> None:
        now = self.clock()
        for key, flag in self.adapting.poll():
            stream = self.state.streams.get(key)
            if stream is not None and stream.main is not None:
                stream.main.end_soon(flag)
        for key, what, which in self.adapting.news():
            if what == "retraining":
                self.counts.child("retrainings", which).inc()
            elif key in self.state.streams:
                self.counts.child("drift_alarms", self.state.streams[key].modality, which).inc()
        if not 0 <= now - self._tidied_ns < TIDY_S * 10**9:  # also when our clock was set back
            self._tidied_ns = now
            self.holding.end_overdue()
            free_journal(self.state, self.journal)
            self.keeper.look()
        self.compactor.run(now)
        if not 0 <= now - self._kept_ns < KEEP_S * 10**9:
            self._kept_ns = now
            self.retain()

    def retain(self) -> int:
        """Delete what ``keep`` and ``max_bytes`` do not allow any longer; returns the segments deleted."""
        settings, now = self.settings.archive, self.clock()
        if settings.keep_s is not None:
            until = now - int(settings.keep_s * 1e9)
            self.aside.drop_before(until)
            self.adapting.retain(until)
        return self.keeper.run(now, self.telemetry.retention_deleted_segments.inc, self.sealer.busy)

    # --- what happens on the way

    def committed(self, stream: StreamState, block: Block, n_bytes: int, windows: list[ReachedWindow]) -> None:
        """Count a committed block, and let the drift watch see it."""
        self.counts.committed(stream, block, n_bytes, windows)
        if block.arrival_ns:
            waited = max(0.0, (self.clock() - block.newest_ns) / 1e9)
            self.telemetry.journal_to_commit_seconds.observe(waited)
        self.adapting.observe(stream, block, n_bytes)

    def began(self, lane: Lane) -> None:
        """Count a segment that began."""
        self.counts.began(lane)

    # --- what others ask

    def stuck(self) -> bool:
        """Tell whether the loop has not turned for a minute."""
        return self.clock() - self._turned_ns > 60 * 10**9

    def causes(self) -> list[str]:
        """Return why the daemon is not ready; empty when it is."""
        from sanstream.daemon.report import causes

        return causes(self)

    def status(self) -> dict[str, Any]:
        """Return what ``/streams`` and ``sanstream status`` show."""
        from sanstream.daemon.report import status

        return status(self, self._began_ns)

    @property
    def is_idle(self) -> bool:
        """Whether every feed has ended and nothing of theirs waits."""
        links: Sequence[FeedLink] = list(self.feeds.values())
        return all(link.inbox.ended and not len(link.inbox) for link in links)
