"""What was reached, in the published columns and beside the published figures."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.benchmark.summary import provenance
from pipelines.paper.published import Published

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
MEASURED = ROOT / "docs" / "measured"
COLUMNS = ("dataset", "activation", "m", "CR_inverse", "RL", "phi", "acc_delta")
"""Columns of the published CSV files; a table without a column leaves it out."""


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation (n - 1) over seeds; None for the latter of a single one."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


def beside(published: Published | None, seeds: Sequence[Mapping[str, Any]], **names: Any) -> Row:
    """Make one row: published, ours (mean over seeds), standard deviation, difference.

    Parameters
    ----------
    published : Published or None
        None where the paper has no such row.
    seeds : sequence of mapping
        One a seed, with ``m``, ``cr_inverse``, ``rl``, ``phi`` and, where there is a classifier, ``acc_delta``
        in percentage points; ``phi_amortised``, where given, has W shared by all test examples.
    **names
        First columns of the row: dataset, activation, decoder, how the row was selected.

    Returns
    -------
    dict
        ``m`` lists the seeds' own choices where they differ.
    """
    sizes = sorted({int(s["m"]) for s in seeds})
    row: Row = {**names, "m": sizes[0] if len(sizes) == 1 else " ".join(str(s["m"]) for s in seeds)}
    if published is not None:
        row["m published"] = published.m
    for key, label in (("cr_inverse", "CR⁻¹"), ("rl", "RL"), ("phi", "φ"), ("acc_delta", "accuracy Δ %")):
        if key not in seeds[0]:
            continue
        mean, deviation = mean_sd([float(s[key]) for s in seeds])
        printed = None if published is None else getattr(published, key)
        row |= {f"{label} published": printed, label: mean}
        if key in ("phi", "acc_delta"):
            row |= {f"{label} ± sd": deviation, f"{label} difference": None if printed is None else mean - printed}
    if "phi_amortised" in seeds[0]:
        row["φ, W shared"] = mean_sd([float(s["phi_amortised"]) for s in seeds])[0]
    return row | {"seeds": len(seeds)}


def published_columns(seeds: Sequence[Mapping[str, Any]], *, dataset: str, activation: str) -> Row:
    """Make one row of the published CSV form from several seeds: means; m is the seeds' lower median."""
    row: Row = {"dataset": dataset, "activation": activation}
    row["m"] = sorted(int(s["m"]) for s in seeds)[(len(seeds) - 1) // 2]
    for key, column in (("cr_inverse", "CR_inverse"), ("rl", "RL"), ("phi", "phi"), ("acc_delta", "acc_delta")):
        if key in seeds[0]:
            row[column] = round(mean_sd([float(s[key]) for s in seeds])[0], 4)
    return row


def write_csv(file: Path, rows: Sequence[Row]) -> None:
    """Write rows of :func:`published_columns` in the order of the published files."""
    columns = [c for c in COLUMNS if any(c in row for row in rows)]
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, columns)
        writer.writeheader()
        writer.writerows(rows)


def write_measured(name: str, rows: Iterable[Row], *, seed: int = 0, folder: Path = MEASURED) -> Path:
    """Write rows, with their provenance, to ``NAME.jsonl``, from which ``pipelines/tables.py`` fills the documents."""
    file = folder / f"{name}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    known = provenance(seed)
    file.write_text("".join(json.dumps(row | known, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file
