"""Beats, rhythm and ST level: known answers, and detectors on generated ECG."""

from __future__ import annotations

import numpy as np
import pytest

from sanstream.serves import detectors
from sanstream.serves.beats import OWN, Detected, Reference, compare_beats, detect_in, reference_of
from sanstream.serves.detectors import NoResultError, detect
from sanstream.serves.pieces import Piece
from sanstream.serves.rhythm import variability
from sanstream.serves.st import compare_st, qrs_limits
from sanstream.signal import Annotations
from sanstream.simulate import simulate_ecg

RATE = 250.0


def piece(n: int, start: int = 0) -> Piece:
    return Piece(start, np.zeros(n), np.zeros(n))


def reference(sample: np.ndarray) -> Reference:
    return Reference("atr", sample, np.full(len(sample), "N"))


def test_removed_beats_lower_sensitivity_by_exactly_their_share() -> None:
    truth = np.arange(100, 25_100, 250)
    kept = np.delete(truth, [10, 20, 30, 40])
    result = compare_beats(Detected("d", (truth,), (kept,)), [piece(25_200)], reference(truth), RATE)
    assert result.original.sensitivity == 1
    assert result.decoded.sensitivity == pytest.approx(0.96)
    assert result.decoded.predictivity == 1
    assert result.f1_points == pytest.approx(100 * (2 * 96 / (2 * 96 + 4) - 1))
    assert (result.lost, result.gained) == (4, 0)
    assert result.changed_s == tuple(truth[[10, 20, 30, 40]] / RATE)


def test_a_detection_counts_within_150_ms_and_not_beyond() -> None:
    truth = np.array([500])
    for shift, found in ((37, 1), (-37, 1), (38, 0), (-38, 0)):
        result = compare_beats(Detected("d", (truth,), (truth + shift,)), [piece(1000)], reference(truth), RATE)
        assert result.decoded.found == found, shift


def test_without_annotations_the_original_is_the_reference() -> None:
    own = np.array([200, 450, 700])
    result = compare_beats(Detected("d", (own,), (np.array([205, 700, 900]),)), [piece(1000)], None, RATE)
    assert result.reference == OWN
    assert (result.original.found, result.original.missed, result.original.extra) == (3, 0, 0)
    assert (result.decoded.found, result.decoded.missed, result.decoded.extra) == (2, 1, 1)
    assert result.shift_mean_ms == pytest.approx(10)


def test_beats_outside_the_pieces_do_not_count() -> None:
    truth = np.array([50, 500, 5000])
    result = compare_beats(Detected("d", (truth[1:2],), (truth[1:2],)), [piece(1000, 100)], reference(truth), RATE)
    assert result.decoded.missed == 0


def test_annotated_beats_come_from_atr_and_leave_other_marks_out() -> None:
    columns = {"time_ns": np.array([0, 10**9, 2 * 10**9]), "symbol": np.array(["+", "N", "V"], object)}
    found = reference_of([Annotations("qrs", columns), Annotations("atr", columns)], RATE)
    assert found is not None
    assert (found.name, found.sample.tolist(), found.symbol.tolist()) == ("atr", [250, 500], ["N", "V"])
    assert reference_of([Annotations("edf", {"time_ns": np.array([0])})], RATE) is None


@pytest.mark.parametrize("name", detectors.DETECTORS)
def test_a_detector_finds_the_beats_of_a_generated_ecg(name: str) -> None:
    pytest.importorskip("neurokit2") if name == "neurokit" else None
    recording = simulate_ecg(60, rate_hz=RATE, ectopic=0.0)
    segment = recording.streams[0].segments[0]
    x = segment.channels[0].physical(segment.samples[:, 0])
    own = Piece(0, x, x + 0.001 * np.sin(np.arange(len(x))))
    result = compare_beats(detect_in(name, [own], RATE), [own], reference_of(recording.annotations, RATE), RATE)
    assert result.original.f1 > 0.98
    assert abs(result.f1_points) < 2


