"""Errors that add up: what a window may still lose when its samples have lost something before.

For one window and channel let x be the original, y the samples that are encoded, z what is decoded afterwards, and
|v| the root mean square of v. Then |x - z| <= |x - y| + |y - z|, and the same holds of largest errors. Of PRDN the
original's deviation s(x) stands below the line, which is not known; but s(x) >= s(y) - |x - y|, because removing the
mean never makes a vector longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sanstream.archive_manifest import SegmentEntry
from sanstream.archive_read import StreamReader
from sanstream.decode import decode_block, read_figures
from sanstream.errors import InputError
from sanstream.quality import LOSSLESS, MAX_ERROR, PRDN, RMSE, Quality
from sanstream.reencode_request import implies, is_lossy, stored_qualities
from sanstream.reencode_targets import Piece, Target
from sanstream.signal import IntSamples

FloatArray = npt.NDArray[np.float64]
UNBOUNDED = np.inf
_SAFE = 1 - 1e-6
"""Keeps sums of floats on the right side of a bound."""


class RefusedError(InputError):
    """The source has lost more than is asked to be left (exit code 2)."""


@dataclass(frozen=True)
class Lost:
    """What the samples of a block have lost before they are encoded.

    Parameters
    ----------
    rmse, worst : ndarray, shape (n_windows, n_channels), float64
        Root mean square and largest error against the original, at most, in digital steps.
    deviation : ndarray, shape (n_windows, n_channels), float64
        Standard deviation of the samples that are there.
    kept : tuple of Quality
        Per channel the quality that every window keeps against the original.
    """

    rmse: FloatArray
    worst: FloatArray
    deviation: FloatArray
    kept: tuple[Quality, ...]

    def original_deviation(self) -> FloatArray:
        """Return what the original's deviation is at least."""
        return np.maximum(self.deviation - self.rmse, 0.0)


