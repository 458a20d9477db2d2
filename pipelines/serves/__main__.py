"""Measure whether archived signals still serve.

Usage: python -m pipelines.serves [--data ../shared/data] [--work work/serves] [--effort default] [--jobs 1] [--seed 0]
           [--records 101,208] [--no-others] [--short]

MIT-BIH at PRDN 5 % and 9 % of each window: two QRS detectors on lead 1 against the annotations, rhythm and ST level,
coded with the bank of a fold that has not seen the record. Other databases with the shipped banks. Resumable: what is
finished stands in the work folder. Complete rows go to docs/measured/serves*.jsonl. --short takes two minutes of
simulated ECG, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pipelines.benchmark import cases
from pipelines.benchmark.own import ROOT
from pipelines.benchmark.summary import provenance
from pipelines.serves import hearts, others, tables
from pipelines.serves.campaign import heart_row, measure, other_row
from sanstream.simulate import simulate_ecg

MEASURED = ROOT / "docs" / "measured"
Row = dict[str, Any]


def short(seed: int) -> list[Row]:
    """Measure two minutes of simulated ECG; returns the summary."""
    records = [hearts.record_row(simulate_ecg(120, seed=seed + i, name=f"s{i}"), "fast", None, seed) for i in range(2)]
    assert all(r["broken"] == 0 for record in records for r in record["results"])
    return tables.summary(records)


def write(name: str, rows: list[Row], seed: int) -> None:
    """Write one measured table."""
    made_by = provenance(seed)
    text = "".join(json.dumps(row | made_by, ensure_ascii=False) + "\n" for row in rows)
    (MEASURED / f"{name}.jsonl").write_text(text, encoding="utf-8")


def main() -> None:
    """Run what is missing, print the summary, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "serves")
    parser.add_argument("--effort", default="default")
    parser.add_argument("--records", default="", help="of mitdb; a choice prints and writes nothing")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-others", action="store_true")
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    if options.short:
        for line in short(options.seed):
            print(json.dumps(line))
        return
    chosen = [r for r in options.records.split(",") if r]
    records = cases.records("mitdb", options.data)
    if not records:
        parser.error(f"no mitdb in {options.data}")
    rows = measure(heart_row, [(r,) for r in records if not chosen or r in chosen], options)
    for line in tables.summary(rows):
        print(json.dumps(line))
    if chosen:
        return
    write("serves", tables.summary(rows), options.seed)
    write("serves-worse", tables.record_lines(rows, worse_only=True), options.seed)
    write("serves-records", tables.record_lines(rows, worse_only=False), options.seed)
    write("serves-rhythm", tables.rhythm_lines(rows), options.seed)
    if not options.no_others:
        tasks = others.names(options.data)
        found = measure(other_row, tasks, options)  # type: ignore[arg-type]
        write("serves-others", others.lines([(t[0], r) for t, r in zip(tasks, found, strict=True)]), options.seed)
    print("to put the tables into docs/evaluation.md: python pipelines/tables.py")


if __name__ == "__main__":
    main()
