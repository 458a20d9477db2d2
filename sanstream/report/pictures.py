"""Pictures of a report as SVG: quality by channel and over time, agreement, spectra, and single windows."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.evaluate_report import ChannelReport, StreamReport
from sanstream.report.worst import Window
from sanstream.serves.assess import Served

FloatArray = npt.NDArray[np.float64]

_INK, _SOFT, _FIT, _ERROR, _OK = "#1b1f24", "#8a949e", "#c2410c", "#0f766e", "#1d4ed8"
_WIDTH = 7.2
_MOST_LINES = 6
_MOST_BINS = 600
_MOST_POINTS = 1500


def data_uri(svg: bytes) -> str:
    """Return a picture as the address of itself."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def _figure(height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH, height), layout="constrained", facecolor="white")


def _saved(figure: Any) -> bytes:
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sanstream", "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _bare(axes: Any) -> None:
    axes.tick_params(labelsize=8, colors=_INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_SOFT)


def _prdn(channel: ChannelReport) -> FloatArray:
    windows = channel.windows
    valid = windows.prdn[(windows.n_samples > windows.n_missing) & np.isfinite(windows.prdn)]
    return np.asarray(valid, np.float64)


def spread(streams: Sequence[StreamReport]) -> bytes:
    """Draw the PRDN of every channel's windows: 5 to 95 % as a bar, the median, the worst window."""
    rows = [(s, c) for s in streams for c in s.channels]
    many = len(rows) > 16
    figure = _figure(0.9 + (0.13 if many else 0.24) * max(2, len(rows)))
    axes = figure.subplots()
    for y, (_, channel) in enumerate(rows):
        values = _prdn(channel)
        if not len(values):
            continue
        low, middle, high = np.percentile(values, [5, 50, 95])
        axes.plot([values.min(), values.max()], [y, y], color=_SOFT, linewidth=1)
        axes.barh(y, high - low, left=low, height=0.55, color=_OK, alpha=0.35)
        axes.plot(middle, y, marker="|", color=_INK, markersize=9, markeredgewidth=1.6)
        axes.plot(values.max(), y, marker="o", color=_FIT, markersize=3.5)
        asked = channel.quality.partition("prdn=")[2].rstrip(" %")
        if asked:
            axes.plot([float(asked)] * 2, [y - 0.45, y + 0.45], color=_ERROR, linewidth=1.6)
    several = len(streams) > 1
    names = [f"{c.name} ({s.name})" if several else c.name for s, c in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("PRDN of windows, %", fontsize=8)
    _bare(axes)
    if many:
        axes.tick_params(axis="y", labelsize=6, length=0)
    return _saved(figure)


def over_time(stream: StreamReport) -> bytes:
    """Draw the PRDN of a stream's windows over time: a line each for few channels, colours for many."""
    channels = [c for c in stream.channels if len(c.windows.start)]
    if len(channels) > _MOST_LINES:
        return _colours(stream, channels)
    figure = _figure(0.5 + 0.95 * len(channels))
    for axes, channel in zip(
        figure.subplots(len(channels), 1, sharex=True, squeeze=False)[:, 0], channels, strict=True
    ):
        hours = channel.windows.start / stream.rate_hz
        x, y = _thinned(hours, np.where(np.isfinite(channel.windows.prdn), channel.windows.prdn, np.nan))
        scale, unit = _time_unit(float(hours[-1]))
        axes.plot(x / scale, y, color=_OK, linewidth=0.9, marker="." if len(x) < 3 else None, drawstyle="steps-post")
        axes.set_ylim(bottom=0)
        axes.set_ylabel(channel.name[:14], fontsize=8, rotation=0, ha="right", va="center")
        axes.set_xlabel(f"{unit} from the start", fontsize=8)
        axes.label_outer()
        _bare(axes)
    return _saved(figure)


def _time_unit(seconds: float) -> tuple[float, str]:
    return (3600.0, "hours") if seconds > 7200 else (60.0, "minutes") if seconds > 180 else (1.0, "seconds")


def _thinned(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Keep the greatest of every bin where there are too many points."""
    if len(x) <= _MOST_BINS:
        return x, y
    edges = np.linspace(0, len(x), _MOST_BINS + 1).astype(int)[:-1]
    return x[edges], np.fmax.reduceat(y, edges)


def _colours(stream: StreamReport, channels: Sequence[ChannelReport]) -> bytes:
    end = max(float((c.windows.start[-1] + c.windows.n_samples[-1]) / stream.rate_hz) for c in channels)
    bins = min(_MOST_BINS, max(len(c.windows.start) for c in channels))
    image = np.full((len(channels), bins), np.nan)
    for row, channel in zip(image, channels, strict=True):
        at = np.minimum((channel.windows.start / stream.rate_hz / end * bins).astype(int), bins - 1)
        np.fmax.at(row, at, np.where(np.isfinite(channel.windows.prdn), channel.windows.prdn, np.nan))
    figure = _figure(0.9 + 0.13 * len(channels))
    axes = figure.subplots()
    scale, unit = _time_unit(end)
    shown = axes.imshow(
        image,
        aspect="auto",
        cmap="viridis",
        interpolation="nearest",
        extent=(0, end / scale, len(channels) - 0.5, -0.5),
    )
    bar = figure.colorbar(shown, ax=axes, pad=0.01)
    bar.set_label("PRDN, %", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    axes.set_yticks(range(len(channels)), [c.name for c in channels])
    axes.set_xlabel(f"{unit} from the start", fontsize=8)
    _bare(axes)
    axes.tick_params(axis="y", labelsize=6)
    return _saved(figure)


def bands(served: Sequence[Served]) -> bytes:
    """Draw change of band power and coherence, a dot for each channel."""
    own = [s.spectrum for s in served if s.spectrum is not None]
    names = list(dict.fromkeys(name for s in own for name in s.bands))
    figure = _figure(2.6)
    left, right = figure.subplots(1, 2)
    rng = np.random.default_rng(0)
    for place, name in enumerate(names):
        found = [s.bands[name] for s in own if name in s.bands]
        for axes, values in (
            (left, [b.change for b in found if b.change is not None]),
            (right, [b.coherence for b in found if b.coherence is not None]),
        ):
            x = place + (rng.uniform(-0.18, 0.18, len(values)) if len(values) > 1 else np.zeros(len(values)))
            axes.plot(x, values, ".", color=_OK, markersize=4, alpha=0.6)
            if values:
                axes.plot([place - 0.3, place + 0.3], [np.median(values)] * 2, color=_FIT, linewidth=1.8)
    left.axhline(0, color=_SOFT, linewidth=0.8)
    left.set_ylabel("change of power, %", fontsize=8)
    right.set_ylabel("coherence", fontsize=8)
    right.set_ylim(min(0.0, right.get_ylim()[0]), 1.02)
    for axes in (left, right):
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.6, len(names) - 0.4)
        _bare(axes)
    return _saved(figure)


def window(own: Window) -> bytes:
    """Draw a window: original and decoded above, their difference below, both to one scale."""
    figure = _figure(2.5)
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2.6, 1]})
    t = own.start_s + np.arange(len(own.original)) / own.rate_hz
    step = max(1, len(t) // _MOST_POINTS)
    marker = "." if len(t) < 60 else None
    for values, color, width, label in ((own.original, _SOFT, 2.2, "original"), (own.decoded, _FIT, 0.9, "archived")):
        x, y = _envelope(t, values, step)
        above.plot(x, y, color=color, linewidth=width, label=label, marker=marker)
    x, y = _envelope(t, own.original - own.decoded, step)
    below.plot(x, y, color=_ERROR, linewidth=0.8, label="difference", marker=marker)
    below.axhline(0, color=_SOFT, linewidth=0.6)
    low, high = above.get_ylim()
    reach = max((high - low) / 5.2, 1.1 * float(np.nanmax(np.abs(y), initial=0.0)))
    below.set_ylim(-reach, reach)
    for axes in (above, below):
        axes.set_ylabel(own.unit or "digital", fontsize=8)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 0.96), fontsize=7, frameon=False, ncols=2)
        axes.margins(x=0.005)
        _bare(axes)
    below.set_xlabel("seconds from the start", fontsize=8)
    return _saved(figure)


def _envelope(x: FloatArray, y: FloatArray, step: int) -> tuple[FloatArray, FloatArray]:
    """Keep least and greatest of every ``step`` points, in their order."""
    if step == 1:
        return x, y
    n = len(x) // step * step
    rows = np.where(np.isnan(y[:n]), np.inf, y[:n]).reshape(-1, step)
    low = rows.argmin(1)
    high = np.where(np.isinf(rows), -np.inf, rows).argmax(1)
    keep = np.sort(np.stack([low, high]), axis=0) + np.arange(0, n, step)
    at = np.append(keep.T.ravel(), np.arange(n, len(x)))
    return x[at], y[at]
