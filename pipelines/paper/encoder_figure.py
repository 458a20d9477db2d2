"""Draw a test window of record 100: what is sent, what it draws, and the one prototype behind it.

Usage: python -m pipelines.paper.encoder_figure [--data ../shared/data] [--to docs/paper/encoders.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch

from pipelines.paper.encoder_data import load
from pipelines.paper.encoder_kernels import course_of, kernels_of
from pipelines.paper.encoder_runs import SWEEPS
from sanstream.san.dictionary import encode, learn
from sanstream.san.encoders import Encoded
from sanstream.san.prototypes import Dictionary

mpl.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[2]
KERNELS = "prototype of 3 at scales"
RATE_HZ = 360.0
WINDOW = 0


def learned(data: Path) -> tuple[torch.Tensor, Dictionary, Encoded]:
    """Learn as seed 0 of the pipeline does, and encode the test windows."""
    split = load("mitdb", data)
    kernels = next(k for k in kernels_of("mitdb") if k.name == KERNELS and not k.shared)
    course = course_of("mitdb", share=1, seed=0, quick=False)
    found = learn(split.training, split.validation, kernels.start(1, 0), course).dictionary
    return split.test, found, encode(split.test, found, course, sweeps=SWEEPS)


def draw(windows: torch.Tensor, dictionary: Dictionary, encoded: Encoded) -> Any:
    """Draw window and reconstruction, activations by scale, and kernels."""
    kernels = dictionary.kernels()
    sizes = [len(k) for k in kernels]
    mine = encoded.window == WINDOW
    kernel, index, amplitude = encoded.kernel[mine], encoded.index[mine, 0], encoded.amplitude[mine]
    (parts,) = encoded.flithos(dictionary.n_weights)[WINDOW : WINDOW + 1]
    colours = plt.colormaps["viridis"]([k / max(1, len(kernels) - 1) for k in range(len(kernels))])
    figure, axes = plt.subplots(3, 1, figsize=(9, 7.5), height_ratios=(2, 1.3, 1.3), layout="constrained")
    seconds = torch.arange(windows.shape[1]) / RATE_HZ
    axes[0].plot(seconds, windows[WINDOW], color="0.6", linewidth=2.5, label="window")
    axes[0].plot(seconds, encoded.reconstruction[WINDOW], color="C3", linewidth=1.0, label="reconstruction")
    axes[0].set_title(
        f"MIT-BIH 100, MLII, a test window: {parts.n_activations} activations, W = {parts.n_weights}; "
        f"CR⁻¹ {parts.cr_inverse:.3f}, RL {parts.rl:.3f}, φ {parts.phi:.3f}"
    )
    axes[0].set_ylabel("deviations")
    axes[0].legend(frameon=False, ncols=2, loc="upper center")
    middle = index + torch.tensor([(m - 1) // 2 for m in sizes])[kernel]
    for k, m in enumerate(sizes):
        own = kernel == k
        at = middle[own] / RATE_HZ
        # what an activation adds at its kernel's highest point: amplitudes of unequal kernels compare
        height = amplitude[own] * kernels[k].abs().max()
        axes[1].vlines(at, 0, height, color=colours[k], linewidth=1.2)
        axes[1].plot(at, height, "o", color=colours[k], markersize=4, label=f"{m}")
    axes[1].axhline(0, color="0.8", linewidth=0.8, zorder=0)
    axes[1].set_ylabel("peak added, deviations")
    axes[1].set_xlabel("time, s")
    axes[1].legend(title="taps", frameon=False, ncols=2, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    axes[1].sharex(axes[0])
    for k, taps in enumerate(kernels):
        at = (torch.arange(len(taps)) - (len(taps) - 1) / 2) / RATE_HZ * 1000
        axes[2].plot(at, taps / taps.abs().max(), color=colours[k], linewidth=1.3)
    numbers = ", ".join(f"{v:.2f}" for v in dictionary.prototypes[0].tolist())
    axes[2].set_title(f"one prototype ({numbers}), seen at {len(kernels)} scales by cubic B-splines", fontsize=10)
    axes[2].set_xlabel("time, ms")
    axes[2].set_ylabel("kernel / its peak")
    return figure


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "paper" / "encoders.png")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.to.parent.mkdir(parents=True, exist_ok=True)
    draw(*learned(options.data)).savefig(options.to, dpi=110)
    print(options.to)


if __name__ == "__main__":
    main()
