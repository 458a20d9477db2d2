"""Signals that break codecs: constant, clipped, single, gappy, full-range, missing codes where samples live."""

from __future__ import annotations

import numpy as np
import pytest
from codec_cases import QUALITIES, Samples, channels_for, check, code, ecg, eeg, noise

from sanstream.quality import MAX_ERROR, RMSE, Quality
from sanstream.signal import TRIGGER

every_quality = pytest.mark.parametrize("quality", QUALITIES)


def flat_parts() -> Samples:
    x = ecg(30, leads=2)
    x[:1000, 0] = 7
    x[1000:2000] = -5
    return x


SIGNALS = {
    "zeros": np.zeros((1200, 2), np.int32),
    "constant": np.full((1200, 1), 123, np.int32),
    "flat parts": flat_parts(),
    "one step": np.repeat([0, 0, 1, 1], 300)[:, None],
    "clipped": np.clip(ecg(15) * 30 - 29000, -2000, 2000),
    "impulse": (np.arange(1300) == 700)[:, None] * 30000,
    "extremes": np.tile([-(2**15), 2**15 - 1], 300)[:, None],
    "binary": noise(700, bits=1) + 1,
    "ramp": (np.arange(1400) * 40 - 28000)[:, None],
}


@every_quality
@pytest.mark.parametrize("signal", SIGNALS)
def test_degenerate_signals_round_trip(signal: str, quality: str) -> None:
    check(code(SIGNALS[signal], QUALITIES[quality], effort="default"))


@every_quality
@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 17, 499, 500, 501, 1001])
def test_any_length_round_trips(n: int, quality: str) -> None:
    check(code(ecg(21)[:n], QUALITIES[quality], effort="default"))


@every_quality
@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_full_range_noise_round_trips(bits: int, quality: str) -> None:
    x = noise(600, bits=bits, channels=2, seed=bits)
    limits = channels_for(x, low=-(2 ** (bits - 1)), high=2 ** (bits - 1) - 1)
    for asked in (QUALITIES[quality], Quality(RMSE, 2.0**bits / 300), Quality(MAX_ERROR, float(2**bits // 500 + 1))):
        check(code(x, asked, effort="default", channels=limits))


@every_quality
@pytest.mark.parametrize("missing", [-32768, -(2**20), 0, 1024])
def test_missing_samples_are_exact_and_never_invented(missing: int, quality: str) -> None:
    # 0 and 1024 lie among the samples: lossy decoding must step off them
    x = ecg(30, leads=3)
    x[x == missing] += 1
    x[0:50, 0] = missing
    x[990:1010] = missing
    x[1500:1501, 1] = missing
    x[2000:3000, 2] = missing
    check(code(x, QUALITIES[quality], effort="default", rate=100, channels=channels_for(x, missing=missing)))


@every_quality
def test_windows_and_blocks_of_nothing_but_missing_samples(quality: str) -> None:
    x = np.full((1500, 2), -999, np.int32)
    x[700:800, 1] = ecg(1)[:, 0]
    check(code(x, QUALITIES[quality], channels=channels_for(x, missing=-999)))
    check(code(x[:600], QUALITIES[quality], channels=channels_for(x, missing=-999)))


@pytest.mark.parametrize("quality", ["prdn9", "sparse"])
def test_alternating_missing_samples(quality: str) -> None:
    x = ecg(12)
    x[::2] = -1
    check(code(x, QUALITIES[quality], channels=channels_for(x, missing=-1)))


@every_quality
def test_trigger_channels_are_lossless_in_every_mode(quality: str) -> None:
    x = np.concatenate([eeg(25, channels=2), np.zeros((1600, 1), np.int32)], axis=1)
    x[::97, 2] = 9
    x[1300:, 2] = 2
    coded = code(
        x, QUALITIES[quality], effort="default", rate=64, channels=channels_for(x, kinds=["signal", "signal", TRIGGER])
    )
    assert (check(coded)[:, 2] == x[:, 2]).all()


@pytest.mark.parametrize("quality", ["lossless", "prdn9"])
@pytest.mark.parametrize("n_channels", [1, 12, 64])
def test_a_subset_of_channels_equals_the_whole(n_channels: int, quality: str) -> None:
    coded = code(eeg(6, channels=n_channels), QUALITIES[quality], effort="default", rate=64)
    y = check(coded)
    for channels in ([0], [n_channels - 1], list(range(n_channels))[::-3], [n_channels // 2, 0]):
        assert (coded.decoded(channels) == y[:, channels]).all()


def test_channels_may_have_ranges_and_missing_codes_of_their_own() -> None:
    x = np.stack([noise(600, bits=8)[:, 0], noise(600, bits=16)[:, 0], noise(600, bits=24)[:, 0]], axis=1)
    x[100:200, 0] = -128
    channels = tuple(
        channels_for(x[:, :1], low=-(2**b), high=2**b - 1, missing=m)[0] for b, m in ((7, -128), (15, None), (23, 5))
    )
    for quality in QUALITIES.values():
        check(code(x, quality, effort="default", channels=channels))
