"""Table III of the SAN paper again: two kernels of m x m pixels, m 1 to 6, five activations, then a linear classifier.

Usage: python -m pipelines.paper.table3 [--quick] [--images ../shared/data/mnist] [--name mnist] [--work work/paper]
           [--seeds 3] [--decoder paper] [--device cpu]

--images holds the four idx files; Fashion-MNIST has the same (--images FOLDER --name fmnist). Resumable: a finished
run is a line of WORK/table3.jsonl. Rows go to docs/measured/paper-table3-NAME.jsonl, the published columns and
figures to docs/paper; --quick takes one seed and 10 000 images, prints the rows and writes into the work folder.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.paper.classifier import accuracies, reconstructions
from pipelines.paper.figures import draw_clouds, draw_images, draw_kernels
from pipelines.paper.images import Images, Part, load_images
from pipelines.paper.published import ACTIVATIONS, FMNIST, MNIST, read_published
from pipelines.paper.report import ROOT, Row, beside, mean_sd, published_columns, write_csv, write_measured
from pipelines.paper.runs import Result, Runs
from sanstream.san.flithos import flithos_means
from sanstream.san.model import Decoder, San
from sanstream.san.stack import SanStack, examine
from sanstream.san.training import train_sweep

SIZES, N_KERNELS = (1, 2, 3, 4, 5, 6), 2
N_EPOCHS, BATCH, TOLERANCE = 5, 64, 2
QUICK_IMAGES = 10_000
DEAD = 0.99
"""Relative loss from which a model is called collapsed: it predicts zeros."""


@dataclass(frozen=True)
class Form:
    """What is run: see the options of the command."""

    name: str
    seeds: tuple[int, ...]
    decoder: Decoder = "paper"
    device: str = "cpu"


def run_all(runs: Runs, images: Images, form: Form) -> tuple[dict[str, list[Result]], list[Result]]:
    """Run the activations and the baseline from every seed; gives the runs of each activation, and the baselines."""
    found: dict[str, list[Result]] = {a: [] for a in ACTIVATIONS}
    raw = []
    for seed in form.seeds:
        key: dict[str, str | int | float | bool | None] = {"set": form.name, "seed": seed, "images": _digest(images)}
        raw.append(runs.get({**key, "classifier": "raw"}, partial(_baseline, images, seed, form)))
        for activation in ACTIVATIONS:
            own = {**key, "activation": activation, "decoder": form.decoder}
            found[activation].append(runs.get(own, partial(_run, images, activation, seed, form)))
    return found, raw


def _digest(images: Images) -> str:
    return hashlib.sha256(images.learn.x.numpy().tobytes() + images.test.x.numpy().tobytes()).hexdigest()[:12]


def _baseline(images: Images, seed: int, form: Form) -> Result:
    parts = [(p.x.flatten(1)[:, None].to(form.device), p.y.to(form.device)) for p in _parts(images)]
    best, last = accuracies(*parts, seed=seed)
    return {"accuracy": best[0], "accuracy_last": last[0]}


def _parts(images: Images) -> tuple[Part, Part, Part]:
    return images.learn, images.check, images.test


def _run(images: Images, activation: str, seed: int, form: Form) -> Result:
    """Train all sizes at once, measure them on test, and train their classifiers with the kernels frozen."""
    trained = train_sweep(
        images.learn.x,
        validation=images.check.x,
        models=[[m] * N_KERNELS for m in SIZES],
        activation=activation,
        decoder=form.decoder,
        tolerance=TOLERANCE,
        n_epochs=N_EPOCHS,
        batch_size=BATCH,
        seed=seed,
        device=form.device,
    )
    stack = SanStack([t.model for t in trained]).to(form.device)
    parts = [(reconstructions(stack, p.x.to(form.device)), p.y.to(form.device)) for p in _parts(images)]
    best, last = accuracies(*parts, seed=seed)
    return {
        "m": list(SIZES),
        "epoch": [t.best.epoch for t in trained],
        "validation": [t.best.validation.phi for t in trained],
        "best": _columns([t.model for t in trained], images, form.device),
        "last": _columns([t.last for t in trained], images, form.device),
        "accuracy": best,
        "accuracy_last": last,
        "kernels": [[np.round(w, 6).tolist() for w in t.kernels] for t in trained],
    }


def _columns(models: list[San], images: Images, device: str) -> dict[str, list[float]]:
    """Phi and its parts on test, with q m^2 numbers in the kernels, and with the q m that the paper counted."""
    examples = examine(SanStack(models).to(device), images.test.x.to(device))
    counted = flithos_means(examples, [m.n_weights for m in models])
    printed = flithos_means(examples, [sum(m.kernel_samples) for m in models])
    return {
        "cr_inverse": [round(mean.cr_inverse, 5) for mean in counted],
        "rl": [round(mean.rl, 5) for mean in counted],
        "phi": [round(mean.phi, 5) for mean in counted],
        "phi_amortised": [round(mean.phi_amortised, 5) for mean in counted],
        "cr_inverse_printed": [round(mean.cr_inverse, 5) for mean in printed],
        "phi_printed": [round(mean.phi, 5) for mean in printed],
    }


def seeds_of(runs: Iterable[Result], raw: Iterable[Result], i: int, *, printed: bool) -> list[dict[str, float]]:
    """Give each seed's figures at size ``i``; ``printed`` counts W as the paper did."""
    tail = "_printed" if printed else ""
    return [
        {
            "m": run["m"][i],
            "cr_inverse": run["best"][f"cr_inverse{tail}"][i],
            "rl": run["best"]["rl"][i],
            "phi": run["best"][f"phi{tail}"][i],
            "acc_delta": run["accuracy"][i] - base["accuracy"],
            "phi_amortised": run["best"]["phi_amortised"][i],
        }
        for run, base in zip(runs, raw, strict=True)
    ]


