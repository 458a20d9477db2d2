"""Simulated ECG and PPG: a rhythm with heart-rate variability and ectopic beats, waves as Gaussians.

After McSharry et al., IEEE Trans. Biomed. Eng. 50(3):289-294 (2003): every wave is a Gaussian about
its place in the beat, RR intervals have a spectrum with a low- and a high-frequency (respiratory)
part. Here the waves are summed in closed form, each with a dipole that the leads see from their own
direction, so an hour takes about a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from sanstream.errors import InputError
from sanstream.signal import Annotations, Channel, Recording, Segment, Stream
from sanstream.simulate_noise import FloatArray, Rate, band, bell, checked_length, digitise, shaped_noise, stretched

_SLOW_HZ = 8.0
_MS = 0.001


@dataclass(frozen=True)
class _Wave:
    """One Gaussian of a beat.

    Parameters
    ----------
    centre_s : float
        After the R peak, at RR = 1 s.
    width_s : float
        Standard deviation.
    dipole : tuple of float
        Millivolts to the left, downwards and to the front.
    stretch : float
        Centre and width grow with RR to this power.
    """

    centre_s: float
    width_s: float
    dipole: tuple[float, float, float]
    stretch: float = 0.0


_NORMAL = (
    _Wave(-0.170, 0.022, (0.07, 0.11, 0.03), 0.3),
    _Wave(-0.028, 0.008, (-0.10, -0.08, 0.10)),
    _Wave(0.000, 0.011, (0.70, 0.95, -0.25)),
    _Wave(0.028, 0.010, (-0.20, -0.18, -0.45)),
    _Wave(0.250, 0.050, (0.12, 0.16, 0.06), 0.5),
    _Wave(0.300, 0.030, (0.09, 0.12, 0.04), 0.5),
)
_ECTOPIC = (
    _Wave(-0.005, 0.028, (0.50, 1.30, 0.55)),
    _Wave(0.070, 0.035, (-0.90, -0.60, -0.70)),
    _Wave(0.310, 0.060, (-0.25, -0.45, -0.20), 0.5),
)
_LEADS: dict[str, tuple[float, float, float]] = {
    "MLII": (0.50, 0.87, 0.0),
    "V5": (0.95, 0.20, 0.25),
    "V1": (-0.35, -0.05, 0.93),
    "I": (1.0, 0.0, 0.0),
    "III": (-0.50, 0.87, 0.0),
    "aVR": (-0.87, -0.50, 0.0),
    "aVL": (0.87, -0.50, 0.0),
    "aVF": (0.0, 1.0, 0.0),
    "V2": (0.05, 0.0, 1.0),
    "V3": (0.45, 0.05, 0.88),
    "V4": (0.75, 0.15, 0.62),
    "V6": (1.0, 0.20, -0.05),
}


@dataclass(frozen=True)
class _Rhythm:
    """Beats of a recording.

    Parameters
    ----------
    time_s : ndarray, shape (n_beats,), float64
        R peaks; the first and last may lie outside the recording.
    rr_s : ndarray, shape (n_beats,), float64
        Length of the beat before.
    ectopic : ndarray, shape (n_beats,), bool
    breath : ndarray, shape (n_beats,), float64
        Respiration at each beat, unit variance.
    respiration : ndarray, float64
        Respiration at 8 Hz, from the recording's start.
    """

    time_s: FloatArray
    rr_s: FloatArray
    ectopic: npt.NDArray[np.bool_]
    breath: FloatArray
    respiration: FloatArray


def _rhythm(
    rng: np.random.Generator,
    duration_s: float,
    bpm: float,
    sdnn_s: float,
    ectopic: float,
    bigeminy_s: tuple[float, float] = (0.0, 0.0),
) -> _Rhythm:
    """Draw beats: RR of mean ``60 / bpm`` with LF (0.1 Hz) and HF (respiration, 0.25 Hz) parts."""
    if not 20 <= bpm <= 250 or not 0 <= ectopic <= 0.4:
        raise InputError(f"heart rate {bpm}/min, ectopic share {ectopic}; allowed are 20 to 250 and 0 to 0.4")
    margin = 3.0
    n = int((duration_s + 2 * margin) * _SLOW_HZ) + 2
    respiration = shaped_noise(rng, n, _SLOW_HZ, bell(0.25, 0.02))
    slow = shaped_noise(rng, n, _SLOW_HZ, bell(0.1, 0.01))
    mean = 60.0 / bpm
    rr = np.clip(mean + sdnn_s * (0.58 * slow + 0.82 * respiration), 0.5 * mean, 2 * mean)
    at = np.arange(n) / _SLOW_HZ - margin
    phase = np.cumsum(1.0 / rr) / _SLOW_HZ
    time = np.interp(np.arange(1, int(phase[-1])), phase, at)
    own = np.diff(time, prepend=time[:1] - mean)
    chosen = rng.random(len(time)) < ectopic
    paired = (time >= bigeminy_s[0]) & (time < bigeminy_s[1])
    chosen[paired] = np.arange(np.count_nonzero(paired)) % 2 == 1
    chosen[1:] &= ~chosen[:-1]
    # premature by a third, followed by a compensatory pause
    time = time - np.where(chosen, 0.33 * own, 0.0)
    breath = np.interp(time, at, respiration)
    shown = respiration[int(margin * _SLOW_HZ) :]
    return _Rhythm(time, np.diff(time, prepend=time[:1] - mean), chosen, breath, shown)


def _add_wave(out: FloatArray, centre_s: FloatArray, width_s: FloatArray, height: FloatArray, rate: float) -> None:
    """Add one Gaussian per beat to ``out`` (n,), evaluated within five deviations."""
    if len(centre_s) == 0:
        return
    length = int(np.ceil(10 * width_s.max() * rate)) + 2
    first = np.floor((centre_s - 5 * width_s) * rate).astype(np.int64)
    index = first[:, None] + np.arange(length)
    value = height[:, None] * np.exp(-0.5 * ((index / rate - centre_s[:, None]) / width_s[:, None]) ** 2)
    inside = (index >= 0) & (index < len(out))
    out += np.bincount(index[inside], weights=value[inside], minlength=len(out))


def _beats(rng: np.random.Generator, rhythm: _Rhythm, n: int, rate: float, leads: FloatArray) -> FloatArray:
    """Sum the waves of all beats as the leads (n_leads, 3) see them: (n, n_leads) millivolts."""
    out = np.zeros((n, len(leads)))
    for waves, mine in ((_NORMAL, ~rhythm.ectopic), (_ECTOPIC, rhythm.ectopic)):
        time, rr = rhythm.time_s[mine], np.clip(rhythm.rr_s[mine], 0.3, 2.0)
        louder = 1 + 0.04 * rhythm.breath[mine]
        for wave in waves:
            track = np.zeros(n)
            stretch = rr**wave.stretch
            jitter = 2 * _MS * rng.standard_normal(len(time)) * (wave.centre_s != 0)
            height = louder * (1 + 0.03 * rng.standard_normal(len(time)))
            width = wave.width_s * stretch * (1 + 0.02 * rng.standard_normal(len(time)))
            _add_wave(track, time + wave.centre_s * stretch + jitter, width, height, rate)
            out += track[:, None] * (leads @ np.array(wave.dipole))
    return out


def _annotations(rhythm: _Rhythm, n: int, rate: Fraction) -> Annotations:
    """Beat annotations as a WFDB ``atr`` set: N normal, V premature ventricular."""
    sample = np.rint(rhythm.time_s * float(rate)).astype(np.int64)
    inside = (sample >= 0) & (sample < n)
    sample, ectopic = sample[inside], rhythm.ectopic[inside]
    zeros = np.zeros(len(sample), dtype=np.int64)
    return Annotations(
        "atr",
        {
            "time_ns": sample * 10**9 * rate.denominator // rate.numerator,
            "sample": sample,
            "code": np.where(ectopic, 5, 1).astype(np.int64),
            "symbol": np.where(ectopic, "V", "N").astype(object),
            "subtype": zeros,
            "chan": zeros,
            "num": zeros,
            "aux_note": np.full(len(sample), "", dtype=object),
        },
        {"format": "wfdb"},
    )


def simulate_ecg(
    duration_s: float,
    *,
    rate_hz: Rate = 360,
    n_leads: int = 2,
    seed: int = 0,
    heart_rate_bpm: float = 72.0,
    sdnn_s: float = 0.04,
    ectopic: float = 0.03,
    bigeminy_s: tuple[float, float] = (0.0, 0.0),
    wander_mv: float = 0.08,
    muscle_mv: float = 0.012,
    name: str = "ecg",
    start_ns: int | None = None,
) -> Recording:
    """Simulate an ECG with P, Q, R, S and T waves and beat annotations.

    Parameters
    ----------
    duration_s : float
    rate_hz : Fraction, int, float or str
    n_leads : int
        1 to 12: MLII, V5, V1, I, III, aVR, aVL, aVF, V2, V3, V4, V6.
    seed : int
        The same arguments and seed give the same samples.
    heart_rate_bpm : float
        20 to 250.
    sdnn_s : float
        Standard deviation of RR intervals.
    ectopic : float
        Share of premature ventricular beats, 0 to 0.4 (never two in a row).
    bigeminy_s : (float, float)
        Stretch, in seconds from the start, in which every second beat is one.
    wander_mv, muscle_mv : float
        Standard deviations of baseline wander and of muscle noise (which comes in bursts).
    name : str
    start_ns : int, optional

    Returns
    -------
    Recording
        Stream ``ecg``: 200 steps per mV, 11 bit, zero at 1024; annotation set ``atr``.

    Raises
    ------
    InputError
        On a duration without samples, an unknown number of leads or an implausible rhythm.
    """
    n, rate = checked_length(duration_s, rate_hz)
    if not 1 <= n_leads <= len(_LEADS):
        raise InputError(f"{n_leads} leads", hint=f"ask for 1 to {len(_LEADS)}")
    rng = np.random.default_rng(seed)
    rhythm = _rhythm(rng, n / float(rate), heart_rate_bpm, sdnn_s, ectopic, bigeminy_s)
    labels = list(_LEADS)[:n_leads]
    physical = _beats(rng, rhythm, n, float(rate), np.array([_LEADS[k] for k in labels]))
    breath = stretched(rhythm.respiration[: int(n / float(rate) * _SLOW_HZ) + 2], n)
    for lead in range(n_leads):
        slow = shaped_noise(rng, int(n / float(rate) * _SLOW_HZ) + 2, _SLOW_HZ, lambda f: 1.0 / (0.05 + f) ** 3)
        loud = np.exp(0.6 * shaped_noise(rng, int(n / float(rate)) + 2, 1.0, lambda f: 1.0 / (0.02 + f) ** 2))
        muscle = shaped_noise(rng, n, float(rate), band(15.0, 90.0))
        wander = 0.9 * stretched(slow, n) + 0.4 * rng.uniform(0.5, 1.0) * breath
        physical[:, lead] += wander_mv * wander + muscle_mv * stretched(loud, n) * muscle
    channels = tuple(Channel(k, "mV", 200.0, 1024, 0, 2047, None, 11, header={"adc_zero": 1024}) for k in labels)
    samples = digitise(physical, 200.0, 1024, 0, 2047)
    stream = Stream("ecg", rate, (Segment(0, channels, samples),))
    return Recording(name, (stream,), start_ns, annotations=(_annotations(rhythm, n, rate),), source_format="wfdb")


def simulate_ppg(
    duration_s: float,
    *,
    rate_hz: Rate = 125,
    seed: int = 0,
    heart_rate_bpm: float = 72.0,
    sdnn_s: float = 0.04,
    name: str = "ppg",
    start_ns: int | None = None,
) -> Recording:
    """Simulate a photoplethysmogram: systolic and dicrotic waves, respiration in level and height.

    Parameters
    ----------
    duration_s : float
    rate_hz : Fraction, int, float or str
    seed : int
        The same arguments and seed give the same samples.
    heart_rate_bpm, sdnn_s : float
        As in :func:`simulate_ecg`; no ectopic beats.
    name : str
    start_ns : int, optional

    Returns
    -------
    Recording
        Stream ``ppg``, channel PLETH: 1000 steps per unit ``NU``, 12 bit.

    Raises
    ------
    InputError
        On a duration without samples or an implausible rhythm.
    """
    n, rate = checked_length(duration_s, rate_hz)
    rng = np.random.default_rng(seed)
    rhythm = _rhythm(rng, n / float(rate), heart_rate_bpm, sdnn_s, 0.0)
    physical = np.zeros(n)
    root = np.sqrt(np.clip(rhythm.rr_s, 0.3, 2.0))
    height = 1 + 0.08 * rhythm.breath + 0.02 * rng.standard_normal(len(root))
    # systolic upstroke, its slower fall, dicrotic wave
    for centre, width, share in ((0.32, 0.055, 0.55), (0.40, 0.090, 0.60), (0.62, 0.100, 0.30)):
        _add_wave(physical, rhythm.time_s + centre * root, width * root, share * height, float(rate))
    breath = stretched(rhythm.respiration[: int(n / float(rate) * _SLOW_HZ) + 2], n)
    physical += 1.0 + 0.06 * breath + 0.003 * rng.standard_normal(n)
    channel = Channel("PLETH", "NU", 1000.0, 0, 0, 4095, None, 12)
    samples = digitise(physical[:, None], 1000.0, 0, 0, 4095)
    stream = Stream("ppg", rate, (Segment(0, (channel,), samples),))
    return Recording(name, (stream,), start_ns, source_format="wfdb")
