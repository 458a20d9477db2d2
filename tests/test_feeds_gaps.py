"""Gaps told from jitter, by time stamps alone."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanstream.feeds.gaps import GapFinder, Run

RATE = 250
RNG = np.random.default_rng(0)


def runs_of(times: np.ndarray, cuts: list[int], rate: int = RATE) -> list[Run]:
    finder, out, at = GapFinder(Fraction(rate)), [], 0
    values = np.arange(len(times))[:, None]
    for cut in [*sorted(cuts), len(times)]:
        out += finder.add(values[at:cut], times[at:cut], final=cut == len(times))
        at = cut
    assert finder.n_held == 0
    np.testing.assert_array_equal(np.concatenate([r.values for r in out]), values)
    return out


def gaps_of(runs: list[Run]) -> dict[int, int]:
    return {int(r.values[0, 0]): r.n_missing for r in runs if r.n_missing}


@given(
    st.lists(st.integers(1, 2999), max_size=8),
    st.lists(st.tuples(st.integers(300, 2700), st.integers(1, 5000)), max_size=2, unique_by=lambda g: g[0] // 600),
    st.floats(0, 0.4),
)
def test_lost_samples_are_counted_however_the_chunks_are_cut(
    cuts: list[int], gaps: list[tuple[int, int]], jitter: float
) -> None:
    numbers = np.arange(3000)
    for at, n in gaps:
        numbers[at:] += n
    times = 1000 + (numbers + np.random.default_rng(1).uniform(0, jitter, 3000)) / RATE
    assert gaps_of(runs_of(times, cuts)) == dict(gaps)


def test_a_burst_that_is_late_and_catches_up_is_no_gap() -> None:
    times = np.arange(2000) / RATE
    times[500:520] = np.maximum(times[500:520], times[500] + 0.06)
    times[1000:1300:4] += 0.0039
    assert gaps_of(runs_of(times, [510, 600, 1100])) == {}


def test_a_slow_clock_is_no_gap() -> None:
    times = np.arange(20000) / (RATE * 0.999)
    times[:-100:7] += 0.003
    assert gaps_of(runs_of(times, list(range(100, 20000, 100)))) == {}


def test_a_clock_that_goes_back_begins_anew() -> None:
    times = np.arange(1000) / RATE
    times[600:] -= 100
    assert gaps_of(runs_of(times, [300, 650])) == {600: -1}


@pytest.mark.parametrize("rate", [1, 10, 2000])
def test_one_lost_sample_is_seen_at_any_rate(rate: int) -> None:
    numbers = np.arange(200)
    numbers[100:] += 1
    assert gaps_of(runs_of(5 + numbers / rate, [37, 101], rate)) == {100: 1}


def test_held_samples_are_few() -> None:
    finder = GapFinder(Fraction(RATE))
    for n in range(100):
        finder.add(np.zeros((10, 1)), (np.arange(10) + 100 * n) / RATE)
        assert finder.n_held <= RATE
