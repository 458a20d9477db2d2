"""The daemon's process: feeds in threads, the engine in this one, signals, pages, systemd."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from sanstream.config import FeedSettings, Settings
from sanstream.daemon.adapting import Adapting
from sanstream.daemon.check import built
from sanstream.daemon.engine import Engine
from sanstream.daemon.fresh import Fresh
from sanstream.daemon.home import Home, check_archive, remembered_settings
from sanstream.daemon.http import Server
from sanstream.daemon.inbox import FeedLink, Inbox
from sanstream.daemon.notify import COMMIT, JOURNAL, Notifier, Watchdog
from sanstream.daemon.refusals import cause_of, plainly
from sanstream.daemon.report import set_gauges
from sanstream.daemon.requests import answer_requests
from sanstream.daemon.state_files import save_status
from sanstream.daemon.tell import Teller
from sanstream.daemon.warm import warm_up
from sanstream.durable import Disk, DiskFull, SyncError
from sanstream.errors import InputError, SanstreamError
from sanstream.feeds import Feed, Stopped

_LOG = logging.getLogger("sanstream.daemon")
_TURN_S, _SHOW_S, _SAVE_S = 0.1, 1.0, 5.0
_GATHER_S = 0.02
"""Messages of so long share one turn, and its fsync."""
_JOIN_S, _SAME_S = 10.0, 1.0
_AGAIN_S = (1.0, 5.0, 15.0, 60.0)
FAILED = 1
"""Exit code when the disk failed; the next start recovers."""
ENDED = 2
"""Exit code when a feed could not go on; what all feeds brought is in the archive."""


@dataclass
class _Signals:
    """Counts SIGTERM and SIGINT: the first drains, the second ends at once.

    A supervisor and a terminal may both pass one wish on: what comes within a second of the first is the same.
    The handler takes no lock: it runs in the loop's own thread, which may hold any.
    """

    count: int = 0
    first: float = 0.0
    before: dict[int, object] = field(default_factory=dict)

    def install(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self.before[number] = signal.signal(number, self._on)

    def restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on(self, number: int, frame: FrameType | None) -> None:
        if self.count and time.monotonic() - self.first > _SAME_S:
            os._exit(128 + number)
        if not self.count:
            self.count, self.first = 1, time.monotonic()


class _FeedThread:
    """Runs one feed, again after a failure."""

    def __init__(self, feed: Feed, link: FeedLink, url: str, stop: threading.Event) -> None:
        self.feed, self.link, self._url, self._stop = feed, link, url, stop
        self.failure: SanstreamError | None = None
        self._thread = threading.Thread(target=self._run, name=f"feed {link.name}", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the feed to end; one that hangs is left behind."""
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        pauses = iter(_AGAIN_S)
        pause = _AGAIN_S[0]
        while not self._stop.is_set():
            try:
                self.feed.run(self.link.inbox.put, self._stop)
                break
            except Stopped:
                break
            except InputError as error:
                self.failure = error
                self.link.state.error = "it cannot go on; see the log"
                cause = plainly(error, self._url)
                _LOG.error("feed ended: %s", cause, extra={"feed": self.link.name})
                break
            except Exception:
                pause = next(pauses, pause)
                self.link.state.connected = False
                self.link.state.error = f"it failed and starts again in {pause:g} s"
                _LOG.exception("feed failed, starting again", extra={"feed": self.link.name, "seconds": pause})
                self._stop.wait(pause)
        self.link.inbox.ended = True


def ingest(settings: Settings, *, wake: threading.Event | None = None) -> int:
    """Archive what the feeds bring until they end or the process is told to stop.

    Parameters
    ----------
    settings : Settings
    wake : Event, optional
        For tests.

    Returns
    -------
    int
        Exit code: 0 drained, 1 the disk failed, or the archive did not take everything, 2 a feed could not go on.

    Raises
    ------
    InputError
        When a feed cannot be built, an only feed cannot go on, or the state folder or archive cannot be used.
    """
    wake = wake or threading.Event()
    signals = _Signals()
    disk = Disk()
    notifier = Notifier()
    feeds = [(f, built(settings, f)) for f in settings.feeds]
    fresh = Fresh(settings)
    with Home(settings.archive.state_dir, disk) as home, fresh.unless_refused():
        home.remember(settings)
        with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, 16))) as pool:
            engine = Engine(settings, disk=disk, pool=pool, adapting=Adapting.for_settings(settings, disk))
            # beside the loop, which needs none of it: the first block is whole only after some seconds
            pool.submit(warm_up, settings.archive.effort)
            server = Server(settings, engine, engine.telemetry)
            fresh.kept = True
            signals.install()
            try:
                stop = threading.Event()
                threads = [_start(engine, f, feed, settings, stop, wake) for f, feed in feeds]
                notifier.ready()
                _LOG.info("archiving from %d feeds", len(threads))
                try:
                    _turn_until_told(engine, signals, notifier, wake)
                    notifier.stopping()
                    _finish(engine, notifier, threads, stop)
                finally:
                    stop.set()
                    for thread in threads:
                        thread.link.inbox.stop()
                failures = [t.failure for t in threads if t.failure is not None]
                if failures and len(failures) == len(threads):
                    raise failures[0]
                return _left(engine) or (ENDED if failures else 0)
            except SyncError as error:
                # what the kernel did with the pages that it could not write is unknown: only a new process knows
                _LOG.error("the disk failed (%s): ending; the next start recovers", error.reason)
                os._exit(FAILED)
            finally:
                server.stop()
                signals.restore()


