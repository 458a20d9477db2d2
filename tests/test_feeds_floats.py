"""Floats become integers that give them back, or say how far they were rounded."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanstream.errors import InputError
from sanstream.feeds.descriptors import with_missing
from sanstream.feeds.floats import FloatLattice, usual_step
from sanstream.formats.lattice import lattice_of, restore_floats
from sanstream.signal import TRIGGER, Channel

EEG = (Channel("EEG Fp1", "uV"),)
RNG = np.random.default_rng(1)
ODD = 4.5e6 / 24 / (2**23 - 1)
NOISE = RNG.standard_normal((500, 1)) * 50


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("step", [0.1, 0.001, 1.0, 0.5, 2.0**-7, 0.0223517, ODD, 5.0])
def test_an_adc_step_is_found_and_physical_gives_the_floats_back(dtype: type, step: float) -> None:
    steps = RNG.integers(-30000, 30000, size=(500, 1))
    if dtype is np.float64 and step == ODD:
        step = float(f"{step:.12g}")  # a double of all digits is on no grid that a descriptor can name
    values = (steps * np.float64(step)).astype(dtype)
    (channel,), samples = FloatLattice(EEG).convert(values)
    np.testing.assert_array_max_ulp(channel.physical(samples[:, 0]).astype(dtype), values[:, 0], 2)
    found = lattice_of(channel)
    assert found is not None
    np.testing.assert_array_equal(restore_floats(samples[:, 0], found, np.dtype(dtype)), values[:, 0])
    assert 1 / channel.gain == pytest.approx(step, rel=1e-6)
    assert "rounding" not in channel.header


def test_values_on_no_grid_are_rounded_by_unit_and_the_header_says_how_far() -> None:
    warned: Counter[str] = Counter()
    for channel, step in ((Channel("EEG O1", "uV"), 0.01), (Channel("II", "mV"), 0.001), (Channel("II", "uV"), 1.0)):
        (made,), samples = FloatLattice((channel,), warn=lambda w: warned.update([w])).convert(NOISE.astype(np.float32))
        assert made.header["rounding"] == pytest.approx(step / 2)
        error = np.abs(made.physical(samples[:, 0]) - NOISE[:, 0])
        assert error.max() <= made.header["rounding"] * (1 + 1e-3)
    assert warned == {"float_rounded": 3}


def test_without_a_unit_the_bits_are_kept_lossless_and_counted() -> None:
    warned: Counter[str] = Counter()
    values = NOISE.astype(np.float32)
    values[7] = np.nan
    lattice = FloatLattice((Channel("x"),), warn=lambda w: warned.update([w]))
    (channel,), samples = lattice.convert(values)
    np.testing.assert_array_equal(channel.physical(samples[:, 0]), values[:, 0])
    assert channel.kind == TRIGGER
    assert samples[7, 0] == channel.missing
    assert warned == {"float_exact": 1}
    order = np.argsort(values[8:, 0])
    assert (np.diff(samples[8:, 0][order].astype(np.int64)) >= 0).all()
    assert channel.digital_min <= samples[8:].min()
    assert samples.max() <= channel.digital_max


def test_exact_never_rounds() -> None:
    (channel,), samples = FloatLattice(EEG, resolution="exact").convert(NOISE.astype(np.float32))
    assert "rounding" not in channel.header
    back = channel.physical(samples[:, 0])
    np.testing.assert_array_equal(back.astype(np.float32), NOISE[:, 0].astype(np.float32))


@pytest.mark.parametrize(("text", "step"), [("0.5uV", 0.5), ("0.25", 0.25), ("0.002 mV", 2.0), ("1e-6V", 1.0)])
def test_a_declared_step_is_used(text: str, step: float) -> None:
    (channel,), samples = FloatLattice(EEG, resolution=text).convert(NOISE)
    assert 1 / channel.gain == pytest.approx(step)
    np.testing.assert_allclose(channel.physical(samples[:, 0]), NOISE[:, 0], atol=step / 2 * 1.0001)


@pytest.mark.parametrize("text", ["", "fine", "-1uV", "0uV", "nanuV", "1.2.3uV", "0.1mmHg", "1e999uV", "9" * 400])
def test_a_wrong_resolution_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(InputError) as caught:
        FloatLattice(EEG, resolution=text)
    assert caught.value.hint


def test_a_value_off_the_step_makes_a_finer_descriptor_and_nothing_is_lost() -> None:
    warned: Counter[str] = Counter()
    lattice = FloatLattice(EEG, warn=lambda w: warned.update([w]))
    coarse = RNG.integers(-300, 300, size=(500, 1)) * 0.5
    first, _ = lattice.convert(coarse)
    again, _ = lattice.convert(coarse)
    assert again is first
    fine = coarse + 0.125
    (channel,), samples = lattice.convert(fine)
    assert channel.gain > first[0].gain
    np.testing.assert_array_equal(channel.physical(samples[:, 0]), fine[:, 0])
    (channel,), samples = lattice.convert(coarse)
    np.testing.assert_array_equal(channel.physical(samples[:, 0]), coarse[:, 0])
    assert warned == {"float_finer": 1}


def test_a_lattice_that_is_left_again_and_again_ends_rounded_or_exact_never_worse_than_it_was() -> None:
    lattice = FloatLattice(EEG)
    last, changes, gains = None, 0, []
    for k in range(20):
        channels, _ = lattice.convert((RNG.integers(-300, 300, size=(50, 1)) + 10.0**-k).astype(np.float64))
        changes += channels is not last
        last = channels
        gains.append(channels[0].gain)
    assert changes <= 8
    assert gains == sorted(gains)


def test_values_beyond_24_bits_widen_and_beyond_32_become_exact() -> None:
    lattice = FloatLattice(EEG, resolution="0.01uV")
    small, _ = lattice.convert(NOISE)
    wide, samples = lattice.convert(NOISE + 1e6)
    assert wide[0].gain == small[0].gain
    assert wide[0].digital_max > small[0].digital_max
    np.testing.assert_allclose(wide[0].physical(samples[:, 0]), NOISE[:, 0] + 1e6, atol=0.00501)
    exact, samples = lattice.convert(np.full((5, 1), 1e12))
    assert exact[0].header["lattice"] == "float32-bits"
    np.testing.assert_array_equal(exact[0].physical(samples[:, 0]), np.full(5, 1e12, np.float32))


def test_nan_and_infinity_are_missing_and_infinity_is_counted() -> None:
    warned: Counter[str] = Counter()
    values = np.array([[1.5], [np.nan], [np.inf], [-np.inf], [-0.0]])
    (channel,), samples = FloatLattice(EEG, warn=lambda w: warned.update([w])).convert(values)
    assert samples[:, 0].tolist()[1:4] == [channel.missing] * 3
    np.testing.assert_array_equal(channel.physical(samples[:, 0]), [1.5, np.nan, np.nan, np.nan, 0.0])
    assert warned["float_infinite"] == 1


def test_a_chunk_of_nothing_decides_nothing_for_good() -> None:
    lattice = FloatLattice(EEG)
    lattice.convert(np.full((250, 1), np.nan))
    (channel,), samples = lattice.convert(np.arange(10.0)[:, None] / 10)
    np.testing.assert_array_equal(channel.physical(samples[:, 0]), np.arange(10.0) / 10)


@given(st.lists(st.floats(width=32, allow_nan=True), min_size=1, max_size=40), st.sampled_from(["uV", "", "mmHg"]))
def test_any_float32_comes_back_or_is_within_the_rounding_it_says(values: list[float], unit: str) -> None:
    lattice = FloatLattice((Channel("EEG", unit),))
    array = np.array(values, dtype=np.float32)[:, None]
    for part in (array[: len(array) // 2 + 1], array):
        (channel,), samples = lattice.convert(part)
        wanted = np.where(np.isinf(part), np.nan, part)[:, 0].astype(np.float64)
        got = channel.physical(samples[:, 0])
        assert (np.isnan(got) == np.isnan(wanted)).all()
        limit = channel.header.get("rounding", 0.0)
        error = np.abs(np.nan_to_num(got.astype(np.float32 if not limit else np.float64)) - np.nan_to_num(wanted))
        assert (error <= limit * (1 + 1e-6)).all()
        present = samples[samples != channel.missing]
        assert ((present >= channel.digital_min) & (present <= channel.digital_max)).all()


def test_every_usual_step_is_in_the_channels_own_unit() -> None:
    assert usual_step(Channel("EEG C3", "V")) == pytest.approx(1e-8)
    assert usual_step(Channel("II", "mV")) == pytest.approx(1e-3)
    assert usual_step(Channel("ABP", "mmHg")) == pytest.approx(0.01)
    assert usual_step(Channel("x", "furlong")) is None


def test_a_missing_code_is_never_a_legal_sample() -> None:
    made = with_missing([Channel("a"), Channel("b", digital_min=-(2**31), digital_max=5), Channel("c", missing=0)])
    assert [c.missing for c in made] == [-(2**15) - 1, 6, 0]
    with pytest.raises(InputError):
        with_missing([Channel("d", digital_min=-(2**31), digital_max=2**31 - 1)])
