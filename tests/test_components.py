"""Components: kernels that refine the activation before them, learned from what kernels leave of events that vary."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from drift_cases import BANK, qualities, signal, stretches

from sanstream import decode, encode_activations, encode_quick, retrain
from sanstream.bank import COMPONENT, Kernel, is_component, kernel_id
from sanstream.drift_windows import taps_for
from sanstream.encode import encode_blocks, plan_segment
from sanstream.encode_components import errors_anyway, with_components
from sanstream.encode_kernels import KernelChoice, adapt, lineage
from sanstream.encode_live import LiveStart, Part, encode_part, plan_live
from sanstream.encode_match import match_quickly
from sanstream.encode_plan import Plan
from sanstream.retrain import Case, challenge, coded_bytes
from sanstream.retrain_job import pack_kernels, unpack_kernels
from sanstream.signal import IntSamples
from sanstream.view.kernels import activations_of

Floats = npt.NDArray[np.float64]
ERRORS = np.array([2.0, 2.0])


@pytest.fixture(scope="module")
def samples() -> IntSamples:
    return signal(0, restless=False).samples(0, 180)


@pytest.fixture(scope="module")
def alone(samples: IntSamples) -> KernelChoice:
    rate = signal(0).rate
    present = np.ones(len(samples), np.bool_)
    choice = adapt(samples, present, rate, BANK, seconds=0.8, n_kernels=2, n_rounds=3, device="cpu")
    assert choice is not None
    return choice


@pytest.fixture(scope="module")
def refined(samples: IntSamples, alone: KernelChoice) -> KernelChoice:
    choice = with_components(samples, np.ones(len(samples), np.bool_), alone, ERRORS, 3)
    assert choice is not None
    return choice


def planned(samples: IntSamples, kernels: KernelChoice, quality: str = "prdn=5") -> Plan:
    found = signal(0, restless=False)
    return plan_live(
        samples, found.channels, qualities(found, quality), found.rate, segment_id="0" * 16,
        start=LiveStart(BANK, kernels), effort="fast",
    )  # fmt: skip


def test_components_follow_their_activation_at_its_index(samples: IntSamples, refined: KernelChoice) -> None:
    n = refined.n_leading
    assert [k.uid.startswith(COMPONENT) for k in refined.kernels] == [False] * n + [True] * 3
    kernel, index, amplitude = match_quickly(samples[:15_000].T.astype(np.float32), refined)
    leads = np.flatnonzero(kernel < n)
    assert (np.diff(index[leads]) > 0).all()
    assert leads[0] == 0
    for a in np.flatnonzero(kernel >= n):
        before = leads[leads < a][-1]
        assert index[a] == index[before]
        assert (np.diff(kernel[before + 1 : a + 1]) > 0).all()
    assert (kernel >= n).sum() > 2 * len(leads)
    whole = (index >= 0) & (index + refined.digital().shape[2] <= 15_000)
    assert whole[kernel >= n].all()
    assert amplitude[kernel >= n].any(axis=1).all()


@pytest.mark.parametrize(
    ("quality", "error", "share"), [("prdn=9", 4.0, 0.98), ("prdn=5", 2.0, 0.98), ("lossless", 2.0, 1)]
)
def test_what_varies_takes_fewer_bits(
    samples: IntSamples, alone: KernelChoice, quality: str, error: float, share: float
) -> None:
    refined = with_components(samples, np.ones(len(samples), np.bool_), alone, np.full(2, error), 2)
    assert refined is not None
    later = stretches(signal(0, restless=False), 300, 3)
    before, after = (coded_bytes(planned(samples, k, quality), later) for k in (alone, refined))
    assert after < share * before


def test_blocks_decode_within_the_bound(samples: IntSamples, refined: KernelChoice) -> None:
    plan, x = planned(samples, refined), samples[:15_000]
    payload = encode_part(Part(plan, 0, x))
    y = decode.decode_block(payload, 0, plan.coding, plan.bank)
    for w in range(6):
        part = slice(2500 * w, 2500 * (w + 1))
        error = np.sqrt(((y[part] - x[part]) ** 2).mean(axis=0)) / x[part].std(axis=0)
        assert (error <= 0.05).all()
    records = decode.read_records(payload, 0, plan.coding, plan.bank)
    repeated = np.flatnonzero(np.diff(records.index) == 0) + 1
    assert len(repeated) > 50
    assert all(records.kernel_uid[records.kernel[i]].startswith(COMPONENT) for i in repeated)
    if refined.n_leading == 1:
        assert (records.fiducial[repeated] == records.fiducial[repeated - 1]).all()


def test_phi_and_leading_kernels_do_not_know_of_components(alone: KernelChoice, refined: KernelChoice) -> None:
    assert refined.leading().kernels == alone.kernels
    assert alone.n_leading == len(alone.kernels)
    rate = signal(0).rate
    for row in (0, 1):
        with_them, without = taps_for(refined, row, BANK, rate), taps_for(alone, row, BANK, rate)
        assert with_them is not None
        assert without is not None
        assert np.array_equal(with_them, without)
    again = unpack_kernels(pack_kernels(refined), 2)
    assert again is not None
    assert again.n_leading == refined.n_leading


def test_only_components_count_as_components(refined: KernelChoice) -> None:
    """Kernels that earlier versions learned may have an id that begins alike."""
    rng, bank = np.random.default_rng(0), replace(BANK, kernels=())
    found = [lineage(rng.integers(-9, 9, (1, 8)).astype(np.int16), bank, signal(0).rate, set()) for _ in range(2000)]
    assert not any(uid.startswith(COMPONENT) for uid in found)
    assert len(set(found)) == 2000
    named = tuple(replace(k, uid=COMPONENT + k.uid[2:]) for k in BANK.kernels)
    assert not any(map(is_component, named))
    assert KernelChoice(named, np.array([0])).n_leading == len(named)
    assert list(map(is_component, refined.kernels)) == [False] * refined.n_leading + [True] * 3
    assert KernelChoice(refined.kernels[-1:], refined.shifts).n_leading == 1


def test_what_is_left_anyway_is_noise_or_the_bound(samples: IntSamples) -> None:
    found, present = signal(0, restless=False), np.ones(len(samples), np.bool_)

    def errors(quality: str, x: IntSamples = samples, there: npt.NDArray[np.bool_] = present) -> Floats:
        return errors_anyway(x, there, qualities(found, quality), found.rate)

    deviation = np.median(samples.reshape(-1, 2500, 2).std(axis=1), axis=0)
    assert errors("prdn=9") == pytest.approx(0.09 * deviation, rel=0.01)
    assert (errors("lossless") < 0.95 * errors("prdn=9")).all()
    assert errors("lossless") == pytest.approx([2.0, 2.0], rel=0.5)
    holed, there = samples.copy(), present.copy()
    holed[::2000], there[::2000] = -32768, False
    assert errors("prdn=9", holed, there) == pytest.approx(errors("prdn=9"), rel=0.05)
    assert (errors("prdn=9", holed, ~present) > 0).all()


def test_lost_samples_and_loud_events_leave_components_as_they_are(
    samples: IntSamples, alone: KernelChoice, refined: KernelChoice
) -> None:
    spoilt, there = samples.copy(), np.ones(len(samples), np.bool_)
    spoilt[::4000], there[::4000] = -32768, False
    _, index, _ = match_quickly(samples.T.astype(np.float32), alone)
    for place in index[5:-5:8]:
        spoilt[place + 60 : place + 70] += 800
    choice = with_components(spoilt, there, alone, ERRORS, 3)
    assert choice is not None
    for c in (0, 1):
        old, new = (k.kernels[k.n_leading].taps[c].astype(float) for k in (refined, choice))
        assert abs(old @ new) > 0.9 * np.linalg.norm(old) * np.linalg.norm(new)


def test_a_dead_channel_has_no_components(samples: IntSamples) -> None:
    x = samples.copy()
    x[:, 1] = 7
    present = np.ones(len(x), np.bool_)
    alone = adapt(x, present, signal(0).rate, BANK, seconds=0.8, n_kernels=2, n_rounds=3, device="cpu")
    assert alone is not None
    choice = with_components(x, present, alone, np.array([2.0, 0.29]), 3)
    assert choice is not None
    assert all(k.taps[0].any() and not k.taps[1].any() for k in choice.kernels[choice.n_leading :])


def test_archives_take_components_where_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    found = signal(0, restless=False)
    x = found.samples(0, 1800)

    def coded(x: IntSamples) -> tuple[KernelChoice | None, float]:
        wanted = qualities(found, "prdn=9")
        plan = plan_segment(x, found.channels, wanted, found.rate, segment_id="0" * 16, effort="default", bank=BANK)
        return plan.kernels, sum(len(b) for b in encode_blocks(x, plan)) + 4 / 3 * len(plan.coding.bank_delta)

    kernels, size = coded(x)
    assert kernels is not None
    assert kernels.n_leading < len(kernels.kernels)
    beat = x[1000:1200]
    same = np.tile(beat, (1500, 1)) + np.random.default_rng(0).integers(-1, 2, (300_000, 2))
    kernels, _ = coded(same.astype(np.int32))
    assert kernels is None or kernels.n_leading == len(kernels.kernels)
    monkeypatch.setattr(encode_quick, "with_components", lambda *_: None)
    assert size < 0.97 * coded(x)[1]


def test_a_component_goes_with_its_activation(
    samples: IntSamples, refined: KernelChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, dropped = planned(samples, refined), []

    def only_components(*arguments: object) -> None:
        kernel, keep = arguments[3], arguments[-1]
        keep[:] = 1  # type: ignore[index]
        leads = np.flatnonzero(kernel < refined.n_leading)[::2]  # type: ignore[operator]
        keep[leads] = 0  # type: ignore[index]
        dropped.append(len(leads))

    monkeypatch.setattr(encode_activations, "choose_activations", only_components)
    records = decode.read_records(encode_part(Part(plan, 0, samples[:15_000])), 0, plan.coding, plan.bank)
    assert dropped[0] > 20
    for i in np.flatnonzero(records.kernel >= refined.n_leading):
        assert records.index[i] == records.index[i - 1]


def test_too_few_events_teach_no_component(samples: IntSamples, alone: KernelChoice) -> None:
    short = samples[:2500]
    assert with_components(short, np.ones(len(short), np.bool_), alone, ERRORS, 2) is None
    nothing = np.zeros(len(samples), np.bool_)
    assert with_components(samples, nothing, alone, ERRORS, 2) is None
    many = replace(alone, kernels=alone.kernels * 16)
    many = replace(many, kernels=many.kernels[:16])
    assert with_components(samples, ~nothing, many, ERRORS, 2) is None


def test_components_that_save_nothing_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def junk(samples: IntSamples, present: object, choice: KernelChoice, errors: object, n: int) -> KernelChoice:
        taps = np.random.default_rng(n).integers(-99, 99, choice.kernels[0].taps.shape).astype(np.int16)
        return replace(choice, kernels=(*choice.kernels, Kernel(kernel_id(taps, component=True), taps, 0)))

    monkeypatch.setattr(retrain, "with_components", junk)
    found = signal(0, restless=False)
    case = Case(stretches(found, 0, 6), found.channels, found.rate, qualities(found, "prdn=9"), "fast", BANK)
    decision = challenge(case, seconds=(0.8,))
    assert decision.learned is not None
    assert decision.learned.n_leading == len(decision.learned.kernels)


def test_retraining_takes_components_where_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    found = signal(0, restless=False)
    case = Case(stretches(found, 0, 6), found.channels, found.rate, qualities(found, "prdn=9"), "fast", BANK)
    decision = challenge(case, seconds=(0.8,))
    assert decision.learned is not None
    assert decision.learned.n_leading < len(decision.learned.kernels)
    plan = planned(case.stretches[0].samples, decision.learned, "prdn=9")
    again = replace(case, kernels=plan.kernels, delta=plan.coding.bank_delta)
    started: list[Kernel] = []

    def spied(*arguments: Any, **others: Any) -> KernelChoice | None:
        started.extend(arguments[3].kernels)
        return adapt(*arguments, **others)

    monkeypatch.setattr(retrain, "adapt", spied)
    later = challenge(replace(again, stretches=stretches(found, 3000, 6)), seconds=(0.8,))
    assert started
    assert not any(k.uid.startswith(COMPONENT) for k in started)
    assert (later.adopt, later.reason) == (False, "saves too little")
    assert later.learned is not None
    n = later.learned.n_leading
    assert {k.uid for k in later.learned.kernels[:n]} & {k.uid for k in decision.learned.kernels}


def test_the_viewer_marks_an_event_once(
    samples: IntSamples, refined: KernelChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(samples, refined)
    last = len(refined.kernels) - 1
    kinds = [last, 0, last - 1, last, 0]
    rows = {
        "segment": ["s"] * 5, "kernel": kinds, "sample": [20, 100, 100, 100, 300],
        "kernel_uid": [refined.kernels[k].uid for k in kinds], "amplitude": [[1.0, -2.0]] * 5,
    }  # fmt: skip
    reader = SimpleNamespace(
        rate=250, records=lambda *_, **__: pa.table(rows), coding=lambda _: plan.coding, bank=lambda _: plan.bank,
        segments_between=lambda *_: [SimpleNamespace(name="s", flags=())],
    )  # fmt: skip
    found = activations_of(reader, 0, 1000)  # type: ignore[arg-type]
    fiducial = refined.kernels[0].fiducial
    assert found["sample"] == [100 + fiducial, 300 + fiducial]  # the first refines one before the stretch
    monkeypatch.setattr("sanstream.view.kernels.MOST", 2)
    assert activations_of(reader, 0, 1000)["sample"] == found["sample"]  # type: ignore[arg-type]
    monkeypatch.setattr("sanstream.view.kernels.MOST", 1)
    assert activations_of(reader, 0, 1000)["too_many"]  # type: ignore[arg-type]
