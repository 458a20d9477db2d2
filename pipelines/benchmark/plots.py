"""Draw the plots from the JSON lines alone.

Usage: python -m pipelines.benchmark.plots [--from docs/measured]
"""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.benchmark import cases
from pipelines.benchmark.lossy import WAVELET
from pipelines.benchmark.own import NAME, ROOT
from pipelines.benchmark.plot_labels import Label, at_ends, place
from pipelines.benchmark.summary import PEERS_FILE, Row, read

SIZE_PLOT, SPEED_PLOT = "size-prdn.png", "size-speed.png"
_INK, _SOFT = "#1b1f24", "#9aa4af"
_OWN, _PEER = "#d55e00", "#0072b2"
_COARSE = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
_FINE = (0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15)
_EXACT_X = 1.0
"""Where "lossless" stands on the axis of PRDN."""


@dataclass(frozen=True)
class _Look:
    """How a codec is drawn; colours of Okabe and Ito."""

    label: str
    color: str
    marker: str
    width: float = 1.4
    dash: Any = "-"


_LOOKS = {
    (NAME, "thorough"): _Look("sanstream thorough", "#d55e00", "o", 2.4),
    (NAME, "default"): _Look("sanstream default", "#d55e00", "o", 1.4, (0, (3, 1.5))),
    (WAVELET, ""): _Look("9/7 wavelet, whole record\n(ideal code length)", "#0072b2", "s"),
    ("SZ3", ""): _Look("SZ3", "#009e73", "^"),
    ("rounding + pcodec 12", ""): _Look("rounding + pcodec", "#cc79a7", "v"),
    ("ZFP", ""): _Look("ZFP", "#7a8288", "D"),
}
_TITLES = {
    "mitdb": "mitdb: ECG, lead 1 (lossless: both leads)",
    "mimic4wdb": "mimic4wdb: ICU monitor",
    "eegmmidb": "eegmmidb: EEG, 64 ch.",
    "cinc2015": "cinc2015: ICU alarms",
    "cpsc2018": "cpsc2018: 12-lead ECG",
    "edf-bdf": "edf-bdf: sleep and lab EEG",
    "emgdb": "emgdb: EMG",
    "bonn": "bonn: EEG, 1 channel",
}


def draw(folder: Path) -> None:
    """Draw what the folder has figures for."""
    lines = read(folder / PEERS_FILE)
    if lines:
        draw_sizes(lines, folder / SIZE_PLOT)
    speeds = read(folder / "speed.jsonl")
    if speeds:
        draw_speeds(speeds, folder / SPEED_PLOT)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _save(figure: Any, path: Path) -> None:
    """Write a PNG of few colours, a third as large."""
    from PIL import Image

    with io.BytesIO() as file:
        figure.savefig(file, dpi=110, format="png")
        with Image.open(file) as image:
            image.convert("RGB").quantize(96).save(path, optimize=True)


def _bare(axes: Any, title: str, size: float = 9) -> None:
    axes.set_title(title, loc="left", fontsize=size, color=_INK)
    axes.tick_params(labelsize=8, colors=_INK, which="both")
    axes.grid(True, which="major", color="#e6e9ec", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_SOFT)


