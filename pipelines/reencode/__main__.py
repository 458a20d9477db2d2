"""Measure ``sanstream reencode``, and kill its processes.

Usage: python -m pipelines.reencode speed [--recordings 24] [--rounds 5] [--effort default] [--seed 1] [--short]
       python -m pipelines.reencode kills [--recordings 6] [--mean 30] [--effort thorough] [--seed 1] [--short]

speed: two workers against one, best of several rounds, on two cores; what they make must be the same bytes.
kills: kill -9 of a worker or the client every so often; what comes out must be the bytes of an undisturbed run, verify,
and keep its bounds against the recordings. MIT-BIH where it is there, else simulated.
Ends with 1 when something is wrong. --short is the form of continuous integration: some minutes of signal, no times
judged, nothing written into docs/measured/reencode.jsonl.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pipelines.benchmark.summary import provenance
from pipelines.paper.report import MEASURED, ROOT
from pipelines.reencode import kills, speed
from pipelines.reencode.sources import DATA

SHORT_KILLS = 3
"""Where kills come as fast as workers start, on a busy machine, nothing would ever be done."""


def main() -> int:
    """Run one campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", choices=["speed", "kills"])
    parser.add_argument("--recordings", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mean", type=float, help="seconds between two kills")
    parser.add_argument("--effort", choices=["fast", "default", "thorough"])
    parser.add_argument("--quality", default="prdn=5")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of real recordings")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "reencode")
    options = parser.parse_args()
    short = options.short
    work = options.work / f"{options.campaign}{'-short' if short else ''}"
    seconds = 300.0 if short else 1800.0
    if options.campaign == "speed":
        n = options.recordings or (2 if short else 24)
        effort = options.effort or "default"
        asked = speed.Speed(
            n, seconds, 1 if short else options.rounds, effort, options.quality, options.seed, options.data
        )
        row, wrong = speed.run(asked, work)
    else:
        n = options.recordings or (2 if short else 6)
        effort = options.effort or ("default" if short else "thorough")
        mean = options.mean or (4.0 if short else 30.0)
        most = SHORT_KILLS if short else None
        asked_kills = kills.Kills(n, seconds, mean, effort, options.quality, options.seed, options.data, most)
        row, wrong = kills.run(asked_kills, work)
    print(", ".join(f"{k}: {v}" for k, v in row.items()))
    if not short and not wrong:
        append(row | provenance(options.seed))
    for line in wrong[:20]:
        print(f"wrong: {line}", file=sys.stderr)
    return 1 if wrong else 0


def append(row: dict[str, Any], folder: Path = MEASURED) -> None:
    """Add a row to ``reencode.jsonl``, in the place of an older one of the same campaign and size."""
    file = folder / "reencode.jsonl"
    held = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []
    same = ("campaign", "recordings", "quality", "effort")
    rows = [r for r in held if any(r.get(k) != row.get(k) for k in same)] + [row]
    file.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
