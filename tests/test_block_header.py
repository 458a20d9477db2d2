"""Clause 4: the block header, its varints, gap lists and limits."""

from __future__ import annotations

from fractions import Fraction

import pytest
from codec_cases import SEGMENT, sealed
from hypothesis import given
from hypothesis import strategies as st

from sanstream.block import Gaps, read_block, write_block
from sanstream.block_coding import Group, SegmentCoding
from sanstream.errors import CorruptError

BANK = "0" * 64


def coding_of(n_channels: int = 3, *, n_groups: int = 1, window: int = 100, block: int = 1000) -> SegmentCoding:
    step = -(-n_channels // n_groups)
    groups = tuple(
        Group(tuple(range(a, min(n_channels, a + step))), -1 if a == 0 else 0) for a in range(0, n_channels, step)
    )
    return SegmentCoding(
        SEGMENT,
        Fraction(250),
        (-100,) * n_channels,
        (100,) * n_channels,
        (-1,) * n_channels,
        window,
        block,
        groups,
        BANK,
    )


@st.composite
def gap_lists(draw: st.DrawFn) -> tuple[int, Gaps]:
    n = draw(st.integers(1, 1000))
    channels: list[tuple[tuple[int, int], ...]] = []
    for _ in range(3):
        if channels and draw(st.booleans()):
            channels.append(channels[-1])
            continue
        edges = sorted(draw(st.lists(st.integers(0, n), max_size=12, unique=True)))
        channels.append(tuple((a, b - a) for a, b in zip(edges[::2], edges[1::2], strict=False)))
    return n, tuple(channels) if any(channels) else ()


@given(gap_lists(), st.lists(st.binary(max_size=300), min_size=3, max_size=3), st.integers(0, 2**40))
def test_clause_4_a_header_gives_back_what_was_written(case: tuple[int, Gaps], runs: list[bytes], number: int) -> None:
    n, gaps = case
    coding = coding_of(n_groups=3)
    payload = write_block(number, coding, n, gaps, runs)
    parts = read_block(payload, number, coding)
    assert (parts.n_samples, parts.gaps) == (n, gaps)
    assert [payload[a:b] for a, b in parts.runs] == runs


def test_clause_4_a_full_block_of_one_group_has_six_bytes_of_header() -> None:
    assert len(write_block(0, coding_of(), 1000, (), [b"run"])) == 6 + 3


BAD = {
    "reserved flag": b"\x04\x05",
    "another number": b"\x00\x06",
    "no samples": b"\x01\x05\x00",
    "more samples than a block": b"\x01\x05\xe9\x07",
    "a number that never ends": b"\x01\x05" + b"\xff" * 9,
    "a number in more bytes than it needs": b"\x01\x05\x81\x00",
    "first channel's gaps like none": b"\x02\x05\x01\x00\x00",
    "gap past the end": b"\x03\x05\x0a\x02\x08\x02\x00\x00",
    "more gaps than samples": b"\x03\x05\x0a\x0c\x00\x00",
    "gap list cut": b"\x03\x05\x0a\x03\x01",
    "empty": b"",
    "half": b"\x00",
}


@pytest.mark.parametrize("what", BAD)
def test_clause_4_what_a_header_may_not_say(what: str) -> None:
    with pytest.raises(CorruptError, match=f"segment {SEGMENT}, block 5"):
        read_block(sealed(BAD[what], 5, coding_of()), 5, coding_of())


def test_clause_4_groups_may_not_be_longer_than_the_block() -> None:
    with pytest.raises(CorruptError, match="longer than the block"):
        read_block(sealed(b"\x00\x05\x0a\x0a" + b"x" * 19, 5, coding_of(n_groups=3)), 5, coding_of(n_groups=3))


def test_clause_4_a_gap_in_a_channel_without_a_missing_code_is_corrupt() -> None:
    from dataclasses import replace

    from sanstream.bank import blank_bank
    from sanstream.decode import decode_block

    coding = replace(coding_of(1), missing=(None,), bank_base=blank_bank().id)
    payload = write_block(0, coding, 10, (((2, 3),),), [b""])
    with pytest.raises(CorruptError, match="block 0: channel 0 has gaps but no missing code"):
        decode_block(payload, 0, coding, blank_bank())
