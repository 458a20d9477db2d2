"""Table II of the SAN paper again: phi and classification on the UCI epilepsy set, made from the Bonn recordings.

Usage: python -m pipelines.paper.table2 [--data ../shared/data] [--work work/table2] [--seeds 3] [--device cpu]
           [--quick]

Resumable: finished runs stand in the work folder. Rows go to docs/measured/paper-table2.jsonl (printed rows beside
ours) and paper-table2-accuracy.jsonl (both splits); table2.csv, in the published columns, and pictures to docs/paper/.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pipelines.paper import bonn, table2_figures
from pipelines.paper.published import ACTIVATIONS, UCI, read_published
from pipelines.paper.report import MEASURED, ROOT, Row, beside, mean_sd, published_columns, write_csv, write_measured
from pipelines.paper.runs import Runs
from pipelines.paper.table2_run import N_EPOCHS, Task, run

SIZES = range(8, 16)
SEGMENTS, RECORDINGS = "segments", "recordings"
BY_RECORDING_M = 12
"""The kernel size at which splits by recording are measured; the middle of the table, chosen before any result."""
MORE_SEEDS = ("raw", "relu")
"""Given two seeds more: ReLU falls into basins, and every accuracy difference hangs on the baseline."""


class Table:
    """All runs of the table, made when first asked for.

    Parameters
    ----------
    whole : Part
        The segments.
    runs : Runs
    seeds : sequence of int
    device : str
    n_epochs : int
    """

    def __init__(
        self, whole: bonn.Part, runs: Runs, seeds: Sequence[int], device: str = "cpu", n_epochs: int = N_EPOCHS
    ) -> None:
        self.whole, self.runs, self.seeds, self.device, self.n_epochs = whole, runs, seeds, device, n_epochs
        self.sizes = SIZES
        self._splits: dict[tuple[bool, int], bonn.Split] = {}

    def split_of_segments(self) -> bonn.Split:
        """Return the published kind of split."""
        return self.split(Task(SEGMENTS, "raw", 0, 0))

    def split(self, task: Task) -> bonn.Split:
        """Return the split that a task is about."""
        key = (task.split == RECORDINGS, task.seed if task.split == RECORDINGS else bonn.SHUFFLE_SEED)
        if key not in self._splits:
            self._splits[key] = bonn.split(self.whole, by_recording=key[0], seed=key[1]).to(self.device)
        return self._splits[key]

    def of(self, split: str, activation: str, m: int) -> list[dict[str, Any]]:
        """Return the runs of one row, a seed each, with what accuracy they gain over the baseline's mean."""
        baseline = self._all(split, "raw", 0)
        mean = sum(r["accuracy"] for r in baseline) / len(baseline)
        found = baseline if activation == "raw" else self._all(split, activation, m)
        return [{**r, "m": m, "acc_delta": 100 * (r["accuracy"] - mean)} for r in found]

    def _all(self, split: str, activation: str, m: int) -> list[dict[str, Any]]:
        out = []
        more = range(len(self.seeds), len(self.seeds) + 2) if activation in MORE_SEEDS else ()
        for seed in (*self.seeds, *more):
            task = Task(split, activation, m, seed)
            key = {**task.__dict__, "epochs": self.n_epochs, "segments": len(self.whole.x)}
            out.append(self.runs.get(key, partial(self._run, task)))
        return out

    def _run(self, task: Task) -> dict[str, Any]:
        return run(task, self.split(task), n_epochs=self.n_epochs)


def phi_rows(table: Table) -> list[Row]:
    """Return every printed row beside ours; ReLU falls into two basins, so how many runs fell where is told."""
    rows = []
    for printed in read_published(UCI):
        seeds = table.of(SEGMENTS, printed.activation, printed.m)
        row = beside(printed, seeds, activation=printed.activation)
        row["RL about the mean"] = mean_sd([s["rl_about_mean"] for s in seeds])[0]
        row["nearest seed's φ difference"] = min((s["phi"] - printed.phi for s in seeds), key=abs)
        row["_phi of seeds"] = [round(s["phi"], 4) for s in seeds]
        row["_accuracy of seeds"] = [round(s["accuracy"], 4) for s in seeds]
        del row["m published"]
        rows.append(row)
    return rows


def accuracy_rows(table: Table) -> list[Row]:
    """Return accuracies of both splits: the baseline and each activation."""
    rows = []
    for split in (SEGMENTS, RECORDINGS):
        for activation in ("raw", *ACTIVATIONS):
            m = 0 if activation == "raw" else BY_RECORDING_M
            found = [100 * s["accuracy"] for s in table.of(split, activation, m)]
            mean, deviation = mean_sd(found)
            rows.append(
                {
                    "split by": split,
                    "classified": "raw segments" if activation == "raw" else f"reconstructions, {activation}, m = {m}",
                    "accuracy %": mean,
                    "± sd": deviation,
                    "least": min(found),
                    "seeds": len(found),
                }
            )
    return rows


def main() -> None:
    """Do the runs that are missing, write the rows, draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "table2")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--quick", action="store_true", help="one seed and epoch, a tenth of the set; writes into --work"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    whole = bonn.load(options.data)
    if options.quick:
        whole = bonn.every(whole, 10)
    seeds = range(1 if options.quick else options.seeds)
    name = "quick.jsonl" if options.quick else "runs.jsonl"
    table = Table(whole, Runs(options.work / name), seeds, options.device, 1 if options.quick else N_EPOCHS)
    measured = options.work if options.quick else MEASURED
    pictures = options.work if options.quick else ROOT / "docs" / "paper"
    rows = phi_rows(table)
    write_measured("paper-table2", rows, folder=measured)
    write_measured("paper-table2-accuracy", accuracy_rows(table), folder=measured)
    own = [
        published_columns(table.of(SEGMENTS, a, m), dataset="uci-epilepsy", activation=a)
        for m in SIZES
        for a in ACTIVATIONS
    ]
    write_csv(pictures / "table2.csv", own)
    table2_figures.draw(table, pictures)


if __name__ == "__main__":
    main()
