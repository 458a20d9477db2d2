"""Days of ECG made on demand: circadian heart rate, postures, noise, lead off, and changes put in where asked.

The waves are those of :func:`sanstream.simulate.simulate_ecg`; what varies over hours is drawn once for the whole
time, so that any stretch can be made alone and always comes out the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sanstream.signal import Channel, IntSamples
from sanstream.simulate_heart import _LEADS, _NORMAL, _add_wave, _Wave
from sanstream.simulate_noise import FloatArray, band, bell, digitise, shaped_noise

GAIN = 200.0
_SLOW_HZ = 4.0
_BLOCK = (
    _Wave(-0.190, 0.022, (0.07, 0.11, 0.03), 0.3),
    _Wave(-0.022, 0.016, (0.35, 0.30, -0.35)),
    _Wave(0.030, 0.026, (0.80, 0.45, -0.75)),
    _Wave(0.075, 0.018, (0.30, 0.20, -0.30)),
    _Wave(0.290, 0.055, (-0.22, -0.18, 0.30), 0.5),
    _Wave(0.345, 0.035, (-0.12, -0.08, 0.15), 0.5),
)
_PACED = (
    _Wave(-0.060, 0.004, (0.25, 0.50, -0.10)),
    _Wave(-0.010, 0.030, (-0.30, -0.90, -0.40)),
    _Wave(0.060, 0.030, (0.45, -0.50, 0.60)),
    _Wave(0.120, 0.020, (0.00, 0.10, 0.05)),
    _Wave(0.300, 0.060, (0.20, 0.45, 0.10), 0.5),
    _Wave(0.380, 0.040, (0.08, 0.15, 0.05), 0.5),
)
_INJURY = (*_NORMAL[:4], _Wave(0.130, 0.055, (0.25, 0.35, 0.10)), _Wave(0.270, 0.055, (-0.14, -0.20, -0.06), 0.5))
KINDS = ("left bundle block", "paced", "injury", "electrode moved", "electrodes swapped")


@dataclass(frozen=True)
class Change:
    """What happens to a signal at a moment, and stays.

    Parameters
    ----------
    at_s : float
    kind : str
        One of :data:`KINDS`.
    """

    at_s: float
    kind: str


@dataclass(frozen=True)
class _Beats:
    """Beats of the whole time; arrays over beats, draws over (wave, beat)."""

    time_s: FloatArray
    rr_s: FloatArray
    louder: FloatArray
    jitter: FloatArray
    height: FloatArray
    width: FloatArray
    turn: FloatArray  # (beat, 3, 3)


@dataclass(frozen=True)
class _Spell:
    start_s: float
    end_s: float
    kind: str
    lead: int
    level: float


def _circadian_bpm(rng: np.random.Generator, at: FloatArray) -> FloatArray:
    """Return heart rate over time (n,): low at night, waves of activity by day, steps when someone gets up."""
    hour = (at / 3600 + rng.uniform(0, 24)) % 24
    day = 0.5 - 0.5 * np.cos(2 * np.pi * (hour - 4) / 24)
    rate = rng.uniform(55, 65) + rng.uniform(12, 20) * day
    slow = shaped_noise(rng, len(at), _SLOW_HZ, lambda f: 1.0 / (1e-4 + f) ** 2)
    return np.asarray(np.clip(rate + 5 * slow, 42, 125))


def _turn(angles: FloatArray) -> FloatArray:
    """Return rotation matrices (n, 3, 3) about the front and the vertical axis by angles (n, 2), radians."""
    c, s = np.cos(angles), np.sin(angles)
    zero, one = np.zeros(len(angles)), np.ones(len(angles))
    front = np.stack([c[:, 0], -s[:, 0], zero, s[:, 0], c[:, 0], zero, zero, zero, one], axis=1).reshape(-1, 3, 3)
    up = np.stack([c[:, 1], zero, s[:, 1], zero, one, zero, -s[:, 1], zero, c[:, 1]], axis=1).reshape(-1, 3, 3)
    return np.asarray(front @ up)


class LongSignal:
    """An ECG of hours or days.

    Parameters
    ----------
    seed : int
    hours : float
    rate_hz : int
    changes : sequence of Change
    restless : bool
        Whether postures, noise and loose leads come; without them the signal is steady but for the heart rate.
    """

    def __init__(
        self,
        seed: int,
        *,
        hours: float = 24.0,
        rate_hz: int = 250,
        changes: Sequence[Change] = (),
        restless: bool = True,
    ) -> None:
        self.rate = Fraction(rate_hz)
        self.duration_s = hours * 3600
        self.changes = tuple(sorted(changes, key=lambda c: c.at_s))
        self.channels = tuple(Channel(k, "mV", GAIN, 1024, 0, 2047, None, 11) for k in ("MLII", "V5"))
        self._seed = seed
        self._restless = restless
        rng = np.random.default_rng([seed, 1])
        self._moved = _turn(np.deg2rad(rng.choice([-1, 1], (1, 2)) * rng.uniform([[35, 35]], [[60, 60]])))[0]
        self._beats = self._draw_beats(rng)
        self._spells = self._draw_spells(rng) if restless else ()

    def _draw_beats(self, rng: np.random.Generator) -> _Beats:
        n = int((self.duration_s + 10) * _SLOW_HZ)
        at = np.arange(n) / _SLOW_HZ - 5
        breath = shaped_noise(rng, n, _SLOW_HZ, bell(0.25, 0.02))
        slow = shaped_noise(rng, n, _SLOW_HZ, bell(0.1, 0.01))
        bpm = _circadian_bpm(rng, at)
        angle, gain, lift = self._postures(rng, at)
        rr = np.clip(60 / (bpm * lift) + 0.035 * (0.58 * slow + 0.82 * breath), 0.35, 1.8)
        phase = np.cumsum(1 / rr) / _SLOW_HZ
        time = np.interp(np.arange(1, int(phase[-1])), phase, at)
        shape = (len(_NORMAL), len(time))
        where = np.clip(((time + 5) * _SLOW_HZ).astype(int), 0, n - 1)
        turn = _turn(angle[where]) * gain[where][:, None, None]
        return _Beats(
            time, np.diff(time, prepend=time[0] - 0.8), 1 + 0.04 * breath[where], 0.002 * rng.standard_normal(shape),
            1 + 0.03 * rng.standard_normal(shape), 1 + 0.02 * rng.standard_normal(shape), turn,
        )  # fmt: skip

    def _postures(self, rng: np.random.Generator, at: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return axis (n, 2) radians, gain (n,) and factor of the heart rate (n,); a posture lasts about half an hour.

        The electrical axis turns by up to about 15 degrees and amplitudes change by up to about 15 % between supine,
        sides and standing (Riekkinen and Rautaharju, Circulation 53:40-44, 1976; Madias, J. Electrocardiol. 2006).
        """
        angle, gain, lift = np.zeros((len(at), 2)), np.ones(len(at)), np.ones(len(at))
        if not self._restless:
            return angle, gain, lift
        kinds = (
            np.deg2rad(rng.normal(0, 7, (4, 2)).clip(-15, 15)),
            rng.uniform(0.87, 1.13, 4),
            rng.uniform(0.95, 1.15, 4),
        )
        start = 0.0
        while start < self.duration_s + 5:
            length, kind = max(120.0, rng.exponential(1800)), int(rng.integers(4))
            mine = (at >= start) & (at < start + length)
            angle[mine], gain[mine], lift[mine] = kinds[0][kind], kinds[1][kind], kinds[2][kind]
            start += length
        soft = int(4 * _SLOW_HZ)
        window = np.ones(soft) / soft
        for c in range(2):
            angle[:, c] = np.convolve(angle[:, c], window, "same")
        return angle, np.convolve(gain - 1, window, "same") + 1, np.convolve(lift - 1, window, "same") + 1

    def _draw_spells(self, rng: np.random.Generator) -> tuple[_Spell, ...]:
        """Draw stretches of muscle noise, movement and loose leads."""
        out = []
        for kind, per_day, mean_s in (("muscle", 24, 120), ("movement", 24, 45), ("off", 4, 300), ("noise", 3, 240)):
            for _ in range(rng.poisson(per_day * self.duration_s / 86400)):
                start = rng.uniform(0, self.duration_s)
                length = min(float(rng.exponential(mean_s)) + 5, 1200.0)
                out.append(_Spell(start, start + length, kind, int(rng.integers(3)), float(rng.uniform(0.5, 1.5))))
        return tuple(out)

    def kind_at(self, time_s: float) -> str:
        """Name the last change before a moment, ``""`` before the first."""
        return next((c.kind for c in reversed(self.changes) if c.at_s <= time_s), "")

    def samples(self, start_s: float, duration_s: float) -> IntSamples:
        """Make a stretch, (n_samples, 2) int32, 200 steps per mV about 1024."""
        edges = [
            start_s,
            *(c.at_s for c in self.changes if start_s < c.at_s < start_s + duration_s),
            start_s + duration_s,
        ]
        n = round(duration_s * float(self.rate))
        out = np.zeros((n, 2))
        for a, b in pairwise(edges):
            first, last = (round((t - start_s) * float(self.rate)) for t in (a, b))
            out[first:last] = self._heart(a, last - first, self.kind_at(a))
        out += self._background(start_s, n)
        for spell in self._spells:
            if spell.start_s < start_s + duration_s and spell.end_s > start_s:
                self._disturb(out, spell, start_s)
        return digitise(out, GAIN, 1024, 0, 2047)

    def _heart(self, start_s: float, n: int, kind: str) -> FloatArray:
        rate, beats = float(self.rate), self._beats
        mine = np.flatnonzero((beats.time_s > start_s - 1) & (beats.time_s < start_s + n / rate + 1))
        waves = {"left bundle block": _BLOCK, "paced": _PACED, "injury": _INJURY}.get(kind, _NORMAL)
        leads = np.array([_LEADS["MLII"], _LEADS["V5"]])
        if kind == "electrode moved":
            leads = leads @ self._moved
        elif kind == "electrodes swapped":
            leads = leads[::-1] * np.array([[1.0], [-1.0]])
        time, rr = beats.time_s[mine] - start_s, np.clip(beats.rr_s[mine], 0.35, 2.0)
        out = np.zeros((n, 2))
        for w, wave in enumerate(waves):
            stretch = rr**wave.stretch
            centre = time + wave.centre_s * stretch + beats.jitter[w, mine] * (wave.centre_s != 0)
            width = wave.width_s * stretch * beats.width[w, mine]
            seen = beats.turn[mine] @ np.array(wave.dipole) @ leads.T
            for lead in range(2):
                track = np.zeros(n)
                _add_wave(track, centre, width, beats.louder[mine] * beats.height[w, mine] * seen[:, lead], rate)
                out[:, lead] += track
        return out

    def _background(self, start_s: float, n: int) -> FloatArray:
        """Wander and muscle noise of a stretch."""
        rng = np.random.default_rng([self._seed, 2, round(start_s * 1000)])
        rate = float(self.rate)
        out = np.zeros((n, 2))
        for lead in range(2):
            wander = shaped_noise(rng, n + 16, rate, lambda f: (f < 0.6) / (0.05 + f) ** 3)[:n]
            loud = 0.010 * np.exp(0.25 * np.sin(2 * np.pi * (start_s / 7200 + 0.13 * self._seed + 0.3 * lead)))
            out[:, lead] = 0.07 * wander + loud * shaped_noise(rng, n, rate, band(15.0, 90.0))
        return out

    def _disturb(self, out: FloatArray, spell: _Spell, start_s: float) -> None:
        rate, n = float(self.rate), len(out)
        rng = np.random.default_rng([self._seed, 3, round(spell.start_s * 1000), round(start_s * 1000)])
        a, b = (int(np.clip((t - start_s) * rate, 0, n)) for t in (spell.start_s, spell.end_s))
        if b <= a:
            return
        for lead in [spell.lead] if spell.lead < 2 else [0, 1]:
            if spell.kind == "muscle":
                out[a:b, lead] += 0.10 * spell.level * shaped_noise(rng, b - a, rate, band(15.0, 90.0))
            elif spell.kind == "movement":
                out[a:b, lead] += 0.45 * spell.level * shaped_noise(rng, b - a, rate, band(0.3, 4.0))
            elif spell.kind == "off":
                hum = 0.004 * np.sin(2 * np.pi * 50 * np.arange(b - a) / rate)
                out[a:b, lead] = (5.0 if spell.level > 1.2 else 0.0) + hum
            else:
                out[a:b, lead] = 0.3 * spell.level * shaped_noise(rng, b - a, rate, band(1.0, 60.0))


def with_changes(signal: LongSignal, changes: Sequence[Change]) -> LongSignal:
    """Give the same signal other changes."""
    import copy

    other = copy.copy(signal)
    other.changes = tuple(sorted((replace(c) for c in changes), key=lambda c: c.at_s))
    return other


BoolArray = npt.NDArray[np.bool_]
