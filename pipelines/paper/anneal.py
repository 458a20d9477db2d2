"""Whether it helps to anneal the extrema distance while training, the SAN paper's future work.

Usage: python -m pipelines.paper.anneal [--quick] [--data ../shared/data] [--work work/paper] [--seeds 3]
           [--reach 0.25,4] [--databases mitdb,emgdb]

Extrema, every kernel size of Table I, adjoint decoder. In the first half of the epochs the distance goes from REACH
times the kernel's own to its own; a reach of 1 is training as published. m is chosen on validation. Resumable: the
sweeps of reach 1 are those of Table I. The table goes to docs/measured/paper-anneal.jsonl.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from pipelines.paper.report import ROOT, Row, mean_sd, write_measured
from pipelines.paper.runs import Runs
from pipelines.paper.signals import RECORDS, Signal, load_signal
from pipelines.paper.sweep import Settings, chosen_on_validation, sweep
from pipelines.paper.table1 import QUICK, SIZES

LARGE = 100
"""Kernels from this size on are those that seldom train well."""


def rows_of(runs: Runs, signals: list[Signal], reaches: list[float], seeds: range, sizes: tuple[int, ...]) -> list[Row]:
    """Train what is missing; one row a signal and reach."""
    rows = []
    for signal in signals:
        for reach in reaches:
            found = [sweep(runs, signal, Settings("extrema", "adjoint", s, sizes, anneal=reach)) for s in seeds]
            chosen = [chosen_on_validation(run) for run in found]
            phi, deviation = mean_sd([c["phi"] for c in chosen])
            every = [p for run in found for p in run["best"]["phi"]]
            large = [p for run in found for m, p in zip(run["m"], run["best"]["phi"], strict=True) if m >= LARGE]
            rows.append(
                {
                    "dataset": signal.dataset,
                    "first distance": f"{reach:g} med",
                    "φ, m chosen on validation": phi,
                    "± sd": deviation,
                    "m": " ".join(str(c["m"]) for c in chosen),
                    "φ, mean of all m": mean_sd(every)[0],
                    f"φ, mean of m ≥ {LARGE}": mean_sd(large)[0],
                    "seeds": len(found),
                }
            )
    return rows


def main() -> None:
    """Run what is missing, print the rows and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "paper")
    parser.add_argument("--databases", default=",".join(RECORDS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--reach", default="0.25,4", help="first distances, as multiples of the kernel's own")
    parser.add_argument("--quick", action="store_true", help="one seed, every tenth size; docs stay as they are")
    options = parser.parse_args()
    torch.set_num_threads(1)  # rounding, and with it every figure, may depend on the number of threads
    found = [load_signal(d, options.data, options.work) for d in options.databases.split(",")]
    signals = [s for s in found if s is not None]
    reaches = [1.0, *(float(r) for r in options.reach.split(","))]
    seeds, sizes = (range(1), QUICK) if options.quick else (range(options.seeds), SIZES)
    rows = rows_of(Runs(options.work / "table1.jsonl"), signals, reaches, seeds, sizes)
    for row in rows:
        print(" ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
    if not options.quick:
        write_measured("paper-anneal", rows)


if __name__ == "__main__":
    main()
