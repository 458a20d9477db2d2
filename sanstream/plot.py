"""Pictures: how a window is explained (signal, activations, residual, kernels), and a bank's kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.bank import Bank

FloatArray = npt.NDArray[np.float64]

_INK, _SOFT, _FIT, _ERROR = "#1b1f24", "#9aa4af", "#c2410c", "#0f766e"
_KERNELS = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#b45309", "#0e7490", "#be123c", "#4d7c0f")


@dataclass(frozen=True)
class Explained:
    """A stretch of one channel and what the archive says of it.

    Parameters
    ----------
    title : str
    unit : str
    rate_hz : float
    signal, decoded : ndarray, shape (n,), float64
        Physical units.
    residual : ndarray, shape (n,), float64
        What the archive stores beside the activations, physical units: ``decoded`` less their kernels.
    index : ndarray, shape (A,), int64
        Sample of each activation's fiducial point.
    kernel : ndarray, shape (A,), int64
        Number of its kernel, counted in ``kernels``.
    amplitude : ndarray, shape (A,), float64
        Digital steps.
    kernels : sequence of ndarray
        Taps of the kernels on this channel.
    bound : float or None
        Promised RMSE of the stretch, physical units; drawn around the error.
    """

    title: str
    unit: str
    rate_hz: float
    signal: FloatArray
    decoded: FloatArray
    residual: FloatArray
    index: npt.NDArray[np.int64]
    kernel: npt.NDArray[np.int64]
    amplitude: FloatArray
    kernels: Sequence[FloatArray]
    bound: float | None = None


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _bare(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=9, color=_INK)
    axes.tick_params(labelsize=8, colors=_INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_SOFT)


def _color(kernel: int) -> str:
    return _KERNELS[kernel % len(_KERNELS)]


def plot_explained(parts: Sequence[Explained], path: str | Path) -> None:
    """Draw one column per part: signal and reconstruction, activations as stems, residual and error, kernels.

    Parameters
    ----------
    parts : sequence of Explained
    path : path
        Picture to write; the suffix chooses the format.
    """
    figure = _figure(7.5 * len(parts), 9)
    columns = figure.subfigures(1, len(parts), squeeze=False)[0]
    for column, part in zip(columns, parts, strict=True):
        column.suptitle(part.title, fontsize=11, color=_INK, x=0.02, ha="left")
        above, below = column.subfigures(2, 1, height_ratios=[3.2, 1])
        top, middle, bottom = above.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [2, 1, 1]})
        _draw_signal(top, part)
        _draw_activations(middle, part)
        _draw_residual(bottom, part)
        _draw_kernels(below, part)
    figure.savefig(path, dpi=110)


def plot_bank(bank: Bank, path: str | Path) -> None:
    """Draw the kernels of a bank, four a row, with their fiducial taps marked.

    Parameters
    ----------
    bank : Bank
    path : path
        Picture to write; the suffix chooses the format.
    """
    n_rows = max(1, -(-len(bank.kernels) // 4))
    figure = _figure(12, 2.4 * n_rows + 0.5)
    figure.suptitle(f"{bank.name}  {bank.id[:12]}  {len(bank.kernels)} kernels", fontsize=11, color=_INK)
    every = figure.subplots(n_rows, 4, squeeze=False).ravel()
    rate = bank.rate_hz or 1.0
    for number, (axes, kernel) in enumerate(zip(every, bank.kernels, strict=False)):
        for row in kernel.taps:
            axes.plot(np.arange(len(row)) / rate, row, color=_color(number), linewidth=1.3)
        axes.axvline(kernel.fiducial / rate, color=_SOFT, linewidth=0.8, linestyle="--")
        axes.set_xlabel("seconds" if bank.rate_hz else "taps", fontsize=8)
        _bare(axes, f"Kernel {number}  {kernel.uid}")
    for axes in every[len(bank.kernels) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=110)


def _draw_signal(axes: Any, part: Explained) -> None:
    t = np.arange(len(part.signal)) / part.rate_hz
    axes.plot(t, part.signal, color=_SOFT, linewidth=2.4, label="signal")
    axes.plot(t, part.decoded, color=_FIT, linewidth=0.9, label="reconstruction")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize=8, frameon=False, ncols=2)
    axes.set_ylabel(part.unit, fontsize=8)
    _bare(axes, "Signal and reconstruction")


def _draw_activations(axes: Any, part: Explained) -> None:
    for kernel in np.unique(part.kernel):
        mine = part.kernel == kernel
        lines = axes.stem(part.index[mine] / part.rate_hz, part.amplitude[mine], basefmt=" ")
        lines.markerline.set(color=_color(int(kernel)), markersize=4)
        lines.stemlines.set(color=_color(int(kernel)), linewidth=1.1)
    axes.axhline(0, color=_SOFT, linewidth=0.8)
    axes.set_ylabel("amplitude", fontsize=8)
    if not len(part.index):
        axes.text(0.5, 0.6, "none earned its bits here", transform=axes.transAxes, ha="center", fontsize=8, color=_SOFT)
    _bare(axes, f"Activations ({len(part.index)}), one colour per kernel")


def _draw_residual(axes: Any, part: Explained) -> None:
    t = np.arange(len(part.signal)) / part.rate_hz
    axes.plot(t, part.residual, color=_INK, linewidth=0.8, label="residual")
    axes.plot(t, part.signal - part.decoded, color=_ERROR, linewidth=0.6, label="error")
    if part.bound is not None:
        axes.axhspan(-part.bound, part.bound, color=_ERROR, alpha=0.25, linewidth=0, label="promised RMSE")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize=8, frameon=False, ncols=3)
    axes.set_xlabel("seconds", fontsize=8)
    axes.set_ylabel(part.unit, fontsize=8)
    _bare(axes, "Residual: what the activations leave")


def _draw_kernels(figure: Any, part: Explained) -> None:
    shown = list(dict.fromkeys(part.kernel.tolist())) or list(range(len(part.kernels)))
    shown = sorted(k for k in shown if k < len(part.kernels))[:6]
    axes_row = figure.subplots(1, max(1, len(shown)), squeeze=False, sharey=True)[0]
    for axes, number in zip(axes_row, shown, strict=False):
        taps = part.kernels[number]
        axes.plot(np.arange(len(taps)) / part.rate_hz, taps, color=_color(number), linewidth=1.4)
        axes.axhline(0, color=_SOFT, linewidth=0.6)
        _bare(axes, f"Kernel {number}")
        axes.set_xlabel("seconds", fontsize=8)
    if not shown:
        axes_row[0].set_axis_off()
        axes_row[0].text(0.5, 0.5, "no kernel in use", ha="center", fontsize=8, color=_SOFT)
