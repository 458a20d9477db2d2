"""Measure scale: archives of very many segments, and what a stream-hour costs.

Usage: python -m pipelines.scale open [--short] [--work build/scale]
       python -m pipelines.scale capacity [--short] [--work build/scale]

open: archives of 10 000 segments opened and listed, on a folder and in an S3 server (moto) on this machine.
capacity: processor, bytes and requests a stream-hour; then what saturates first, from a laptop to a nation.
Rows go to docs/measured/scale.jsonl and capacity*.jsonl; python pipelines/tables.py fills docs/capacity.md from them.
--short is the form of continuous integration: smaller, counts and no times, and nothing is written into the documents.
Ends with 1 when something is not as it should be.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipelines.paper.report import ROOT, Row, write_measured
from pipelines.scale import archives, costs, opening, scales


def main() -> int:
    """Run one campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", choices=["open", "capacity"])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "scale")
    options = parser.parse_args()
    work = options.work / ("short" if options.short else "whole")
    tables, wrong = {"open": _open, "capacity": _capacity}[options.campaign](options.short, work)
    for name, rows in tables.items():
        print(f"== {name}")
        for row in rows:
            print(", ".join(f"{k}: {v:.3g}" if isinstance(v, float) else f"{k}: {v}" for k, v in row.items()))
        if not options.short:
            write_measured(name, rows, seed=1)
    for line in wrong:
        print(f"wrong: {line}", file=sys.stderr)
    return 1 if wrong else 0


def _open(short: bool, work: Path) -> tuple[dict[str, list[Row]], list[str]]:
    rows, wrong = opening.run(opening.SHORT if short else opening.SHAPES, work)
    return {"scale": rows}, wrong


def _capacity(short: bool, work: Path) -> tuple[dict[str, list[Row]], list[str]]:
    rows = costs.run(work, short=short)
    wrong = costs.wrong_of(rows)
    tables = {"capacity": rows}
    if not short:
        tables |= {
            "capacity-scales": scales.scale_rows(rows),
            "capacity-archives": scales.archive_rows(rows),
            "capacity-manifests": scales.manifest_rows(archives.manifest_bytes(), rows),
            "capacity-workers": scales.worker_rows(rows),
        }
    return tables, wrong


if __name__ == "__main__":
    sys.exit(main())
