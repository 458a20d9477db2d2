"""Several daemons over one NATS server and one archive, killed at random; the union must hold each sample once.

Usage: python -m pipelines.workers [--streams 32] [--workers 3] [--seconds 600] [--every 5] [--archive folder|s3]
                                   [--seed 1] [--short] [--work DIR]

Publishers send in real time, their clocks jitter, and each begins a second session in the middle. Meanwhile a daemon
is killed (SIGKILL), paused for longer than its lease lasts, or stopped, and comes back with its state folder, or a
new one while another process recovers the old. In the end everything is recovered, verified and compared. Resumable:
a run that is done stands in the work folder (--work, default build/workers). --short is the form of continuous
integration, which writes nothing into docs/measured/workers.jsonl. Ends with 1 when anything is not as sent.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from pipelines.benchmark.summary import provenance
from pipelines.faults.servers import Missing
from pipelines.paper.report import MEASURED, ROOT
from pipelines.workers.campaign import SHORT, Plan, Row, run


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--every", type=float, default=5.0, help="mean seconds between two disturbances")
    parser.add_argument("--archive", choices=["folder", "s3"], default="folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "workers")
    options = parser.parse_args()
    plan = Plan(options.streams, options.workers, options.seconds, options.every, options.archive, options.seed)
    if options.short:
        plan = replace(SHORT, store=options.archive, seed=options.seed)
    name = f"{plan.store}-{plan.workers}x{plan.streams}x{plan.seconds}-{plan.seed}"
    work = options.work / "workers" / ("short" if options.short else name)
    done = work / "run.json"
    if options.short or not done.is_file():
        try:
            row, wrong = run(plan, work)
        except Missing as missing:
            raise SystemExit(f"not installed: {missing}") from None
        done.write_text(json.dumps([row | provenance(plan.seed), wrong]), encoding="utf-8")
    row, wrong = json.loads(done.read_text("utf-8"))
    print(json.dumps(row, ensure_ascii=False))
    if not options.short:
        _write(row)
    for line in wrong[:20]:
        print(f"wrong: {line}", file=sys.stderr)
    return 1 if wrong else 0


def _write(row: Row) -> None:
    """Put a row into ``workers.jsonl``, in the place of an older one of the same size."""
    file = MEASURED / "workers.jsonl"
    held = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []
    size = ("archive", "workers", "streams", "signal s")
    rows = [r for r in held if any(r[k] != row[k] for k in size)]
    file.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in (*rows, row)), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
