"""Times as a user writes them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanstream.errors import InputError
from sanstream.times import Time, format_time, parse_offset, parse_time

NOON_NS = 1_714_564_800 * 10**9  # 2024-05-01T12:00:00 as a wall clock


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("+90s", Fraction(90)),
        ("+5m", Fraction(300)),
        ("+5min", Fraction(300)),
        ("+1h", Fraction(3600)),
        ("+1h30m", Fraction(5400)),
        ("+2d", Fraction(172_800)),
        ("+250ms", Fraction(1, 4)),
        ("+.1s", Fraction(1, 10)),
        ("+7ns", Fraction(7, 10**9)),
    ],
)
def test_elapsed_time_is_exact(text: str, seconds: Fraction) -> None:
    assert parse_time(text) == Time(seconds=seconds)


def test_a_sample_is_a_place_on_the_grid() -> None:
    assert parse_time("@7200") == Time(sample=7200)
    assert parse_time("@7_200").to_sample(Fraction(360)) == 7200


def test_a_time_between_samples_means_the_next_sample() -> None:
    assert Time(seconds=Fraction(1, 3)).to_sample(Fraction(250)) == 84
    assert Time(seconds=Fraction(1, 10)).to_sample(Fraction(250)) == 25
    assert Time(seconds=Fraction(1)).to_sample(Fraction(62500, 1001)) == 63


@pytest.mark.parametrize(
    ("text", "zone", "seconds"),
    [
        ("2024-05-01T12:00:01Z", "utc", Fraction(1)),
        ("2024-05-01T14:00:01+02:00", "utc", Fraction(1)),
        ("2024-05-01T12:00:01+02:00", "+02:00", Fraction(1)),
        ("2024-05-01 06:30:00-0530", "utc", Fraction(0)),
        ("2024-05-01T12:00:00.000000001Z", "utc", Fraction(1, 10**9)),
        ("2024-05-01T12:00:00.25", "unknown", Fraction(1, 4)),
        ("2024-05-01T11:59Z", "utc", Fraction(-60)),
    ],
)
def test_iso_8601_is_placed_by_start_and_zone(text: str, zone: str, seconds: Fraction) -> None:
    assert parse_time(text, NOON_NS, zone).seconds == seconds


@pytest.mark.parametrize(
    ("text", "start", "zone", "says"),
    [
        ("soon", NOON_NS, "utc", r"'soon' is not a time; write \+90s"),
        ("2020", NOON_NS, "utc", r"'2020' is not a time; write \+90s"),
        ("12.5", NOON_NS, "utc", r"write \+90s"),
        ("+90", NOON_NS, "utc", r"write \+90s"),
        ("-90", NOON_NS, "utc", r"write \+90s"),
        ("+", NOON_NS, "utc", r"write \+90s"),
        ("+5parsec", NOON_NS, "utc", r"write \+90s"),
        ("+5s5", NOON_NS, "utc", r"write \+90s"),
        ("@-4", NOON_NS, "utc", "'-4' is not a sample number"),
        ("@", NOON_NS, "utc", "is not a sample number"),
        ("2024-05-01T12:00:00Z", None, "utc", r"has no start time; write \+90s"),
        ("2024-05-01T12:00:00", NOON_NS, "utc", "has no offset; write 2024-05-01T12:00:00Z"),
        ("2024-05-01T12:00:00Z", NOON_NS, "unknown", "zone is unknown, so an offset cannot be placed; write"),
        ("2024-13-01T12:00:00Z", NOON_NS, "utc", "month must be"),
        ("2024-05-01T12:00:00Z", NOON_NS, "Berlin", "time zone 'Berlin' is not known; use utc"),
    ],
)
def test_a_bad_time_is_refused_with_a_way_out(text: str, start: int | None, zone: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_time(text, start, zone)


def test_offsets() -> None:
    assert parse_offset("utc") == 0
    assert parse_offset("-05:30") == -19800
    assert parse_offset("+02") == 7200
    assert parse_offset("unknown") is None


@given(st.integers(0, 4 * 10**18), st.sampled_from(["utc", "+02:00", "-05:30", "unknown"]))
def test_a_written_start_reads_back_as_zero(start_ns: int, zone: str) -> None:
    text = format_time(start_ns, zone)
    assert text is not None
    assert parse_time(text, start_ns, zone).seconds == 0


def test_an_absent_start_stays_absent() -> None:
    assert format_time(None, "utc") is None
