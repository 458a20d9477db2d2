"""Simulated EEG: a 1/f background mixed over the scalp, alpha bursts, epileptic spikes, a trigger channel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sanstream.errors import InputError
from sanstream.signal import TRIGGER, Annotations, Channel, Recording, Segment, Stream
from sanstream.simulate_noise import FloatArray, Rate, bell, checked_length, digitise, shaped_noise, stretched

_LABELS = (
    "Fp1 Fp2 F3 F4 C3 C4 P3 P4 O1 O2 F7 F8 T7 T8 P7 P8 Fz Cz Pz Oz FC1 FC2 CP1 CP2 FC5 FC6 CP5 CP6 AF3 AF4 PO3 PO4"
).split()
_STEPS_PER_UV = 10.0
_SPIKE_S = 0.5


def _positions(n_channels: int) -> FloatArray:
    """Places on a disk, (n_channels, 2): a sunflower, nose up; the last ones sit at the rim."""
    k = np.arange(n_channels)
    radius = np.sqrt((k + 0.5) / n_channels)
    angle = k * np.pi * (3 - np.sqrt(5)) + np.pi / 2
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _background(rng: np.random.Generator, n: int, rate: float, places: FloatArray, exponent: float) -> FloatArray:
    """Noise with power ~ 1/f^exponent, correlated between neighbours: (n, channels), unit variance."""
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    mixing = np.exp(-((distance / 0.6) ** 2))
    mixing /= np.linalg.norm(mixing, axis=1, keepdims=True)
    sources = [shaped_noise(rng, n, rate, lambda f: 1.0 / np.maximum(f, 0.5) ** exponent) for _ in places]
    mixed: FloatArray = np.stack(sources, axis=1) @ mixing.T
    return mixed


def _alpha(rng: np.random.Generator, n: int, rate: float, places: FloatArray) -> FloatArray:
    """Ten-hertz bursts, strongest at the back of the head: (n, channels)."""
    slow = shaped_noise(rng, int(n / rate * 4) + 4, 4.0, lambda f: np.exp(-0.5 * (f / 0.12) ** 2))
    envelope = np.clip(stretched(slow, n) - 0.2, 0.0, None)
    carrier = shaped_noise(rng, n, rate, bell(10.0, 0.6))
    back = 1.0 / (1.0 + np.exp(4.0 * (places[:, 1] + 0.1)))
    return (envelope * carrier)[:, None] * back


def _spike_shape(rate: float) -> FloatArray:
    """Spike (about 70 ms) and slow wave, unit height, 0.5 s."""
    t = np.arange(int(_SPIKE_S * rate)) / rate
    shape: FloatArray = (
        -np.exp(-0.5 * ((t - 0.08) / 0.016) ** 2)
        + 0.45 * np.exp(-0.5 * ((t - 0.12) / 0.022) ** 2)
        - 0.35 * np.exp(-0.5 * ((t - 0.28) / 0.065) ** 2)
    )
    return shape


def _spikes(
    rng: np.random.Generator, n: int, rate: float, places: FloatArray, per_minute: float
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Spike-and-wave events from one focus: (n, channels) of unit height, and their start samples."""
    shape = _spike_shape(rate)
    count = rng.poisson(per_minute * n / rate / 60.0)
    start = np.sort(rng.integers(0, max(1, n - len(shape)), size=count))
    start = start[np.diff(start, prepend=-len(shape)) >= len(shape)]
    track = np.zeros(n + len(shape))
    height = rng.uniform(0.6, 1.4, size=len(start))
    for at, loud in zip(start.tolist(), height.tolist(), strict=True):
        track[at : at + len(shape)] += loud * shape
    focus = places[rng.integers(len(places))]
    field = np.exp(-((np.linalg.norm(places - focus, axis=1) / 0.7) ** 2))
    return track[:n, None] * field, start


def _trigger(rng: np.random.Generator, n: int, rate: float) -> npt.NDArray[np.int32]:
    """Pulses of 10 ms with codes 1 to 4 about every two seconds: (n,) int32."""
    codes = np.zeros(n, dtype=np.int32)
    at = np.cumsum(rng.uniform(1.5, 2.5, size=int(n / rate) + 1))
    for start, code in zip((at * rate).astype(int), rng.integers(1, 5, size=len(at)), strict=True):
        codes[start : start + max(1, int(0.01 * rate))] = code
    return codes


def simulate_eeg(
    duration_s: float,
    *,
    rate_hz: Rate = 256,
    n_channels: int = 8,
    seed: int = 0,
    exponent: float = 1.5,
    background_uv: float = 14.0,
    alpha_uv: float = 18.0,
    spike_uv: float = 90.0,
    spikes_per_minute: float = 3.0,
    trigger: bool = False,
    name: str = "eeg",
    start_ns: int | None = None,
) -> Recording:
    """Simulate a multi-channel EEG.

    Parameters
    ----------
    duration_s : float
    rate_hz : Fraction, int, float or str
    n_channels : int
        At least 1, the trigger channel not counted.
    seed : int
        The same arguments and seed give the same samples.
    exponent : float
        Power falls as 1/f to this above 0.5 Hz.
    background_uv, alpha_uv, spike_uv : float
        Standard deviation of the background, strength of alpha bursts, height of spikes.
    spikes_per_minute : float
    trigger : bool
        Add a lossless channel ``Status`` with event codes, as BDF has.
    name : str
    start_ns : int, optional

    Returns
    -------
    Recording
        Stream ``eeg``: 0.1 µV a step, 16 bit; annotation set ``edf`` with the spikes.

    Raises
    ------
    InputError
        On a duration without samples or no channel.
    """
    n, rate = checked_length(duration_s, rate_hz)
    if n_channels < 1:
        raise InputError(f"{n_channels} EEG channels", hint="ask for at least 1")
    rng = np.random.default_rng(seed)
    places = _positions(n_channels)
    physical = background_uv * _background(rng, n, float(rate), places, exponent)
    physical += alpha_uv * _alpha(rng, n, float(rate), places)
    field, start = _spikes(rng, n, float(rate), places, spikes_per_minute)
    physical += spike_uv * field + 0.4 * rng.standard_normal(physical.shape)
    labels = [_LABELS[k] if k < len(_LABELS) else f"E{k + 1}" for k in range(n_channels)]
    channels = [Channel(f"EEG {k}", "uV", _STEPS_PER_UV, 0, -(2**15), 2**15 - 1, None, 16) for k in labels]
    samples = digitise(physical, _STEPS_PER_UV, 0, -(2**15), 2**15 - 1)
    if trigger:
        channels.append(Channel("Status", "", 1.0, 0, -(2**23), 2**23 - 1, None, 24, TRIGGER))
        samples = np.concatenate([samples, _trigger(rng, n, float(rate))[:, None]], axis=1)
    stream = Stream("eeg", rate, (Segment(0, tuple(channels), samples),))
    columns = {
        "time_ns": start.astype(np.int64) * 10**9 * rate.denominator // rate.numerator,
        "duration_s": np.zeros(len(start)),
        "text": np.full(len(start), "spike", dtype=object),
    }
    return Recording(
        name,
        (stream,),
        start_ns,
        annotations=(Annotations("edf", columns),),
        source_format="bdf" if trigger else "edf",
    )
