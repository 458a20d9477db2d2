"""What each channel reached: decode what was stored, compare with the source, add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import google_crc32c
import numpy as np
import numpy.typing as npt

from sanstream.archive_crc import join_crc
from sanstream.bank import Bank
from sanstream.block_coding import SegmentCoding
from sanstream.decode import decode_block, read_figures
from sanstream.errors import BoundError
from sanstream.quality import LOSSLESS, MAX_ERROR, PRDN, RMSE, Quality, phi, prdn, relative_loss
from sanstream.signal import IntSamples

# a bound is checked with the tolerance of its own float arithmetic
_SLACK = 1 + 1e-9
_SUMS = ("n", "prdn_sum", "prdn_max", "phi_sum", "square", "count", "worst")


@dataclass(frozen=True)
class ReachedWindow:
    """What one window of one channel reached.

    Parameters
    ----------
    channel : int
    prdn : float
        Per cent.
    phi : float
        ``sqrt((2 A / n)^2 + RL^2)`` of the decoded window.
    exact : bool
        Every sample equal.
    constant : bool
        All samples of the source have one value.
    """

    channel: int
    prdn: float
    phi: float
    exact: bool
    constant: bool


class Reached:
    """Figures of one segment, fed with its blocks in order.

    Every block is decoded as a reader will decode it, so that nothing is committed that cannot be
    read back within its bound.

    Parameters
    ----------
    coding : SegmentCoding
    bank : Bank
    qualities : sequence of Quality
    """

    def __init__(self, coding: SegmentCoding, bank: Bank, qualities: Sequence[Quality]) -> None:
        self._coding = coding
        self._bank = bank
        self._qualities = qualities
        self._sums = np.zeros((len(_SUMS), coding.n_channels))
        self._crc = 0
        self.n_windows = 0

    def add(self, payload: bytes, number: int, source: IntSamples) -> list[ReachedWindow]:
        """Take one block.

        Parameters
        ----------
        payload : bytes
        number : int
            The block's number in its segment.
        source : ndarray, shape (n_samples, n_channels), int32
            What was encoded.

        Returns
        -------
        list of ReachedWindow
            One per window and channel that has a sample.

        Raises
        ------
        BoundError
            When a window is worse than it was asked to be; nothing of the block is then counted.
        """
        decoded = decode_block(payload, number, self._coding, self._bank)
        if len(decoded) != len(source):
            raise BoundError(
                f"segment {self._coding.segment_id}, block {number}: {len(decoded)} samples decoded, "
                f"{len(source)} encoded",
                hint="report this as a bug",
            )
        activations = read_figures(payload, number, self._coding, self._bank).n_activations
        step = self._coding.window_samples
        sums, found = self._sums.copy(), []
        for window, at in enumerate(range(0, len(decoded), step)):
            for channel in range(self._coding.n_channels):
                x, y = source[at : at + step, channel], decoded[at : at + step, channel]
                where = f"segment {self._coding.segment_id}, block {number}, window {window}, channel {channel}"
                one = self._window(sums, channel, x, y, int(activations[window]), where)
                if one is not None:
                    found.append(one)
        self._sums = sums
        self.n_windows += len(activations)
        self._crc = google_crc32c.extend(self._crc, np.ascontiguousarray(decoded, dtype="<i4").tobytes())
        return found

    def _window(
        self,
        sums: npt.NDArray[np.float64],
        channel: int,
        x: npt.NDArray[np.int32],
        y: npt.NDArray[np.int32],
        n_activations: int,
        where: str,
    ) -> ReachedWindow | None:
        missing = self._coding.missing[channel]
        if missing is not None:
            held = x != missing
            if not np.array_equal(held, y != missing):
                raise BoundError(f"{where}: missing samples are not where they were", hint="report this as a bug")
            x, y = x[held], y[held]
        if not len(x):
            return None
        error = x.astype(np.float64) - y
        square, worst = float(error @ error), float(np.abs(error).max())
        ratio = prdn(x, y) if worst else 0.0
        quality = self._qualities[channel]
        value = {LOSSLESS: worst, PRDN: ratio, RMSE: (square / len(x)) ** 0.5, MAX_ERROR: worst}.get(quality.kind, 0.0)
        if value > quality.value * _SLACK:
            raise BoundError(f"{where}: {quality} asked, {value:.6g} reached", hint="report this as a bug")
        flithos = phi(0, n_activations, len(x), relative_loss(x, y) if worst else 0.0)
        own = sums[:, channel]
        own += (1, ratio, 0, flithos, square, len(x), 0)
        own[2], own[6] = max(own[2], ratio), max(own[6], worst)
        return ReachedWindow(channel, ratio, flithos, worst == 0, bool(x.min() == x.max()))

    @property
    def samples_crc(self) -> int:
        """CRC32C of the decoded samples so far."""
        return int(self._crc)

    def figures(self) -> tuple[tuple[float, ...], ...]:
        """Return per channel mean and greatest PRDN, RMSE, maximum error and mean phi (as FIGURES of the manifest)."""
        rows = []
        for n, ratio, ratio_max, flithos, square, count, worst in self._sums.T.tolist():
            n = max(n, 1)
            row = (ratio / n, ratio_max, (square / max(1, count)) ** 0.5, worst, flithos / n)
            rows.append(tuple(_short(v) for v in row))
        return tuple(rows)

    def merge(self, state: Mapping[str, Any], n_bytes: int) -> None:
        """Go on with what another has counted of the blocks that follow.

        Parameters
        ----------
        state : mapping
            Its :meth:`state`.
        n_bytes : int
            Of its samples as int32.
        """
        other = np.array(state["sums"], np.float64).T
        most = [_SUMS.index("prdn_max"), _SUMS.index("worst")]
        highest = np.maximum(self._sums[most], other[most])
        self._sums = self._sums + other
        self._sums[most] = highest
        self._crc = join_crc(self._crc, state["crc"], n_bytes)
        self.n_windows += state["n_windows"]

    def state(self) -> dict[str, Any]:
        """Return JSON values from which :meth:`resume` goes on."""
        sums = [[float(f"{v:.9g}") for v in row] for row in self._sums.T.tolist()]
        return {"crc": self.samples_crc, "n_windows": self.n_windows, "sums": sums}

    @classmethod
    def resume(cls, coding: SegmentCoding, bank: Bank, qualities: Sequence[Quality], state: Mapping[str, Any]) -> Self:
        """Go on after the blocks that :meth:`state` has counted."""
        own = cls(coding, bank, qualities)
        own._crc, own.n_windows = state["crc"], state["n_windows"]
        own._sums = np.array(state["sums"], np.float64).T.copy()
        return own


def _short(value: float) -> float:
    """Keep four digits; whole numbers are written without a fraction."""
    rounded = float(f"{min(value, 1e9):.4g}")
    return int(rounded) if rounded == int(rounded) else rounded
