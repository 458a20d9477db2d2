"""Peaks of pressure, PPG and respiration: found again or not, and their height and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, find_peaks, sosfiltfilt

from sanstream.serves.agreement import Agreement, agreement_of
from sanstream.serves.beats import Ints
from sanstream.serves.detectors import NoResultError
from sanstream.serves.matching import Counts, gross, paired
from sanstream.serves.pieces import FloatArray, Piece


@dataclass(frozen=True)
class Kind:
    """How peaks of a kind of signal are found.

    Parameters
    ----------
    lowpass_hz : float
        Peaks are sought in the signal below this frequency, and measured in the signal itself.
    apart_s : float
        Least distance of two peaks.
    tolerance_s : float
        Within which a peak of the decoded signal is that of the original.
    """

    lowpass_hz: float
    apart_s: float
    tolerance_s: float


KINDS = {"pressure": Kind(12.0, 0.33, 0.15), "ppg": Kind(8.0, 0.33, 0.15), "respiration": Kind(1.5, 1.0, 0.5)}
_PROMINENCE = 0.3
"""A peak rises above its surroundings by this share of the range (5th to 95th percentile, minute by minute)."""
_AT_LEAST = 0.15
"""A peak is lost when the other signal has none that rises by this share: no peak is lost by a hair."""
_MINUTE_S = 60.0
_NEAR_S = 0.04
_LEAST_RATE = 4.0
_FLAT = 1e-12


@dataclass(frozen=True)
class PulseResult:
    """Peaks of one channel, decoded against original.

    Parameters
    ----------
    unit : str
    counts : Counts
        Peaks of the original found again (``found``), not found (``missed``), and new ones (``extra``).
    peak : Agreement
        Height of peaks (systolic pressure), in the channel's unit.
    trough : Agreement
        The least value between two peaks (diastolic pressure).
    mean : Agreement
        Mean over each interval between two peaks.
    time_ms : Agreement
        Time of peaks.
    original_peak, original_trough : float or None
        Means in the original.
    """

    unit: str
    counts: Counts
    peak: Agreement
    trough: Agreement
    mean: Agreement
    time_ms: Agreement
    original_peak: float | None
    original_trough: float | None


def compare_pulses(pieces: Sequence[Piece], rate_hz: float, kind: Kind, *, unit: str) -> PulseResult:
    """Find peaks in both signals and compare those that both have.

    Raises
    ------
    NoResultError
        When the original shows no peak, or the rate is too low.
    """
    if rate_hz < _LEAST_RATE / kind.apart_s:
        raise NoResultError(f"{rate_hz:g} Hz is too slow to see peaks {kind.apart_s:g} s apart")
    counts: list[Counts] = []
    columns: dict[str, list[FloatArray]] = {k: [] for k in ("peak", "trough", "mean", "time", "high", "low")}
    for piece in pieces:
        tolerance = round(kind.tolerance_s * rate_hz)
        before, weak_before = peaks(piece.original, rate_hz, kind)
        after, weak_after = (before, weak_before) if piece.exact else peaks(piece.decoded, rate_hz, kind)
        kept, had = paired(weak_after, before, tolerance)
        known, _ = paired(after, weak_before, tolerance)
        counts.append(Counts(int(had.sum()), int((~had).sum()), int((~known).sum())))
        pairs = np.stack([before[had], weak_after[kept]], axis=1)
        _measure(piece, pairs, np.flatnonzero(had), rate_hz, columns)
    joined = {name: np.concatenate(own) if own else np.zeros(0) for name, own in columns.items()}
    total = gross(counts)
    if not total.found + total.missed:
        raise NoResultError("no peak in the original")
    return PulseResult(
        unit,
        total,
        agreement_of(joined["peak"]),
        agreement_of(joined["trough"]),
        agreement_of(joined["mean"]),
        agreement_of(joined["time"]),
        float(joined["high"].mean()) if len(joined["high"]) else None,
        float(joined["low"].mean()) if len(joined["low"]) else None,
    )


def _measure(piece: Piece, pairs: Ints, order: Ints, rate_hz: float, columns: dict[str, list[FloatArray]]) -> None:
    """Add a piece's differences; a trough lies between two neighbouring peaks of which both are found again."""
    x, y = piece.original, piece.decoded
    high, new = _height(x, pairs[:, 0], rate_hz), _height(y, pairs[:, 1], rate_hz)
    columns["high"].append(high)
    columns["peak"].append(new - high)
    columns["time"].append(np.asarray((pairs[:, 1] - pairs[:, 0]) * (1000 / rate_hz), np.float64))
    spans = [(pairs[i], pairs[i + 1]) for i in np.flatnonzero(np.diff(order) == 1)]
    low = np.array([x[a[0] : b[0]].min() for a, b in spans])
    columns["low"].append(low)
    columns["trough"].append(np.array([y[a[1] : b[1]].min() for a, b in spans]) - low)
    columns["mean"].append(np.array([y[a[1] : b[1]].mean() - x[a[0] : b[0]].mean() for a, b in spans]))


def _height(signal: FloatArray, at: Ints, rate_hz: float) -> FloatArray:
    reach = round(_NEAR_S * rate_hz)
    window = np.clip(at[:, None] + np.arange(-reach, reach + 1), 0, len(signal) - 1)
    return np.asarray(signal[window].max(1))


def peaks(signal: FloatArray, rate_hz: float, kind: Kind) -> tuple[Ints, Ints]:
    """Find peaks by ``scipy.signal.find_peaks`` on the low-passed signal.

    Parameters
    ----------
    signal : ndarray, shape (n_samples,), float64
    rate_hz : float
    kind : Kind

    Returns
    -------
    clear, weak : ndarray, int64, ascending
        Samples; ``weak`` has peaks of half the rise, the clear ones among them.
    """
    smooth = signal
    if kind.lowpass_hz < 0.4 * rate_hz and len(signal) > 0.5 * rate_hz:
        sections = butter(2, kind.lowpass_hz, fs=rate_hz, output="sos")
        smooth = sosfiltfilt(sections, signal, padlen=min(len(signal) - 1, round(rate_hz)))
    step = max(1, round(_MINUTE_S * rate_hz))
    starts = np.arange(0, len(smooth), step)
    ranges = np.array([float(np.subtract(*np.percentile(smooth[s : s + step], [95, 5]))) for s in starts])
    # a last stretch of a moment has no range of its own
    if len(starts) > 1 and len(smooth) - starts[-1] < step / 6:
        ranges[-1] = ranges[-2]
    if not (ranges > 0).any():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    own = np.repeat(ranges, np.diff(starts, append=len(smooth)))
    found, shown = find_peaks(smooth, distance=max(1, round(kind.apart_s * rate_hz)), prominence=_FLAT)
    rise = shown["prominences"]
    clear, weak = (rise >= np.maximum(share * own[found], _FLAT) for share in (_PROMINENCE, _AT_LEAST))
    return np.asarray(found[clear], np.int64), np.asarray(found[weak], np.int64)
