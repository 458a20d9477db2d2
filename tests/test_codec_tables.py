"""Clauses 16 to 18: what runs of coder tables promise beyond what all runs do."""

from __future__ import annotations

import numpy as np
import pytest
from codec_cases import QUALITIES, channels_for, check, code, ecg, eeg, noise, sealed

from sanstream import decode, encode_activations
from sanstream.block_coding import TABLES
from sanstream.errors import CorruptError

EFFORTS = ("fast", "default")


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_noise_of_the_full_range_costs_hardly_more_than_its_bits(effort: str, bits: int) -> None:
    x = noise(4000, bits=bits, channels=2)
    coded = code(x, effort=effort, channels=channels_for(x, low=-(2 ** (bits - 1)), high=2 ** (bits - 1) - 1))
    assert coded.coding.coder == TABLES
    check(coded)
    assert 8 * sum(map(len, coded.blocks)) < 1.03 * bits * x.size + 1000


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("quality", ["lossless", "prdn5", "max-error"])
def test_alternating_extremes_are_coded(effort: str, quality: str) -> None:
    x = np.full((3000, 2), -(2**31), np.int64)
    x[::2] = 2**31 - 1
    x[1000:2000, 1] = np.random.default_rng(1).choice([-(2**31), 0, 2**31 - 1], 1000)
    check(code(x, QUALITIES[quality], effort=effort, channels=channels_for(x, low=-(2**31), high=2**31 - 1)))


def test_a_block_that_loses_all_its_activations_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    coded = code(ecg(60, leads=2), effort="default", rate=100)
    assert any(figures.n_activations.any() for figures in map(coded_figures(coded), range(len(coded.blocks))))

    def none_kept(*arguments: object) -> None:
        arguments[-1][:] = 0  # type: ignore[index]

    monkeypatch.setattr(encode_activations, "choose_activations", none_kept)
    check(code(ecg(60, leads=2), effort="default", rate=100))


def coded_figures(coded):  # type: ignore[no-untyped-def]
    return lambda i: decode.read_figures(coded.blocks[i], i, coded.coding, coded.bank)


@pytest.mark.parametrize("effort", EFFORTS)
def test_every_window_may_be_of_another_kind(effort: str) -> None:
    x = np.concatenate([ecg(30, leads=2), np.full((700, 2), 5), eeg(20, channels=2), ecg(30, leads=2, seed=2) * 3])
    x[100:150, 0] = x[1900:3100, 1] = -9
    for quality in ("lossless", "prdn9", "rmse", "max-error"):
        check(code(x, QUALITIES[quality], effort=effort, rate=100, channels=channels_for(x, missing=-9)))


@pytest.mark.parametrize("change", [b"", b"\0\0", b"\1"], ids=["cut", "a word more", "a byte more"])
def test_clause_16_6_words_that_do_not_end_where_they_should_are_corrupt(change: bytes) -> None:
    coded = code(ecg(5), rate=100)
    body = coded.blocks[0][4:]
    changed = sealed(body + change if change else body[:-2], 0, coded.coding)
    with pytest.raises(CorruptError, match="words"):
        decode.decode_block(changed, 0, coded.coding, coded.bank)
