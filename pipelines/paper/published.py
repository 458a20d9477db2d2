"""The published tables of the SAN paper (arXiv 1907.06592 v11), as they were printed."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "published"
PHYSIONET = "san_table1_physionet"
UCI = "san_table2_uci_epilepsy"
MNIST = "san_table3_mnist"
FMNIST = "san_table3_fmnist"
ACTIVATIONS = ("identity", "relu", "topk_absolutes", "extrema_pool", "extrema")
"""In the order of the tables."""


@dataclass(frozen=True)
class Published:
    """One printed row.

    Parameters
    ----------
    dataset : str
        Database of Table I; the name of the set in Tables II and III.
    activation : str
    m : int
        Kernel size, in samples (II, III: the row's; I: the one chosen on test phi).
    cr_inverse, rl, phi : float
        Means over the test examples, each column on its own.
    acc_delta : float or None
        Accuracy minus the baseline's, in percentage points (II and III).
    """

    dataset: str
    activation: str
    m: int
    cr_inverse: float
    rl: float
    phi: float
    acc_delta: float | None = None


def read_published(name: str) -> list[Published]:
    """Read a table by the name of its file: :data:`PHYSIONET`, :data:`UCI`, :data:`MNIST` or :data:`FMNIST`."""
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [_row(name, line) for line in csv.DictReader(file)]


def _row(name: str, line: dict[str, str]) -> Published:
    delta = line.get("acc_delta")
    return Published(
        dataset=line.get("dataset", name.rpartition("_")[2]),
        activation=line["activation"],
        m=int(line["m"]),
        cr_inverse=float(line["CR_inverse"]),
        rl=float(line["RL"]),
        phi=float(line["phi"]),
        acc_delta=None if delta is None else float(delta),
    )
