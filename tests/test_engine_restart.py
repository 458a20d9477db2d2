"""The engine after a restart: it takes up what ledger and journal say, whatever of it was there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from live_cases import RATE, Clock, Ward, chunk, feed_seconds, samples
from test_engine import segments

import sanstream
from sanstream.chunk import Event
from sanstream.daemon.judge import problems, worst_first
from sanstream.daemon.look import Looked
from sanstream.ledger import Ledger


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


def test_an_event_that_only_the_journal_has_survives_a_compaction_of_the_ledger(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(70)
    feed_seconds(ward, x, step=10 * RATE)
    engine = ward.engine
    engine.intake.accept_event(Event("bed1", "s1", 0, ward.clock(), "alarm", "VT"), "bed")
    engine.journal.sync()
    engine.compactor.all()
    del ward, engine
    ward = Ward(tmp_path)
    ward.stop()
    (events,) = sanstream.open(ward.url).recordings["bed1"].annotations
    assert events.columns["text"].tolist() == ["VT"]


@pytest.mark.parametrize("drained", [True, False])
def test_a_stream_that_stays_silent_after_a_restart_is_said_to_be_silent(tmp_path: Path, drained: bool) -> None:
    ward, x = Ward(tmp_path), samples(70)
    for bed in ("bed1", "bed2"):
        ward.give(chunk(x, recording=bed))
    ward.clock.pass_s(70)
    ward.turn(3)
    if drained:
        ward.stop()
    ward.clock.pass_s(3600)
    ward = Ward(tmp_path, ward.clock)
    ward.give(chunk(x, recording="bed2", session="s2", start_s=3600.0, arrival_ns=ward.clock()))
    ward.turn()
    found = ward.engine.status()
    first, second = worst_first(found)
    assert (first["recording"], first["last_sample_age_s"], first["n_channels"]) == ("bed1", 3600.0, 2)
    assert (second["recording"], second["last_sample_age_s"]) == ("bed2", 0.0)
    assert problems(Looked(found, True)) == ["1 stream is silent for more than 30 s"]


def test_a_ledger_that_does_not_say_when_a_stream_was_heard_last_knows_its_last_sample(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), samples(70)
    feed_seconds(ward, x, step=10 * RATE)
    ward.stop()
    rows = [(r.kind, r.head, b"") for r in Ledger(tmp_path / "state" / "ledger.log").records()]
    (tmp_path / "state" / "ledger.log").unlink()
    older = Ledger(tmp_path / "state" / "ledger.log")
    for kind, head, body in rows:
        older.append(kind, {k: v for k, v in head.items() if k not in ("last_arrival_ns", "n_channels")}, body)
    older.sync()
    older.close()
    ward.clock.pass_s(60)
    (row,) = Ward(tmp_path, ward.clock).engine.status()["streams"]
    assert row["last_sample_age_s"] == 60.0
