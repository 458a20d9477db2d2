"""The worst one per cent of windows: nearest to, or beyond, what was asked, and largest in PRDN."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.evaluate_signals import ChannelSignals
from sanstream.evaluate_windows import WindowFigures
from sanstream.quality import LOSSLESS, MAX_ERROR, PRDN, RMSE, Quality

SHARE = 0.01
MOST_DRAWN = 24


@dataclass(frozen=True)
class Window:
    """A window to be drawn.

    Parameters
    ----------
    stream, channel, unit, quality : str
    rate_hz : float
    start_sample : int
        On the stream's grid.
    prdn : float
        Per cent.
    rmse, max_error : float
        In the channel's unit.
    ratio : float
        What it reached, as a share of what was asked; infinite for a lossless window that is not exact.
    broken : bool
    original, decoded : ndarray, shape (n_samples,), float64
        Physical units, NaN where missing.
    """

    stream: str
    channel: str
    unit: str
    quality: str
    rate_hz: float
    start_sample: int
    prdn: float
    rmse: float
    max_error: float
    ratio: float
    broken: bool
    original: npt.NDArray[np.float64]
    decoded: npt.NDArray[np.float64]

    @property
    def start_s(self) -> float:
        """Seconds from the start of the stream."""
        return self.start_sample / self.rate_hz

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, without the samples."""
        own = {k: v for k, v in self.__dict__.items() if k not in ("original", "decoded")}
        return {**own, "start_s": self.start_s}


def ratio_of(figures: WindowFigures, quality: Quality) -> npt.NDArray[np.float64]:
    """Return what windows reached as a share of what was asked, shape (n_windows,).

    Of ``sparse``, which promises nothing, and of windows that had to be exact, 0 when exact; PRDN over 100 % for other
    windows of ``sparse``, infinity for others that had to be exact.
    """
    if quality.kind == LOSSLESS:
        return np.where(figures.exact, 0.0, math.inf)
    reached = {PRDN: figures.prdn, RMSE: figures.rmse_adu, MAX_ERROR: figures.max_error_adu}.get(quality.kind)
    return figures.prdn / 100 if reached is None else reached / quality.value


class Worst:
    """Gathers the worst windows channel by channel; samples are kept of few."""

    def __init__(self) -> None:
        self.n_windows = 0
        self._by_ratio: list[Window] = []
        self._by_prdn: list[Window] = []

    def add(self, signals: ChannelSignals) -> None:
        """Take a channel's windows into account."""
        figures = signals.windows
        self.n_windows += len(figures.start)
        ratio = np.where(signals.broken, np.maximum(ratio_of(figures, signals.quality), 1.0), 0.0)
        ratio = np.maximum(ratio, ratio_of(figures, signals.quality))
        lossy = np.flatnonzero(~figures.exact | signals.broken)
        for key, own in ((ratio, self._by_ratio), (figures.prdn, self._by_prdn)):
            order = lossy[np.lexsort((-figures.prdn[lossy], -key[lossy]))][:MOST_DRAWN]
            own += [_window(signals, int(i), float(ratio[i])) for i in order]
        self._by_ratio = sorted(self._by_ratio, key=lambda w: (-w.ratio, -w.prdn))[:MOST_DRAWN]
        self._by_prdn = sorted(self._by_prdn, key=lambda w: (-w.prdn, -w.ratio))[:MOST_DRAWN]

    def chosen(self) -> tuple[tuple[Window, ...], int]:
        """Return the windows to draw, by turns of both orders, and how many one per cent of all windows are."""
        n = math.ceil(SHARE * self.n_windows)
        picked: dict[tuple[str, str, int], Window] = {}
        for pair in zip(self._by_ratio, self._by_prdn, strict=True):
            for window in pair:
                if len(picked) < min(n, MOST_DRAWN):
                    picked.setdefault((window.stream, window.channel, window.start_sample), window)
        return tuple(sorted(picked.values(), key=lambda w: (-w.ratio, -w.prdn))), n


def _window(signals: ChannelSignals, i: int, ratio: float) -> Window:
    cut, figures = signals.cut(i), signals.windows
    gain = abs(cut.channel.gain)
    return Window(
        signals.stream,
        cut.channel.label,
        cut.channel.unit,
        str(signals.quality),
        signals.rate_hz,
        int(figures.start[i]),
        float(figures.prdn[i]),
        float(figures.rmse_adu[i]) / gain,
        float(figures.max_error_adu[i]) / gain,
        ratio,
        bool(signals.broken[i]),
        cut.channel.physical(cut.original),
        cut.channel.physical(cut.decoded),
    )
