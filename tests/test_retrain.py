"""Retraining: a challenger is taken only if it repays its bytes on windows that nobody saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drift_cases import BANK, changed, own_kernels, qualities, signal, stretches

from sanstream.encode_live import LiveStart, plan_live
from sanstream.encode_plan import Plan
from sanstream.reservoir import Reservoir
from sanstream.retrain import Case, challenge, coded_bytes
from sanstream.retrain_job import (
    channels_tag,
    decision_of,
    effort_name,
    make_job,
    pack_kernels,
    run_job,
    unpack_kernels,
)
from sanstream.signal import Channel

FIRST = 600.0


def case_of(kind: str, quality: str, effort: str = "fast", *, old: bool = True) -> Case:
    """A signal after a change, whose segment runs the kernels of before."""
    found = changed(0, 0.0, kind) if kind else signal(0, restless=False)
    wanted = qualities(found, quality)
    case = Case(stretches(found, FIRST, 6), found.channels, found.rate, wanted, effort, BANK)
    if not old:
        return case
    plan = planned(case, LiveStart(BANK, own_kernels(0)))
    return replace(case, kernels=plan.kernels, delta=plan.coding.bank_delta)


def planned(case: Case, start: LiveStart) -> Plan:
    return plan_live(
        case.stretches[0].samples, case.channels, case.qualities, case.rate, segment_id="0" * 16, start=start,
        effort=case.effort,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "quality", "effort"),
    [
        ("left bundle block", "prdn=5", "fast"),
        ("paced", "prdn=9", "fast"),
        ("injury", "prdn=5", "default"),
    ],
)
def test_after_retraining_the_new_signal_takes_15_percent_fewer_bits(kind: str, quality: str, effort: str) -> None:
    case = case_of(kind, quality, effort)
    decision = challenge(case, seconds=(0.8,))
    assert decision.adopt
    assert decision.reason == "repays"
    assert decision.start is not None
    unseen = stretches(changed(0, 0.0, kind), FIRST + 6 * 60, 3)
    old = planned(case, LiveStart(BANK, own_kernels(0)))
    before, after = coded_bytes(old, unseen), coded_bytes(planned(case, decision.start), unseen)
    assert after <= 0.85 * before
    assert decision.figures["saved_share"] == pytest.approx(1 - after / before, abs=0.15)


def test_a_new_stream_gets_kernels() -> None:
    decision = challenge(case_of("", "prdn=9", old=False), seconds=(0.8,))
    assert decision.adopt
    assert float(decision.figures["saved_share"]) > 0.15


def test_kernels_that_fit_already_stay_and_descendants_keep_their_ids() -> None:
    case = case_of("", "prdn=5", old=False)
    first = challenge(case, seconds=(0.8,))
    assert first.start is not None
    plan = planned(case, first.start)
    again = replace(case, kernels=plan.kernels, delta=plan.coding.bank_delta)
    later = stretches(signal(0, restless=False), FIRST + 900, 6)
    decision = challenge(replace(again, stretches=later), seconds=(0.8,))
    assert (decision.adopt, decision.reason, decision.start) == (False, "saves too little", None)
    assert decision.learned is not None
    assert first.learned is not None
    assert {k.uid for k in decision.learned.kernels} & {k.uid for k in first.learned.kernels}


def test_what_saves_less_in_a_day_than_it_costs_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanstream.retrain._METADATA_BYTES", 1 << 30)
    decision = challenge(case_of("injury", "prdn=5"), seconds=(0.8,))
    assert not decision.adopt
    assert decision.reason == "does not repay its bytes in a day"


def test_noise_repeats_nothing_that_pays() -> None:
    case = case_of("", "prdn=9", old=False)
    rng = np.random.default_rng(0)
    noisy = tuple(
        replace(s, samples=(1024 + 50 * rng.standard_normal(s.samples.shape)).astype(np.int32)) for s in case.stretches
    )
    decision = challenge(replace(case, stretches=noisy), seconds=(0.8,))
    assert not decision.adopt


def test_two_stretches_are_too_few() -> None:
    case = case_of("", "prdn=9", old=False)
    decision = challenge(replace(case, stretches=case.stretches[:2]))
    assert (decision.adopt, decision.reason) == (False, "too few windows")


def test_missing_samples_are_not_trained_on() -> None:
    case = case_of("", "prdn=9", old=False)
    channels = tuple(replace(c, missing=-32768) for c in case.channels)
    holed = []
    for s in case.stretches:
        x = s.samples.copy()
        x[3000:4000] = -32768
        holed.append(replace(s, samples=x))
    decision = challenge(replace(case, stretches=tuple(holed), channels=channels), seconds=(0.8,))
    assert decision.adopt


def test_a_job_gives_what_the_challenge_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of("injury", "prdn=9")
    reservoir = Reservoir(tmp_path / "r")
    key, tag = ("bed1", "250hz"), channels_tag(case.channels, case.rate)
    for s in case.stretches:
        reservoir.put(key, replace(s, tag=tag))
    reservoir.put(key, replace(case.stretches[0], time_ns=0, tag=tag))  # of before the change
    reservoir.put(key, replace(case.stretches[0], time_ns=10**18, tag="other"))
    start = LiveStart(BANK, case.kernels)
    job = make_job(
        reservoir.folder, key, case.stretches[0].time_ns, channels=case.channels, rate=case.rate,
        qualities=case.qualities, effort="fast", start=start, delta=case.delta,
    )  # fmt: skip
    monkeypatch.setattr("sanstream.retrain.KERNEL_SECONDS", (0.8,))
    decision, own = decision_of(run_job(job)), challenge(case)
    assert decision.adopt == own.adopt is True
    assert decision.figures == own.figures
    assert pack_kernels(decision.learned) == pack_kernels(own.learned)


def test_kernels_travel_unchanged() -> None:
    kernels = own_kernels(0)
    found = unpack_kernels(pack_kernels(kernels), len(kernels.shifts))
    assert found is not None
    assert np.array_equal(found.digital(), kernels.digital())
    assert [k.uid for k in found.kernels] == [k.uid for k in kernels.kernels]
    assert unpack_kernels(pack_kernels(None), 0) is None


def test_a_tag_names_channels_and_rate() -> None:
    rate = signal(0).rate
    tags = {
        channels_tag([Channel("II", gain=200.0)], rate),
        channels_tag([Channel("II", gain=100.0)], rate),
        channels_tag([Channel("II", gain=200.0)], 2 * rate),
        channels_tag([Channel("II", gain=200.0)] * 2, rate),
    }
    assert len(tags) == 4


def test_an_effort_without_a_name_counts_as_fast() -> None:
    from sanstream.encode_effort import EFFORTS

    assert effort_name(EFFORTS["default"]) == "default"
    assert effort_name(replace(EFFORTS["default"], tries=3)) == "fast"
