"""Labels beside points that cover neither points nor each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_OFFSETS = ((8, 5), (8, -12), (-8, 5), (-8, -12), (8, 16), (8, -23), (-8, 16), (-8, -23), (8, 28), (8, -35))


@dataclass(frozen=True)
class Label:
    """One label.

    Parameters
    ----------
    text, color : str
    x, y : float
        The point that it names, in data units.
    bold : bool
    """

    text: str
    color: str
    x: float
    y: float
    bold: bool = False


def place(axes: Any, labels: Sequence[Label], *, size: float = 8) -> None:
    """Write labels, each at the first place around its point that is free; limits and scales are set before.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    labels : sequence of Label
    size : float
        Font size in points.
    """
    figure = axes.figure
    figure.draw_without_rendering()
    per_point = figure.dpi / 72
    frame = axes.get_window_extent()
    where = [axes.transData.transform((label.x, label.y)) for label in labels]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in where]
    for label, (x, y) in sorted(zip(labels, where, strict=True), key=lambda pair: -pair[1][1]):
        width, height = 0.6 * size * len(label.text) * per_point, 1.1 * size * per_point
        choices: list[tuple[int, int, int, int, tuple[float, float, float, float]]] = []
        for dx, dy in _OFFSETS:
            left = x + dx * per_point - (width if dx < 0 else 0)
            low = y + dy * per_point
            box = (left, low, left + width, low + height)
            inside = box[0] >= frame.x0 and box[2] <= frame.x1 and box[1] >= frame.y0
            choices.append((sum(_meet(box, other) for other in taken) + 3 * (not inside), len(choices), dx, dy, box))
        _, _, dx, dy, box = min(choices)
        taken.append(box)
        axes.annotate(
            label.text, (label.x, label.y), xytext=(dx, dy), textcoords="offset points", fontsize=size, va="bottom",
            color=label.color, ha="right" if dx < 0 else "left", fontweight="bold" if label.bold else "normal",
        )  # fmt: skip


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def at_ends(axes: Any, labels: Sequence[Label], *, size: float = 8) -> None:
    """Write labels to the right of the ends of lines, moved apart upwards where they would meet.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    labels : sequence of Label
    size : float
        Font size in points.
    """
    axes.figure.draw_without_rendering()
    per_point = axes.figure.dpi / 72
    last = -1e9
    for label in sorted(labels, key=lambda one: one.y):
        (_, y) = axes.transData.transform((label.x, label.y))
        low = max(y, last + 1.35 * size * per_point)
        last = low
        axes.annotate(
            label.text, (label.x, label.y), xytext=(9, (low - y) / per_point), textcoords="offset points",
            fontsize=size, va="center", color=label.color, fontweight="bold" if label.bold else "normal",
        )  # fmt: skip
