"""One figure of a stream over its windows: ADWIN finds that it changed, a local shift says whether it matters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

DELTA = 1e-9
"""ADWIN's confidence; river's own default gives ten false alarms a day on a correlated series."""
_WARM = 30
_TAIL = 140
_UNITS = 4.0
_MOST = 0.7
_FAR = 2.0
_LESS = 0.7
_HOUR, _HOURS = 360, 24


Beside = npt.NDArray[np.float64]
"""What is known of the same windows, shape (4,): tempo, sway, noise, reach; 0 for unknown."""


def _excused_phi(level: float, old: Beside, new: Beside) -> float:
    """How far tempo, more movement and more noise may have moved phi.

    Beats that come closer overlap more, and what is laid over them is no new shape. Movement counts by its share of the
    signal's range: where there was none, a broader beat makes what looks like three times as much of it.
    """
    tempo, _, noise, _ = np.where(old > 0, new / np.maximum(old, 1e-9) - 1, 0.0).tolist()
    sway = (new[1] - old[1]) / old[3] if old[3] > 0 else 0.0
    over = min(0.2, max(0.0, 4.0 * sway)) + min(0.2, max(0.0, 0.2 * noise))
    return float(level * (min(0.5, 2.5 * abs(tempo)) + over))


def _excused_bits(level: float, old: Beside, new: Beside) -> float:
    """How far another noise or height may have moved bits per sample, whatever the bound rests on.

    By theory a bit an octave; half as much again, as windows differ and the noise is measured in coarse steps.
    """
    tempo, _, noise, reach = np.where((old > 0) & (new > 0), np.abs(np.log2(_ratio(new, old))), 0.0).tolist()
    return float(1.5 * (noise + reach) + level * min(0.2, tempo))


def _excused_axis(level: float, old: Beside, new: Beside) -> float:
    """How many degrees postures may turn the loop of two leads in their plane.

    The heart's axis turns by up to 15 degrees (Riekkinen and Rautaharju, Circulation 53:40-44, 1976). Among 3 600
    pairs of such postures without noise one in a thousand turned the loop by more than 16, none by more than this.
    """
    return 17.0


def _excused_roundness(level: float, old: Beside, new: Beside) -> float:
    """How much rounder or flatter the same postures may make the loop: none of those pairs by so much."""
    return 0.057


def _ratio(new: Beside, old: Beside) -> Beside:
    return np.maximum(new, 1e-9) / np.maximum(old, 1e-9)


@dataclass(frozen=True)
class Practice:
    """When a change that is statistically certain also matters.

    Parameters
    ----------
    excused : callable
        Takes the old level and what is known beside before and after; returns how much of a shift that explains.
    confirm : int
        Latest values, of which most must lie beyond the new level.
    before : int
        Values before those, whose median is the old level: the comparison is local, so that what rises over hours
        with the heart rate is never a change.
    sigmas : float
        Least shift in deviations of the old level's values.
    share : float
        Least shift relative to the old level.
    novel : float
        Up to so many deviations a shift is none when it leads to a level that the last day has seen: postures and rates
        come back.
    sure : float
        From so many deviations on, excuses count by :data:`_LESS`: a figure that did depend on tempo or noise so much
        would vary with them, and its deviation were larger.
    patience : int
        Values after ADWIN's word during which the shift may still become clear.
    blind : int
        With fewer values since the last change that it found, ADWIN finds no other, however large; until then every
        shift counts that matters.
    least : int
        Shortest stretch that ADWIN compares.
    limit : float
        Values further away, in deviations, count as so far.
    grain : float
        Least deviation that ADWIN reckons with. A figure that hardly varies within a posture and much between them
        would otherwise stand at the limit from the second posture on.
    period : float
        After which values come round again; 0 for never.
    """

    excused: Callable[[float, Beside, Beside], float] = _excused_phi
    confirm: int = 22
    before: int = 120
    sigmas: float = 2.5
    share: float = 0.03
    novel: float = 5.0
    sure: float = math.inf
    patience: int = 16
    blind: int = 30
    least: int = 5
    limit: float = 10.0
    grain: float = 0.0
    period: float = 0.0

    def gap(self, before: float, after: float) -> float:
        """Return how far it is from one level to the other."""
        far = after - before
        return far - self.period * round(far / self.period) if self.period else far


PHI = Practice(sure=10.0)
AXIS = Practice(_excused_axis, share=0.0, blind=60, grain=4.0, period=180.0)
ROUNDNESS = Practice(_excused_roundness, share=0.25, blind=60, grain=0.014)
BITS = Practice(_excused_bits, confirm=5, before=40, sigmas=3.0, share=0.15, patience=6, blind=0, least=1, limit=30.0)


@dataclass(frozen=True)
class Shift:
    """A change that matters.

    Parameters
    ----------
    before, after : float
        Levels.
    sigmas : float
        Their distance in deviations of the values before.
    """

    before: float
    after: float
    sigmas: float


class Series:
    """Watches one figure.

    Parameters
    ----------
    practice : Practice
    delta : float
        ADWIN's confidence.
    """

    def __init__(self, practice: Practice = PHI, delta: float = DELTA) -> None:
        self.practice, self.delta = practice, delta
        self.restart()

    def restart(self) -> None:
        """Forget everything: what comes next is the new normal."""
        self.tail, self._beside = np.zeros(0), np.zeros((0, 4))
        self.n = 0
        self._seen: list[list[float]] = []
        self._centre = self._scale = 0.0
        self._candidate = 0
        self._adwin: Any = None

    @property
    def level(self) -> float:
        """Median of the latest values; 0 before the first."""
        return float(np.median(self.tail[-_WARM:])) if len(self.tail) else 0.0

    def update(self, value: float, beside: tuple[float, float, float, float] = (0.0,) * 4) -> Shift | None:
        """Take one value; say whether a change has become certain that matters.

        Parameters
        ----------
        value : float
            Finite.
        beside : (float, float, float, float)
            Tempo, sway, noise and reach of the same window; 0 for unknown.
        """
        if len(self.tail):
            # of values that come round, the one nearest to the last ones: a quarter turn is no jumping to and fro
            lately = float(np.median(self.tail[-5:]))
            value = lately + self.practice.gap(lately, value)
        self.tail = np.append(self.tail[-(_TAIL - 1) :], value)
        self._beside = np.append(self._beside[-(_TAIL - 1) :], [beside], axis=0)
        self.n += 1
        if self.n % _WARM == 0 and len(self.tail) >= 2 * _WARM:
            self._remember(float(np.median(self.tail[-2 * _WARM : -_WARM])))
        if self._adwin is None:
            if len(self.tail) >= _WARM:
                self._begin()
            return None
        self._adwin.update(self._standard(value))
        if self._adwin.drift_detected:
            self._candidate = self.practice.patience
        if self._candidate == 0 and self._adwin.width >= self.practice.blind:
            return None
        self._candidate = max(0, self._candidate - 1)
        return self._shift()

    def _begin(self) -> None:
        """Fix the scale by what is there and show it to a new ADWIN."""
        from river.drift import ADWIN

        self._centre = float(np.median(self.tail))
        self._scale = max(_deviation(self.tail, self._centre), self.practice.grain)
        self._adwin = ADWIN(  # type: ignore[no-untyped-call]
            delta=self.delta, clock=1, min_window_length=self.practice.least
        )
        for value in self.tail:
            self._adwin.update(self._standard(float(value)))
        self._candidate = 0

    def _standard(self, value: float) -> float:
        # ADWIN's bound has a part that does not scale with the deviation, meant for values within 0 and 1: in quarters
        # of a deviation it no longer delays a word of three
        return _UNITS * float(np.clip((value - self._centre) / self._scale, -self.practice.limit, self.practice.limit))

    def _shift(self) -> Shift | None:
        p = self.practice
        new, old = self.tail[-p.confirm :], self.tail[-(p.confirm + p.before) : -p.confirm]
        if len(old) < p.confirm:
            return None
        before, middle = float(np.median(old)), float(np.median(new))
        # nearer to the old level than the median: a spell of a minute is no change
        after = float(np.quantile(new, _MOST if middle < before else 1 - _MOST))
        if (after < before) != (middle < before):
            return None  # a few that are far off, on the other side of the median
        shift = self._matters(before, after, _deviation(old, before))
        # what is far beyond all excuses needs fewer windows to be certain of
        return shift or self._matters(before, middle, _deviation(old, before), _FAR)

    def _matters(self, before: float, after: float, deviation: float, times: float = 1.0) -> Shift | None:
        """Return the shift between two levels where it is ``times`` as large as it must be."""
        p = self.practice
        gap = abs(p.gap(before, after))
        sigmas = gap / deviation
        excused = self._excused(abs(before)) * (1.0 if sigmas < p.sure else _LESS)
        if sigmas < times * p.sigmas or gap < times * (p.share * abs(before) + excused):
            return None
        if sigmas < p.novel and any(low <= after <= high for low, high in self._seen):
            return None
        return Shift(before, after, sigmas)

    def _remember(self, level: float) -> None:
        """Widen the range of levels of the present hour; a day of hours is kept."""
        if not self._seen or self.n % _HOUR == 0:
            self._seen = [*self._seen[-(_HOURS - 1) :], [level, level]]
        low, high = self._seen[-1]
        self._seen[-1] = [min(low, level), max(high, level)]

    def _excused(self, level: float) -> float:
        p = self.practice
        old = np.median(self._beside[-(p.confirm + p.before) : -p.confirm], axis=0)
        return p.excused(level, old, np.median(self._beside[-p.confirm :], axis=0))

    def state(self) -> dict[str, Any]:
        """Return what must be kept, as JSON values."""
        tail, beside = self.tail.round(5).tolist(), self._beside.round(3).tolist()
        return {"n": self.n, "tail": tail, "beside": beside, "seen": self._seen, "candidate": self._candidate}

    @classmethod
    def from_state(cls, data: Mapping[str, Any], practice: Practice = PHI, delta: float = DELTA) -> Series:
        """Go on from :meth:`state`: ADWIN is shown the latest values again."""
        out = cls(practice, delta)
        out.tail = np.array(data["tail"], np.float64)[-_TAIL:]
        out._beside = np.array(data["beside"], np.float64).reshape(-1, 4)[-_TAIL:]
        out.n, out._seen = int(data["n"]), [[float(low), float(high)] for low, high in data["seen"]]
        if len(out.tail) >= _WARM:
            out._begin()
            out._candidate = int(data["candidate"])
        return out


def _deviation(values: np.ndarray[Any, np.dtype[np.float64]], centre: float) -> float:
    """Robust standard deviation, at least a hundredth of the level."""
    spread = 1.4826 * float(np.median(np.abs(values - centre)))
    return max(spread, 0.01 * abs(centre), 1e-9)
