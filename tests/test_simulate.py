"""Simulated recordings: physiology, determinism, ranges and speed."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest
from scipy.signal import find_peaks, welch

from sanstream.errors import InputError
from sanstream.signal import TRIGGER, Recording
from sanstream.simulate import simulate_ecg, simulate_eeg, simulate_ppg


def samples(recording: Recording) -> np.ndarray:
    return recording.streams[0].segments[0].samples


@pytest.mark.parametrize("make", [simulate_ecg, simulate_eeg, simulate_ppg])
def test_the_same_seed_gives_the_same_samples(make: object) -> None:
    one, two, other = make(5, seed=1), make(5, seed=1), make(5, seed=2)  # type: ignore[operator]
    np.testing.assert_array_equal(samples(one), samples(two))
    assert (samples(one) != samples(other)).any()
    assert samples(one).dtype == np.int32
    for a, b in zip(one.annotations, two.annotations, strict=True):
        for key in a.columns:
            np.testing.assert_array_equal(a.columns[key], b.columns[key])


@pytest.mark.parametrize("bpm", [50, 72, 140])
def test_heart_rate_and_its_variability_are_those_asked_for(bpm: float) -> None:
    recording = simulate_ecg(600, seed=3, heart_rate_bpm=bpm, sdnn_s=0.03, ectopic=0.0)
    rr = np.diff(recording.annotations[0].columns["sample"]) / 360
    assert 60 / rr.mean() == pytest.approx(bpm, rel=0.02)
    assert rr.std() == pytest.approx(0.03, rel=0.3)
    at = np.cumsum(rr)
    f, power = welch(np.interp(np.arange(0, at[-1], 0.25), at, rr), 4.0, nperseg=512)
    assert 0.07 < f[np.argmax(power * ((f > 0.04) & (f < 0.15)))] < 0.13
    assert 0.2 < f[np.argmax(power * (f > 0.18))] < 0.3


def test_r_peaks_stand_at_their_annotations_with_a_millivolt() -> None:
    recording = simulate_ecg(120, seed=4, ectopic=0.0)
    channel = recording.streams[0].segments[0].channels[0]
    lead = channel.physical(samples(recording)[:, 0])
    peaks, _ = find_peaks(lead, height=0.6, distance=120)
    marks = recording.annotations[0].columns["sample"]
    inside = marks[(marks > 5) & (marks < len(lead) - 5)]
    assert len(peaks) == pytest.approx(len(inside), abs=1)
    assert max(np.abs(peaks - at).min() for at in inside) <= 3
    assert 0.8 < np.median(lead[peaks]) < 1.6
    before = np.median([lead[at - 75 : at - 45].max() - np.median(lead[at - 40 : at - 25]) for at in inside[1:]])
    assert 0.05 < before < 0.3  # the P wave


def test_ectopic_beats_are_early_wide_inverted_and_annotated() -> None:
    recording = simulate_ecg(600, seed=5, ectopic=0.1)
    marks = recording.annotations[0].columns
    early = np.flatnonzero(marks["symbol"] == "V")
    assert 0.05 < len(early) / len(marks["symbol"]) < 0.13
    assert (np.diff(early) > 1).all()
    early = early[(early > 1) & (early < len(marks["sample"]) - 2)]
    rr = np.diff(marks["sample"])
    assert np.median(rr[early - 1]) < 0.75 * np.median(rr) < 1.2 * np.median(rr) < np.median(rr[early])
    assert set(marks["code"][marks["symbol"] == "V"]) == {5}
    assert simulate_ecg(60, ectopic=0.0).annotations[0].columns["symbol"].tolist().count("V") == 0


def test_ecg_is_eleven_bit_at_two_hundred_a_millivolt() -> None:
    recording = simulate_ecg(10, n_leads=12, rate_hz="62500/1001")
    stream = recording.streams[0]
    assert stream.rate == Fraction(62500, 1001)
    assert stream.n_samples == round(10 * 62500 / 1001)
    channel = stream.segments[0].channels[0]
    assert (channel.unit, channel.gain, channel.baseline, channel.resolution_bits) == ("mV", 200.0, 1024, 11)
    assert len({c.label for c in stream.segments[0].channels}) == 12
    assert samples(recording).min() >= 0
    assert samples(recording).max() <= 2047
    assert recording.annotations[0].columns["time_ns"].dtype == np.int64


def test_an_hour_of_ecg_takes_about_a_second() -> None:
    start = time.perf_counter()
    assert samples(simulate_ecg(3600)).shape == (1296000, 2)
    assert time.perf_counter() - start < 5


def test_eeg_background_falls_as_asked_and_alpha_stands_out_at_the_back() -> None:
    recording = simulate_eeg(300, seed=6, exponent=1.5, spikes_per_minute=0)
    x = samples(recording) / 10.0
    assert 5 < x.std() < 40
    f, power = welch(x.T, 256, nperseg=1024)
    band = (f > 1.5) & (f < 6) | (f > 15) & (f < 50)
    slopes = [np.polyfit(np.log(f[band]), np.log(p[band]), 1)[0] for p in power]
    assert np.mean(slopes) == pytest.approx(-1.5, abs=0.25)
    alpha = power[:, (f > 9) & (f < 11)].mean(1) / power[:, (f > 5) & (f < 6)].mean(1)
    assert alpha.max() > 3 > alpha.min()


def test_eeg_channels_are_related_but_not_equal() -> None:
    related = np.corrcoef(samples(simulate_eeg(60, n_channels=16)).T)
    off = np.abs(related[np.triu_indices(16, 1)])
    assert 0.1 < off.mean() < 0.8
    assert off.max() < 0.98


def test_eeg_spikes_are_annotated_and_the_trigger_channel_is_one() -> None:
    recording = simulate_eeg(60, seed=8, spikes_per_minute=10, trigger=True)
    channels = recording.streams[0].segments[0].channels
    assert channels[-1].kind == TRIGGER
    assert set(np.unique(samples(recording)[:, -1])) == {0, 1, 2, 3, 4}
    start = recording.annotations[0].columns["time_ns"] * 256 // 10**9
    assert len(start) > 3
    x = samples(recording)[:, :-1] / 10.0
    assert np.median([np.ptp(x[s : s + 60], axis=0).max() for s in start]) > 80


def test_ppg_pulses_follow_the_heart() -> None:
    recording = simulate_ppg(120, seed=9, heart_rate_bpm=80)
    pulse = samples(recording)[:, 0].astype(float)
    peaks, _ = find_peaks(pulse, prominence=400)
    assert len(peaks) == pytest.approx(160, abs=6)
    assert pulse.min() > 0
    assert pulse.max() < 4095


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(InputError, match="holds no sample"):
        simulate_ecg(0)
    with pytest.raises(InputError, match="not a positive number"):
        simulate_ecg(1, rate_hz=0)
    with pytest.raises(InputError, match="13 leads"):
        simulate_ecg(1, n_leads=13)
    with pytest.raises(InputError, match="heart rate 5"):
        simulate_ppg(10, heart_rate_bpm=5)
    with pytest.raises(InputError, match="0 EEG channels"):
        simulate_eeg(1, n_channels=0)
    assert samples(simulate_ecg(0.003)).shape == (1, 2)
    assert samples(simulate_eeg(0.004)).shape == (1, 8)
