"""Where ReLU ends is decided by where it starts: many seeds of the rows that lie apart from the printed ones.

Usage: python -m pipelines.paper.basins [--data ../shared/data] [--seeds 10] [--quick]

Table I, ctu-uhb-ctgdb, one number as kernel (m = 1): the sign of the start stays. Table III, MNIST, m = 3, 4, 6: one
epoch over 8 000 images by either decoder; a model whose loss is that of predicting zeros has collapsed. The rows go to
docs/measured/paper-basins.jsonl.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from pipelines.paper.images import load_images
from pipelines.paper.report import ROOT, Row, write_measured
from pipelines.paper.signals import CHECK, LEARN, TEST, load_signal
from sanstream.san.flithos import flithos_means
from sanstream.san.model import Decoder, San
from sanstream.san.stack import SanStack, examine
from sanstream.san.training import normalise_windows, train_sweep

SIZES = (3, 4, 6)
N_IMAGES, BATCH, LEARNING_RATE = 8000, 64, 0.01
COLLAPSED = 0.99


def signs(data: Path, n_seeds: int) -> list[Row]:
    """Train m = 1 on the cardiotocogram; one row for each sign that the only number starts with."""
    signal = load_signal("ctu-uhb-ctgdb", data, ROOT / "work" / "paper")
    if signal is None:
        return []
    windows = signal.windows
    test = torch.from_numpy(normalise_windows(windows[TEST]))
    found: dict[str, list[float]] = {"positive": [], "negative": []}
    for seed in range(n_seeds):
        (trained,) = train_sweep(
            windows[LEARN], validation=windows[CHECK], models=[[1]], activation="relu", decoder="paper", seed=seed
        )
        (mean,) = flithos_means(examine(SanStack([trained.last]), test), [1])
        found["positive" if float(trained.last.kernels[0].detach()[0]) > 0 else "negative"].append(mean.phi)
    return [
        {"table": "I, ctu-uhb-ctgdb, ReLU, m = 1", "decoder": "paper", "start": sign, "seeds": len(phis),
         "least φ": min(phis), "greatest φ": max(phis), "collapsed": None}
        for sign, phis in found.items() if phis
    ]  # fmt: skip


def collapses(data: Path, decoder: Decoder, n_seeds: int) -> Row:
    """Count starts of Table III's ReLU that end by predicting zeros."""
    x = load_images(data / "mnist", most=N_IMAGES).learn.x
    models = []
    for m in SIZES:
        for seed in range(n_seeds):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                models.append(San([m, m], activation="relu", n_dims=2, decoder=decoder, tolerance=2))
    stack = SanStack(models)
    optimiser = torch.optim.Adam([stack.taps], lr=LEARNING_RATE)
    for batch in torch.split(x, BATCH):
        optimiser.zero_grad()
        loss = (stack(batch)[0] - batch[:, None]).abs().mean((0, 2, 3))
        loss.sum().backward()
        optimiser.step()
    ended = loss.detach().numpy() / float(batch.abs().mean())
    return {"table": "III, MNIST, ReLU, m = 3, 4, 6", "decoder": decoder, "start": "any", "seeds": len(models),
            "least φ": None, "greatest φ": None, "collapsed": int(np.sum(ended > COLLAPSED))}  # fmt: skip


def main() -> None:
    """Train all, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="two seeds; nothing is written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    n_seeds = 2 if options.quick else options.seeds
    rows = signs(options.data, n_seeds)
    rows += [collapses(options.data, decoder, n_seeds) for decoder in ("paper", "adjoint")]
    for row in rows:
        print(row)
    if not options.quick:
        write_measured("paper-basins", rows)


if __name__ == "__main__":
    main()
