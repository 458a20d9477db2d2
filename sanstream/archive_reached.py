"""What each channel reached: decode what was stored, compare with the source, add up."""

from __future__ import annotations

from collections.abc import Sequence

import google_crc32c
import numpy as np
import numpy.typing as npt

from sanstream.bank import Bank
from sanstream.block_coding import SegmentCoding
from sanstream.decode import decode_block, read_figures
from sanstream.errors import BoundError
from sanstream.quality import LOSSLESS, MAX_ERROR, PRDN, RMSE, Quality, phi, prdn, relative_loss
from sanstream.signal import IntSamples

# a bound is checked with the tolerance of its own float arithmetic
_SLACK = 1 + 1e-9


class Reached:
    """Figures of one segment, fed with its blocks in order.

    Every block is decoded as a reader will decode it, so that nothing is committed that cannot be
    read back within its bound.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels), int32
        The source.
    coding : SegmentCoding
    bank : Bank
    qualities : sequence of Quality
    """

    def __init__(self, samples: IntSamples, coding: SegmentCoding, bank: Bank, qualities: Sequence[Quality]) -> None:
        self._samples = samples
        self._coding = coding
        self._bank = bank
        self._qualities = qualities
        n = coding.n_channels
        self._prdn: list[list[float]] = [[] for _ in range(n)]
        self._phi: list[list[float]] = [[] for _ in range(n)]
        self._square = np.zeros(n)
        self._count = np.zeros(n, dtype=np.int64)
        self._worst = np.zeros(n)
        self._crc = 0
        self.n_windows = 0

    def add(self, payload: bytes, number: int) -> None:
        """Take one block.

        Raises
        ------
        BoundError
            When a window is worse than it was asked to be.
        """
        start = number * self._coding.block_samples
        decoded = decode_block(payload, number, self._coding, self._bank)
        source = self._samples[start : start + len(decoded)]
        self._crc = google_crc32c.extend(self._crc, np.ascontiguousarray(decoded, dtype="<i4").tobytes())
        activations = read_figures(payload, number, self._coding, self._bank).n_activations
        step = self._coding.window_samples
        for window, at in enumerate(range(0, len(decoded), step)):
            for channel in range(self._coding.n_channels):
                x, y = source[at : at + step, channel], decoded[at : at + step, channel]
                where = f"segment {self._coding.segment_id}, block {number}, window {window}, channel {channel}"
                self._add_window(channel, x, y, int(activations[window]), where)
            self.n_windows += 1

    def _add_window(
        self, channel: int, x: npt.NDArray[np.int32], y: npt.NDArray[np.int32], n_activations: int, where: str
    ) -> None:
        missing = self._coding.missing[channel]
        if missing is not None:
            held = x != missing
            if not np.array_equal(held, y != missing):
                raise BoundError(f"{where}: missing samples are not where they were", hint="report this as a bug")
            x, y = x[held], y[held]
        if not len(x):
            return
        error = x.astype(np.float64) - y
        square, worst = float(error @ error), float(np.abs(error).max())
        ratio = prdn(x, y) if worst else 0.0
        quality = self._qualities[channel]
        value = {LOSSLESS: worst, PRDN: ratio, RMSE: (square / len(x)) ** 0.5, MAX_ERROR: worst}.get(quality.kind, 0.0)
        if value > quality.value * _SLACK:
            raise BoundError(f"{where}: {quality} asked, {value:.6g} reached", hint="report this as a bug")
        self._square[channel] += square
        self._count[channel] += len(x)
        self._worst[channel] = max(self._worst[channel], worst)
        self._prdn[channel].append(ratio)
        self._phi[channel].append(phi(0, n_activations, len(x), relative_loss(x, y) if worst else 0.0))

    @property
    def samples_crc(self) -> int:
        """CRC32C of the decoded samples so far."""
        return int(self._crc)

    def figures(self) -> tuple[tuple[float, ...], ...]:
        """Return per channel mean and greatest PRDN, RMSE, maximum error and mean phi (as FIGURES of the manifest)."""
        rows = []
        for channel in range(self._coding.n_channels):
            ratios, phis = self._prdn[channel] or [0.0], self._phi[channel] or [0.0]
            rms = (self._square[channel] / max(1, self._count[channel])) ** 0.5
            row = (np.mean(ratios), max(ratios), rms, self._worst[channel], np.mean(phis))
            rows.append(tuple(_short(float(v)) for v in row))
        return tuple(rows)


def _short(value: float) -> float:
    """Keep four digits; whole numbers are written without a fraction."""
    rounded = float(f"{min(value, 1e9):.4g}")
    return int(rounded) if rounded == int(rounded) else rounded
