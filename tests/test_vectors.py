"""Clause 15: the golden blocks decode, everywhere and for ever, to the samples that they list."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest

from sanstream.bank import Bank, blank_bank, read_bank
from sanstream.block import read_block
from sanstream.block_coding import SegmentCoding
from sanstream.decode import decode_block, read_figures, read_records

FOLDER = Path(__file__).parent / "vectors"
NAMES = (
    "a_cross_weights a_long_window a_many_references a_wavelet b_long b_lossless b_references b_within_1 "
    "bank_priors c_corrections d_constant e_sparse gaps groups groups_kernels kernels kernels_follow "
    "kernels_lossless kernels_unequal lattices rails range_24_bit range_32_bit range_edges short t_constant "
    "t_corrections t_gaps t_groups t_groups_kernels t_kernels t_lattices t_lossless t_mixed_tools t_range_32_bit "
    "t_wavelet t_within_1 "
).split()
N_FIRST, FIRST = 38, "8331941e8e89f9a209c2e63345a11493178f998f2bc84caf1340ef22b7c12587"
"""The vectors that version 1 was frozen with."""
each_vector = pytest.mark.parametrize("name", NAMES)


def load(name: str) -> tuple[dict[str, Any], bytes, SegmentCoding, Bank]:
    """Read a vector; a missing one is a failure."""
    vector = json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii"))
    bank = blank_bank() if vector["bank"] == "blank" else read_bank((FOLDER / f"{vector['bank']}.sanbank").read_bytes())
    coding = SegmentCoding.from_dict(vector["coding"])
    assert bank.id == coding.bank_base
    return vector, bytes.fromhex(vector["payload"]), coding, bank


def test_the_vectors_are_these() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == NAMES


def test_clause_14_the_vectors_are_frozen() -> None:
    sums = dict(reversed(line.split("  ")) for line in (FOLDER / "SHA256SUMS").read_text().splitlines())
    files = [path for path in FOLDER.iterdir() if path.is_file() and path.name != "SHA256SUMS"]
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files} == sums
    # the list itself: lines may be added at its end, none may change
    first = "".join(line + "\n" for line in (FOLDER / "SHA256SUMS").read_text().splitlines()[:N_FIRST])
    assert hashlib.sha256(first.encode()).hexdigest() == FIRST


@each_vector
def test_a_vector_decodes_to_its_samples(name: str) -> None:
    vector, payload, coding, bank = load(name)
    y = decode_block(payload, vector["number"], coding, bank)
    assert y.shape == (vector["n_samples"], coding.n_channels)
    if vector["samples_by_channel"] is not None:
        assert y.T.tolist() == vector["samples_by_channel"]
    assert google_crc32c.value(y.astype("<i4").tobytes()) == vector["samples_crc32c"]


@each_vector
def test_a_vector_gives_its_figures_and_records(name: str) -> None:
    vector, payload, coding, bank = load(name)
    figures = read_figures(payload, vector["number"], coding, bank)
    assert np.allclose(figures.rmse_adu, vector["rmse_adu"], rtol=1e-12, atol=0)
    assert figures.max_error_adu.tolist() == vector["max_error_adu"]
    records = read_records(payload, vector["number"], coding, bank)
    assert [records.kernel_uid[k] for k in records.kernel] == vector["records"]["kernel_uid"]
    assert records.index.tolist() == vector["records"]["index"]
    assert records.fiducial.tolist() == vector["records"]["fiducial"]
    assert records.amplitude.tolist() == vector["records"]["amplitude"]


def decoded_plans(name: str) -> list[Any]:
    from sanstream.decode import _run

    vector, payload, coding, bank = load(name)
    parts = read_block(payload, vector["number"], coding)
    done: dict[int, Any] = {}
    for group in range(len(coding.groups)):
        done[group] = _run(payload, parts, coding, bank, group, 0, done)
    return [(run.plan, coding) for run in done.values()]


def test_the_vectors_hold_every_tool_and_feature() -> None:
    plans = [found for name in NAMES for found in decoded_plans(name)]
    tools = {int(t) for plan, _ in plans for t in np.unique(plan.tool)}
    assert tools == {0, 1, 2, 3, 4}
    assert any(plan.cross.any() for plan, _ in plans)
    assert any(plan.corrections.any() for plan, _ in plans)
    assert any((plan.delta > 0).any() for plan, _ in plans)
    assert any(plan.n_act[0] > 5 and len(set(plan.act_kernel[: plan.n_act[0]])) > 1 for plan, _ in plans)
    assert max(len(coding.groups) for _, coding in plans) == 4
