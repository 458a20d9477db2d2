"""Every quality at every effort keeps its bound in every window; what is asked exactly is exact."""

from __future__ import annotations

import numpy as np
import pytest
from codec_cases import EFFORTS, QUALITIES, channels_for, check, code, ecg, eeg, noise

from sanstream import encode_run, encode_tables
from sanstream.errors import BoundError
from sanstream.quality import MAX_ERROR, PRDN, RMSE, Quality


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("source", ["ecg", "eeg"])
def test_every_quality_and_effort_keeps_its_bound(source: str, quality: str, effort: str) -> None:
    x = ecg(25, leads=2) if source == "ecg" else eeg(12)
    coded = code(x, QUALITIES[quality], effort=effort, rate=100 if source == "ecg" else 64)
    y = check(coded)
    if quality == "lossless":
        assert (y == x).all()


@pytest.mark.parametrize("quality", ["prdn5", "prdn9"])
def test_a_looser_bound_is_smaller_than_lossless(quality: str) -> None:
    x = ecg(60)
    lossy = code(x, QUALITIES[quality], effort="default", rate=100)
    exact = code(x, effort="default", rate=100)
    assert sum(map(len, lossy.blocks)) < 0.6 * sum(map(len, exact.blocks))


@pytest.mark.parametrize("effort", EFFORTS)
def test_qualities_may_differ_by_channel(effort: str) -> None:
    x = eeg(25, channels=6)
    qualities = list(QUALITIES.values())
    y = check(code(x, qualities, effort=effort, rate=64))
    assert (y[:, 0] == x[:, 0]).all()


@pytest.mark.parametrize("effort", EFFORTS)
def test_a_reference_whose_tool_differs_does_not_break_a_bound(effort: str) -> None:
    # the first channel suits prediction, the second the wavelet, and the second leans on the first
    rng = np.random.default_rng(2)
    walk = np.cumsum(rng.normal(0, 6, 1500))
    x = np.stack([walk, 20 * walk + rng.normal(0, 3, 1500), -7 * walk], axis=1).round()
    qualities = (Quality(RMSE, 1.0), Quality(RMSE, 40.0), Quality(RMSE, 12.0))
    check(code(x, qualities, effort=effort))


@pytest.mark.parametrize("quality", ["prdn9", "max-error", "sparse"])
def test_a_reference_that_is_constant_or_lossless_does_not_break_a_bound(quality: str) -> None:
    x = ecg(40, leads=3)
    x[1000:2500, 0] = 1500
    qualities = (QUALITIES[quality], QUALITIES["prdn9"], QUALITIES["prdn5"])
    check(code(x, qualities, effort="default", rate=100))
    x[:, 0] = np.where(np.arange(len(x)) % 7 == 0, 3000, 0)
    check(code(x, (QUALITIES["lossless"], *qualities[1:]), effort="default", rate=100))


@pytest.mark.parametrize("delta", [1, 2, 8, 40])
@pytest.mark.parametrize("effort", EFFORTS)
def test_maximum_error_holds_at_the_edges_of_the_range(effort: str, delta: int) -> None:
    x = np.clip(noise(600, bits=8) * 2, -100, 100)
    coded = code(x, Quality(MAX_ERROR, delta), effort=effort, channels=channels_for(x, low=-100, high=100))
    check(coded)


@pytest.mark.parametrize("effort", EFFORTS)
def test_encoding_twice_gives_the_same_bytes(effort: str) -> None:
    x = ecg(25, leads=2)
    for quality in ("lossless", "prdn5"):
        first = code(x, QUALITIES[quality], effort=effort, rate=100)
        assert code(x, QUALITIES[quality], effort=effort, rate=100).blocks == first.blocks


@pytest.mark.parametrize("effort", EFFORTS)
def test_an_encoder_that_misses_its_bound_stops(effort: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last check is on the decoder's own integers: spoilt coefficients are never stored."""
    honest, quick = encode_run.analyse_window, encode_tables.analyse_quick

    def spoilt(layout, predictor, plan, *rest):  # type: ignore[no-untyped-def]
        honest(layout, predictor, plan, *rest)
        plan.coefs[:] = 0

    def quickly_spoilt(body, plan, *rest):  # type: ignore[no-untyped-def]
        quick(body, plan, *rest)
        plan.coefs[:] = 0

    monkeypatch.setattr(encode_run, "analyse_window", spoilt)
    monkeypatch.setattr(encode_tables, "analyse_quick", quickly_spoilt)
    with pytest.raises(BoundError, match="the encoder missed a bound"):
        code(ecg(25), QUALITIES["prdn9"], effort=effort, rate=100)


@pytest.mark.parametrize("effort", EFFORTS)
def test_a_loose_bound_costs_little(effort: str) -> None:
    """Near the deviation of a window, where everything may be dropped, nothing is suddenly coded exactly."""
    x = eeg(40, channels=1)
    bits = []
    for percent in (50, 90, 99, 101, 1e300):
        quality = Quality(PRDN, percent)
        bits.append(8 * sum(map(len, code(x, quality, effort=effort, rate=64).blocks)) / x.size)
    assert max(bits[1:]) <= bits[0] + 0.5
