"""What a channel was and what it became, for those who look at more than figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sanstream.evaluate_windows import WindowFigures
from sanstream.quality import Quality
from sanstream.signal import Channel, IntSamples


@dataclass(frozen=True)
class Stretch:
    """One channel of one segment.

    Parameters
    ----------
    start : int
        Place of the first sample on the stream's grid.
    channel : Channel
        As this segment has it.
    original, decoded : ndarray, shape (n_samples,), int32
        Digital samples.
    n_windows : int
        Windows that they make.
    """

    start: int
    channel: Channel
    original: IntSamples
    decoded: IntSamples
    n_windows: int = 1


@dataclass(frozen=True)
class ChannelSignals:
    """One channel with one quality, in all segments that have it.

    Parameters
    ----------
    stream : str
    rate_hz : float
    quality : Quality
        As asked.
    stretches : tuple of Stretch
    windows : WindowFigures
        ``start`` counts on the stream's grid; windows are in the order of ``stretches``.
    broken : ndarray, shape (n_windows,), bool
        Which of them miss the quality.
    """

    stream: str
    rate_hz: float
    quality: Quality
    stretches: tuple[Stretch, ...]
    windows: WindowFigures
    broken: npt.NDArray[np.bool_]

    @property
    def channel(self) -> Channel:
        """The channel as its first segment has it."""
        return self.stretches[0].channel

    def cut(self, window: int) -> Stretch:
        """Return the samples of one window, by its number in ``windows``."""
        start, n = int(self.windows.start[window]), int(self.windows.n_samples[window])
        ends = np.cumsum([s.n_windows for s in self.stretches])
        own = self.stretches[int(np.searchsorted(ends, window, side="right"))]
        rows = slice(start - own.start, start - own.start + n)
        return Stretch(start, own.channel, own.original[rows], own.decoded[rows])


Look = Callable[[ChannelSignals], None]
"""Called with every channel once it is decoded; its samples are let go afterwards."""
