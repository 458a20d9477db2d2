"""Band power and coherence of EEG, original against decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import csd

from sanstream.serves.detectors import NoResultError
from sanstream.serves.pieces import FloatArray, Piece

BANDS_HZ = {"delta": (0.5, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0), "gamma": (30.0, 45.0)}
_SEGMENT_S = 2.0
_LEAST_SEGMENTS = 8
_USABLE = 0.45
"""Bands end at this share of the rate."""


@dataclass(frozen=True)
class BandResult:
    """One band.

    Parameters
    ----------
    original, decoded : float
        Power, squared units of the channel.
    change : float or None
        Per cent of the original's; None when that has none.
    coherence : float or None
        Magnitude-squared coherence of the two signals, mean over the band, 0 to 1; None when the signal is too short
        for an estimate (fewer than eight half-overlapping segments of 2 s) or has no power there.
    """

    original: float
    decoded: float
    change: float | None
    coherence: float | None


@dataclass(frozen=True)
class SpectrumResult:
    """Bands of one channel, by name; those beyond 0.45 of the rate are left out."""

    unit: str
    n_segments: int
    bands: dict[str, BandResult]


def compare_spectra(pieces: Sequence[Piece], rate_hz: float, *, unit: str) -> SpectrumResult:
    """Compare the spectra of both signals.

    Welch's method (IEEE Trans Audio Electroacoust 1967;15:70): Hann windows of 2 s, half overlapping, the mean
    over all pieces. Coherence is ``|Pxy|² / (Pxx Pyy)`` (Carter, Proc IEEE 1987;75:236).

    Parameters
    ----------
    pieces : sequence of Piece
    rate_hz : float
    unit : str

    Raises
    ------
    NoResultError
        When no piece holds a segment of 2 s, or the rate leaves no band.
    """
    n = round(_SEGMENT_S * rate_hz)
    bands = {name: (low, high) for name, (low, high) in BANDS_HZ.items() if high <= _USABLE * rate_hz}
    if not bands:
        raise NoResultError(f"{rate_hz:g} Hz is too slow for any EEG band")
    sums, n_segments = np.zeros((3, n // 2 + 1), complex), 0
    for piece in pieces:
        count = (len(piece.original) - n) // (n - n // 2) + 1
        if len(piece.original) < n:
            continue
        x, y = piece.original, piece.decoded
        sums += count * np.array([csd(a, b, rate_hz, nperseg=n)[1] for a, b in ((x, x), (y, y), (x, y))])
        n_segments += count
    if not n_segments:
        raise NoResultError(f"no stretch of {_SEGMENT_S:g} s without a gap")
    f = np.asarray(np.fft.rfftfreq(n, 1 / rate_hz), np.float64)
    density = sums / n_segments
    found = {name: _band(f, density, low, high, n_segments) for name, (low, high) in bands.items()}
    return SpectrumResult(unit, n_segments, found)


def _band(f: FloatArray, density: np.ndarray, low: float, high: float, n_segments: int) -> BandResult:
    inside = (f >= low) & (f < high)
    xx, yy = density[0, inside].real, density[1, inside].real
    step = float(f[1])
    original, decoded = float(xx.sum() * step), float(yy.sum() * step)
    change = 100 * (decoded - original) / original if original > 0 else None
    both = (xx > 0) & (yy > 0)
    coherence = None
    if n_segments >= _LEAST_SEGMENTS and (xx > 0).any():
        each = np.zeros(len(xx))
        each[both] = np.abs(density[2, inside][both]) ** 2 / (xx[both] * yy[both])
        coherence = float(np.clip(each[xx > 0].mean(), 0, 1))
    return BandResult(original, decoded, change, coherence)
