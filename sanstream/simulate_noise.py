"""Noise with a chosen spectrum, and what every simulated recording shares: seeds, rates, ADC."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy import fft

from sanstream.errors import InputError
from sanstream.signal import IntSamples, parse_rate

FloatArray = npt.NDArray[np.float64]
Rate = Fraction | int | float | str


def checked_length(duration_s: float, rate_hz: Rate) -> tuple[int, Fraction]:
    """Return the samples in ``duration_s`` and the exact rate.

    Raises
    ------
    InputError
        When the duration holds no sample or the rate is not positive.
    """
    rate = parse_rate(str(rate_hz))
    n = round(duration_s * float(rate))
    if n < 1:
        raise InputError(f"duration {duration_s} s at {rate} Hz holds no sample", hint="ask for a longer one")
    return n, rate


def shaped_noise(
    rng: np.random.Generator, n: int, rate_hz: float, power: Callable[[FloatArray], FloatArray]
) -> FloatArray:
    """Gaussian noise of unit variance with power spectral density proportional to ``power(f)``.

    Parameters
    ----------
    rng : Generator
    n : int
        Samples.
    rate_hz : float
    power : callable
        Takes frequencies in hertz (ascending, first 0), returns non-negative densities; the mean
        (f = 0) is always dropped.

    Returns
    -------
    ndarray, shape (n,), float64
    """
    size = fft.next_fast_len(max(n, 16), real=True)
    density = power(fft.rfftfreq(size, 1.0 / rate_hz))
    density[0] = 0.0
    spectrum = rng.standard_normal(2 * len(density)).view(np.complex128)
    spectrum *= np.sqrt(density)
    noise: FloatArray = fft.irfft(spectrum, size)
    # expected deviation, not the measured one: a short recording of slow noise is no louder
    expected = np.sqrt(4.0 * density.sum()) / size
    return noise[:n] / expected if expected > 0 else noise[:n]


def bell(centre_hz: float, width_hz: float) -> Callable[[FloatArray], FloatArray]:
    """Gaussian spectral density about a centre."""
    return lambda f: np.exp(-0.5 * ((f - centre_hz) / width_hz) ** 2)


def band(low_hz: float, high_hz: float) -> Callable[[FloatArray], FloatArray]:
    """Flat spectral density with second-order skirts."""
    return lambda f: (f / low_hz) ** 4 / (1 + (f / low_hz) ** 4) / (1 + (f / high_hz) ** 4)


def stretched(values: FloatArray, n: int) -> FloatArray:
    """Interpolate slow ``values`` linearly onto ``n`` samples."""
    return np.interp(np.arange(n), np.linspace(0, max(n - 1, 1), len(values)), values)


def digitise(physical: FloatArray, gain: float, baseline: int, low: int, high: int) -> IntSamples:
    """Round to ADC steps and clip: (n, channels) physical -> int32."""
    steps = np.rint(physical * gain + baseline)
    return np.clip(steps, low, high, out=steps).astype(np.int32)
