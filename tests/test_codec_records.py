"""Records and figures: what happened, when and how strongly, read without decoding samples."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from codec_cases import QUALITIES, channels_for, check, code, ecg

from sanstream import decode, encode, simulate
from sanstream.bank import Kernel, blank_bank
from sanstream.bank_delta import Delta, write_delta
from sanstream.block_coding import Group, SegmentCoding
from sanstream.encode_kernels import KernelChoice
from sanstream.group_state import kernel_shapes
from sanstream.quality import Quality, choose_qualities


def known_events(amplitudes: np.ndarray, places: np.ndarray, n: int) -> tuple[np.ndarray, encode.Plan]:
    """A signal made of one known kernel at known places, and a plan that knows the kernel."""
    t = np.arange(40)
    shape = (512 * np.exp(-(((t - 15) / 4.0) ** 2)) - 200 * np.exp(-(((t - 26) / 5.0) ** 2))).round()
    kernel = Kernel("00c0ffee", shape[None].astype(np.int16), 15)
    x = np.zeros(n)
    for amplitude, place in zip(amplitudes, places, strict=True):
        for j in range(40):
            if 0 <= place + j < n:
                x[place + j] += amplitude * shape[j] * 2.0 / 2048 * 64
    x = x.round()[:, None].astype(np.int32)
    delta = write_delta(Delta(kernels=(kernel,), shifts=np.array([7])), 1)
    coding = SegmentCoding(
        "f" * 16, 50, (-32768,), (32767,), (None,), 500, 1000, (Group((0,)),), blank_bank().id, delta
    )  # fmt: skip
    plan = encode.plan_segment(
        x, channels_for(x), (Quality("prdn", 5.0),), coding.rate, segment_id="f" * 16, effort="fast", bank=blank_bank()
    )
    return x, replace(plan, coding=coding, kernels=KernelChoice((kernel,), np.array([7])))


def test_records_give_index_amplitude_and_fiducial_of_known_events() -> None:
    places = np.array([-10, 100, 260, 480, 700, 985])
    amplitudes = np.array([1.0, 2.0, 1.5, -2.0, 1.0, 2.0])
    x, plan = known_events(amplitudes, places, 1000)
    (payload,) = encode.encode_blocks(x, plan)
    records = decode.read_records(payload, 0, plan.coding, plan.bank)
    assert records.kernel_uid == ["00c0ffee"]
    near = [int(np.abs(records.index - place).argmin()) for place in places[1:5]]
    assert (np.abs(records.index[near] - places[1:5]) <= 1).all()
    assert np.allclose(records.amplitude[near, 0], amplitudes[1:5], atol=0.25)
    assert (records.fiducial == records.index + 15).all()
    assert (np.diff(records.index) >= 0).all()
    assert (records.kernel == 0).all()
    figures = decode.read_figures(payload, 0, plan.coding, plan.bank)
    assert figures.n_activations.sum() == len(records.index)


@pytest.mark.parametrize("effort", ["default", "thorough"])
def test_activations_fire_on_an_ecg(effort: str) -> None:
    coded = code(ecg(60, rate=125, leads=2), QUALITIES["prdn9"], effort=effort, rate=125)
    check(coded)
    records = [decode.read_records(p, i, coded.coding, coded.bank) for i, p in enumerate(coded.blocks)]
    assert sum(len(r.index) for r in records) >= 30
    assert all(r.amplitude.shape == (len(r.index), 2) for r in records)


def test_sparse_keeps_records_only() -> None:
    coded = code(ecg(40, rate=125), QUALITIES["sparse"], effort="default", rate=125)
    check(coded)
    exact = code(ecg(40, rate=125), QUALITIES["lossless"], effort="default", rate=125)
    assert sum(map(len, coded.blocks)) < 0.2 * sum(map(len, exact.blocks))


def test_a_block_without_kernels_has_no_records() -> None:
    coded = code(ecg(12))
    records = decode.read_records(coded.blocks[0], 0, coded.coding, coded.bank)
    assert len(records.index) == len(records.kernel) == 0
    assert records.amplitude.shape == (0, 1)
    assert records.kernel_uid == []


@pytest.mark.parametrize("code_number", [0, 1, 32, 33, 254, 255])
def test_clause_10_figures_rise_with_their_codes(code_number: int) -> None:
    codes = np.array([max(0, code_number - 1), code_number])
    assert np.diff(decode.rmse_of_code(codes))[0] >= 0
    assert np.diff(decode.maximum_of_code(codes))[0] >= 0


def test_records_and_kernels_alone_explain_most_of_an_ecg() -> None:
    """Amplitude times kernel, in digital steps, is the SAN layer: it leaves a fraction of the beats' energy."""
    segment = simulate.simulate_ecg(120, seed=3, ectopic=0.0).streams[0].segments[0]
    qualities = choose_qualities(["prdn=9"], segment.channels)
    plan = encode.plan_segment(segment.samples, segment.channels, qualities, Fraction(360), segment_id="5" * 16)
    size = plan.coding.block_samples
    for channel in range(2):
        shapes = kernel_shapes(plan.coding, plan.bank, channel)
        left = total = 0.0
        for number, payload in enumerate(encode.encode_blocks(segment.samples, plan)):
            x = segment.samples[number * size : (number + 1) * size, channel].astype(float)
            found = decode.read_records(payload, number, plan.coding, plan.bank)
            san = np.zeros(len(x) + 2 * 4096)
            for kernel, index, amplitude in zip(found.kernel, found.index, found.amplitude[:, channel], strict=True):
                san[index + 4096 : index + 4096 + len(shapes[kernel])] += amplitude * shapes[kernel]
            rest = np.diff(x) - np.diff(san[4096 : 4096 + len(x)])
            left, total = left + float(rest @ rest), total + float(np.diff(x) @ np.diff(x))
        assert left < 0.35 * total
