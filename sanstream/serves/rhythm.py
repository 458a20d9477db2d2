"""RR intervals and heart-rate variability, after the Task Force of ESC and NASPE (Circulation 1996;93:1043)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.integrate import trapezoid
from scipy.signal import welch

from sanstream.serves.beats import Detected
from sanstream.serves.pieces import FloatArray

PLAUSIBLE_MS = (200.0, 3000.0)
"""RR intervals outside are left out: they stand for missed or doubled beats."""
LF_HZ, HF_HZ = (0.04, 0.15), (0.15, 0.4)
_ROUNDING_MS = 1e-6
"""Beats lie on samples: steps of exactly 50 ms are common, and are not more than 50."""
_SPECTRUM_S = 120.0
_TACHOGRAM_HZ = 4.0
_SEGMENT = 1024


@dataclass(frozen=True)
class Variability:
    """Figures of a series of RR intervals; None where there are too few.

    Parameters
    ----------
    n_rr : int
    mean_rr_ms, sdnn_ms : float or None
        Mean and standard deviation.
    rmssd_ms : float or None
        Root mean square of successive differences.
    pnn50 : float or None
        Per cent of successive differences over 50 ms.
    lf_ms2, hf_ms2, lf_hf : float or None
        Power from 0.04 to 0.15 and from 0.15 to 0.4 Hz and their ratio; Welch's method on the series resampled at
        4 Hz. Needs two minutes in one piece.
    """

    n_rr: int
    mean_rr_ms: float | None = None
    sdnn_ms: float | None = None
    rmssd_ms: float | None = None
    pnn50: float | None = None
    lf_ms2: float | None = None
    hf_ms2: float | None = None
    lf_hf: float | None = None


@dataclass(frozen=True)
class RhythmResult:
    """The rhythm of one detector's beats in the original and in the decoded signal."""

    detector: str
    original: Variability
    decoded: Variability

    def differences(self) -> dict[str, float | None]:
        """Return decoded less original of every figure that both have."""
        pairs = ((k, self.original.__dict__[k], self.decoded.__dict__[k]) for k in self.original.__dict__)
        return {k: None if a is None or b is None else b - a for k, a, b in pairs}


def compare_rhythm(found: Detected, rate_hz: float) -> RhythmResult:
    """Compute the variability of both signals' beats."""
    return RhythmResult(
        found.detector, *(variability([beats / rate_hz for beats in own]) for own in (found.original, found.decoded))
    )


def variability(beats_s: Sequence[FloatArray]) -> Variability:
    """Compute the figures of beats.

    Parameters
    ----------
    beats_s : sequence of ndarray, float64, ascending
        Seconds, one array a piece; no interval runs from one piece to the next.
    """
    times, intervals, steps = [np.zeros(0)], [np.zeros(0)], [np.zeros(0)]
    for beats in beats_s:
        rr = np.diff(beats) * 1000
        kept = (rr > PLAUSIBLE_MS[0]) & (rr < PLAUSIBLE_MS[1])
        times.append(beats[1:][kept])
        intervals.append(rr[kept])
        steps.append(np.diff(rr)[kept[1:] & kept[:-1]])
    every, step = np.concatenate(intervals), np.concatenate(steps)
    if len(every) < 2:
        return Variability(len(every))
    lf, hf = _power(times, intervals)
    return Variability(
        n_rr=len(every),
        mean_rr_ms=float(every.mean()),
        sdnn_ms=float(every.std(ddof=1)),
        rmssd_ms=float(np.sqrt(np.mean(step**2))) if len(step) else None,
        pnn50=float(100 * np.mean(np.abs(step) > 50 + _ROUNDING_MS)) if len(step) else None,
        lf_ms2=lf,
        hf_ms2=hf,
        lf_hf=lf / hf if lf is not None and hf else None,
    )


def _power(times_s: Sequence[FloatArray], intervals: Sequence[FloatArray]) -> tuple[float | None, float | None]:
    """Return LF and HF power, ms²: means over the pieces, by their length."""
    powers, weights = [], []
    for at, rr in zip(times_s, intervals, strict=True):
        if len(at) < 4 or at[-1] - at[0] < _SPECTRUM_S:
            continue
        grid = np.arange(at[0], at[-1], 1 / _TACHOGRAM_HZ)
        f, density = welch(np.interp(grid, at, rr), _TACHOGRAM_HZ, nperseg=min(_SEGMENT, len(grid)))
        powers.append([_between(f, density, band) for band in (LF_HZ, HF_HZ)])
        weights.append(len(grid))
    if not powers:
        return None, None
    lf, hf = np.average(powers, axis=0, weights=weights)
    return float(lf), float(hf)


def _between(f: FloatArray, density: FloatArray, band: tuple[float, float]) -> float:
    inside = (f >= band[0]) & (f <= band[1])
    return float(trapezoid(density[inside], f[inside]))
