"""Samples missing from a stream that has time stamps but no sample numbers, told from jitter."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

_LOOK_S = 0.25
_BACK_S = 0.5
_LEAST = 4


@dataclass(frozen=True)
class Run:
    """Samples that follow each other.

    Parameters
    ----------
    n_missing : int
        Samples missing before them; -1 when the clock went back, so that numbers must begin anew.
    values : ndarray, shape (n_samples, n_channels)
    time_s : float
        Time stamp of the first.
    """

    n_missing: int
    values: npt.NDArray[Any]
    time_s: float


class GapFinder:
    """Cuts samples into runs.

    A pause between two stamps is a gap when the samples after it stay late: the earliest of the next quarter second,
    against the earliest of the second before, by half a sample or more. A burst that is late and catches up is
    jitter. Samples are never moved; only their numbers say what is missing.

    Parameters
    ----------
    rate : Fraction
    """

    def __init__(self, rate: Fraction) -> None:
        self._rate = float(rate)
        self._look = max(_LEAST, round(_LOOK_S * self._rate))
        self._past = np.empty(0)
        self._times = np.empty(0)
        self._values: npt.NDArray[Any] | None = None
        self._cleared = 0

    @property
    def n_held(self) -> int:
        """Samples held back until it is clear whether a gap is before them."""
        return len(self._times)

    def add(self, values: npt.NDArray[Any], times: npt.NDArray[np.float64], *, final: bool = False) -> list[Run]:
        """Take samples and their stamps, in seconds; return what is decided, all of it when ``final``."""
        self._values = values if self._values is None else np.concatenate([self._values, values])
        self._times = np.concatenate([self._times, times])
        return self._decide(final=final)

    def settle(self) -> list[Run]:
        """Return what is held back; nothing more came to decide it by."""
        return self._decide(final=True) if self.n_held else []

    def _decide(self, *, final: bool) -> list[Run]:
        runs: list[Run] = []
        missing = 0
        while len(self._times):
            at = self._next_break()
            if at is None:
                runs.append(self._emit(len(self._times), missing))
                break
            if at:
                runs.append(self._emit(at, missing))
                missing = 0
            if len(self._past) and self._times[0] < self._past[-1]:
                self._past, missing = np.empty(0), -1
            elif len(self._times) < self._look and not final:
                break
            else:
                missing = self._lost()
                self._cleared = 1
                self._past = self._past + missing / self._rate
        return runs

    def _next_break(self) -> int | None:
        """Return the place of the first sample that may follow a gap, of those not decided yet."""
        step = np.diff(self._times, prepend=self._past[-1:] if len(self._past) else self._times[:1])
        odd = (step > 1.5 / self._rate) | (step < -_BACK_S)
        odd[: self._cleared] = False
        places = np.flatnonzero(odd)
        return int(places[0]) if len(places) else None

    def _lost(self) -> int:
        """Count the samples missing before the first one held: how much later it and its followers are."""
        before = self._past + np.arange(len(self._past), 0, -1) / self._rate
        after = self._times[: self._look]
        after = after - np.arange(len(after)) / self._rate
        return max(0, round((float(after.min()) - float(before.min())) * self._rate))

    def _emit(self, n: int, missing: int) -> Run:
        assert self._values is not None
        run = Run(missing, self._values[:n], float(self._times[0]))
        kept = max(1, round(self._rate))
        self._past = np.concatenate([self._past, self._times[:n]])[-kept:]
        self._values, self._times = self._values[n:], self._times[n:]
        self._cleared = 0
        return run