def draw_sizes(lines: list[Row], path: Path) -> None:
    """Draw bits per sample against PRDN, one panel a database, the first one large."""
    held = [d for d in cases.DATABASES if any(line["database"] == d for line in lines)]
    figure = _figure(13, 6.2)
    grid = figure.add_gridspec(2, 6)
    places = [grid[:, :2], *(grid[i // 4, 2 + i % 4] for i in range(7))]
    for number, (database, place) in enumerate(zip(held, places, strict=False)):
        axes = figure.add_subplot(place)
        own = [line for line in lines if line["database"] == database]
        _bare(axes, _TITLES.get(database, database), 11 if number == 0 else 8.5)
        _draw_database(axes, own, large=number == 0)
    if len(held) < len(places) + 1:
        _legend(figure.add_subplot(grid[1, 5]))
    _save(figure, path)


def _percent(line: Row) -> float | None:
    """Return a line's place on the axis: its PRDN, or that of lossless; None when it has none."""
    if line["figure"].endswith("lossless"):
        return _EXACT_X
    _, found, rest = line["figure"].partition("PRDN ")
    return float(rest.removesuffix(" %")) if found else None


def _draw_database(axes: Any, lines: list[Row], *, large: bool) -> None:
    ends = []
    for (codec, effort), look in _LOOKS.items():
        points = sorted(
            (x, line["coded bit/sample"])
            for line in lines
            if (line["codec"], line["effort"]) == (codec, effort) and (x := _percent(line)) is not None
        )
        lossy = [p for p in points if p[0] > _EXACT_X]
        style = {"color": look.color, "linewidth": look.width, "linestyle": look.dash, "zorder": 3 + look.width}
        filled = look.color if effort != "default" else "white"
        if lossy:
            axes.plot(*zip(*lossy, strict=True), marker=look.marker, markersize=5, markerfacecolor=filled, **style)
            ends.append(Label(look.label.partition("\n")[0], look.color, *lossy[-1], bold=codec == NAME))
        for x, y in points[: len(points) - len(lossy)]:
            axes.plot([x], [y], look.marker, color=look.color, markersize=5, markerfacecolor=filled, zorder=6)
    _draw_exact_peers(axes, lines)
    axes.set_xscale("log")
    axes.set_yscale("log")
    shown = sorted({p for line in lines if (p := _percent(line)) is not None})
    axes.set_xlim(_EXACT_X / 1.35, max([*shown, 10]) * 1.35)
    axes.set_xticks(shown, ["loss-\nless" if p == _EXACT_X else f"{p:g} %" for p in shown])
    axes.set_xticks([], minor=True)
    low, high = axes.get_ylim()
    _ticks(axes.set_yticks, _FINE if high / low < 8 else _COARSE, (low, high))
    if large:
        axes.set_xlim(_EXACT_X / 1.35, max([*shown, 10]) * 3.6)
        at_ends(axes, ends)
        axes.set_xlabel("PRDN per record and channel", fontsize=9, color=_INK)
        axes.set_ylabel("coded bits per sample (less is better)", fontsize=9, color=_INK)


def _draw_exact_peers(axes: Any, lines: list[Row]) -> None:
    """Mark the lossless peers, and name the smallest."""
    peers = [
        (line["coded bit/sample"], line["codec"])
        for line in lines
        if line["codec"] != NAME and _percent(line) == _EXACT_X and line["coded bit/sample"] is not None
    ]
    if not peers:
        return
    axes.plot([_EXACT_X] * len(peers), [size for size, _ in peers], "_", color=_INK, markersize=9, zorder=5)
    size, name = min(peers)
    axes.annotate(
        name.partition(" (")[0],
        (_EXACT_X, size),
        xytext=(7, 3),
        textcoords="offset points",
        fontsize=7,
        color=_INK,
        va="bottom",
    )


def _legend(axes: Any) -> None:
    from matplotlib.lines import Line2D

    axes.axis("off")
    handles = [
        Line2D([], [], color=k.color, marker=k.marker, linewidth=k.width, linestyle=k.dash, markersize=5, label=k.label,
               markerfacecolor="white" if effort == "default" else k.color)
        for (_, effort), k in _LOOKS.items()
    ]  # fmt: skip
    handles.append(
        Line2D([], [], color=_INK, marker="_", linestyle="", markersize=9, label="lossless peers,\nbest one named")
    )
    axes.legend(handles=handles, loc="center left", frameon=False, fontsize=8.5, borderaxespad=0, labelspacing=0.7)


def draw_speeds(lines: list[Row], path: Path) -> None:
    """Draw bits per sample of lossless coding against decoding speed, one panel per kind of signal."""
    exact = [line for line in lines if line["quality"] == "lossless"]
    held = list(dict.fromkeys(line["signals"] for line in exact))
    figure = _figure(5.6 * len(held), 4.4)
    for number, signals in enumerate(held):
        axes = figure.add_subplot(1, len(held), number + 1)
        own = [line for line in exact if line["signals"] == signals]
        _bare(axes, f"{signals}: lossless, one core")
        _draw_frontier(axes, own)
        axes.set_xlabel("decoding, M samples/s (more is better)", fontsize=9, color=_INK)
        if number == 0:
            axes.set_ylabel("coded bits per sample (less is better)", fontsize=9, color=_INK)
    _save(figure, path)


def _draw_frontier(axes: Any, lines: list[Row]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    ours = sorted((x["decode M/s"], x["bit/sample"]) for x in lines if x["codec"].startswith(NAME))
    if ours:
        axes.plot(*zip(*ours, strict=True), color=_OWN, linewidth=1.2, alpha=0.5, zorder=3)
    labels = []
    for line in lines:
        mine = line["codec"].startswith(NAME)
        label = Label(line["codec"], _OWN if mine else _PEER, line["decode M/s"], line["bit/sample"], mine)
        labels.append(label)
        marker, size = ("o", 7) if mine else ("s", 6)
        axes.plot([label.x], [label.y], marker, color=label.color, markersize=size, zorder=4)
    low, high = axes.get_xlim()
    axes.set_xlim(low / 1.5, high * 2)
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom / 1.04, top * 1.04)
    _ticks(axes.set_xticks, (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000), axes.get_xlim())
    _ticks(axes.set_yticks, (1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8, 9, 10, 12, 14, 16), axes.get_ylim())
    place(axes, labels)


def _ticks(set_ticks: Any, marks: tuple[float, ...], limits: tuple[float, float]) -> None:
    shown = [m for m in marks if limits[0] <= m <= limits[1]]
    set_ticks(shown, [f"{m:g}" for m in shown])
    set_ticks([], minor=True)


def main() -> None:
    """Draw from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, default=ROOT / "docs" / "measured")
    draw(parser.parse_args().folder)


if __name__ == "__main__":
    main()
