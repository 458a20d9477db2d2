"""One figure of a stream over its windows: ADWIN finds that it changed, a local shift says whether it matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

DELTA = 1e-9
"""ADWIN's confidence; river's own default gives ten false alarms a day on a correlated series."""
_WARM = 30
_TAIL = 140
_LIMIT = 10.0
_MOST = 0.7


@dataclass(frozen=True)
class Practice:
    """When a change that is statistically certain also matters.

    Parameters
    ----------
    confirm : int
        Latest values, of which most must lie beyond the new level.
    before : int
        Values before those, whose median is the old level: the comparison is local, so that what rises over hours
        with the heart rate is never a change.
    sigmas : float
        Least shift in deviations of the old level's values.
    share : float
        Least shift relative to the old level.
    tempo : float
        A change of tempo excuses a shift up to this share of the old level: beats that come closer overlap more.
    patience : int
        Values after ADWIN's word during which the shift may still become clear.
    """

    confirm: int = 16
    before: int = 120
    sigmas: float = 2.0
    share: float = 0.05
    tempo: float = 0.2
    patience: int = 16


PHI = Practice()
BITS = Practice(confirm=5, before=40, sigmas=2.5, share=0.1, tempo=0.2, patience=6)


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
        self.tail, self._tempo = np.zeros(0), np.zeros(0)
        self.n = 0
        self._centre = self._scale = 0.0
        self._candidate = 0
        self._adwin: Any = None

    @property
    def level(self) -> float:
        """Median of the latest values; 0 before the first."""
        return float(np.median(self.tail[-_WARM:])) if len(self.tail) else 0.0

    def restart(self) -> None:
        """Forget everything: what comes next is the new normal."""
        self.__init__(self.practice, self.delta)  # type: ignore[misc]

    def update(self, value: float, tempo: float = 0.0) -> Shift | None:
        """Take one value; say whether a change has become certain that matters.

        Parameters
        ----------
        value : float
            Finite.
        tempo : float
            Events per second; 0 for none.
        """
        self.tail = np.append(self.tail[-(_TAIL - 1) :], value)
        self._tempo = np.append(self._tempo[-(_TAIL - 1) :], tempo)
        self.n += 1
        if self._adwin is None:
            if len(self.tail) >= _WARM:
                self._begin()
            return None
        self._adwin.update(self._standard(value))
        if self._adwin.drift_detected:
            self._candidate = self.practice.patience
        elif self._candidate == 0:
            return None
        self._candidate -= 1
        return self._shift()

    def _begin(self) -> None:
        """Fix the scale by what is there and show it to a new ADWIN."""
        from river.drift import ADWIN

        self._centre = float(np.median(self.tail))
        self._scale = _deviation(self.tail, self._centre)
        self._adwin = ADWIN(delta=self.delta, clock=1)  # type: ignore[no-untyped-call]
        for value in self.tail:
            self._adwin.update(self._standard(float(value)))
        self._candidate = 0

    def _standard(self, value: float) -> float:
        # ADWIN's bound has a part that does not scale with the deviation: it wants values of order one
        return float(np.clip((value - self._centre) / self._scale, -_LIMIT, _LIMIT))

    def _shift(self) -> Shift | None:
        p = self.practice
        new, old = self.tail[-p.confirm :], self.tail[-(p.confirm + p.before) : -p.confirm]
        if len(old) < p.confirm:
            return None
        before, middle = float(np.median(old)), float(np.median(new))
        # nearer to the old level than the median: a spell of a minute is no change
        after = float(np.quantile(new, _MOST if middle < before else 1 - _MOST))
        sigmas = abs(after - before) / _deviation(old, before)
        excused = min(p.tempo, self._change_of_tempo()) * abs(before)
        if sigmas < p.sigmas or abs(after - before) < p.share * abs(before) + excused:
            return None
        return Shift(before, after, sigmas)

    def _change_of_tempo(self) -> float:
        p = self.practice
        before = float(np.median(self._tempo[-(p.confirm + p.before) : -p.confirm]))
        after = float(np.median(self._tempo[-p.confirm :]))
        return abs(after / before - 1) if before > 0 else 0.0

    def state(self) -> dict[str, Any]:
        """Return what must be kept, as JSON values."""
        tail, tempo = ([round(float(v), 5) for v in values] for values in (self.tail, self._tempo))
        return {"n": self.n, "tail": tail, "tempo": tempo, "candidate": self._candidate}

    @classmethod
    def from_state(cls, data: Mapping[str, Any], practice: Practice = PHI, delta: float = DELTA) -> Series:
        """Go on from :meth:`state`: ADWIN is shown the latest values again."""
        out = cls(practice, delta)
        out.tail, out._tempo = (np.array(data[k], np.float64)[-_TAIL:] for k in ("tail", "tempo"))
        out.n = int(data["n"])
        if len(out.tail) >= _WARM:
            out._begin()
            out._candidate = int(data["candidate"])
        return out


def _deviation(values: np.ndarray[Any, np.dtype[np.float64]], centre: float) -> float:
    """Robust standard deviation, at least a hundredth of the level."""
    spread = 1.4826 * float(np.median(np.abs(values - centre)))
    return max(spread, 0.01 * abs(centre), 1e-9)
