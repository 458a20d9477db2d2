"""The engine after a restart: it takes up what ledger and journal say, whatever of it was there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from live_cases import RATE, Clock, Ward, chunk, feed_seconds, samples
from test_engine import segments


def test_a_stream_that_only_the_journal_names_survives_two_restarts(tmp_path: Path) -> None:
    x, clock = samples(140), Clock()
    feed_seconds(Ward(tmp_path, clock), x[: 5 * RATE])
    feed_seconds(Ward(tmp_path, clock), x[5 * RATE : 130 * RATE], first=5 * RATE, step=25 * RATE)
    ward = Ward(tmp_path, clock)
    feed_seconds(ward, x[130 * RATE :], first=130 * RATE)
    ward.stop()
    assert np.array_equal(ward.read(), x)


def test_a_restart_after_a_clock_step_goes_on_in_the_segment_that_the_step_began(tmp_path: Path) -> None:
    x, clock = samples(200), Clock()
    ward = Ward(tmp_path, clock)
    feed_seconds(ward, x[: 50 * RATE], step=10 * RATE)
    feed_seconds(ward, x[50 * RATE : 150 * RATE], first=50 * RATE, start_s=90.0, step=10 * RATE)
    ward = Ward(tmp_path, clock)
    feed_seconds(ward, x[150 * RATE :], first=150 * RATE, start_s=90.0, step=10 * RATE)
    ward.stop()
    assert [flags for _, _, flags in segments(ward)] == [(), ("clock_step",)]
    assert np.array_equal(ward.read()[-150 * RATE :], x[50 * RATE :])


def test_the_first_block_of_a_segment_that_ends_with_a_restart_is_not_cut_off(tmp_path: Path) -> None:
    x, clock = samples(180), Clock()
    feed_seconds(Ward(tmp_path, clock), x[: 120 * RATE], step=60 * RATE)
    ward = Ward(tmp_path, clock)
    ward.turn(3)
    ward.give(chunk(x[120 * RATE :], 120 * RATE))
    ward.stop()
    assert segments(ward) == [(0, len(x), ())]