def test_what_a_detector_dies_of_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(signal: np.ndarray, rate_hz: float) -> np.ndarray:
        raise IndexError("index 0 is out of bounds")

    monkeypatch.setitem(detectors.DETECTORS, "xqrs", die)
    with pytest.raises(NoResultError, match="xqrs gave up: IndexError: index 0"):
        detect("xqrs", np.arange(1000.0), RATE)
    with pytest.raises(NoResultError, match="1 Hz is too slow"):
        detect("xqrs", np.arange(1000.0), 1.0)
    assert len(detect("xqrs", np.zeros(1000), RATE)) == 0


def test_variability_has_the_figures_of_the_task_force() -> None:
    rr = np.array([800.0, 860.0, 800.0, 860.0, 800.0]) / 1000
    found = variability([np.concatenate([[0.0], np.cumsum(rr)])])
    assert found.mean_rr_ms == pytest.approx(824)
    assert found.sdnn_ms == pytest.approx(np.std(1000 * rr, ddof=1))
    assert found.rmssd_ms == pytest.approx(60)
    assert found.pnn50 == pytest.approx(100)
    assert found.lf_hf is None
    assert variability([]).n_rr == variability([np.array([1.0])]).n_rr == 0


def test_no_interval_runs_over_a_gap() -> None:
    found = variability([np.array([0.0, 1.0, 2.0]), np.array([2.7, 3.7, 4.7])])
    assert (found.n_rr, found.mean_rr_ms, found.rmssd_ms) == (4, pytest.approx(1000), pytest.approx(0))


@pytest.mark.parametrize(("hz", "band"), [(0.1, "lf_ms2"), (0.25, "hf_ms2")])
def test_a_modulation_lies_in_its_band(hz: float, band: str) -> None:
    times = [0.0]
    while times[-1] < 600:
        times.append(times[-1] + 0.8 + 0.04 * np.sin(2 * np.pi * hz * times[-1]))
    found = variability([np.array(times)])
    power = {"lf_ms2": found.lf_ms2, "hf_ms2": found.hf_ms2}
    # straight lines between beats flatten the faster one
    assert power[band] == pytest.approx(40**2 / 2, rel=0.3)
    assert sum(v for v in power.values() if v is not None) < 1.2 * 40**2 / 2


def ecg(n_beats: int, st_mv: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a lead with a flat ST segment of 160 ms at ``st_mv``, and its R peaks."""
    beats = 500 + 200 * np.arange(n_beats)
    x = np.zeros(beats[-1] + 500)
    for r in beats:
        x[r - 8 : r + 9] += 1.2 * (1 - np.abs(np.arange(-8, 9)) / 9)
        x[r + 12 : r + 52] += st_mv
    return x, beats


@pytest.mark.parametrize("shift", [0.15, -0.2, 0.0])
def test_a_shifted_st_segment_is_found_at_its_level(shift: float) -> None:
    (before, beats), (after, _) = ecg(20, 0.1), ecg(20, 0.1 + shift)
    found = compare_st([Piece(0, before, after)], beats, RATE, reference="atr", unit="µV", factor=1000.0)
    assert found.n_beats == 20
    for name, level in found.levels.items():
        assert found.original_mean[name] == pytest.approx(100)
        assert level.mean == pytest.approx(1000 * shift, abs=1e-9)
        assert level.largest == pytest.approx(1000 * abs(shift), abs=1e-9)


def test_the_limits_of_a_triangle_are_its_feet() -> None:
    x, beats = ecg(1, 0.0)
    onset, j = qrs_limits(x[beats[0] - 75 : beats[0] + 76], RATE)
    assert -14 <= onset <= -8
    assert 8 <= j <= 14


def test_st_needs_whole_beats() -> None:
    x, beats = ecg(2, 0.0)
    with pytest.raises(NoResultError, match="2 whole beats"):
        compare_st([Piece(0, x, x)], beats, RATE, reference="atr", unit="µV")


def test_steps_of_exactly_fifty_milliseconds_are_not_more_than_fifty() -> None:
    rate = 360  # 18 samples are 50 ms
    rr = np.array([288, 306, 288, 307, 288, 306, 324, 305] * 40)
    at = np.concatenate([[0], np.cumsum(rr)])
    steps = np.abs(np.diff(rr))
    assert (steps == 18).sum() > 50
    assert variability([at / rate]).pnn50 == pytest.approx(100 * np.mean(steps > 18))
