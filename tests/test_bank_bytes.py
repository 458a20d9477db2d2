"""Clause 6: banks and their deltas survive a round trip, and damaged ones are refused, never misread."""

from __future__ import annotations

import json
import lzma
import struct
from dataclasses import replace

import numpy as np
import pytest
from codec_cases import code, ecg
from hypothesis import given, settings
from hypothesis import strategies as st

from sanstream._loops_models import N_SLOTS, N_WEIGHTS
from sanstream.bank import Kernel, read_bank, write_bank
from sanstream.bank_delta import Delta, read_delta, write_delta
from sanstream.decode import decode_block, read_figures, read_records
from sanstream.errors import CorruptError, UnsupportedError

KERNELS = (
    Kernel("00000001", np.arange(-20, 20, dtype=np.int16)[None], 7),
    Kernel("ffffffff", np.full((1, 3), -32768, np.int16), 0),
)
SMALL = write_bank("small", KERNELS, 250.0, None, "for tests")


def test_clause_6_a_bank_gives_back_its_kernels() -> None:
    bank = read_bank(SMALL)
    assert (bank.name, bank.rate_hz, bank.kernel_uids) == ("small", 250.0, ("00000001", "ffffffff"))
    for kernel, original in zip(bank.kernels, KERNELS, strict=True):
        assert (kernel.taps == original.taps).all()
        assert kernel.fiducial == original.fiducial


