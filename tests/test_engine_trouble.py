"""What random lives of the engine found: odd channels, full disks, events alone, deletion, what is left at the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from durable_cases import TinyDisk
from live_cases import CHANNELS, RATE, Clock, Ward, chunk, feed_seconds, samples

import sanstream
from sanstream.archive_manifest import Manifest
from sanstream.chunk import Event
from sanstream.daemon.delete import delete_here
from sanstream.daemon.home import Home
from sanstream.daemon.run import recover
from sanstream.durable import Disk


def manifest(ward: Ward, recording: str = "bed1") -> Manifest:
    found = ward.engine.archive.manifest(recording)
    assert found is not None
    return found


@pytest.mark.parametrize("missing", [None, -(1 << 20)])
def test_samples_beyond_the_declared_range_are_kept_whatever_the_missing_code_is(
    tmp_path: Path, missing: int | None
) -> None:
    ward, x = Ward(tmp_path), samples(20)
    x[12 * RATE], x[13 * RATE] = -100_000, -(1 << 31)
    feed_seconds(ward, x, channels=[replace(c, missing=missing) for c in CHANNELS])
    ward.stop()
    assert np.array_equal(ward.read(), x)


def test_another_rate_under_the_same_name_is_another_stream(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(20)
    feed_seconds(ward, x[: 10 * RATE])
    ward.give(replace(chunk(x[10 * RATE :], 10 * RATE, rate=125, start_s=-30.0), stream="250hz"))
    ward.turn()
    del ward.engine
    ward = Ward(tmp_path, ward.clock)
    ward.stop()
    assert np.array_equal(ward.read(), x[: 10 * RATE])
    assert np.array_equal(ward.read(stream="250hz.125hz")[-10 * RATE :], x[10 * RATE :])


def test_a_deleted_recording_leaves_no_events(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(70)
    feed_seconds(ward, x)
    ward.give(Event("bed1", "s1", 0, ward.clock(), "alarm", "VT"))
    ward.turn()
    ward.engine.drain()
    delete_here(ward.engine, "bed1", None, None, dry_run=False)
    assert ward.engine.archive.manifest("bed1") is None
    assert not (ward.url / "bed1").exists()


def test_retention_deletes_events_that_came_after_the_last_sample(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path, keep_s=3600.0), samples(20)
    feed_seconds(ward, x)
    ward.clock.pass_s(3000)
    ward.give(Event("bed1", "s1", 0, ward.clock(), "alarm", "VT"))
    ward.turn()
    ward.engine.drain()
    for events in (1, 0):
        ward.clock.pass_s(3000)
        ward.turn(2)
        assert (
            sum(len(a) for a in manifest(ward).annotations) if events else ward.engine.archive.manifest("bed1") is None
        )


def test_a_stream_that_only_the_journal_had_is_found_after_two_kills(tmp_path: Path) -> None:
    x, clock = samples(140), Clock()
    feed_seconds(Ward(tmp_path, clock), x[: 10 * RATE])
    feed_seconds(Ward(tmp_path, clock), x[10 * RATE :], first=10 * RATE)
    ward = Ward(tmp_path, clock)
    ward.stop()
    assert np.array_equal(ward.read(), x)


@pytest.mark.parametrize("missing", [None, -32768])
def test_late_samples_never_make_a_segment_say_that_there_is_a_signal_where_there_is_none(
    tmp_path: Path, missing: int | None
) -> None:
    """Channels without a missing code cannot have holes; nor may any segment have one of hours."""
    ward, x = Ward(tmp_path), samples(60)
    how = {"channels": [replace(c, missing=missing) for c in CHANNELS]}
    for second in (0, 1, 3, 4, 2, 20, 22, 6, 21, 19, 5):
        ward.give(chunk(x[second * RATE : (second + 1) * RATE], second * RATE, **how))
    ward.give(
        chunk(x[:RATE], 7, session="s2", start_s=9000.0, **how), chunk(x[:7], 0, session="s2", start_s=9000.0, **how)
    )
    ward.turn()
    ward.stop()
    with sanstream.open(ward.url) as archive:
        stream = archive.recordings["bed1"].streams["250hz"]
        got = [stream.read_segment(e, 0, e.n_samples) for e in stream.entry.segments]
    assert max(map(len, got)) <= 60 * RATE
    if missing is None:
        assert sum(map(len, got)) == 12 * RATE + 7
    seen = ward.read()
    for second in (0, 1, 2, 3, 4, 5, 6, 19, 20, 21, 22):
        assert np.array_equal(seen[second * RATE : (second + 1) * RATE], x[second * RATE : (second + 1) * RATE])
    assert np.array_equal(seen[9000 * RATE + 7 : 9001 * RATE + 7], x[:RATE])


def test_events_alone_make_a_recording_that_can_be_read_and_deleted(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    ward.give(Event("markers", "s", 0, ward.clock() - 10**9, "marker", "begin"))
    ward.turn()
    ward.clock.pass_s(4000)
    ward.turn(2)
    ward.give(Event("markers", "s", 1, ward.clock(), "marker", "end"))
    ward.turn()
    ward.stop()
    with sanstream.open(ward.url, live=False) as archive:
        assert [len(a) for a in archive.recordings["markers"].read().annotations] == [2]
        assert archive.verify(deep=True) == []
    ward = Ward(tmp_path, ward.clock)
    ward.give(Event("others", "s", 0, ward.clock(), "marker", "zzz"))
    ward.turn()
    for name in ("markers", "others"):
        delete_here(ward.engine, name, None, None, dry_run=False)
    ward.stop()
    assert sanstream.open(ward.url).recordings == {}
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and b"zzz" in p.read_bytes()]


def test_the_first_chunk_of_a_session_after_days_is_kept_though_the_disk_was_full(tmp_path: Path) -> None:
    disk, x = TinyDisk(1 << 30), samples(20)
    ward = Ward(tmp_path, disk=disk)
    feed_seconds(ward, x)
    ward.clock.pass_s(200_000)
    left, disk.left = disk.left, 0
    ward.give(chunk(np.tile(x, (80, 1)), recording="other"))  # as much as the journal keeps in memory
    ward.give(chunk(x, session="s2", start_s=200_020.0))
    ward.turn(2)
    assert ward.engine.disk_full
    disk.left = left
    ward.turn(2)
    ward.stop()
    assert np.array_equal(ward.read()[200_020 * RATE :], x)


def test_a_full_disk_never_leaves_the_only_copy_in_memory(tmp_path: Path) -> None:
    """What a silent stream left is copied to a newer file; the old one stays until the copy is on the disk."""
    disk = TinyDisk(1 << 30)
    ward, x = Ward(tmp_path, disk=disk), samples(20)
    ward.engine.journal._file_bytes = 1000
    for second in range(20):
        ward.give(chunk(x[second * RATE : (second + 1) * RATE], second * RATE))
    ward.turn()
    assert len(ward.acknowledged) == 20
    ward.engine.journal._file_bytes = 1 << 20  # the copies go to the current file, and wait in memory
    left, disk.left = disk.left, 0
    ward.clock.pass_s(3)
    ward.turn(2)
    assert ward.engine.disk_full
    del ward.engine
    disk.left = left
    ward = Ward(tmp_path, ward.clock)
    ward.stop()
    assert np.array_equal(ward.read(), x)


def test_what_the_archive_refuses_is_said_at_the_end_and_recovered_later(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(20)
    with Home(tmp_path / "state", Disk()) as home:
        home.remember(ward.engine.settings)
    feed_seconds(ward, x)
    (ward.url / "bed1").write_bytes(b"in the way")
    ward.stop()
    assert list(ward.engine.sealer.refused) == ["bed1"]
    assert recover(tmp_path / "state") == 1
    (ward.url / "bed1").unlink()
    assert recover(tmp_path / "state") == 0
    assert np.array_equal(ward.read(), x)
