"""Gauges for those who watch: ready, silent and changed streams, sizes; and series that begin at zero."""

from __future__ import annotations

from pathlib import Path

import pytest
from drift_cases import KEY, Bed, StubTraining, changed
from live_cases import Ward, chunk, samples
from prometheus_client import generate_latest

from sanstream import __version__
from sanstream.daemon.adaptation_stream import ALARM, DAILY, Wanted
from sanstream.daemon.adapting import Adapting
from sanstream.daemon.report import set_gauges


def gauges(ward: Ward) -> dict[str, float]:
    set_gauges(ward.engine)
    lines = generate_latest(ward.engine.telemetry.registry).decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def test_a_silent_stream_is_counted_from_half_a_minute_to_a_day(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    ward.give(chunk(samples(1)))
    ward.turn()
    ward.clock.pass_s(29)
    assert gauges(ward)['sanstream_silent_streams{feed="bed"}'] == 0
    ward.clock.pass_s(3)
    assert gauges(ward)['sanstream_silent_streams{feed="bed"}'] == 1
    ward.clock.pass_s(86400)
    assert gauges(ward)['sanstream_silent_streams{feed="bed"}'] == 0
    ward.stop()


def test_it_is_ready_while_readyz_says_so(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    found = gauges(ward)
    assert found["sanstream_ready"] == 1
    assert found[f'sanstream_build_info{{version="{__version__}"}}'] == 1
    assert found["sanstream_journal_limit_bytes"] == ward.engine.settings.limits.journal_bytes
    assert 0 < found['sanstream_disk_free_bytes{place="state"}'] < found['sanstream_disk_size_bytes{place="state"}']
    ward.engine.feeds["bed"].state.connected = False
    assert ward.engine.causes()
    assert gauges(ward)["sanstream_ready"] == 0
    ward.stop()


@pytest.mark.parametrize(("why", "pinned", "count"), [(ALARM, "", 1), (ALARM, "ecg", 0), (DAILY, "", 0)])
def test_a_changed_stream_is_counted_until_a_training_has_ended(
    tmp_path: Path, why: str, pinned: str, count: int
) -> None:
    bed = Bed(tmp_path / "adapts", changed(0, 1800, "left bundle block"), training=StubTraining(dict))
    ward = Ward(tmp_path)
    bed.run(1)
    ward.give(chunk(samples(1), recording=KEY[0]))
    ward.turn()
    stream = bed.adaptation._streams[KEY]
    ward.engine.adapting = Adapting(bed.adaptation)
    stream.wanted, stream.pinned = Wanted(why, 0), pinned
    assert gauges(ward)['sanstream_changed_streams{modality="ecg"}'] == count
    stream.wanted = None
    assert gauges(ward)['sanstream_changed_streams{modality="ecg"}'] == 0
    ward.engine.adapting = Adapting(None)
    ward.stop()


def test_what_counts_incidents_begins_at_zero(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    found = gauges(ward)
    for name in ("duplicates", "conflicts", "poison", "dropped_messages", "late_samples", "received_bytes"):
        assert found[f'sanstream_{name}_total{{feed="bed"}}'] == 0
    assert found['sanstream_gaps_total{cause="full_queue",feed="bed"}'] == 0
    assert found['sanstream_retrainings_total{outcome="failed"}'] == 0
    assert found['sanstream_drift_alarms_total{modality="ecg",series="phi"}'] == 0
    ward.stop()
