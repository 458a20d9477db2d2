"""ST level of every beat, original against decoded, at the same instants in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sanstream.serves.agreement import Agreement, agreement_of
from sanstream.serves.beats import Ints, beats_in
from sanstream.serves.detectors import NoResultError
from sanstream.serves.pieces import FloatArray, Piece

AFTER_J_S = (0.06, 0.08)
_LEAST_BEATS = 3
_MOST_IN_MEDIAN = 2000
_AROUND_S = 0.3
_REFINE_S = 0.06
_QUIET = 0.06
"""A QRS complex has ended where the median beat's slope stays below this share of its steepest."""
_QUIET_S = 0.02
_QRS_S = (0.02, 0.12)
_MEAN_S = 0.02


@dataclass(frozen=True)
class StResult:
    """ST level of one channel.

    Parameters
    ----------
    reference : str
        Where the beats came from.
    unit : str
        Of the levels.
    n_beats : int
    onset_ms, j_ms : float
        Begin and end (J point) of the QRS complex from the R peak, found in the median beat of the original.
    levels : mapping of str to Agreement
        ``"J+60 ms"`` and ``"J+80 ms"``: decoded less original, level against the 20 ms before the QRS complex.
    original_mean : mapping of str to float
        Mean level in the original.
    """

    reference: str
    unit: str
    n_beats: int
    onset_ms: float
    j_ms: float
    levels: dict[str, Agreement]
    original_mean: dict[str, float]


def compare_st(
    pieces: Sequence[Piece], beats: Ints, rate_hz: float, *, reference: str, unit: str, factor: float = 1.0
) -> StResult:
    """Measure the ST level of both signals at the same beats.

    The J point is that of the median beat: the end of its QRS complex by slope. The isoelectric level of each beat is
    the mean of the 20 ms before the QRS complex (end of the PR segment); the ST level is the mean of 20 ms about
    60 and 80 ms after J, as in ambulatory ST analysis (Taddei et al., Eur Heart J 1992;13:1164; Jager, Physiol Meas
    1998;19:R1).

    Parameters
    ----------
    pieces : sequence of Piece
    beats : ndarray, int64, ascending
        On the stream's grid; each is moved to the nearest largest deflection of the original within 60 ms.
    rate_hz : float
    reference, unit : str
        Where the beats came from; the unit of the result.
    factor : float
        From the channel's unit to ``unit``.

    Raises
    ------
    NoResultError
        When there are fewer than three whole beats, or no QRS complex shows in their median.
    """
    reach = round(_AROUND_S * rate_hz)
    rows_original: list[FloatArray] = []
    rows_decoded: list[FloatArray] = []
    for piece in pieces:
        at = _refined(piece, beats_in(beats, piece) - piece.start, rate_hz)
        at = at[(at >= reach) & (at < len(piece.original) - reach)]
        window = at[:, None] + np.arange(-reach, reach + 1)
        rows_original.append(piece.original[window])
        rows_decoded.append(piece.decoded[window])
    original = np.concatenate(rows_original) if rows_original else np.zeros((0, 2 * reach + 1))
    decoded = np.concatenate(rows_decoded) if rows_decoded else original
    if len(original) < _LEAST_BEATS:
        raise NoResultError(f"{len(original)} whole beats; the ST level needs {_LEAST_BEATS}")
    some = np.unique(np.linspace(0, len(original) - 1, _MOST_IN_MEDIAN).astype(int))
    onset, j = qrs_limits(np.median(original[some], axis=0), rate_hz)
    half = max(1, round(_MEAN_S * rate_hz / 2))
    base = slice(max(0, reach + onset - 2 * half), reach + onset)
    levels, means = {}, {}
    for after in AFTER_J_S:
        centre = reach + j + round(after * rate_hz)
        at_st = slice(centre - half, centre + half + 1)
        before, now = (factor * (rows[:, at_st].mean(1) - rows[:, base].mean(1)) for rows in (original, decoded))
        name = f"J+{after * 1000:.0f} ms"
        levels[name], means[name] = agreement_of(now - before), float(before.mean())
    return StResult(reference, unit, len(original), 1000 * onset / rate_hz, 1000 * j / rate_hz, levels, means)


def _refined(piece: Piece, at: Ints, rate_hz: float) -> Ints:
    """Move beats to the largest deflection from their neighbourhood's median."""
    reach = max(1, round(_REFINE_S * rate_hz))
    at = at[(at >= reach) & (at < len(piece.original) - reach)]
    around = piece.original[at[:, None] + np.arange(-reach, reach + 1)]
    deflection = np.abs(around - np.median(around, axis=1, keepdims=True))
    return np.asarray(at + deflection.argmax(1) - reach, np.int64)


def qrs_limits(beat: FloatArray, rate_hz: float) -> tuple[int, int]:
    """Find begin and end of a QRS complex, in samples from its R peak in the middle of ``beat``.

    Parameters
    ----------
    beat : ndarray, shape (2 n + 1,), float64
    rate_hz : float

    Returns
    -------
    onset, j : int
        ``onset`` is negative.

    Raises
    ------
    NoResultError
        When the beat is flat.
    """
    middle = len(beat) // 2
    smooth = np.ones(max(1, round(0.012 * rate_hz)))
    slope = np.convolve(np.abs(np.gradient(beat)), smooth / len(smooth), mode="same")
    low, high = round(_QRS_S[0] * rate_hz), round(_QRS_S[1] * rate_hz)
    steepest = float(slope[middle - low : middle + low + 1].max())
    if steepest <= 0:
        raise NoResultError("no QRS complex in the median beat")
    quiet = slope < _QUIET * steepest
    run = max(1, round(_QUIET_S * rate_hz))
    after = next((k for k in range(low, high) if quiet[middle + k : middle + k + run].all()), high)
    before = next((k for k in range(low, high) if quiet[middle - k - run + 1 : middle - k + 1].all()), high)
    return -before, after
