"""An engine whose disk is full: it takes nothing more, says what it lost, and goes on by itself."""

from __future__ import annotations

import errno
import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from durable_cases import TinyDisk
from live_cases import CHANNELS, RATE, Ward, chunk, feed_seconds, samples
from prometheus_client import generate_latest
from servers import wait_for

import sanstream
from sanstream import durable
from sanstream.archive_growth import Growth
from sanstream.chunk import Delivery
from sanstream.daemon import sights
from sanstream.daemon.inbox import FeedLink, Inbox
from sanstream.daemon.keeping import free_journal
from sanstream.daemon.notify import Notifier
from sanstream.daemon.report import set_gauges
from sanstream.daemon.run import _finish, _left
from sanstream.daemon.tell import Teller
from sanstream.durable import Disk, DiskFull, handles, patiently
from sanstream.errors import InputError
from sanstream.feeds import FeedState

LOTS = 1 << 40


def test_a_full_disk_leaves_messages_in_the_queue_and_what_a_queue_drops_is_one_gap(tmp_path: Path) -> None:
    disk = TinyDisk(LOTS)
    ward, x = Ward(tmp_path, disk=disk), samples(60)
    inbox = Inbox("radio", can_wait=False, queue_s=5, max_bytes=1 << 40)
    ward.engine.add_feed(FeedLink("radio", "lsl", inbox, FeedState(connected=True)))
    ward.inbox = inbox
    for second in range(60):
        if second == 10:
            disk.left = 0
        if second == 40:
            disk.left = LOTS
        ward.give(chunk(x[second * RATE : (second + 1) * RATE], second * RATE), tag=second)
        ward.clock.pass_s(1)
        ward.turn()
        assert ward.engine.disk_full == (10 <= second < 40)
        assert len(inbox) <= 5
    # second 10 was taken and waited in memory; of those after it the queue kept the last five
    assert ward.acknowledged == [*range(11), *range(36, 60)]
    assert ward.engine.status()["feeds"][1]["dropped"] == 25
    ward.stop()
    with sanstream.open(ward.url) as archive:
        (events,) = archive.recordings["bed1"].annotations
        assert events.columns["text"].tolist() == ["25 messages dropped: disk full"]
        got = archive.recordings["bed1"].streams["250hz"].read()
    assert np.array_equal(got[: 11 * RATE], x[: 11 * RATE])
    assert np.array_equal(got[36 * RATE :], x[36 * RATE :])
    assert (got[11 * RATE : 36 * RATE] == -32768).all()


def refuse(growth: Growth) -> NoReturn:
    raise InputError("the archive is away")


def test_a_block_that_a_full_disk_turned_away_may_grow_before_it_is_committed(tmp_path: Path) -> None:
    disk = TinyDisk(LOTS)
    ward, x = Ward(tmp_path, disk=disk), samples(240)
    feed_seconds(ward, x[: 70 * RATE], step=10 * RATE)
    feed_seconds(ward, x[130 * RATE :], first=130 * RATE, step=10 * RATE)
    ward.give(chunk(x[80 * RATE : 90 * RATE], 80 * RATE))
    ward.turn()
    ward.clock.pass_s(40)  # no more of it seems to come
    disk.left = 0
    ward.engine.archive.commit = refuse  # type: ignore[method-assign]
    ward.turn()
    assert ward.engine.disk_full
    ward.give(chunk(x[90 * RATE : 100 * RATE], 90 * RATE))
    ward.turn()
    disk.left = LOTS
    ward.turn()
    ward.clock.pass_s(40)
    ward.turn(2)
    ward.engine.journal.roll()
    assert free_journal(ward.engine.state, ward.engine.journal) == 1
    clock = ward.clock
    del ward
    ward = Ward(tmp_path, clock)
    ward.stop()
    got = ward.read()
    assert np.array_equal(got[80 * RATE : 100 * RATE], x[80 * RATE : 100 * RATE])


