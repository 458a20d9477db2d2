"""The kill campaign's comparison finds what is lost, doubled, changed or in another place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from live_cases import Ward, chunk

from pipelines.faults.kills import OF_SHARING, REACHABLE
from pipelines.faults.numbered import CHANNELS, compare, journalled, numbers, samples
from sanstream.durable import POINTS

N = 2500


def test_a_sample_says_which_one_it_is() -> None:
    for first in (0, 30_000, 10**6):
        assert np.array_equal(numbers(samples(first, 100)), np.arange(first, first + 100))
    assert numbers(np.array([[-5, 0], [30_011, 0], [7, -1]])).tolist() == [-1, -1, -1]


def test_every_point_of_a_daemon_is_tried() -> None:
    assert len(REACHABLE) == len(set(REACHABLE))
    assert {p.partition(".")[0] for p in set(POINTS) - set(REACHABLE) - set(OF_SHARING)} == {"archive", "retrain"}


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    made = Ward(tmp_path)
    give(made, 0, 0, N)
    return made


def give(ward: Ward, value: int, at: int, n: int, session: str = "s1") -> None:
    first = 0 if session != "s1" else at
    start_s = at / 250 if session != "s1" else 0.0
    ward.give(chunk(samples(value, n), first, session=session, start_s=start_s, channels=CHANNELS))
    ward.turn()


def found(ward: Ward, expected: int = N) -> dict[str, int]:
    ward.stop()
    sent = max(N, expected)
    return vars(compare(ward.url, "bed1", np.arange(expected), sent, placed=True))


def test_what_is_as_it_was_sent_is_found_good(ward: Ward) -> None:
    assert np.array_equal(journalled(ward.folder / "state", "bed1"), np.arange(N))
    assert found(ward) == {"compared": N, "lost": 0, "doubled": 0, "changed": 0, "misplaced": 0}


def test_a_lost_sample_is_found(ward: Ward) -> None:
    assert found(ward, N + 3)["lost"] == 3


def test_a_sample_that_is_there_twice_is_found(ward: Ward) -> None:
    give(ward, N - 10, N, 10, "s2")
    verdict = found(ward)
    assert verdict["doubled"] == 10
    assert verdict["misplaced"] > 0


def test_a_sample_that_nobody_sent_is_found(ward: Ward) -> None:
    give(ward, 10 * N, N, 10)
    assert found(ward)["changed"] == 10


def test_samples_in_another_place_are_found(ward: Ward) -> None:
    give(ward, N, N + 40, 10)
    assert found(ward, N + 10)["misplaced"] == 10


def test_a_recording_that_is_gone_is_lost(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    ward.stop()
    assert compare(ward.url, "bed1", np.arange(7), 7, placed=True).lost == 7
