"""Table I of the SAN paper again: one kernel of 1 to 250 samples, five activations, one signal of each database.

Usage: python -m pipelines.paper.table1 [--quick] [--data ../shared/data] [--work work/paper] [--fetch] [--seeds 5]
           [--databases mitdb,emgdb] [--decoders paper,adjoint] [--device cpu]

Resumable: a finished sweep is a line of WORK/table1.jsonl. The whole table goes to docs/measured/paper-table1.jsonl
(decoder as published) and paper-table1-adjoint.jsonl, the published columns and the figures to docs/paper;
--quick takes one seed and every tenth size, prints the rows and writes its CSV and figures into the work folder.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.paper.figures import draw_clouds, draw_kernels, draw_signals
from pipelines.paper.published import ACTIVATIONS, PHYSIONET, read_published
from pipelines.paper.report import ROOT, Row, beside, published_columns, write_csv, write_measured
from pipelines.paper.runs import Runs
from pipelines.paper.signals import RECORDS, TEST, Signal, load_signal
from pipelines.paper.sweep import Settings, chosen_on_test, chosen_on_validation, sweep
from sanstream.san.model import San
from sanstream.san.training import normalise_windows

SIZES = tuple(range(1, 251))
QUICK = (*range(1, 16), *range(20, 251, 10))
DRAWN = 2
"""Test window of the figures."""
Sweeps = dict[tuple[str, str, str], list[dict[str, Any]]]


@dataclass(frozen=True)
class Form:
    """What is run: see the options of the command."""

    decoders: tuple[str, ...]
    seeds: tuple[int, ...]
    sizes: tuple[int, ...]
    device: str = "cpu"


def run_sweeps(runs: Runs, signals: list[Signal], form: Form) -> Sweeps:
    """Run all sweeps; gives those of all seeds under (dataset, activation, decoder)."""
    out: Sweeps = {}
    for seed in form.seeds:  # whole tables first: after an interruption there is one of fewer seeds
        for signal in signals:
            for decoder in form.decoders:
                for activation in ACTIVATIONS:
                    settings = Settings(activation, "paper", seed, form.sizes, device=form.device)
                    if decoder == "adjoint":
                        settings = replace(settings, decoder="adjoint")
                    found = sweep(runs, signal, settings)
                    out.setdefault((signal.dataset, activation, decoder), []).append(found)
    return out


def rows_of(sweeps: Sweeps, decoder: str) -> list[Row]:
    """Make the side-by-side rows of one decoder, both selections of each."""
    printed = {(p.dataset, p.activation): p for p in read_published(PHYSIONET)}
    rows = []
    for (dataset, activation, own), seeds in sweeps.items():
        if own != decoder:
            continue
        for name, choose in (("test", chosen_on_test), ("validation", chosen_on_validation)):
            names = {"dataset": dataset, "activation": activation, "m selected on": name}
            rows.append(beside(printed[dataset, activation], [choose(run) for run in seeds], **names))
    return rows


def write_published(sweeps: Sweeps, folder: Path) -> None:
    """Write the published columns, one file a decoder and selection."""
    for decoder in dict.fromkeys(d for _, _, d in sweeps):
        for name, choose in (("test", chosen_on_test), ("validation", chosen_on_validation)):
            rows = [
                published_columns([choose(run) for run in seeds], dataset=dataset, activation=activation)
                for (dataset, activation, own), seeds in sweeps.items()
                if own == decoder
            ]
            write_csv(folder / f"table1-{decoder}-{name}-selected.csv", rows)


def draw(sweeps: Sweeps, signals: list[Signal], folder: Path, *, decoder: str = "adjoint") -> None:
    """Draw kernels, activations with reconstructions, and the clouds of all sizes, of the first seed."""
    first = {(dataset, a): runs[0] for (dataset, a, own), runs in sweeps.items() if own == decoder}
    kernels = {
        s.dataset: {a: np.array(first[s.dataset, a]["kernel"], dtype=np.float32) for a in ACTIVATIONS} for s in signals
    }
    draw_kernels(kernels, folder / "table1-kernels.png")
    pictures = {
        s.dataset: {a: _reconstructed(s, a, kernels[s.dataset][a], decoder) for a in ACTIVATIONS} for s in signals
    }
    draw_signals(pictures, folder / "table1-signals.png")
    clouds = {
        s.dataset: [
            {"activation": a, "m": m, "cr_inverse": c, "rl": rl}
            for a in ACTIVATIONS
            for m, c, rl in zip(
                first[s.dataset, a]["m"],
                first[s.dataset, a]["best"]["cr_inverse"],
                first[s.dataset, a]["best"]["rl"],
                strict=True,
            )
        ]
        for s in signals
    }
    draw_clouds(clouds, folder / "table1-clouds.png")


def _reconstructed(signal: Signal, activation: str, taps: Any, decoder: str) -> tuple[Any, Any, Any]:
    """Give one test window, its reconstruction and its activations (1, n)."""
    model = San([len(taps)], activation=activation, decoder="adjoint" if decoder == "adjoint" else "paper")
    model.kernels[0].data = torch.from_numpy(taps)
    x = torch.from_numpy(normalise_windows(signal.windows[TEST])[DRAWN : DRAWN + 1])
    with torch.no_grad():
        reconstruction, fired = model(x)
    return x[0].numpy(), reconstruction[0].numpy(), fired[0].numpy()


def main() -> None:
    """Run what is missing, print the rows, write tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "paper")
    parser.add_argument("--fetch", action="store_true", help="ask PhysioNet for the signals that are not at hand")
    parser.add_argument("--databases", default=",".join(RECORDS))
    parser.add_argument("--decoders", default="paper,adjoint")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="one seed, every tenth size; docs stay as they are")
    options = parser.parse_args()
    torch.set_num_threads(1)  # rounding, and with it every figure, may depend on the number of threads
    asked = options.databases.split(",")
    unknown = [d for d in asked if d not in RECORDS]
    if unknown:
        parser.error(f"unknown database {unknown[0]!r}; use some of {', '.join(RECORDS)}")
    found = [load_signal(d, options.data, options.work, fetch=options.fetch) for d in asked]
    signals = [s for s in found if s is not None]
    if not signals:
        parser.error(f"no signal of {', '.join(asked)} in {options.data}")
    decoders = tuple(options.decoders.split(","))
    form = Form(decoders, tuple(range(options.seeds)), SIZES, options.device)
    if options.quick:
        form = replace(form, seeds=(0,), sizes=QUICK)
    sweeps = run_sweeps(Runs(options.work / "table1.jsonl"), signals, form)
    for decoder in decoders:
        rows = rows_of(sweeps, decoder)
        for row in rows:
            print(decoder, " ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
        if not options.quick:
            write_measured("paper-table1" + ("" if decoder == "paper" else f"-{decoder}"), rows)
    folder = options.work / "quick" if options.quick else ROOT / "docs" / "paper"
    write_published(sweeps, folder)
    draw(sweeps, signals, folder, decoder=decoders[-1])
    print(f"figures and CSV files: {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
