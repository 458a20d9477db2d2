"""The engine: what is acknowledged is in the archive once and equal, whatever order it came in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from live_cases import CHANNELS, RATE, Clock, Ward, chunk, feed_seconds, samples

import sanstream
from sanstream.archive_manifest import Manifest
from sanstream.chunk import Event


def manifest(ward: Ward, recording: str = "bed1") -> Manifest:
    found = ward.engine.archive.manifest(recording)
    assert found is not None
    return found


def segments(ward: Ward) -> list[tuple[int, int, tuple[str, ...]]]:
    return [(e.start_sample, e.n_samples, e.flags) for s in manifest(ward).streams for e in s.segments]


def test_a_stream_is_archived_once_and_equal(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(200)
    feed_seconds(ward, x)
    assert len(ward.acknowledged) == 200
    ward.stop()
    assert np.array_equal(ward.read(), x)
    assert segments(ward) == [(0, len(x), ())]
    assert sanstream.open(ward.url).verify(deep=True) == []


def test_plain_zarr_reads_what_is_sealed(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(3700)
    feed_seconds(ward, x, step=50 * RATE)
    sealed = zarr.open(ward.url)["bed1/250hz/0"][:]
    assert len(sealed) == 3600 * RATE
    assert np.array_equal(sealed, x[: len(sealed)])


def test_a_repeated_message_is_acknowledged_and_stored_once(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(70)
    for _ in range(2):
        feed_seconds(ward, x)
    ward.stop()
    assert len(ward.acknowledged) == 140
    assert np.array_equal(ward.read(), x)
    assert not list(ward.engine.aside.records())


def test_messages_in_another_order_make_the_same_recording(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(130)
    order = np.arange(130)
    for i in range(0, 130, 4):
        order[i : i + 4] = order[i : i + 4][::-1]
    for second in order:
        ward.give(chunk(x[second * RATE : (second + 1) * RATE], int(second) * RATE))
        ward.clock.pass_s(1)
        ward.turn()
    ward.stop()
    assert np.array_equal(ward.read(), x)
    assert segments(ward) == [(0, len(x), ())]


def test_a_contradiction_is_set_aside_and_the_first_stays(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(10)
    feed_seconds(ward, x)
    other = x[:RATE].copy()
    other[3] += 7
    ward.give(chunk(other))
    ward.turn()
    ward.stop()
    assert np.array_equal(ward.read(), x)
    (record,) = ward.engine.aside.records()
    assert record.kind == "conflict"
    assert np.array_equal(np.frombuffer(record.body(), "<i4").reshape(-1, 2), other)


def test_a_lost_packet_is_a_hole_in_the_same_segment(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(150)
    feed_seconds(ward, x[: 40 * RATE])
    feed_seconds(ward, x[43 * RATE :], first=43 * RATE)
    ward.stop()
    got = ward.read()
    assert segments(ward) == [(0, len(x), ())]
    assert (got[40 * RATE : 43 * RATE] == -32768).all()
    got[40 * RATE : 43 * RATE] = x[40 * RATE : 43 * RATE]
    assert np.array_equal(got, x)


def test_a_gap_over_an_hour_ends_the_segment(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(20)
    feed_seconds(ward, x)
    ward.clock.pass_s(4000)
    feed_seconds(ward, x, first=4020 * RATE)
    ward.stop()
    assert segments(ward) == [(0, len(x), ()), (4020 * RATE, len(x), ("gap",))]


def test_an_hour_uploaded_late_fills_its_hole(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(400)
    feed_seconds(ward, x[: 70 * RATE])
    feed_seconds(ward, x[200 * RATE :], first=200 * RATE)
    feed_seconds(ward, x[70 * RATE : 200 * RATE], first=70 * RATE, step=10 * RATE)
    ward.stop()
    assert np.array_equal(ward.read(), x)
    assert [f for _, _, f in segments(ward)].count(("late",)) >= 1
    assert sanstream.open(ward.url).verify(deep=True) == []


def test_a_publisher_that_reboots_and_starts_at_zero_goes_on_at_its_time(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(100)
    feed_seconds(ward, x[: 50 * RATE])
    ward.clock.pass_s(10)
    feed_seconds(ward, x[50 * RATE :], session="s2", start_s=60.0)
    ward.stop()
    got = ward.read()
    assert np.array_equal(got[: 50 * RATE], x[: 50 * RATE])
    assert np.array_equal(got[60 * RATE :], x[50 * RATE :])


def test_a_clock_that_steps_back_begins_a_segment_and_loses_nothing(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(100)
    feed_seconds(ward, x[: 50 * RATE])
    feed_seconds(ward, x[50 * RATE :], session="s2", start_s=-500.0)
    ward.stop()
    assert np.array_equal(ward.read(), x)
    assert segments(ward) == [(0, 50 * RATE, ()), (50 * RATE, 50 * RATE, ("clock_step",))]


def test_a_clock_that_steps_within_a_session_begins_a_segment(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(100)
    feed_seconds(ward, x[: 50 * RATE])
    feed_seconds(ward, x[50 * RATE : 60 * RATE], first=50 * RATE, start_s=-500.0)
    feed_seconds(ward, x[60 * RATE :], first=60 * RATE, start_s=90.0)
    ward.stop()
    got = ward.read()
    assert np.array_equal(got[: 60 * RATE], x[: 60 * RATE])
    assert np.array_equal(got[-40 * RATE :], x[60 * RATE :])
    assert [f for _, _, f in segments(ward)] == [(), ("clock_step",), ("clock_step",)]


def test_a_clock_a_year_ahead_makes_no_year_of_silence(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(20)
    feed_seconds(ward, x[: 10 * RATE])
    for second in range(10, 20):
        part = x[second * RATE : (second + 1) * RATE]
        ward.give(chunk(part, second * RATE, start_s=365 * 86_400.0, arrival_ns=ward.clock()))
        ward.turn()
    ward.stop()
    assert np.array_equal(ward.read(), x)
    assert [f for _, _, f in segments(ward)] == [(), ("clock_step",)]


def test_other_channels_begin_a_segment(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(60)
    feed_seconds(ward, x[: 30 * RATE])
    feed_seconds(ward, x[30 * RATE :, :1], first=30 * RATE, channels=CHANNELS[:1])
    ward.stop()
    got = ward.read()
    assert np.array_equal(got[:, 0], x[:, 0])
    assert (got[30 * RATE :, 1] == -32768).all()
    assert segments(ward)[1][2] == ("channels",)


def test_midnight_begins_a_segment(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(60)
    hours = 14 * 3600 - 30
    feed_seconds(ward, x, start_s=hours)
    ward.stop()
    assert np.array_equal(ward.read(), x)
    assert segments(ward) == [(0, 30 * RATE, ()), (30 * RATE, 30 * RATE, ("midnight",))]


def test_samples_beyond_the_declared_range_are_kept(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(20)
    x[12 * RATE] = 100_000
    feed_seconds(ward, x)
    ward.stop()
    assert np.array_equal(ward.read(), x)


def test_events_come_with_the_recording(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(20)
    feed_seconds(ward, x)
    event = Event("bed1", "s1", 0, ward.clock() - 10**10, "alarm", "VT", 2 * 10**9)
    for _ in range(2):
        ward.give(event)
    ward.turn()
    ward.stop()
    (events,) = sanstream.open(ward.url).recordings["bed1"].annotations
    assert len(events) == 1
    assert len(ward.acknowledged) == 22


@pytest.mark.parametrize("seconds", [5, 65, 3650])
def test_a_killed_engine_goes_on_where_it_was(tmp_path: Path, seconds: int) -> None:
    x = samples(seconds + 40)
    clock = Clock()
    ward = Ward(tmp_path, clock)
    feed_seconds(ward, x[: seconds * RATE], step=5 * RATE)
    del ward  # no drain, no close
    ward = Ward(tmp_path, clock)
    feed_seconds(ward, x[(seconds - 3) * RATE :], first=(seconds - 3) * RATE)
    ward.stop()
    assert np.array_equal(ward.read(), x)
    assert segments(ward) == [(0, len(x), ())]
    assert sanstream.open(ward.url).verify(deep=True) == []


def test_a_lossy_stream_keeps_its_bound_through_a_kill(tmp_path: Path) -> None:
    x, clock = samples(150), Clock()
    feed_seconds(Ward(tmp_path, clock, quality={"default": "max-error=4adu"}), x[: 100 * RATE])
    ward = Ward(tmp_path, clock, quality={"default": "max-error=4adu"})
    feed_seconds(ward, x[100 * RATE :], first=100 * RATE)
    ward.stop()
    error = np.abs(ward.read() - x).max()
    assert 0 < error <= 4


def test_the_newest_samples_are_read_before_they_are_archived(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(100)
    feed_seconds(ward, x)
    assert np.array_equal(ward.read(), x)


def test_a_silent_stream_does_not_hold_up_the_journal(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(20)
    ward.engine.journal._file_bytes = 4096
    feed_seconds(ward, x[: 10 * RATE], recording="quiet")
    feed_seconds(ward, np.concatenate([x] * 20))
    assert len(ward.engine.journal.numbers()) < 60
    del ward.engine
    ward = Ward(tmp_path, ward.clock)
    ward.stop()
    assert np.array_equal(ward.read("quiet"), x[: 10 * RATE])


def test_retention_deletes_whole_segments(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path, keep_s=3600.0), samples(20)
    feed_seconds(ward, x)
    ward.clock.pass_s(4000)
    ward.turn(2)
    feed_seconds(ward, x, first=4020 * RATE)
    assert [s for s, _, _ in segments(ward)] == [0]
    ward.clock.pass_s(3700)
    ward.turn(2)
    assert [s for s, _, _ in segments(ward)] == [4020 * RATE], "the first is older than an hour now"
    ward.clock.pass_s(3700)
    ward.turn(2)
    assert ward.engine.archive.manifest("bed1") is None


def test_a_lost_state_folder_does_not_overwrite_the_archive(tmp_path: Path) -> None:
    import shutil

    x, clock = samples(60), Clock()
    ward = Ward(tmp_path, clock)
    feed_seconds(ward, x[: 30 * RATE])
    ward.stop()
    shutil.rmtree(tmp_path / "state")
    ward = Ward(tmp_path, clock)
    feed_seconds(ward, x[30 * RATE :], first=30 * RATE)
    ward.stop()
    assert np.array_equal(ward.read(), x)


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
