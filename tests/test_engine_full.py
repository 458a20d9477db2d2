"""An engine whose disk is full: it takes nothing more, says what it lost, and goes on by itself."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
from durable_cases import TinyDisk
from live_cases import RATE, Ward, chunk, feed_seconds, samples

import sanstream
from sanstream.archive_grow import Growth
from sanstream.daemon.inbox import FeedLink, Inbox
from sanstream.daemon.keeping import free_journal
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
