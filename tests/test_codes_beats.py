"""Beats are found in activation records alone, and counted as EC57 counts them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.codes import beat_net, beat_rows, beats
from pipelines.codes.beat_candidates import events_of, gathered, peaks, steep_places
from pipelines.codes.beat_features import candidates_of, settled
from pipelines.codes.beat_records import Records, encode_records, load_records, save_records
from sanstream.serves.matching import Counts, counts_of, gross, paired
from sanstream.signal import Annotations
from sanstream.simulate import simulate_ecg


def samples(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def complex_records(at: np.ndarray, amplitude: np.ndarray, n_samples: int = 36000) -> Records:
    """Records of one kernel: a narrow complex 20 samples after its first tap, and a blunt wave 100 after."""
    t = np.arange(160.0)
    shape = 100 * np.exp(-0.5 * ((t - 20) / 4) ** 2) + 30 * np.exp(-0.5 * ((t - 120) / 18) ** 2)
    taps = np.stack([[shape, 0.5 * shape]])
    return Records(np.zeros(len(at), np.int64), at, amplitude, taps, 100, n_samples, 360.0)


# -- scores


def test_a_detection_counts_up_to_the_tolerance_and_no_further() -> None:
    good, found = paired(samples(46, 254, 455), samples(100, 200, 400), 54)
    assert good.tolist() == [True, True, False]
    assert found.tolist() == [True, True, False]


def test_a_beat_is_found_once() -> None:
    good, found = paired(samples(95, 105), samples(100), 54)
    assert counts_of(good, found) == Counts(found=1, missed=0, extra=1)


def test_pairs_are_as_many_as_can_be() -> None:
    # the nearest partner of 60 is 50, but then 10 would have none
    good, found = paired(samples(10, 60), samples(50, 110), 54)
    assert good.all()
    assert found.all()


def test_pairs_without_any_on_one_side() -> None:
    assert counts_of(*paired(samples(), samples(5, 9), 3)) == Counts(0, 2, 0)
    assert counts_of(*paired(samples(5, 9), samples(), 3)) == Counts(0, 0, 2)


def test_gross_figures_are_of_pooled_counts() -> None:
    whole = gross([Counts(90, 10, 0), Counts(10, 0, 10)])
    assert whole == Counts(100, 10, 10)
    assert whole.sensitivity == pytest.approx(100 / 110)
    assert whole.predictivity == pytest.approx(100 / 110)
    assert whole.f1 == pytest.approx(200 / 220)
    assert Counts(0, 0, 0).f1 == 1.0


def test_truth_is_beats_and_the_stretches_of_flutter() -> None:
    columns = {
        "sample": samples(0, 10, 20, 30, 40, 50, 60),
        "symbol": np.array(["+", "N", "[", "!", "]", "V", "~"]),
        "time_ns": samples(0, 1, 2, 3, 4, 5, 6),
    }
    truth = beat_rows.truth_of(Annotations("atr", columns), 360.0, 100)
    assert truth.sample.tolist() == [10, 50]
    assert truth.symbol == ("N", "V")
    assert truth.flutter == ((20, 40),)


def test_the_first_five_minutes_and_flutter_are_left_out_of_their_own_counts_only() -> None:
    truth = beat_rows.Truth(samples(100, 200, 40000), ("N", "N", "V"), ((300, 500),), 100.0)
    counts = beat_rows.counted(samples(100, 400, 40001), truth)
    assert counts["all"] == Counts(2, 1, 1)
    assert counts["later"] == Counts(1, 0, 0)
    assert counts["no flutter"] == Counts(2, 1, 0)


def test_causes_add_up_to_what_is_wrong() -> None:
    truth = beat_rows.Truth(samples(1000, 2000, 3000, 4000), ("N", "V", "N", "F"), ((9000, 9900),), 360.0)
    detected = samples(1000, 1100, 4000, 6000, 9500)
    why = beat_rows.causes(detected, samples(1000, 1100, 2010, 4000, 6000, 9500), truth)
    assert why == {"no activation": 1, "judged no": "1 V", "flutter": 1, "after a beat": 1, "other": 1}


# -- candidates


def test_a_kernel_is_steep_where_its_complex_is_not_its_blunt_wave() -> None:
    records = complex_records(samples(0), np.ones((1, 2)))
    ((place, *others),) = steep_places(records.taps, 360.0)
    assert abs(place[0] - 20) <= 2
    assert not others
    assert place[1][1] == pytest.approx(0.5 * place[1][0])


def test_a_kernel_of_two_beats_has_two_places() -> None:
    one = complex_records(samples(0), np.ones((1, 2))).taps
    (places,) = steep_places(np.concatenate([one, 0.8 * one], axis=2), 360.0)
    assert sorted(round(p[0], -1) for p in places) == [20, 180]


def test_strength_is_amplitude_times_steepness_whatever_the_sign() -> None:
    amplitude = np.array([[1.0, 1.0], [-2.0, -2.0], [0.0, 0.0]])
    events = events_of(complex_records(samples(100, 500, 900), amplitude))
    assert len(events.time) == 2  # an amplitude of zero puts nothing down
    np.testing.assert_allclose(events.sharp[1], 2 * events.sharp[0])


def test_neighbours_are_gathered_and_give_one_candidate() -> None:
    time = np.array([100.0, 110.0, 500.0])
    whole = gathered(time, np.ones((3, 1)), 40.0)[:, 0]
    assert whole[0] == whole[1] > 1.5
    assert whole[2] == 1.0
    assert peaks(time, whole, 40.0).tolist() == [0, 2]


def test_candidates_do_not_depend_on_the_gain() -> None:
    rng = np.random.default_rng(0)
    at = np.sort(rng.choice(35000, 120, replace=False))
    records = complex_records(at, 1 + 0.1 * rng.random((120, 2)))
    one, other = candidates_of(records), candidates_of(replace(records, taps=37.0 * records.taps))
    np.testing.assert_allclose(one.time, other.time)
    np.testing.assert_allclose(one.inputs(), other.inputs(), atol=1e-4)


def test_no_activations_give_no_beats() -> None:
    candidates = candidates_of(complex_records(samples(), np.zeros((0, 2))))
    assert len(candidates.time) == 0
    assert len(settled(candidates, np.zeros(0), 0.0)) == 0


def test_the_surest_of_near_candidates_is_kept() -> None:
    candidates = candidates_of(complex_records(samples(1000, 1060, 2000), np.array([[1.0, 1], [0.9, 0.9], [1, 1]])))
    assert len(candidates.time) == 3
    assert settled(candidates, np.array([1.0, 3.0, -1.0]), 0.0).tolist() == [1]


def test_only_the_best_candidate_of_a_beat_is_one_and_the_others_are_left_out() -> None:
    candidates = candidates_of(complex_records(samples(1000, 1045, 2000), np.array([[1.0, 1], [0.3, 0.3], [1, 1]])))
    assert beat_net.labels(candidates, samples(1021), 54).tolist() == [1, -1, 0]


# -- detector


def test_records_come_back_from_their_file(tmp_path: Path) -> None:
    records = complex_records(samples(1, 2), np.ones((2, 2)))
    save_records(records, tmp_path / "new" / "a.npz")
    back = load_records(tmp_path / "new" / "a.npz")
    np.testing.assert_array_equal(back.taps, records.taps)
    np.testing.assert_array_equal(back.index, records.index)
    assert back.bits_per_sample == records.bits_per_sample == 8 * 100 / (36000 * 2)


def test_records_put_their_kernels_where_the_beats_are() -> None:
    recording = simulate_ecg(60, seed=3, ectopic=0.0)
    (stream,) = recording.streams
    records = encode_records(stream, stream.segments[0], "kernels of 0.15 s", None)
    beats_at = np.round(recording.annotations[0].columns["time_ns"] * 0.36e-6)
    events = events_of(records)
    strong = events.time[events.sharp[:, 0] > 0.5 * np.percentile(events.sharp[:, 0], 95)]
    nearest = np.abs(strong[:, None] - beats_at).min(axis=0)
    assert np.mean(nearest <= 18) > 0.97  # 50 ms
    assert 0 < records.bits_per_sample < 1


def test_a_detector_learns_from_two_folds_and_finds_the_beats_of_a_third() -> None:
    row = beats.quick(seed=5)
    assert row["beats"] > 400
    assert row["gross F1"] > 0.98


def test_examples_of_one_fold_are_refused() -> None:
    candidates = candidates_of(complex_records(samples(1000, 2000), np.ones((2, 2))))
    with pytest.raises(ValueError, match="two"):
        beat_net.train_detector([beat_net.Example(candidates, samples(1020), 0)] * 2, 54)
