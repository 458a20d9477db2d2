"""Encoders that get more from kernels, on the windows of Tables I, II and III.

Writes docs/measured/encoders.jsonl (every database, kernels by kernels) and encoders-kernels.jsonl (the same kernel
for every encoder, record 100). Finished runs stand in WORK/runs.jsonl and are not run again; remove that file after
changing an encoder.

Usage: python -m pipelines.paper.encoders [--quick] [--only mitdb,bonn] [--work work/encoders] [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from pipelines.benchmark.summary import provenance
from pipelines.paper import encoder_data, encoder_runs
from pipelines.paper.encoder_kernels import kernels_of
from pipelines.paper.encoder_runs import BEST, ENCODERS, SAN_ENCODERS, SAN_KERNELS

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (0, 1, 2)
Row = dict[str, Any]
Job = tuple[str, str, int, Callable[[encoder_data.Split], Row]]


def jobs(database: str, seed: int, *, quick: bool) -> Iterator[Job]:
    """Yield (table, kernels, seed, run) for one database and seed; what has no randomness has seed 0 only."""
    for name in ("bior4.4", "db4", "DCT"):
        if seed == 0 and (database != "mnist" or name == "DCT"):
            yield "fixed", name, 0, partial(encoder_runs.fixed_run, name=name, quick=quick)
    for name in SAN_KERNELS:
        if database == "mitdb":
            yield "same", name, seed, partial(encoder_runs.same_kernel_run, name=name, seed=seed, quick=quick)
    for kernels in kernels_of(database):
        if kernels.learned or seed == 0:
            run = partial(_learned_run, database=database, kernels=kernels, seed=seed, quick=quick)
            yield "learned" + (" shared" if kernels.shared else ""), kernels.name, seed, run


def _learned_run(split: encoder_data.Split, **how: Any) -> Row:
    return encoder_runs.kernels_run(split=split, **how)


def run_all(databases: list[str], data: Path, work: Path, *, quick: bool) -> list[Row]:
    """Run what is not yet finished, seed by seed; returns all runs."""
    file = work / ("quick.jsonl" if quick else "runs.jsonl")
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    finished = {_key(row): row for row in map(json.loads, lines)}
    out = []
    splits: dict[str, encoder_data.Split] = {}
    for seed, database in itertools.product(SEEDS[:1] if quick else SEEDS, databases):
        for table, name, _, run in jobs(database, seed, quick=quick):
            row: Row = {"database": database, "table": table, "name": name, "seed": seed}
            if _key(row) not in finished:
                if database not in splits:
                    splits[database] = encoder_data.load(database, data)
                began = time.perf_counter()
                row |= run(splits[database]) | provenance(seed)
                with file.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(row) + "\n")
                finished[_key(row)] = row
                phi = " ".join(f"{key} {value['phi']:.3f}" for key, value in row["encoders"].items())
                print(f"{database} {table} {name} seed {seed}: W {row['W']} {phi}, "
                      f"{time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)  # fmt: skip
            out.append(finished[_key(row)])
    return out


def _key(row: Row) -> tuple[Any, ...]:
    return row["database"], row["table"], row["name"], row["seed"]


def _groups(runs: list[Row], tables: tuple[str, ...]) -> Iterator[list[Row]]:
    """Yield the seeds of each kernels."""
    here = sorted((r for r in runs if r["table"] in tables), key=lambda r: encoder_data.DATABASES.index(r["database"]))
    names = dict.fromkeys((r["database"], r["table"], r["name"]) for r in here)
    for key in names:
        yield [r for r in runs if (r["database"], r["table"], r["name"]) == key]


def _spread(values: list[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


def summary(runs: list[Row]) -> list[Row]:
    """Make the table of encoders x kernels, means over seeds; the last phi, and its sd, is that of the sweeps."""
    out: list[Row] = []
    for group in _groups(runs, ("fixed", "learned", "learned shared")):
        first = group[0]
        last = BEST if BEST in first["encoders"] else first["name"]
        row: Row = {"database": first["database"], "kernels": first["name"], "T": first["T"]}
        row["W"] = mean(r["W"] for r in group) if first["W"] else 0
        for name in ENCODERS:
            if name == BEST:
                continue
            values = [r["encoders"][name]["phi"] for r in group if name in r["encoders"]]
            row[f"φ {name}"] = mean(values) if values else None
        row["φ"] = mean(r["encoders"][last]["phi"] for r in group)
        row["sd"] = _spread([r["encoders"][last]["phi"] for r in group])
        for column, key in (("A", "A"), ("CR⁻¹", "cost"), ("RL", "rl")):
            row[column] = mean(r["encoders"][last][key] for r in group)
        row["φ, scale counted"] = mean(r["strict"] for r in group) if "strict" in first else None
        row["φ validation"] = mean(r["validation"] for r in group) if first["validation"] else None
        row["lowest published φ"] = encoder_data.LOWEST[first["database"]]
        out.append(row | {k: v for k, v in first.items() if k.startswith("_")} | {"_table": first["table"]})
    for table in ("learned", "learned shared"):
        for database in dict.fromkeys(row["database"] for row in out):
            own = [r for r in out if r["database"] == database and r["_table"] == table and r["W"]]
            if own:
                min(own, key=lambda r: float(r["φ validation"]))["chosen"] = "by validation"
    return out


def same_kernels(runs: list[Row]) -> list[Row]:
    """Make the table of the same kernel under every encoder, phi as mean and sd over seeds."""
    out = []
    for encoder in SAN_ENCODERS:
        row: Row = {"encoder": encoder}
        for group in _groups(runs, ("same",)):
            values = [r["encoders"][encoder]["phi"] for r in group]
            row[group[0]["name"]] = mean(values)
            row[f"sd, {group[0]['name'].split()[-1]}"] = _spread(values)
            row |= {k: v for k, v in group[0].items() if k.startswith("_")}
        out.append(row)
    return out


def write(file: Path, rows: list[Row]) -> None:
    """Write JSON lines, floats of four decimals."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rounded = [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rounded), encoding="utf-8")


def main() -> None:
    """Run, and write the tables (a quick run writes them into WORK)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, one round, few windows: does it run at all")
    parser.add_argument("--only", default=",".join(encoder_data.DATABASES))
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "encoders")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    options = parser.parse_args()
    torch.set_num_threads(1)
    databases = [d for d in encoder_data.DATABASES if d in options.only.split(",")]
    runs = run_all(databases, options.data, options.work, quick=options.quick)
    whole = not options.quick and len(databases) == len(encoder_data.DATABASES)
    folder = ROOT / "docs" / "measured" if whole else options.work
    write(folder / "encoders.jsonl", summary(runs))
    if "mitdb" in databases:
        write(folder / "encoders-kernels.jsonl", same_kernels(runs))
    print(f"tables in {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