def _start(
    engine: Engine,
    settings: FeedSettings,
    feed: Feed,
    all_settings: Settings,
    stop: threading.Event,
    wake: threading.Event,
) -> _FeedThread:
    limits = all_settings.limits
    inbox = Inbox(
        settings.name,
        can_wait=feed.can_wait,
        queue_s=limits.queue_s,
        max_bytes=limits.memory_bytes // (4 * max(1, len(all_settings.feeds))),
        wake=wake.set,
    )
    scheme = settings.url.partition(":")[0]
    link = FeedLink(settings.name, scheme, inbox, feed.state, settings.reorder_s, replays=feed.replays)
    engine.add_feed(link)
    return _FeedThread(feed, link, settings.url, stop)


def _turn_until_told(engine: Engine, signals: _Signals, notifier: Notifier, wake: threading.Event) -> None:
    watchdog = Watchdog(notifier.alive, notifier.watchdog_ns)
    teller = Teller()
    shown = saved = 0.0
    while not signals.count and not (engine.feeds and engine.is_idle):
        before = time.perf_counter()
        moved = engine.step()
        engine.telemetry.step_seconds.observe(time.perf_counter() - before)
        # a full disk is waited for: a restart would not empty it
        watchdog.note(JOURNAL, engine.n_journalled, pending=not engine.disk_full)
        watchdog.note(COMMIT, engine.n_committed, pending=not engine.disk_full)
        watchdog.poll()
        now = time.monotonic()
        if now - shown >= _SHOW_S:
            shown = now
            set_gauges(engine)
            with suppress(OSError):  # no room or no file handle for an answer: whoever asks does not wait for ever
                answer_requests(engine)
            teller.look(engine)
        if now - saved >= _SAVE_S:
            saved = now
            _save(engine, notifier)
        if not moved:
            wake.wait(_TURN_S)
            wake.clear()
        elif not any(link.inbox.presses for link in engine.feeds.values()):
            time.sleep(_GATHER_S)


def _save(engine: Engine, notifier: Notifier) -> None:
    try:
        status = engine.status()
        save_status(engine.settings.archive.state_dir, status)
        notifier.status(f"{len(status['streams'])} streams; {'; '.join(status['causes']) or 'ready'}")
    except OSError:
        # a full disk: it is for people, and the page still answers
        pass


def _finish(engine: Engine, notifier: Notifier, threads: list[_FeedThread], stop: threading.Event) -> None:
    """Take what waits while the feeds can still hear that it is acknowledged; then end them and all segments."""
    _LOG.info("draining: every segment is ended and brought to the archive")
    Teller().look(engine)
    for thread in threads:
        thread.link.inbox.pause()
    # with remote durability nothing can be acknowledged before it is in the archive
    _insist(engine.drain if engine.settings.archive.until_archived else lambda: _take_all(engine))
    stop.set()
    for thread in threads:
        thread.link.inbox.stop()
    for thread in threads:
        thread.join()
    _insist(engine.drain)
    _save(engine, notifier)  # what sanstream status shows from now on, also of a run that was shorter than a pause
    engine.close()
    if not engine.sealer.refused:
        _LOG.info("drained")


def _left(engine: Engine) -> int:
    """Return the exit code: what the archive did not take is safe in the state folder, but it is not there yet."""
    count = len(engine.sealer.refused)
    if count:
        _LOG.error(
            "not drained: %d recordings cannot be written to the archive, %s; sanstream recover finishes them later",
            count,
            engine.sealer.cause,
        )
    return FAILED if count else 0


def _take_all(engine: Engine) -> None:
    while any(len(link.inbox) for link in engine.feeds.values()):
        if not engine.step() and engine.disk_full:
            raise DiskFull("state folder")


def _insist(act: Callable[[], None]) -> None:
    """Do something again until the disk has room; a second signal ends the waiting."""
    while True:
        try:
            act()
        except DiskFull as error:
            cause = cause_of(error)
            _LOG.warning("waiting to finish: %s", cause)
            time.sleep(1)
        else:
            return


def recover(state_dir: Path, archive: str | None = None, *, elsewhere: bool = False) -> int:
    """Bring what a stopped daemon has acknowledged into its archive.

    Parameters
    ----------
    state_dir : Path
    archive : str, optional
        Default: the one that the state folder names.
    elsewhere : bool
        Also where nothing shows that it is the state's archive: what was brought there, no other gets afterwards.

    Returns
    -------
    int
        Exit code: 0, or 1 when the archive did not take everything.

    Raises
    ------
    InputError
        When it is no state folder, a daemon uses it, or the archive is not the state's.
    DiskFull, SyncError
    """
    settings = remembered_settings(state_dir, archive)
    with Home(state_dir, Disk()):
        if archive is not None and not elsewhere:
            check_archive(state_dir, archive)
        engine = Engine(settings)
        engine.drain()
        engine.close()
    code = _left(engine)
    if not code:
        count = len(engine.sealer.grown)
        if count:
            _LOG.info("recovered: what was left of %d recordings is in the archive now", count)
        else:
            _LOG.info("nothing was left to recover")
    return code