def rows_of(found: dict[str, list[Result]], raw: list[Result], name: str) -> list[Row]:
    """Make the side-by-side rows: W as the paper counted it, and phi with all of W beside."""
    printed = {}
    if name in ("mnist", "fmnist"):
        printed = {(p.m, p.activation): p for p in read_published(MNIST if name == "mnist" else FMNIST)}
    rows = []
    for i, m in enumerate(SIZES):
        for activation, runs in found.items():
            seeds = seeds_of(runs, raw, i, printed=True)
            row = beside(printed.get((m, activation)), seeds, activation=activation)
            row.pop("m published", None)
            row["φ with q·m²"] = mean_sd([run["best"]["phi"][i] for run in runs])[0]
            row["collapsed"] = sum(s["rl"] > DEAD for s in seeds)
            rows.append(row | {"_phi": [s["phi"] for s in seeds], "_accuracy": [r["accuracy"][i] for r in runs]})
    return rows


def draw(found: dict[str, list[Result]], images: Images, form: Form, folder: Path) -> None:
    """Draw kernels of all sizes, two test images, and the clouds of all seeds."""
    kernels = {
        f"m = {m}": {a: np.array(runs[0]["kernels"][i], dtype=np.float32) for a, runs in found.items()}
        for i, m in enumerate(SIZES)
    }
    draw_kernels(kernels, folder / f"table3-{form.name}-kernels.png")
    x = images.test.x[:3]
    drawn = {}
    for activation, runs in found.items():
        i = int(np.argmin(runs[0]["validation"]))
        model = San([SIZES[i]] * N_KERNELS, activation=activation, n_dims=2, decoder=form.decoder, tolerance=TOLERANCE)
        for w, taps in zip(model.kernels, runs[0]["kernels"][i], strict=True):
            w.data = torch.tensor(taps)
        with torch.no_grad():
            reconstruction, fired = model(x)
        drawn[activation] = (x.numpy(), reconstruction.numpy(), fired.numpy())
    draw_images(drawn, folder / f"table3-{form.name}-images.png")
    points: list[dict[str, Any]] = [
        {"activation": a, "m": m, "cr_inverse": run["best"]["cr_inverse"][i], "rl": run["best"]["rl"][i]}
        for a, runs in found.items()
        for run in runs
        for i, m in enumerate(SIZES)
    ]
    draw_clouds({form.name: points}, folder / f"table3-{form.name}-clouds.png")


def main() -> None:
    """Run what is missing, print the rows, write the table and the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=ROOT.parent / "shared" / "data" / "mnist")
    parser.add_argument("--name", help="of the set: mnist, fmnist or another; the folder's name when not given")
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "paper")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--decoder", choices=("paper", "adjoint"), default="paper")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="one seed, 10 000 images; docs stay as they are")
    options = parser.parse_args()
    torch.set_num_threads(1)  # rounding, and with it every figure, may depend on the number of threads
    try:
        images = load_images(options.images, most=QUICK_IMAGES if options.quick else None)
    except FileNotFoundError as error:
        parser.error(f"no idx files: {error}")
    seeds = (0,) if options.quick else tuple(range(options.seeds))
    form = Form(options.name or options.images.name, seeds, options.decoder, options.device)
    found, raw = run_all(Runs(options.work / "table3.jsonl"), images, form)
    rows = rows_of(found, raw, form.name)
    mean, deviation = mean_sd([r["accuracy"] for r in raw])
    print(f"baseline accuracy {mean:.2f} ± {deviation or 0:.2f} %")
    for row in rows:
        print(" ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
    folder = options.work / "quick" if options.quick else ROOT / "docs" / "paper"
    suffix = "" if form.decoder == "paper" else f"-{form.decoder}"
    if not options.quick:
        write_measured(f"paper-table3-{form.name}{suffix}", [r | {"_baseline": round(mean, 3)} for r in rows])
    csv = [
        published_columns(seeds_of(runs, raw, i, printed=True), dataset=form.name, activation=activation)
        for i in range(len(SIZES))
        for activation, runs in found.items()
    ]
    write_csv(folder / f"table3-{form.name}{suffix}.csv", csv)
    draw(found, images, form, folder)
    print(f"figures and CSV files: {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
