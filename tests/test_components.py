"""Components: kernels that refine the activation before them, learned from what kernels leave of events that vary."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from drift_cases import BANK, qualities, signal, stretches

from sanstream import decode
from sanstream.bank import COMPONENT, Kernel
from sanstream.drift_windows import taps_for
from sanstream.encode_components import with_components
from sanstream.encode_kernels import KernelChoice, adapt, lineage
from sanstream.encode_live import LiveStart, Part, encode_part, plan_live
from sanstream.encode_match import match_quickly
from sanstream.encode_plan import Plan
from sanstream.retrain import Case, challenge, coded_bytes
from sanstream.retrain_job import pack_kernels, unpack_kernels
from sanstream.signal import IntSamples
from sanstream.view.kernels import activations_of

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
    assert (records.fiducial[repeated] == records.fiducial[repeated - 1]).mean() > 0.9


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


def test_no_other_kernel_is_called_as_a_component_is() -> None:
    rng, bank = np.random.default_rng(0), replace(BANK, kernels=())
    found = [lineage(rng.integers(-9, 9, (1, 8)).astype(np.int16), bank, signal(0).rate, set()) for _ in range(2000)]
    assert not any(uid.startswith(COMPONENT) for uid in found)
    assert len(set(found)) == 2000
    only = KernelChoice((Kernel(COMPONENT + "c0ffee", np.ones((1, 8), np.int16), 3),), np.array([0]))
    assert only.n_leading == 1


def test_too_few_events_teach_no_component(samples: IntSamples, alone: KernelChoice) -> None:
    short = samples[:2500]
    assert with_components(short, np.ones(len(short), np.bool_), alone, ERRORS, 2) is None
    nothing = np.zeros(len(samples), np.bool_)
    assert with_components(samples, nothing, alone, ERRORS, 2) is None
    many = replace(alone, kernels=alone.kernels * 16)
    many = replace(many, kernels=many.kernels[:16])
    assert with_components(samples, ~nothing, many, ERRORS, 2) is None


def test_retraining_takes_components_where_they_pay() -> None:
    found = signal(0, restless=False)
    case = Case(stretches(found, 0, 6), found.channels, found.rate, qualities(found, "prdn=9"), "fast", BANK)
    decision = challenge(case, seconds=(0.8,))
    assert decision.learned is not None
    assert decision.learned.n_leading < len(decision.learned.kernels)
    plan = planned(case.stretches[0].samples, decision.learned, "prdn=9")
    again = replace(case, kernels=plan.kernels, delta=plan.coding.bank_delta)
    later = challenge(replace(again, stretches=stretches(found, 3000, 6)), seconds=(0.8,))
    assert (later.adopt, later.reason) == (False, "saves too little")
    assert later.learned is not None
    n = later.learned.n_leading
    assert {k.uid for k in later.learned.kernels[:n]} & {k.uid for k in decision.learned.kernels}


def test_the_viewer_marks_an_event_once(samples: IntSamples, refined: KernelChoice) -> None:
    plan = planned(samples, refined)
    kinds = [0, len(refined.kernels) - 1, 0, len(refined.kernels) - 1]
    rows = {
        "segment": ["s"] * 4, "kernel": kinds, "sample": [100, 100, 300, 500],
        "kernel_uid": [refined.kernels[k].uid for k in kinds], "amplitude": [[1.0, -2.0]] * 4,
    }  # fmt: skip
    reader = SimpleNamespace(
        rate=250, records=lambda *_, **__: pa.table(rows), coding=lambda _: plan.coding, bank=lambda _: plan.bank,
        segments_between=lambda *_: [SimpleNamespace(name="s", flags=())],
    )  # fmt: skip
    found = activations_of(reader, 0, 1000)  # type: ignore[arg-type]
    fiducial = refined.kernels[0].fiducial
    # one whose activation lies before the stretch stands for it
    assert found["sample"] == [100 + fiducial, 300 + fiducial, 500 + refined.kernels[-1].fiducial]
