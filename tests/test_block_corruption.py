"""Clause 13: a changed, cut or misplaced block is an error that names segment and block, never wrong samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from codec_cases import QUALITIES, SEGMENT, Coded, channels_for, code, ecg, eeg, noise, sealed
from hypothesis import given, settings
from hypothesis import strategies as st

from sanstream import decode
from sanstream.block import read_block
from sanstream.block_coding import Group, PredictorShape
from sanstream.errors import CorruptError

NAMED = rf"segment {SEGMENT}, block 3"
READERS = (decode.decode_block, decode.read_figures, decode.read_records)


def gappy() -> Coded:
    x = ecg(20, leads=2)
    x[100:300, 0] = x[1500:1700] = -5
    return code(x, QUALITIES["prdn5"], rate=100, channels=channels_for(x, missing=-5))


CODED = {
    "lossless": code(ecg(3, leads=2), rate=100),
    "prdn9": code(ecg(25, leads=2), QUALITIES["prdn9"], rate=100),
    "max-error": code(ecg(8, leads=2), QUALITIES["max-error"], effort="default", rate=100),
    "gaps": gappy(),
    "groups": code(eeg(2, channels=18), QUALITIES["prdn9"], rate=64),
    "sparse": code(ecg(20), QUALITIES["sparse"], rate=100),
}
each_block = pytest.mark.parametrize("name", CODED)


def renumbered(coded: Coded) -> bytes:
    """The first block as if it were block 3."""
    body = bytearray(coded.blocks[0][4:])
    body[1] = 3
    return sealed(bytes(body), 3, coded.coding)


def refused(payload: bytes, coded: Coded, number: int = 3) -> None:
    with pytest.raises(CorruptError, match=rf"segment {SEGMENT}, block {number}"):
        read_block(payload, number, coded.coding)


@each_block
def test_every_bit_flip_is_refused(name: str) -> None:
    coded = CODED[name]
    payload = renumbered(coded)
    decode.decode_block(payload, 3, coded.coding, coded.bank)
    step = 1 if len(payload) <= 4096 else 97
    for bit in range(0, 8 * len(payload), step):
        changed = bytearray(payload)
        changed[bit // 8] ^= 1 << (bit % 8)
        refused(bytes(changed), coded)


@each_block
def test_every_truncation_and_extension_is_refused(name: str) -> None:
    coded = CODED[name]
    payload = renumbered(coded)
    step = 1 if len(payload) <= 4096 else 13
    for n in range(0, len(payload), step):
        refused(payload[:n], coded)
    refused(payload + b"\0", coded)


@each_block
@pytest.mark.parametrize("reader", READERS, ids=lambda f: f.__name__)
def test_every_reader_names_segment_and_block(name: str, reader: object) -> None:
    coded = CODED[name]
    payload = bytearray(renumbered(coded))
    payload[-1] ^= 1
    with pytest.raises(CorruptError, match=NAMED):
        reader(bytes(payload), 3, coded.coding, coded.bank)  # type: ignore[operator]


def test_a_block_of_another_place_or_segment_is_refused() -> None:
    coded = CODED["lossless"]
    payload = renumbered(coded)
    refused(payload, coded, 4)
    refused(payload, coded, 259)  # the same low byte
    refused(sealed(payload[4:], 3, replace(coded.coding, segment_id="f" * 16)), coded)


@each_block
@settings(max_examples=250)
@given(data=st.data())
def test_any_body_with_the_right_checksum_gives_values_in_range_or_an_error(name: str, data: st.DataObject) -> None:
    coded = CODED[name]
    original = renumbered(coded)[4:]
    body = bytearray(original)
    cut = data.draw(st.integers(2, len(body)))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(2, len(body) - 1))] = data.draw(st.integers(0, 255))
    kind = data.draw(st.sampled_from(["change", "cut", "replace"]))
    if kind == "cut":
        body = body[:cut]
    elif kind == "replace":
        body[cut:] = data.draw(st.binary(max_size=400))
    assert_sound(coded, sealed(bytes(body), 3, coded.coding))


@settings(max_examples=600)
@given(name=st.sampled_from(sorted(CODED)), body=st.binary(max_size=120))
def test_random_bodies_with_the_right_checksum_never_crash(name: str, body: bytes) -> None:
    coded = CODED[name]
    assert_sound(coded, sealed(bytes([body[0] & 3 if body else 0, 3]) + body[1:], 3, coded.coding))


def named(error: CorruptError) -> None:
    assert f"segment {SEGMENT}, block 3" in str(error)


def assert_sound(coded: Coded, payload: bytes) -> None:
    """Assert that each reader gives values that the coding allows, or says what is wrong."""
    coding = coded.coding
    try:
        y = decode.decode_block(payload, 3, coding, coded.bank)
    except CorruptError as error:
        named(error)
    else:
        assert 1 <= len(y) <= coding.block_samples
        gaps = read_block(payload, 3, coding).gaps or ((),) * coding.n_channels
        for c in range(coding.n_channels):
            gone = np.zeros(len(y), bool)
            for start, length in gaps[c]:
                gone[start : start + length] = True
            assert (y[gone, c] == coding.missing[c]).all() if gone.any() else True
            assert (y[~gone, c] >= coding.digital_min[c]).all()
            assert (y[~gone, c] <= coding.digital_max[c]).all()
            assert coding.missing[c] is None or (y[~gone, c] != coding.missing[c]).all()
    for reader in READERS[1:]:
        try:
            reader(payload, 3, coding, coded.bank)
        except CorruptError as error:
            named(error)


@settings(max_examples=120)
@given(body=st.binary(max_size=300), bits=st.sampled_from([8, 16, 24, 32]))
def test_garbage_stays_in_range_at_every_width(body: bytes, bits: int) -> None:
    limits = {"low": -(2 ** (bits - 1)), "high": 2 ** (bits - 1) - 1, "missing": 0}
    x = noise(200, bits=bits)
    x[x == 0] = 1
    coded = code(x, effort="default", channels=channels_for(x, **limits))
    short = b"\xc8\x01"
    assert_sound(coded, sealed(b"\x01\x03" + short + body, 3, coded.coding))


@pytest.mark.parametrize("body", [b"", bytes(20), bytes(range(256)) * 4], ids=["empty", "zeros", "rising"])
def test_a_few_bytes_that_claim_the_largest_block_are_refused_quickly(body: bytes) -> None:
    n = 16
    references = tuple(tuple(r for r in range(n) if r != c)[:8] for c in range(n))
    coding = replace(
        CODED["lossless"].coding, digital_min=(-32768,) * n, digital_max=(32767,) * n, missing=(None,) * n,
        window_samples=2**16, block_samples=2**20, groups=(Group(tuple(range(n)), -1, references),),
        predictor=PredictorShape(15, 5, 8), bank_delta=b"",
    )  # fmt: skip
    with pytest.raises(CorruptError, match=NAMED):
        decode.decode_block(sealed(b"\x00\x03" + body, 3, coding), 3, coding, CODED["lossless"].bank)
