"""Measure the drift watch and retraining on days of simulated ECG.

Usage: python -m pipelines.drift [--seeds 30] [--hours 24] [--changes 6] [--work build/drift] [--jobs 1] [--short]

Stable days count false alarms; changes give the delay of the alarm and the bits that retraining saves, on ten minutes
that no training saw. Resumable: finished rows stand in the work folder. The summary goes to docs/measured/drift.jsonl.
``--short`` is the form for CI: two seeds, checked, nothing written.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import torch

from pipelines.benchmark.rows import Rows
from pipelines.drift import measure
from pipelines.drift.signals import KINDS
from pipelines.paper.report import ROOT, write_measured

Row = dict[str, Any]
WITHIN = 30
"""Windows of ten seconds in five minutes."""
SOURCES = (
    *("drift", "drift_series", "drift_windows", "retrain", "_loops_pursuit", "encode_live", "encode_kernels"),
    *("daemon/sights",),
)


def decided_by() -> list[str]:
    """Return the text of all that decides a row."""
    files = [ROOT / "sanstream" / f"{name}.py" for name in SOURCES] + [ROOT / "pipelines" / "drift" / "signals.py"]
    return [f.read_text(encoding="utf-8") for f in (*files, ROOT / "pipelines" / "drift" / "measure.py")]


def row_of(task: tuple[Path, str, int, str, float]) -> Row:
    """Make one row, or take it from the work folder."""
    folder, what, seed, kind, length = task
    torch.set_num_threads(1)
    if what == "stable":
        return Rows(folder).get(
            f"stable-{seed}", [*decided_by(), what, str(seed), str(length)], lambda: measure.stable_day(seed, length)
        )
    return Rows(folder).get(
        f"{kind}-{seed}", [*decided_by(), kind, str(seed), str(length)],
        lambda: measure.change(seed, kind, int(length)),
    )  # fmt: skip


def summary(rows: list[Row]) -> list[Row]:
    """Return the table: one row for stable days, one per kind of change."""
    stable = [r for r in rows if "hours" in r]
    changes = [r for r in rows if "kind" in r]
    days = sum(r["hours"] for r in stable) / 24
    out: list[Row] = [
        {
            "signal": f"{days:.0f} days without a change",
            "cases": len(stable),
            "alarms": sum(len(r["alarms"]) for r in stable),
        }
    ]
    for kind in KINDS:
        mine = [r for r in changes if r["kind"] == kind]
        if not mine:
            continue
        large = [r for r in mine if max(r["sigmas"]) >= 3 and r["judged"] >= WITHIN - 3]
        found = [r["delay_windows"] for r in mine if r["delay_windows"] is not None]
        row: Row = {"signal": kind, "cases": len(mine), "alarms": len(found), "of 3 σ or more": len(large)}
        row["of these within 5 min"] = sum((r["delay_windows"] or 999) <= WITHIN for r in large)
        row["median delay, s"] = 10 * median(found) if found else None
        for quality in ("prdn=5", "prdn=9", "lossless"):
            for effort in ("fast", "default"):
                pairs = [r[f"{quality} {effort}"] for r in mine if r[f"{quality} {effort}"] is not None]
                if pairs and effort == "fast":
                    row[f"{quality}, bit/sample before"] = sum(p[0] for p in pairs) / len(pairs)
                    row[f"{quality}, after"] = sum(p[1] for p in pairs) / len(pairs)
                if pairs:
                    row[f"{quality} {effort}, saved %"] = 100 * (
                        1 - sum(p[1] for p in pairs) / sum(p[0] for p in pairs)
                    )
        out.append(row)
    return out


def main() -> None:
    """Measure what is missing and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30, help="days without a change")
    parser.add_argument("--hours", type=float, default=24.0, help="of each")
    parser.add_argument("--changes", type=int, default=6, help="seeds per kind of change")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "drift")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--short", action="store_true", help="two seeds of an hour, two changes; checked, nothing written"
    )
    options = parser.parse_args()
    if options.short:
        options.seeds, options.hours, options.changes = 2, 1.0, 1
    kinds = KINDS[:2] if options.short else KINDS
    minutes = 40 if options.short else 90
    tasks = [(options.work, "change", 100 + s, k, minutes) for s in range(options.changes) for k in kinds]
    tasks += [(options.work, "stable", s, "", options.hours) for s in range(options.seeds)]
    rows = []
    with ProcessPoolExecutor(options.jobs) as pool:
        for row in pool.map(row_of, tasks):
            rows.append(row)
            print(row, flush=True)
    table = summary(rows)
    for line in table:
        print(line)
    if options.short:
        assert table[0]["alarms"] == 0
        assert all(r["delay_windows"] is not None and r["delay_windows"] <= WITHIN for r in rows if "kind" in r)
        assert all(r["prdn=5 fast"][1] <= 0.85 * r["prdn=5 fast"][0] for r in rows if "kind" in r)
        return
    write_measured("drift", table)


if __name__ == "__main__":
    main()
