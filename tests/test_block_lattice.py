"""Channels that use few of their integers are coded by the values' places (FORMAT.md clause 3.4)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanstream.block_coding import SegmentCoding
from sanstream.block_lattice import find_lattice, find_lattices, listed_values, on_lattices, places, values_at
from sanstream.decode import decode_block
from sanstream.encode import encode_blocks, plan_segment
from sanstream.errors import InputError
from sanstream.quality import choose_qualities
from sanstream.signal import Channel

CHANNEL = Channel("EMG", -32768, 32767)


def walk(n: int, seed: int = 0) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).integers(-4, 5, n)).astype(np.int64)


@given(st.integers(2, 400), st.integers(1, 16), st.integers(-(10**6), 10**6), st.integers(0, 99))
def test_a_scaled_signal_lies_on_its_lattice(numerator: int, denominator: int, offset: int, seed: int) -> None:
    k = walk(2000, seed)
    x = (k * numerator) // denominator + offset
    lattice = find_lattice(x)
    if numerator >= 2 * denominator:
        assert isinstance(lattice, tuple)
        assert lattice[0] >> 32 >= numerator // denominator - 1
    if lattice is not None:
        assert (values_at(places(x, lattice), lattice) == x).all()


def test_few_values_without_a_step_are_listed() -> None:
    rng = np.random.default_rng(1)
    used = np.sort(rng.choice(20_000, 300, replace=False)) - 9000
    x = used[rng.integers(0, 300, 50_000)]
    lattice = find_lattice(x)
    assert isinstance(lattice, str)
    assert (listed_values(lattice) == np.unique(x)).all()
    assert (values_at(places(x, lattice), lattice) == x).all()


@pytest.mark.parametrize("x", [walk(1000), np.arange(5) * 100, np.zeros(9, np.int64), walk(500) * 3 // 2])
def test_where_nothing_is_saved_there_is_no_lattice(x: np.ndarray) -> None:
    assert find_lattice(x) is None


def test_a_missing_code_among_the_places_rules_a_lattice_out() -> None:
    x = (walk(900) * 5).astype(np.int32)[:, None]
    x[7] = 3
    assert find_lattices(x, [3], [True]) == ()
    assert find_lattices(x, [-32768], [False]) == ()


@pytest.mark.parametrize("gap", [False, True])
def test_a_lattice_makes_a_segment_smaller_and_changes_no_sample(gap: bool) -> None:
    x = np.stack([(walk(4000) * 50) // 3, walk(4000, 1)], axis=1).astype(np.int32)
    if gap:
        x[1000:1100, 0] = -32768
    channels = [Channel(label, -32768, 32767, missing=-32768) for label in "ab"]
    qualities = choose_qualities(["lossless"], channels)
    plan = plan_segment(x, channels, qualities, Fraction(500), segment_id="0" * 16, effort="default")
    assert plan.coding.lattices[1] is None
    payloads = list(encode_blocks(x, plan))
    coding = SegmentCoding.from_dict(plan.coding.to_dict())
    assert coding == plan.coding
    y = np.concatenate([decode_block(p, i, coding, plan.bank) for i, p in enumerate(payloads)])
    assert (y == x).all()
    assert coding.sample_range(0) == (x[x[:, 0] > -32768, 0].min(), x[:, 0].max())
    assert 8 * sum(map(len, payloads)) / x.size < 5  # a step of 50/3 alone would cost 4 bits more in one of two


@pytest.mark.parametrize("kind", ["left justified", "low rail", "both ends", "two values", "seven values"])
@pytest.mark.parametrize("effort", ["fast", "default"])
def test_extreme_and_few_values_come_back(kind: str, effort: str) -> None:
    k = walk(3000)
    x = {
        "left justified": np.where(np.arange(3000) % 50 == 0, -(2**31), k << 8),
        "low rail": -(2**31) + 7 * (k - k.min()),
        "both ends": np.where(k % 2 == 0, -(2**31), 2**31 - 1),
        "two values": np.where(np.arange(3000) // 500 % 2 == 0, -1000, 1000),
        "seven values": (np.arange(3000) // 100 * 5 % 7) * 4001,
    }[kind].astype(np.int32)[:, None]
    channel = Channel("x", -(2**31), 2**31 - 1)
    qualities = choose_qualities(["lossless"], [channel])
    plan = plan_segment(x, [channel], qualities, Fraction(100), segment_id="0" * 16, effort=effort)
    payloads = list(encode_blocks(x, plan))
    y = np.concatenate([decode_block(p, i, plan.coding, plan.bank) for i, p in enumerate(payloads)])
    assert (y == x).all()
    if kind in ("two values", "seven values"):
        assert 8 * sum(map(len, payloads)) / x.size < 0.8


def test_an_allowance_under_the_step_of_a_lattice_costs_no_more_than_none() -> None:
    x = ((walk(6000) * 50) // 3).astype(np.int32)[:, None]
    sizes = []
    for request in ("lossless", "max-error=3adu"):
        qualities = choose_qualities([request], [CHANNEL])
        plan = plan_segment(x, [CHANNEL], qualities, Fraction(500), segment_id="0" * 16, effort="default")
        sizes.append(sum(map(len, encode_blocks(x, plan))))
    assert sizes[1] == sizes[0]


def test_on_lattices_leaves_other_channels_alone() -> None:
    x = np.stack([walk(900) * 9, walk(900)], axis=1).astype(np.int32)
    out = on_lattices(x, find_lattices(x, [None, None], [True, True]), [None, None])
    assert (out[:, 1] == x[:, 1]).all()
    assert out[:, 0].min() == 0


@pytest.mark.parametrize("text", ["no base64!", "AAAA", ""])
def test_a_list_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="a list of"):
        listed_values(text)


@pytest.mark.parametrize(
    ("lattice", "said"), [([1, 0], "step 1"), ([1 << 40, 1 << 64], "leave 64 bits"), ("AAAA", "list of")]
)
def test_a_coding_with_an_impossible_lattice_is_refused(lattice: object, said: str) -> None:
    x = (walk(600) * 5).astype(np.int32)[:, None]
    plan = plan_segment(
        x, [CHANNEL], choose_qualities(["lossless"], [CHANNEL]), Fraction(100), segment_id="0" * 16, effort="fast"
    )
    data = plan.coding.to_dict() | {"lattices": [lattice]}
    with pytest.raises(InputError, match=said):
        SegmentCoding.from_dict(data)