def test_a_full_archive_disk_is_named_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward, x, teller = Ward(tmp_path), samples(20), Teller()
    assert ward.engine.status()["archive_free_bytes"] > 0
    with caplog.at_level("INFO", "sanstream.daemon"):
        feed_seconds(ward, x)
        with monkeypatch.context() as full:
            full.setattr(ward.engine.archive, "_commit", refuse_for_want_of_room)
            ward.engine.drain()
            cause = "archive: 1 recordings cannot be written, no space left on its disk"
            assert ward.engine.causes() == ward.engine.status()["causes"] == [cause]
            for _ in range(3):
                teller.look(ward.engine)
            _finish(ward.engine, Notifier(), [], threading.Event())
            assert _left(ward.engine) == 1
    told = [r.getMessage().partition(";")[0] for r in caplog.records]
    last = "not drained: 1 recordings cannot be written to the archive, no space left on its disk"
    # the second time by the draining's own look
    assert told == [cause, "draining: every segment is ended and brought to the archive", cause, last]
    ward = Ward(tmp_path, ward.clock)
    set_gauges(ward.engine)
    ward.stop()
    assert np.array_equal(ward.read(), x)
    text = generate_latest(ward.engine.telemetry.registry).decode()
    assert 'sanstream_disk_free_bytes{place="archive"}' in text
    assert 'sanstream_disk_free_bytes{place="state"}' in text


def refuse_for_want_of_room(growth: Growth) -> NoReturn:
    raise DiskFull("bed1")


@contextmanager
def no_handles() -> Iterator[None]:
    """Let this process open nothing more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_lack_of_file_handles_is_waited_for(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(4)
    ward.give(chunk(x[:RATE]))
    ward.turn()
    ward.inbox.put(Delivery((), 3, lambda: ward.acknowledged.append("poison"), b"odd", "it cannot be read"))
    ward.give(chunk(x[RATE:], RATE), tag="after")
    with no_handles():
        ward.turn(2)
        assert ward.engine.disk_full
        assert ward.engine.causes() == ["too many open files: nothing is acknowledged"]
        assert "poison" not in ward.acknowledged
    ward.turn()
    assert not ward.engine.causes()
    assert ward.acknowledged[1:] == ["poison", "after"]
    assert [r.body() for r in ward.engine.aside.records()] == [b"odd"]
    ward.stop()
    assert np.array_equal(ward.read(), x)


def test_a_journal_that_cannot_open_its_next_file_goes_on_with_this_one(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(3)
    ward.give(chunk(x[:RATE]))
    ward.turn()
    ward.engine.journal._file_bytes = 1
    ward.give(chunk(x[RATE:], RATE), tag="after")
    with no_handles():
        ward.turn(2)
        assert ward.engine.no_handles
    ward.turn()
    assert ward.acknowledged[1:] == ["after"]
    ward.stop()
    assert np.array_equal(ward.read(), x)


def test_what_cannot_stop_half_way_waits_for_a_file_handle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [OSError(errno.EMFILE, "too many"), OSError(errno.ENFILE, "too many")]

    def act() -> int:
        if answers:
            raise answers.pop()
        return 7

    assert patiently(act) == 7
    monkeypatch.setattr(durable, "HANDLES_S", 0.1)
    with no_handles(), pytest.raises(OSError, match="open files"):
        Disk().sync_folder(tmp_path, "test")
    with pytest.raises(InputError, match="state: cannot be opened, too many files are open"), handles("state"):
        raise OSError(errno.EMFILE, "too many")


def test_the_watch_over_drift_begins_again_after_a_lack_of_file_handles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sights, "look", lambda glance: glance)
    watch = sights.Sights()
    glance = sights.Glance(("bed1", "250hz"), 0, samples(1), CHANNELS, Fraction(RATE), 2500, (), (), 0, 1.0)
    with monkeypatch.context() as broken:
        broken.setitem(sys.modules, "river.drift", None)  # its import fails
        watch.put(glance)
        wait_for(lambda: watch._thread is None)
    watch.put(glance)
    wait_for(lambda: len(watch._done) == 2)
    watch.close()
