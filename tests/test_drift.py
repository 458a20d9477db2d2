"""Drift: a change of shape alarms within minutes, what is no change never does."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from drift_cases import WINDOW, changed, looks, rules, signal

from pipelines.drift.signals import KINDS, Change, LongSignal, with_changes
from sanstream.daemon.sights import Glance, look
from sanstream.drift import DriftWatch, Look, Loop
from sanstream.drift_series import Series
from sanstream.drift_windows import bridged, look_at, loops_of, phi_of, phi_rule, watched
from sanstream.san.pursuit import omp
from sanstream.signal import TRIGGER, Channel

CHANNEL = Channel("MLII", "mV", 200.0, 1024, 0, 2047, -32768, 11)
RATE = Fraction(250)


def alarm_index(watch: DriftWatch, windows: list[tuple[Look, ...]]) -> int | None:
    """Windows until the alarm; None for none."""
    for i, window in enumerate(windows):
        if watch.update(window) is not None:
            return i + 1
    return None


def first_shift(series: Series, values: np.ndarray) -> int | None:
    return next((i + 1 for i, v in enumerate(values.tolist()) if series.update(v) is not None), None)


@pytest.mark.parametrize(("seed", "sigmas", "index"), [(0, 3, 18), (1, 3, 16), (2, 5, 16), (3, 10, 11), (4, -3, 19)])
def test_a_shift_of_three_sigmas_is_found_at_this_window(seed: int, sigmas: float, index: int) -> None:
    rng, series = np.random.default_rng(seed), Series()
    assert first_shift(series, 0.4 + 0.02 * rng.standard_normal(300)) is None
    assert first_shift(series, 0.4 + 0.02 * (sigmas + rng.standard_normal(60))) == index


@pytest.mark.parametrize(("tempo", "level", "sees"), [(1.2, 0.58, True), (1.2, 0.55, False), (1.0, 0.55, True)])
def test_a_quicker_heart_excuses_less_of_what_is_certain(tempo: float, level: float, sees: bool) -> None:
    rng, series = np.random.default_rng(0), Series()
    for v in 0.4 + 0.01 * rng.standard_normal(300):
        assert series.update(float(v), (1.0, 1.5, 2.0, 250.0)) is None
    after = [series.update(float(v), (tempo, 1.5, 2.0, 250.0)) for v in level + 0.01 * rng.standard_normal(40)]
    assert any(s is not None for s in after) is sees


def test_a_broad_beat_is_no_movement_that_excuses_another_shape() -> None:
    rng, series = np.random.default_rng(0), Series()
    for v in 0.4 + 0.01 * rng.standard_normal(300):
        assert series.update(float(v), (1.0, 1.5, 2.0, 250.0)) is None
    # between broad beats it sways three times as much, which is one hundredth of the range
    after = [series.update(float(v), (1.0, 4.5, 2.0, 250.0)) for v in 0.46 + 0.01 * rng.standard_normal(40)]
    assert any(s is not None for s in after)
    moved = Series()
    for v in 0.4 + 0.01 * rng.standard_normal(300):
        assert moved.update(float(v), (1.0, 1.5, 2.0, 250.0)) is None
    after = [moved.update(float(v), (1.0, 14.0, 2.0, 250.0)) for v in 0.46 + 0.01 * rng.standard_normal(40)]
    assert not any(s is not None for s in after)


def test_noise_on_one_lead_does_not_hide_swapped_electrodes_but_makes_no_loop_rounder() -> None:
    rng, watch = np.random.default_rng(0), DriftWatch(2)
    calm, noisy = Look(0.4, True, 2.0, 2.0, 200.0), Look(0.4, True, 14.0, 2.0, 200.0)

    def feed(looks_: tuple[Look, Look], axis: float, roundness: float, n: int) -> list[str]:
        loops = (Loop(axis + rng.standard_normal(), roundness + 0.003 * rng.standard_normal()) for _ in range(n))
        found = [watch.update(looks_, loop) for loop in loops]
        return [a.figure for a in found if a is not None]

    assert feed((calm, calm), 40.0, 0.05, 200) == []
    assert feed((noisy, calm), 43.0, 0.15, 60) == []
    assert feed((noisy, calm), -50.0, 0.15, 30) == ["axis"]


@pytest.mark.parametrize("seed", range(4))
def test_a_series_that_wanders_slowly_is_no_shift(seed: int) -> None:
    rng, n = np.random.default_rng(seed), 4000
    slow = 0.08 * np.sin(2 * np.pi * np.arange(n) / 2000) + 0.01 * np.sin(2 * np.pi * np.arange(n) / 300)
    assert first_shift(Series(), 0.4 + slow + 0.02 * rng.standard_normal(n)) is None


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("far", [0.3, 3.0, -3.0])
def test_a_spell_of_a_minute_is_no_shift(seed: int, far: float) -> None:
    rng, series = np.random.default_rng(seed), Series()
    values = 0.4 + 0.02 * rng.standard_normal(400)
    values[200:207] += far
    assert first_shift(series, values) is None


def test_phi_is_the_pursuits() -> None:
    rng = np.random.default_rng(0)
    taps = np.stack([np.exp(-0.5 * ((np.arange(21) - 10) / s) ** 2) for s in (2.0, 4.0)]).astype(np.float32)
    windows = 10 * rng.standard_normal((3, 300))
    for row, at in zip(windows, rng.integers(0, 280, (3, 12)), strict=True):
        for p in at:
            row[p : p + 21] += 200 * rng.standard_normal() * taps[rng.integers(2)]
    whole = windows.astype(np.int32)
    rule = phi_rule(taps, Fraction(60), 300)
    assert (rule.factor, rule.n) == (1, 300)
    found = omp(torch.from_numpy(whole[:, None].astype(np.float32)), torch.from_numpy(taps[:, None]))
    assert phi_of(whole, rule) == pytest.approx(found.phi.numpy(), abs=1e-4)


def test_phi_does_not_depend_on_gain_and_offset() -> None:
    x = signal(0, restless=False).samples(100, 30)[:, 0].reshape(-1, WINDOW)
    rule = rules(0)[0]
    assert phi_of(7 * x + 300, rule) == pytest.approx(phi_of(x, rule), abs=1e-6)


def beats(n: int) -> np.ndarray:
    return signal(0, restless=False).samples(100, 10 * n)[:, 0].reshape(n, WINDOW)


def test_a_beating_heart_is_usable() -> None:
    assert look_at(beats(3), CHANNEL, RATE).usable.all()


def unusable(kind: str) -> np.ndarray:
    rng, x = np.random.default_rng(1), beats(3)
    if kind == "flat":
        return np.full_like(x, 1024)
    if kind == "lead off, hum":
        return (1024 + 1.5 * np.sin(np.arange(x.size) * 0.4 * np.pi)).round().astype(np.int32).reshape(x.shape)
    if kind == "at its rail":
        return np.full_like(x, 2047)
    if kind == "saturated in part":
        return np.where(x > 1010, 2047, x).astype(np.int32)
    if kind == "mostly missing":
        x[:, 300:2300] = -32768
        return x
    return (1024 + 60 * rng.standard_normal(x.shape)).round().astype(np.int32)


@pytest.mark.parametrize(
    "kind", ["flat", "lead off, hum", "at its rail", "saturated in part", "mostly missing", "noise alone"]
)
def test_a_window_without_a_signal_is_not_judged(kind: str) -> None:
    assert not look_at(unusable(kind), CHANNEL, RATE).usable.any()


def test_broad_beats_that_come_fast_are_no_movement() -> None:
    t = np.arange(2500) / 250
    since = t % 0.69
    broad = 180 * np.exp(-(((since - 0.2) / 0.07) ** 2)) - 110 * np.exp(-(((since - 0.48) / 0.09) ** 2))
    rng = np.random.default_rng(0)
    moving = np.convolve(rng.standard_normal(2600), np.hanning(101), "valid")[:2500] * 90 / 6
    windows = np.stack([1024 + broad, 1024 + broad + moving]).round().astype(np.int32)
    still, moved = look_at(windows, CHANNEL, RATE).sway.tolist()
    assert still < 3
    assert moved > 15


def test_a_few_missing_samples_are_bridged() -> None:
    x = beats(2)
    holed = x.copy()
    holed[:, 700:720] = -32768
    assert look_at(holed, CHANNEL, RATE).usable.all()
    assert np.array_equal(bridged(x, CHANNEL), x)
    assert (bridged(holed, CHANNEL) > 0).all()


@pytest.mark.parametrize("kind", ["flat", "lead off, hum", "noise alone", "mostly missing"])
def test_lead_off_flat_and_noise_never_alarm(kind: str) -> None:
    found = signal(0, restless=False)
    watch, by = DriftWatch(2), rules(0)
    steady = looks(found, found.samples(300, 900), by)
    assert alarm_index(watch, steady) is None
    bad = unusable(kind).reshape(-1)
    x = np.stack([np.resize(bad, 240 * WINDOW)] * 2, axis=1)
    assert alarm_index(watch, looks(replace_missing(found), x, by)) is None
    assert alarm_index(watch, looks(found, found.samples(1200, 900), by)) is None


def replace_missing(found: LongSignal) -> LongSignal:
    other = with_changes(found, [])
    other.channels = tuple(replace(c, missing=-32768) for c in found.channels)
    return other


@pytest.mark.parametrize("seed", [0, 1])
def test_hours_of_circadian_rate_posture_and_noise_never_alarm(seed: int) -> None:
    found, by, watch = signal(seed), rules(seed), DriftWatch(2)
    for start in range(0, 7200, 900):
        assert alarm_index(watch, looks(found, found.samples(start, 900), by)) is None, start
    assert watch.n_admitted > 600


@pytest.mark.parametrize(
    ("seed", "kind", "index"),
    [(0, "left bundle block", 12), (1, "paced", 11), (0, "injury", 12), (1, "electrode moved", 12)],
)
def test_another_shape_alarms_at_this_window(seed: int, kind: str, index: int) -> None:
    assert kind in KINDS
    found, by = changed(seed, 1800, kind), rules(seed)
    watch = DriftWatch(2)
    assert alarm_index(watch, looks(found, found.samples(600, 1200), by)) is None
    assert alarm_index(watch, looks(found, found.samples(1800, 300), by)) == index


def seen(found: LongSignal, start_s: float, n_blocks: int) -> list[tuple[tuple[Look, ...], Loop | None]]:
    """Windows as the daemon sees them, by kernels that fit any beat: phi says nothing here."""
    out: list[tuple[tuple[Look, ...], Loop | None]] = []
    for block in range(n_blocks):
        x = found.samples(start_s + 60 * block, 60)
        sight = look(Glance(("bed", "250hz"), 0, x, found.channels, found.rate, WINDOW, (0, 1), (None, None), 0, 1.0))
        out += zip(sight.windows, sight.loops, strict=True)
    return out


@pytest.mark.parametrize(
    ("seed", "kind", "figure", "index"),
    [
        (203, "electrodes swapped", "axis", 12),
        (205, "electrode moved", "axis", 16),
        (208, "electrode moved", "roundness", 16),
    ],
)
def test_electrodes_that_leave_beats_their_shape_alarm_by_their_loop(
    seed: int, kind: str, figure: str, index: int
) -> None:
    found, watch = changed(seed, 1800, kind), DriftWatch(2)
    assert [watch.update(*window) for window in seen(found, 0, 30)] == [None] * 180
    alarms = [watch.update(*window) for window in seen(found, 1800, 5)]
    first = next(i for i, alarm in enumerate(alarms) if alarm is not None)
    assert (alarms[first].figure, first + 1) == (figure, index)


def test_postures_turn_the_loop_and_do_not_alarm() -> None:
    rng, watch = np.random.default_rng(0), DriftWatch(2)
    calm = (Look(1.0, True, 2.0, 1.5, 200.0), Look(1.0, True, 2.0, 1.5, 150.0))
    for axis, roundness in ((30, 0.04), (46, 0.09), (36, 0.05), (52, 0.04), (38, 0.07)) * 2:
        for _ in range(150):
            loop = Loop(axis + 0.2 * rng.standard_normal(), roundness + 0.002 * rng.standard_normal())
            assert watch.update(calm, loop) is None


def test_an_axis_has_no_head() -> None:
    """Directions a degree to either side of the vertical are neighbours."""
    rng, watch = np.random.default_rng(0), DriftWatch(2)
    calm = (Look(1.0, True, 2.0, 1.5, 200.0), Look(1.0, True, 2.0, 1.5, 150.0))

    def loops(axis: float, n: int) -> list[bool]:
        turned = axis + rng.standard_normal(n)
        return [watch.update(calm, Loop((a + 90) % 180 - 90, 0.05)) is not None for a in turned.tolist()]

    assert not any(loops(90, 400))
    assert any(loops(0, 30))


def test_loops_are_of_leads_with_one_unit_and_a_direction() -> None:
    found = signal(0, restless=False)
    x = found.samples(0, 60)
    columns = [np.ascontiguousarray(x[:, c]).reshape(-1, WINDOW) for c in (0, 1)]
    axis, roundness = loops_of(columns, found.channels, found.rate).T
    assert axis.std() < 2
    assert ((roundness > 0) & (roundness < 0.3)).all()
    flipped = loops_of([columns[0], 2048 - columns[1]], found.channels, found.rate)
    np.testing.assert_allclose(flipped[:, 0], -axis, atol=1e-9)
    # a lead in other steps of the same unit: the same loop
    finer = (found.channels[0], replace(found.channels[1], gain=2 * found.channels[1].gain))
    np.testing.assert_allclose(loops_of([columns[0], 2 * columns[1]], finer, found.rate)[:, 0], axis, atol=1e-9)
    other = (found.channels[0], replace(found.channels[1], unit="mmHg"))
    assert np.isnan(loops_of(columns, other, found.rate)).all()
    rng = np.random.default_rng(0)
    noise = [rng.integers(900, 1100, (3, WINDOW)).astype(np.int32) for _ in (0, 1)]
    assert np.isnan(loops_of(noise, found.channels, found.rate)).all()
    assert np.isnan(loops_of([np.full((1, WINDOW), 7, np.int32)] * 2, found.channels, found.rate)).all()


def test_a_change_while_the_leads_are_off_alarms_when_they_are_back() -> None:
    found, by = changed(0, 1800, "left bundle block"), rules(0)
    watch = DriftWatch(2)
    assert alarm_index(watch, looks(found, found.samples(600, 1200), by)) is None
    off = np.full((60 * WINDOW, 2), 1024, np.int32)
    assert alarm_index(watch, looks(found, off, by)) is None
    index = alarm_index(watch, looks(found, found.samples(1800, 300), by))
    assert index is not None
    assert index <= 30


def test_bits_alone_alarm_too_and_only_of_blocks_that_could_be_judged() -> None:
    rng = np.random.default_rng(0)
    calm, loud = Look(0.4, True, 2.0, 2.0, 200.0), Look(0.4, True, 60.0, 2.0, 200.0)

    def blocks(watch: DriftWatch, look: Look, level: float, n: int) -> list[int]:
        found = []
        for i in range(n):
            for _ in range(6):
                assert watch.update([replace(look, phi=0.4 + 0.01 * rng.standard_normal())]) is None
            if watch.end_block(level + 0.02 * rng.standard_normal()):
                found.append(i + 1)
        return found

    watch = DriftWatch(1)
    assert blocks(watch, calm, 1.0, 60) == []
    assert blocks(watch, loud, 3.0, 20) == []
    assert blocks(watch, calm, 1.5, 20) == [3]


def test_a_watch_goes_on_from_its_state() -> None:
    found, by = changed(0, 1800, "injury"), rules(0)
    first = DriftWatch(2)
    assert alarm_index(first, looks(found, found.samples(600, 1200), by)) is None
    first.end_block(1.5)
    second = DriftWatch.from_state(json.loads(json.dumps(first.state())))
    after = looks(found, found.samples(1800, 300), by)
    assert second.phi == pytest.approx(first.phi)
    assert alarm_index(second, after) == alarm_index(first, after)


def test_triggers_are_not_watched() -> None:
    channels = [Channel("Status", kind=TRIGGER), *(Channel(k) for k in ("Fp1", "Fp2", "F3"))]
    assert watched(channels) == (1, 2)


def test_any_stretch_of_a_long_signal_can_be_made_alone() -> None:
    found = changed(0, 90.0, "paced")
    assert np.array_equal(found.samples(60, 60), found.samples(60, 60))
    assert found.kind_at(89) == ""
    assert found.kind_at(90) == "paced"
    assert not np.array_equal(signal(0, restless=False).samples(60, 60)[-2500:], found.samples(60, 60)[-2500:])
    assert np.array_equal(signal(0, restless=False).samples(60, 60)[:5000], found.samples(60, 60)[:5000])
    assert Change(1.0, "paced").kind in KINDS
