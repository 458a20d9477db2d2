"""Are the same beats found? Detections in the original and in the decoded signal against reference beats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sanstream.serves.detectors import detect
from sanstream.serves.matching import SYMBOLS, TOLERANCE_S, Counts, counts_of, gross, paired
from sanstream.serves.pieces import Piece
from sanstream.signal import Annotations

Ints = npt.NDArray[np.int64]

OWN = "detections in the original"
"""Name of the reference where nobody annotated beats."""
_MOST_PLACES = 50


@dataclass(frozen=True)
class Reference:
    """Annotated beats.

    Parameters
    ----------
    name : str
        Of the annotation set.
    sample : ndarray, int64, ascending
        On the stream's grid.
    symbol : ndarray of str, shape (n_beats,)
    """

    name: str
    sample: Ints
    symbol: npt.NDArray[np.str_]


def reference_of(sets: Iterable[Annotations], rate_hz: float) -> Reference | None:
    """Pick the annotated beats: of ``atr`` where there is one, else of the first set that has any.

    Parameters
    ----------
    sets : iterable of Annotations
    rate_hz : float
        Of the stream; annotation times are put on its grid.

    Returns
    -------
    Reference or None
        None when no set annotates beats with WFDB mnemonics.
    """
    for own in sorted(sets, key=lambda s: s.name != "atr"):
        if "symbol" not in own.columns:
            continue
        symbol = np.array([str(s) for s in own.columns["symbol"]])
        beat = np.isin(symbol, SYMBOLS)
        if beat.sum() >= 2:
            sample = np.rint(own.columns["time_ns"][beat] * (rate_hz / 1e9)).astype(np.int64)
            order = np.argsort(sample, kind="stable")
            return Reference(own.name, sample[order], symbol[beat][order])
    return None


@dataclass(frozen=True)
class Detected:
    """What one detector found in every piece; samples on the stream's grid, ascending.

    Parameters
    ----------
    detector : str
    original, decoded : tuple of ndarray, int64
        One array a piece.
    """

    detector: str
    original: tuple[Ints, ...]
    decoded: tuple[Ints, ...]


def detect_in(detector: str, pieces: Sequence[Piece], rate_hz: float) -> Detected:
    """Run a detector over both signals; where they are equal, once.

    Raises
    ------
    NoResultError
        When it cannot work on a piece.
    """
    original, decoded = [], []
    for piece in pieces:
        original.append(detect(detector, piece.original, rate_hz) + piece.start)
        decoded.append(original[-1] if piece.exact else detect(detector, piece.decoded, rate_hz) + piece.start)
    return Detected(detector, tuple(original), tuple(decoded))


@dataclass(frozen=True)
class BeatResult:
    """One detector on one channel.

    Parameters
    ----------
    detector : str
    reference : str
        Name of the annotation set, or :data:`OWN`.
    original, decoded : Counts
        Against the reference.
    lost, gained : int
        Detections in the original without one in the decoded signal within 150 ms, and the other way round.
    shift_mean_ms, shift_sd_ms : float or None
        Of the detections that both have, decoded less original.
    changed_s : tuple of float
        Where ``lost`` and ``gained`` are, seconds on the stream's grid; the first fifty.
    """

    detector: str
    reference: str
    original: Counts
    decoded: Counts
    lost: int
    gained: int
    shift_mean_ms: float | None
    shift_sd_ms: float | None
    changed_s: tuple[float, ...]

    @property
    def f1_points(self) -> float:
        """F1 of the decoded signal less that of the original, percentage points."""
        return 100 * (self.decoded.f1 - self.original.f1)


def compare_beats(found: Detected, pieces: Sequence[Piece], reference: Reference | None, rate_hz: float) -> BeatResult:
    """Count detections as ANSI/AAMI EC57 does: one to one, within 150 ms.

    Parameters
    ----------
    found : Detected
    pieces : sequence of Piece
        Those it was found in; reference beats outside them do not count.
    reference : Reference or None
        None takes the detections in the original.
    rate_hz : float
    """
    tolerance = math.floor(TOLERANCE_S * rate_hz + 1e-9)
    against_original, against_decoded, changed, shifts = [], [], [], []
    lost = gained = 0
    for piece, original, decoded in zip(pieces, found.original, found.decoded, strict=True):
        truth = original if reference is None else beats_in(reference.sample, piece)
        against_original.append(counts_of(*paired(original, truth, tolerance)))
        against_decoded.append(counts_of(*paired(decoded, truth, tolerance)))
        kept, had = paired(decoded, original, tolerance)
        lost, gained = lost + int((~had).sum()), gained + int((~kept).sum())
        changed += [original[~had], decoded[~kept]]
        shifts.append(decoded[kept] - original[had])
    places = np.sort(np.concatenate(changed)) if changed else np.zeros(0, np.int64)
    moved = np.concatenate(shifts) * (1000 / rate_hz) if shifts else np.zeros(0)
    return BeatResult(
        found.detector,
        OWN if reference is None else reference.name,
        gross(against_original),
        gross(against_decoded),
        lost,
        gained,
        float(moved.mean()) if len(moved) else None,
        float(moved.std()) if len(moved) else None,
        tuple((places[:_MOST_PLACES] / rate_hz).round(3).tolist()),
    )


def beats_in(sample: Ints, piece: Piece) -> Ints:
    """Return the beats that lie in a piece."""
    return sample[(sample >= piece.start) & (sample < piece.stop)]
