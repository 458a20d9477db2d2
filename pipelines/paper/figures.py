"""The paper's figures: kernels, activations over a signal, reconstructions, clouds of CR⁻¹ against RL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
COLOURS = {
    "identity": "#7a8288",
    "relu": "#cc79a7",
    "topk_absolutes": "#0072b2",
    "extrema_pool": "#009e73",
    "extrema": "#d55e00",
}
LABELS = {
    "identity": "Identity",
    "relu": "ReLU",
    "topk_absolutes": "top-k absolutes",
    "extrema_pool": "Extrema-Pool",
    "extrema": "Extrema",
}
_INK, _SOFT = "#1b1f24", "#9aa4af"


def _new(rows: int, columns: int, size: tuple[float, float]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _save(figure: Any, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # without a date and a version the same picture is the same file
    figure.savefig(file, dpi=110, metadata={"Software": None})


def _bare(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7, colors=_INK)


def draw_kernels(kernels: Mapping[str, Mapping[str, Array]], file: Path) -> None:
    """Draw learned kernels, a row a dataset and a column an activation.

    Parameters
    ----------
    kernels : mapping of dataset to mapping of activation to ndarray
        (m,) for a signal, (q, m) for several kernels of one size, (q, m, m) for images.
    file : Path
        PNG.
    """
    names = list(kernels)
    columns = list(dict.fromkeys(a for row in kernels.values() for a in row))
    figure, axes = _new(len(names), len(columns), (1.7 * len(columns) + 0.4, 1.25 * len(names) + 0.3))
    for line, name in enumerate(names):
        for column, activation in enumerate(columns):
            ax = axes[line][column]
            taps = kernels[name].get(activation)
            if taps is None:
                ax.axis("off")
                continue
            _kernel(ax, taps, COLOURS[activation])
            if line == 0:
                ax.set_title(LABELS[activation], fontsize=8, color=_INK)
            if column == 0:
                ax.set_ylabel(name, fontsize=8, color=_INK)
    _save(figure, file)


def _kernel(ax: Any, taps: Array, colour: str) -> None:
    if taps.ndim == 3:
        ax.imshow(np.concatenate(list(taps), axis=1), cmap="RdBu_r", norm=_centred(taps), interpolation="nearest")
        ax.set_xticks([])
        ax.set_yticks([])
        return
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlim(-0.5, taps.shape[-1] - 0.5)
    for one in np.atleast_2d(taps):
        ax.plot(one, color=colour, linewidth=1.2, marker="." if one.size < 12 else "")
    ax.axhline(0, color=_SOFT, linewidth=0.5)
    _bare(ax)


def _centred(values: Array) -> Any:
    from matplotlib.colors import CenteredNorm

    return CenteredNorm(halfrange=float(np.abs(values).max()) or 1.0)


def draw_signals(signals: Mapping[str, Mapping[str, tuple[Array, Array, Array]]], file: Path) -> None:
    """Draw a signal, its activations and its reconstruction, a row a dataset and a column an activation.

    Parameters
    ----------
    signals : mapping of dataset to mapping of activation to (x, reconstruction, activations)
        x and reconstruction (n,), activations (q, n).
    file : Path
        PNG.
    """
    names = list(signals)
    columns = list(dict.fromkeys(a for row in signals.values() for a in row))
    figure, axes = _new(len(names), len(columns), (2.3 * len(columns) + 0.4, 1.5 * len(names) + 0.3))
    for line, name in enumerate(names):
        for column, activation in enumerate(columns):
            ax = axes[line][column]
            x, reconstruction, fired = signals[name][activation]
            ax.plot(x, color=_SOFT, linewidth=1.0)
            ax.plot(reconstruction, color=COLOURS[activation], linewidth=0.9)
            _stems(ax, np.atleast_2d(fired), x)
            _bare(ax)
            if line == 0:
                ax.set_title(LABELS[activation], fontsize=8, color=_INK)
            if column == 0:
                ax.set_ylabel(name, fontsize=8, color=_INK)
    _save(figure, file)


def _stems(ax: Any, fired: Array, x: Array) -> None:
    """Mark where activations fired, below the signal: one line a kernel, stems by amplitude."""
    low, high = float(x.min()), float(x.max())
    span = (high - low) or 1.0
    for k, row in enumerate(fired):
        at = np.flatnonzero(row)
        base = low - span * (0.25 + 0.3 * k)
        height = 0.2 * span * row[at] / (np.abs(row).max() or 1.0)
        ax.vlines(at, base, base + height, color=_INK, linewidth=0.5)


def draw_images(images: Mapping[str, tuple[Array, Array, Array]], file: Path) -> None:
    """Draw images: a row an activation; the image, its activations (summed over kernels), its reconstruction.

    Parameters
    ----------
    images : mapping of activation to (x, reconstruction, activations)
        x and reconstruction (count, h, w), activations (count, q, h, w).
    file : Path
        PNG.
    """
    count = max(len(x) for x, _, _ in images.values())
    figure, axes = _new(len(images), 3 * count, (0.75 * 3 * count + 0.9, 0.8 * len(images) + 0.2))
    for line, (activation, (x, reconstruction, fired)) in enumerate(images.items()):
        for i in range(count):
            summed = fired[i].sum(axis=0)
            for j, (picture, options) in enumerate(
                (
                    (x[i], {"cmap": "gray", "vmin": 0, "vmax": 1}),
                    (summed, {"cmap": "RdBu_r", "norm": _centred(summed)}),
                    (reconstruction[i], {"cmap": "gray", "vmin": 0, "vmax": 1}),
                )
            ):
                ax = axes[line][3 * i + j]
                ax.imshow(picture, interpolation="nearest", **options)
                ax.set_xticks([])
                ax.set_yticks([])
        axes[line][0].set_ylabel(LABELS[activation], fontsize=7, color=_INK)
    _save(figure, file)


def draw_clouds(clouds: Mapping[str, Sequence[Mapping[str, Any]]], file: Path, *, columns: int = 2) -> None:
    """Draw CR⁻¹ against RL, one panel a dataset, one point a trained model.

    Parameters
    ----------
    clouds : mapping of dataset to sequence of mapping
        Each with ``activation``, ``m``, ``cr_inverse`` and ``rl``; larger kernels are drawn larger.
    file : Path
        PNG.
    columns : int
        Panels side by side.
    """
    rows = -(-len(clouds) // columns)
    figure, axes = _new(rows, min(columns, len(clouds)), (3.6 * min(columns, len(clouds)), 3.1 * rows))
    flat = list(axes.flat)
    for ax, (name, points) in zip(flat, clouds.items(), strict=False):
        top = max(p["m"] for p in points)
        for activation, colour in COLOURS.items():
            mine = [p for p in points if p["activation"] == activation]
            sizes = [2 + 14 * p["m"] / top for p in mine]
            ax.scatter(
                [p["cr_inverse"] for p in mine],
                [p["rl"] for p in mine],
                s=sizes,
                color=colour,
                alpha=0.5,
                linewidths=0,
                label=LABELS[activation],
            )
        for radius in (0.25, 0.5, 1.0, 2.0):
            angle = np.linspace(0, np.pi / 2, 90)
            ax.plot(radius * np.cos(angle), radius * np.sin(angle), color=_SOFT, linewidth=0.5, zorder=0)
        # most models lie below 0.3, identity at D + 1
        ax.set_xscale("log")
        ax.set_xlim(0.02, 6)
        ax.set_ylim(0, 1.15)
        ax.set_title(name, fontsize=9, color=_INK)
        ax.set_xlabel("CR⁻¹", fontsize=8, color=_INK)
        ax.set_ylabel("RL", fontsize=8, color=_INK)
        _bare(ax)
    flat[0].legend(fontsize=7, frameon=False, markerscale=1.5)
    for ax in flat[len(clouds) :]:
        ax.axis("off")
    _save(figure, file)