def test_clause_6_every_bit_flip_and_truncation_of_a_bank_is_refused_or_has_another_hash() -> None:
    own = read_bank(SMALL).id
    for bit in range(8 * len(SMALL)):
        changed = bytearray(SMALL)
        changed[bit // 8] ^= 1 << (bit % 8)
        try:
            found = read_bank(bytes(changed)).id
        except (CorruptError, UnsupportedError):
            continue
        assert found != own
    for n in range(len(SMALL)):
        with pytest.raises(CorruptError, match="bank"):
            read_bank(SMALL[:n])


def packed(head: object, rest: bytes = b"") -> bytes:
    text = json.dumps(head).encode()
    return b"SANB\x01\x00" + struct.pack("<I", len(text)) + text + rest


PRIORS = {"step": 132, "counts": [6, 30], "weight_shift": 9}
SOUND = {"name": "x", "rate_hz": 1.0, "notes": "", "priors": None, "kernels": []}
BAD = {
    "a list": packed([]),
    "no name": packed({k: v for k, v in SOUND.items() if k != "name"}),
    "kernel without taps": packed({**SOUND, "kernels": [{"uid": "0" * 8, "n_taps": 9, "fiducial": 0}]}),
    "kernel too long": packed({**SOUND, "kernels": [{"uid": "0" * 8, "n_taps": 5000, "fiducial": 0}]}, bytes(10000)),
    "models cut": packed({**SOUND, "priors": PRIORS}, bytes(1000)),
    "models and more": packed({**SOUND, "priors": PRIORS}, bytes(N_SLOTS + 2 * N_WEIGHTS + 1)),
    "a level without a count": packed({**SOUND, "priors": PRIORS}, b"\3" + bytes(N_SLOTS + 2 * N_WEIGHTS)),
    "bytes after the kernels": packed(SOUND, b"\0"),
    "priors of step 0": packed({**SOUND, "priors": {**PRIORS, "step": 0}}, bytes(N_SLOTS + 2 * N_WEIGHTS)),
    "counts that fall": packed({**SOUND, "priors": {**PRIORS, "counts": [30, 6]}}, bytes(N_SLOTS + 2 * N_WEIGHTS)),
    "a text longer than the file": b"SANB\x01\x00" + struct.pack("<I", 2**32 - 1) + json.dumps(SOUND).encode(),
    "a text longer than allowed": packed(SOUND | {"notes": "x" * 65536}),
    "a name that is none": packed({**SOUND, "name": {}}),
    "a name that cannot be printed": packed({**SOUND, "name": "\ud800"}),
    "no notes": packed({k: v for k, v in SOUND.items() if k != "notes"}),
    "rate not a number": packed({**SOUND, "rate_hz": float("nan")}),
    "rate below zero": packed({**SOUND, "rate_hz": -1}),
    "rate a text": packed({**SOUND, "rate_hz": "5"}),
    "uid of another kind": packed({**SOUND, "kernels": [{"uid": "zz", "n_taps": 1, "fiducial": 0}]}, bytes(2)),
    "no uid": packed({**SOUND, "kernels": [{"uid": None, "n_taps": 1, "fiducial": 0}]}, bytes(2)),
    "fiducial past the taps": packed({**SOUND, "kernels": [{"uid": "0" * 8, "n_taps": 1, "fiducial": 1}]}, bytes(2)),
    "fiducial below zero": packed({**SOUND, "kernels": [{"uid": "0" * 8, "n_taps": 1, "fiducial": -1}]}, bytes(2)),
    "taps of a fraction": packed({**SOUND, "kernels": [{"uid": "0" * 8, "n_taps": 1.9, "fiducial": 0}]}, bytes(2)),
    "too many kernels": packed({**SOUND, "kernels": [{"uid": "0" * 8, "n_taps": 1, "fiducial": 0}] * 17}, bytes(34)),
    "an endless fiducial": packed({**SOUND, "kernels": [{"uid": "0" * 8, "n_taps": 1, "fiducial": 1e999}]}, bytes(2)),
    "text that ends early": b"SANB\x01\x00\xff\x00\x00\x00{}",
    "unknown method": b"SANB\x01\x02" + SMALL[6:],
    "cut stream": b"SANB\x01\x01" + lzma.compress(SMALL[6:])[:-3],
    "bytes behind a stream": b"SANB\x01\x01" + lzma.compress(SMALL[6:]) + b"\0",
    "bytes behind": SMALL + b"\0",
    "a bomb": b"SANB\x01\x01" + lzma.compress(bytes(1 << 25)),
    "empty": b"",
}


@pytest.mark.parametrize(("version", "advice"), [(b"\x00", "train it anew"), (b"\x02", "newer sanstream")])
def test_clause_13_a_bank_of_another_version_is_refused_with_advice(version: bytes, advice: str) -> None:
    with pytest.raises(UnsupportedError, match=advice):
        read_bank(b"SANB" + version + SMALL[5:])


@pytest.mark.parametrize("what", BAD)
def test_clause_6_what_a_bank_may_not_say(what: str) -> None:
    with pytest.raises(CorruptError, match="bank"):
        read_bank(BAD[what])


@given(st.integers(1, 5), st.booleans(), st.data())
def test_clause_6_4_a_delta_gives_back_what_was_written(
    n_channels: int, with_weights: bool, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n_taps = data.draw(st.integers(1, 40))
    taps = rng.integers(-32768, 32768, (n_channels, n_taps)).astype(np.int16)
    kernels = (Kernel("89abcdef", taps, n_taps - 1),) if data.draw(st.booleans()) or not with_weights else ()
    weights = (rng.integers(-(2**15), 2**15, (n_channels, 5)) << 6) if with_weights else None
    ridges = rng.integers(0, 41, n_channels) if with_weights else None
    shifts = rng.integers(0, 31, n_channels) if kernels else None
    follow = data.draw(st.integers(0, 15)) if kernels else 0
    delta = Delta(False, kernels, shifts, follow, weights, ridges)
    found = read_delta(write_delta(delta, n_channels), n_channels)
    assert found.follow == follow
    assert [k.uid for k in found.kernels] == [k.uid for k in kernels]
    assert all(
        (f.taps == k.taps).all() and f.fiducial == k.fiducial for f, k in zip(found.kernels, kernels, strict=True)
    )
    for a, b in ((found.shifts, shifts), (found.weights, weights), (found.ridges, ridges)):
        assert (a is None and b is None) or (a == b).all()  # type: ignore[union-attr]


CODED = code(ecg(12, leads=2), effort="fast", rate=100)


@settings(max_examples=120)
@given(st.binary(min_size=1, max_size=200))
def test_clause_6_4_any_delta_decodes_in_range_or_names_segment_and_block(delta: bytes) -> None:
    coding = replace(CODED.coding, bank_delta=delta)
    for reader in (decode_block, read_figures, read_records):
        try:
            found = reader(CODED.blocks[0], 0, coding, CODED.bank)
        except CorruptError as error:
            text = str(error)
        else:
            text = f"{coding.segment_id}, block 0"
            if reader is decode_block:
                assert found.min() >= -(2**15)
                assert found.max() < 2**15
        assert f"{coding.segment_id}, block 0" in text
