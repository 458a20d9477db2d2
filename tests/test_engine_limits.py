"""What a publisher with a wrong rate or clock may do to an engine: little."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from live_cases import RATE, START_NS, Ward, chunk, samples

from sanstream.chunk import Chunk
from sanstream.daemon.streams import BEGUN_S, MAX_BEGUN

YEAR_NS = 31_557_600 * 10**9
ONE = samples(1)


def reasons(ward: Ward) -> list[str]:
    return [r.head["reason"] for r in ward.engine.aside.records()]


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (replace(chunk(ONE), rate=Fraction(1, 40000), stream="slow"), "rate is 2.5e-05 Hz, allowed are"),
        (replace(chunk(ONE), rate=Fraction(1, 3601), stream="slow"), "rate is 0.000277701 Hz, allowed are"),
        (replace(chunk(ONE), device_ns=START_NS - 130 * YEAR_NS), "its time lies outside the years 1900 to 2199"),
        (replace(chunk(ONE), device_ns=START_NS + 174 * YEAR_NS), "its time lies outside the years 1900 to 2199"),
        (replace(chunk(ONE), device_ns=1 << 80), "its time lies outside the years 1900 to 2199"),
        (
            replace(chunk(np.tile(ONE, (5000, 1)), device=False), rate=Fraction(1, 3600), stream="slow"),
            "its time lies outside the years 1900 to 2199",
        ),
    ],
)
def test_a_rate_or_a_time_that_nobody_means_is_set_aside(tmp_path: Path, odd: Chunk, reason: str) -> None:
    ward = Ward(tmp_path)
    ward.give(odd, tag="odd")
    ward.turn()
    assert ward.acknowledged == ["odd"]
    assert [r[: len(reason)] for r in reasons(ward)] == [reason]
    assert not ward.engine.state.recordings
    ward.give(chunk(ONE))
    ward.turn()
    ward.stop()
    assert np.array_equal(ward.read(), ONE)


def test_numbers_that_lead_beyond_the_years_are_set_aside(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    slow = replace(chunk(ONE), rate=Fraction(1, 3600), stream="slow")
    ward.give(slow)
    ward.give(replace(slow, first_sample=174 * 8766, device_ns=START_NS + 173 * YEAR_NS, samples=np.tile(ONE, (40, 1))))
    ward.turn()
    assert reasons(ward) == ["its time lies outside the years 1900 to 2199"]


def test_the_slowest_rate_is_taken(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    ward.give(replace(chunk(ONE[:5]), rate=Fraction(1, 3600), stream="slow"))
    ward.turn()
    ward.stop()
    assert np.array_equal(ward.read(stream="slow"), ONE[:5])


def test_a_stream_that_begins_too_many_segments_is_braked_and_others_go_on(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(4)
    part, n = x[:10], 3 * MAX_BEGUN
    for k in range(n):  # a clock that jumps by a minute at every message
        ward.give(chunk(part, 10 * k, at_s=60.0 * k), tag=k)
        ward.turn()
    ward.give(chunk(x, recording="bed2"))
    ward.turn()
    assert ward.acknowledged[:n] == list(range(n))
    (stream,) = (s for s in ward.engine.state.streams.values() if s.recording.name == "bed1")
    row = next(s for s in ward.engine.status()["streams"] if s["recording"] == "bed1")
    assert row["conflicts"] == n - MAX_BEGUN - 1 == len(reasons(ward))
    assert set(reasons(ward)) == {"its stream began 100 segments within 3600 s after ones of less than 60 s each"}
    # what goes on where the stream is begins none, and is taken
    session = stream.sessions["s1"]
    after = session.received.end
    ward.give(chunk(x[10:20], after, at_s=60.0 * MAX_BEGUN + 10 / RATE))
    ward.turn()
    assert len(reasons(ward)) == n - MAX_BEGUN - 1
    ward.clock.pass_s(BEGUN_S + 1)
    ward.give(chunk(x[20:30], after + 10, at_s=2 * BEGUN_S + 60.0 * n))
    ward.turn()
    assert len(reasons(ward)) == n - MAX_BEGUN - 1
    ward.stop()
    manifest = ward.engine.archive.manifest("bed1")
    assert manifest is not None
    assert len(manifest.streams[0].segments) == MAX_BEGUN + 2
    assert np.array_equal(ward.read("bed2"), x)


def test_segments_that_are_long_are_never_braked(tmp_path: Path) -> None:
    ward, x, n = Ward(tmp_path), np.tile(ONE, (2, 1))[:280], 2 * MAX_BEGUN
    for k in range(n):  # half a year of two nights a day, uploaded at once
        ward.give(chunk(x, 280 * k, at_s=43200.0 * k - 43200 * n, rate=4))
        ward.turn()
    assert not reasons(ward)
    ward.stop()
    manifest = ward.engine.archive.manifest("bed1")
    assert manifest is not None
    assert len(manifest.streams[0].segments) >= n


def test_two_publishers_under_one_name_do_not_make_segments_without_end(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(4)
    n = 2 * MAX_BEGUN
    for k in range(n):
        for session in ("a", "b"):
            ward.give(chunk(x[:25], 25 * k, session=session))
        ward.clock.pass_s(0.1)
        ward.turn()
    ward.stop()
    manifest = ward.engine.archive.manifest("bed1")
    assert manifest is not None
    entries = manifest.streams[0].segments
    assert len(entries) <= MAX_BEGUN + 1
    held = sum(e.n_samples for e in entries)
    assert held == (2 * n - len(reasons(ward))) * 25