def lost_before(reader: StreamReader, target: Target, first: int, samples: IntSamples, window: int) -> Lost | None:
    """Add up what the samples of one block have lost.

    Parameters
    ----------
    reader : StreamReader
        Of the source.
    target : Target
    first : int
        Place of the block's first sample in the target.
    samples : ndarray, shape (n_samples, n_channels), int32
        The block, as decoded from the source.
    window : int
        Samples of a full window of the target.

    Returns
    -------
    Lost or None
        None when nothing was lost.
    """
    if not any(is_lossy(p.entry) for p in target.pieces):
        return None
    shape = (-(-len(samples) // window), samples.shape[1])
    square, worst = np.zeros(shape), np.zeros(shape)
    for piece in target.within(first, first + len(samples)):
        if is_lossy(piece.entry):
            _add_piece(reader, piece, first, len(samples), window, square, worst)
    count, deviation = np.zeros(shape), np.zeros(shape)
    for w in range(shape[0]):
        for c, channel in enumerate(target.channels):
            x = samples[w * window : (w + 1) * window, c]
            x = x if channel.missing is None else x[x != channel.missing]
            count[w, c], deviation[w, c] = len(x), x.std() if len(x) else 0.0
    rmse = np.minimum(np.sqrt(square / np.maximum(count, 1)), worst)
    return Lost(rmse, worst, deviation, stored_qualities(target.pieces[0].entry))


def _add_piece(
    reader: StreamReader, piece: Piece, first: int, n: int, window: int, square: FloatArray, worst: FloatArray
) -> None:
    """Add one piece's squared errors and largest errors to the target's windows, whole source windows at a time."""
    entry = piece.entry
    coding, bank = reader.coding(entry), reader.bank(entry)
    size, step = coding.block_samples, coding.window_samples
    low, high = max(0, first - piece.at), min(entry.n_samples, first + n - piece.at)
    numbers = range(low // size, -(-high // size))
    for number, payload in zip(numbers, reader.blocks(entry, numbers.start, numbers.stop), strict=True):
        decoded = decode_block(payload, number, coding, bank)
        figures = read_figures(payload, number, coding, bank)
        for w in range(len(figures.rmse_adu)):
            part = decoded[w * step : (w + 1) * step]
            begin = max(low, number * size + w * step)
            end = min(high, number * size + w * step + len(part))
            if begin < end:
                own, largest = _window(entry, part, figures.rmse_adu[w], figures.max_error_adu[w])
                _spread(begin + piece.at - first, end + piece.at - first, window, own, largest, square, worst)


def _window(
    entry: SegmentEntry, part: IntSamples, rmse: FloatArray, largest: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return a source window's squared error, summed over its samples, and its largest error, against the original."""
    square, most = np.zeros(len(rmse)), np.zeros(len(rmse))
    for c, (channel, quality) in enumerate(zip(entry.channels, stored_qualities(entry), strict=True)):
        x = part[:, c] if channel.missing is None else part[part[:, c] != channel.missing, c]
        if not len(x):
            continue
        error, worst, ratio = float(rmse[c]), float(largest[c]), quality.value if quality.kind == PRDN else None
        if entry.original:
            ratio, error, worst = entry.original[c]
        elif worst == 0:
            continue
        if ratio is not None and ratio < 100:
            # |x - y| <= p s(x) and s(x) <= s(y) + |x - y|
            error = min(error, ratio / 100 * float(x.std()) / (1 - ratio / 100))
        square[c], most[c] = error * error * len(x), worst
    return square, most


def _spread(
    begin: int, end: int, window: int, own: FloatArray, largest: FloatArray, square: FloatArray, worst: FloatArray
) -> None:
    for w in range(begin // window, -(-end // window)):
        n = min(end, (w + 1) * window) - max(begin, w * window)
        square[w] += np.minimum(own, largest * largest * n)
        worst[w] = np.maximum(worst[w], largest)


def allowances(lost: Lost, wanted: Sequence[Quality], where: str) -> FloatArray:
    """Return the error that each window may still have, shape (n_windows, n_channels).

    RMSE in digital steps, or the largest error where the quality bounds that; 0 where the samples keep the quality
    as they are, but have nothing to spare; infinite where nothing bounds it.

    Raises
    ------
    RefusedError
        When a window has lost more than the quality allows.
    """
    out = np.full(lost.rmse.shape, UNBOUNDED)
    for c, quality in enumerate(wanted):
        if quality.kind == PRDN:
            spare = quality.value / 100 * lost.original_deviation()[:, c] - lost.rmse[:, c]
        elif quality.kind == RMSE:
            spare = quality.value - lost.rmse[:, c]
        elif quality.kind == MAX_ERROR:
            spare = quality.value - lost.worst[:, c]
        elif quality.kind == LOSSLESS:
            spare = -lost.worst[:, c]
        else:
            continue
        short = (spare < 0) & (lost.worst[:, c] > 0)
        if short.any() and not implies(lost.kept[c], quality):
            w = int(np.argmin(spare))
            raise RefusedError(
                f"{where}, window {w}, channel {c}: {quality} asked, but the source has lost {lost.rmse[w, c]:.4g} adu "
                f"(RMSE; {lost.worst[w, c]:g} at most) of a signal of at least "
                f"{lost.original_deviation()[w, c]:.4g} adu: {-spare[w]:.4g} adu too much",
                hint="ask for less, or encode the original anew",
            )
        out[:, c] = np.where(lost.worst[:, c] > 0, np.maximum(spare * _SAFE, 0.0), UNBOUNDED)
    return out


def against_original(
    lost: Lost, samples: IntSamples, decoded: IntSamples, missing: Sequence[int | None], window: int
) -> list[list[float | None]]:
    """Return per channel the largest PRDN (None when unknown), RMSE and error of a block's windows, at most."""
    rows: list[list[float | None]] = []
    floor = lost.original_deviation()
    for c, code in enumerate(missing):
        ratio: float | None = 0.0
        rmse = worst = 0.0
        for w in range(len(lost.rmse)):
            x, z = samples[w * window : (w + 1) * window, c], decoded[w * window : (w + 1) * window, c]
            held = np.ones(len(x), bool) if code is None else x != code
            if not held.any():
                continue
            error = (x[held].astype(np.float64) - z[held]) if held.any() else np.zeros(1)
            own = float(np.sqrt(np.mean(error * error)))
            total = float(lost.rmse[w, c]) + own
            rmse, worst = max(rmse, total), max(worst, float(lost.worst[w, c] + np.abs(error).max()))
            one = _ratio(total, own, float(floor[w, c]), lost.kept[c])
            ratio = None if ratio is None or one is None else max(ratio, one)
        rows.append([ratio, rmse, worst])
    return rows


def _ratio(total: float, own: float, deviation: float, kept: Quality) -> float | None:
    """Bound a window's PRDN: by its errors, or, where it is as it was, by the quality it keeps already."""
    found = 0.0 if total == 0 else 100 * total / deviation if deviation > 0 else None
    if own == 0 and kept.kind == PRDN:
        return kept.value if found is None else min(found, kept.value)
    return found
