"""Measure the drift watch and retraining on days of simulated ECG.

Usage: python -m pipelines.drift [--seeds 30] [--hours 24] [--changes 12] [--retrained 6] [--jobs 1] [--short]
                                 [--first-day 0] [--first-change 300] [--to drift]

Stable days count false alarms; changes give the delay of the alarm and the bits that retraining saves, on ten minutes
that no training saw, beside those that the signal's noise takes alone, which no kernel can save. Resumable: finished
rows stand in the work folder. The summary goes to docs/measured/drift.jsonl, of other seeds to a file of another name.
``--short`` is the form for CI: two seeds, checked, nothing written.
"""

from __future__ import annotations

import argparse
import hashlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import torch

from pipelines.benchmark.rows import Rows
from pipelines.drift import floor, measure
from pipelines.drift.signals import KINDS
from pipelines.paper.report import ROOT, write_measured

Row = dict[str, Any]
WITHIN = 30
"""Windows of ten seconds in five minutes."""
SOURCES = (
    *("drift_windows.py", "daemon/sights.py", "retrain.py", "_loops_*.py", "encode*.py", "bank*.py", "block*.py"),
    *("group_*.py", "quality.py", "simulate_*.py", "san/*.py", "_jit.py", "modality.py", "banks/*"),
)
"""Of the package, what decides a row; the watch itself goes over the rows in a moment."""


def decided_by() -> list[str]:
    """Return the hash of all that decides a row."""
    files = [f for pattern in SOURCES for f in sorted((ROOT / "sanstream").glob(pattern))]
    files += [ROOT / "pipelines" / "drift" / name for name in ("signals.py", "measure.py")]
    return [hashlib.sha256(f.read_bytes()).hexdigest() for f in files]


def row_of(task: tuple[Path, str, tuple[Any, ...]]) -> Row:
    """Make one row, or take it from the work folder."""
    folder, what, arguments = task
    torch.set_num_threads(1)
    name = " ".join(map(str, (what, *arguments)))
    decided, home = decided_by(), floor if what == "floor" else measure
    if home is floor:
        decided.append(Path(floor.__file__).read_text(encoding="utf-8"))
    return Rows(folder).get(name, [*decided, name], lambda: getattr(home, what)(*arguments))


def stable_line(rows: list[Row], hours: float) -> Row:
    """Return the table's row of the days without a change."""
    alarms = [heard for row in rows for heard in measure.watched_over(row)]
    for heard in alarms:
        print("false alarm", heard)
    return {"signal": f"{len(rows)} × {hours:g} h without a change", "cases": len(rows), "alarms": len(alarms)}


def change_line(kind: str, seen: list[tuple[Row, Row]], weighed: list[tuple[Row, ...]]) -> Row:
    """Return the table's row of one kind of change, from (before, after) and (retrained, noise alone)."""
    delays: list[int | None] = []
    large, within, judged = [], [], []
    for before, after in seen:
        n = len(before["bits"])
        first = next((h for h in measure.watched_over(before, after) if h.minute >= n), None)
        delays.append(None if first is None else first.alarm.window - 6 * n)
        large.append(max(measure.sigmas(before, after)) >= 3 and measure.usable(after, 5))
        within.append(first is not None and first.alarm.window - 6 * n <= WITHIN)
        judged.append(first is not None and first.n_judged <= WITHIN)
    before_it = [h for before, _ in seen for h in measure.watched_over(before)]
    found = [d for d in delays if d is not None]
    row: Row = {"signal": kind, "cases": len(seen), "alarms": len(found), "of 3 σ or more": sum(large)}
    row["of these within 5 min"] = sum(w for w, is_large in zip(within, large, strict=True) if is_large)
    row["within 5 min that could be judged"] = sum(w for w, is_large in zip(judged, large, strict=True) if is_large)
    row["median delay, s"] = 10 * median(found) if found else None
    row["alarms before"] = len(before_it)
    if not weighed:
        return row
    row["retrained"] = len(weighed)
    for quality in ("prdn=5", "prdn=9", "lossless"):
        for effort in ("fast", "default"):
            pairs = [r[f"{quality} {effort}"] for r, _ in weighed]
            old, new = (sum(p[i] for p in pairs) / len(pairs) for i in (0, 1))
            if effort == "fast":
                row |= {f"{quality}, bit/sample before": old, f"{quality}, after": new}
            row[f"{quality} {effort}, saved %"] = 100 * (1 - new / old)
            row[f"{quality} {effort}, saved least %"] = min(100 * (1 - b / a) for a, b in pairs)
        if quality != "lossless":
            row[f"{quality}, noise alone"] = sum(f[quality] for _, f in weighed) / len(weighed)
    return row


def main() -> None:
    """Measure what is missing and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30, help="days without a change")
    parser.add_argument("--hours", type=float, default=24.0, help="of each")
    parser.add_argument("--changes", type=int, default=12, help="seeds per kind of change")
    parser.add_argument("--retrained", type=int, default=6, help="of these seeds, those whose bits are measured, too")
    parser.add_argument("--first-day", type=int, default=0, help="first seed of the days")
    parser.add_argument("--first-change", type=int, default=300, help="first seed of the changes")
    parser.add_argument("--to", default="drift", help="name of the summary in docs/measured")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "drift")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="two seeds, one change; checked, nothing written")
    options = parser.parse_args()
    if options.short:
        options.seeds, options.hours, options.changes, options.retrained = 2, 0.75, 1, 1
    kinds, at = (KINDS[:1], 40) if options.short else (KINDS, 90)
    changes = [options.first_change + s for s in range(options.changes)]
    days = [options.first_day + s for s in range(options.seeds)]
    asked: list[tuple[str, tuple[Any, ...]]] = [("stable", (s, int(60 * options.hours))) for s in days]
    asked += [("base", (s, at)) for s in changes]
    asked += [("changed", (s, k, at, 30)) for s in changes for k in kinds]
    asked += [
        (what, (s, k, at)) for s in changes[: options.retrained] for k in kinds for what in ("retrained", "floor")
    ]
    with ProcessPoolExecutor(options.jobs) as pool:
        made = dict(zip(asked, pool.map(row_of, [(options.work, *a) for a in asked]), strict=True))
    stable = [row for (what, _), row in made.items() if what == "stable"]
    table = [stable_line(stable, options.hours)] if stable else []
    for kind in kinds if changes else ():
        seen = [(made["base", (s, at)], made["changed", (s, kind, at, 30)]) for s in changes]
        weighed = [
            tuple(made[what, (s, kind, at)] for what in ("retrained", "floor")) for s in changes[: options.retrained]
        ]
        table.append(change_line(kind, seen, weighed))
    for line in table:
        print(line)
    if options.short:
        assert table[0]["alarms"] == 0
        assert table[1]["of these within 5 min"] == table[1]["of 3 σ or more"] == 1
        assert table[1]["prdn=5 fast, saved %"] >= 15
        return
    write_measured(options.to, table)


if __name__ == "__main__":
    main()
