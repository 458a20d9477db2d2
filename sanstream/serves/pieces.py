"""Pieces of a channel that can be analysed: without gaps, in physical units, original and decoded alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sanstream.evaluate_signals import Stretch

FloatArray = npt.NDArray[np.float64]

SHORT_GAP_S = 0.1
"""A gap of this length or less is bridged by a straight line, for analysis only; a longer one parts two pieces."""
LEAST_S = 2.0
"""A shorter piece is left out."""
MOST_S = 4 * 3600.0
"""So much of a channel is analysed; of a longer one, parts spread evenly over it."""
_PART_S = 1800.0


@dataclass(frozen=True)
class Piece:
    """A stretch of a channel without gaps.

    Parameters
    ----------
    start : int
        Place of the first sample on the stream's grid.
    original, decoded : ndarray, shape (n_samples,), float64
        Physical units.
    """

    start: int
    original: FloatArray
    decoded: FloatArray

    @property
    def stop(self) -> int:
        """One past the place of the last sample."""
        return self.start + len(self.original)

    @property
    def exact(self) -> bool:
        """Whether nothing was lost."""
        return bool(np.array_equal(self.original, self.decoded))


@dataclass(frozen=True)
class Pieces:
    """What of a channel is analysed.

    Parameters
    ----------
    pieces : tuple of Piece
        In the order of the grid, without overlap.
    analysed_s, whole_s : float
        Seconds in the pieces, and seconds of signal that the channel has.
    """

    pieces: tuple[Piece, ...]
    analysed_s: float
    whole_s: float


def pieces_of(stretches: Sequence[Stretch], rate_hz: float, *, most_s: float = MOST_S) -> Pieces:
    """Cut a channel into pieces.

    Parameters
    ----------
    stretches : sequence of Stretch
    rate_hz : float
    most_s : float
        Analyse no more.

    Returns
    -------
    Pieces
    """
    short = int(SHORT_GAP_S * rate_hz)
    runs: list[tuple[Stretch, int, int]] = []
    whole, end = 0, 0
    for stretch in sorted(stretches, key=lambda s: s.start):
        gaps = _missing(stretch)
        whole += int((~gaps).sum())
        for low, high in _runs(gaps, short):
            low = max(low, end - stretch.start)  # a segment that came late may overlap others
            if high - low >= LEAST_S * rate_hz:
                runs.append((stretch, low, high))
                end = stretch.start + high
    chosen = _spread(runs, round(_PART_S * rate_hz), most_s * rate_hz)
    found = tuple(_piece(*run) for run in chosen)
    return Pieces(found, sum(len(p.original) for p in found) / rate_hz, whole / rate_hz)


def _missing(stretch: Stretch) -> npt.NDArray[np.bool_]:
    """Tell which samples are missing or no number, in either signal."""
    channel, out = stretch.channel, np.zeros(len(stretch.original), np.bool_)
    for samples in (stretch.original, stretch.decoded):
        if channel.missing is not None:
            out |= samples == channel.missing
        if channel.holds_float_bits:
            out |= ~np.isfinite(channel.physical(samples))
    return out


def _runs(gaps: npt.NDArray[np.bool_], short: int) -> list[tuple[int, int]]:
    """Return the runs of samples between gaps; gaps of at most ``short`` samples are within them."""
    edges = np.flatnonzero(np.diff(np.concatenate(([True], gaps, [True])).astype(np.int8)))
    starts, stops = edges[::2].tolist(), edges[1::2].tolist()
    out: list[tuple[int, int]] = []
    for low, high in zip(starts, stops, strict=True):
        if out and low - out[-1][1] <= short:
            out[-1] = (out[-1][0], high)
        else:
            out.append((low, high))
    return out


def _spread(runs: list[tuple[Stretch, int, int]], part: int, most: float) -> list[tuple[Stretch, int, int]]:
    """Keep all, or parts of at most ``part`` samples at even distances."""
    if sum(high - low for _, low, high in runs) <= most:
        return runs
    parts = [(s, at, min(at + part, high)) for s, low, high in runs for at in range(low, high, part)]
    n = max(1, int(len(parts) * most / sum(high - low for _, low, high in parts)))
    return [parts[i] for i in np.unique(np.linspace(0, len(parts) - 1, n).round().astype(int))]


def _piece(stretch: Stretch, low: int, high: int) -> Piece:
    part = Stretch(0, stretch.channel, stretch.original[low:high], stretch.decoded[low:high])
    gaps = _missing(part)
    return Piece(
        stretch.start + low, *(_bridged(part.channel.physical(x), gaps) for x in (part.original, part.decoded))
    )


def _bridged(signal: FloatArray, gaps: npt.NDArray[np.bool_]) -> FloatArray:
    if gaps.any():
        at = np.arange(len(signal))
        signal[gaps] = np.interp(at[gaps], at[~gaps], signal[~gaps])
    return signal
