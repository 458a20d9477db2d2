"""Kill daemons, cut their power, and let them live random lives; then look whether anything acknowledged is missing.

Usage: python -m pipelines.faults [kills|power|lives|all] [--kills 200] [--transport nats ...] [--cuts 1000]
                                  [--lives 200] [--seed 1] [--jobs 2] [--short] [--work DIR]

kills: real `sanstream ingest` processes, brokers and publishers; SIGKILL at random moments and at every named fault
point, and a restart at once (one row a transport). power: engines on a disk that forgets what was not synced, before
random operations. lives: engines whose devices reboot, jump, repeat and fall silent, on disks that fill up.
Resumable: what is done stands in the work folder (--work, default build/faults). --short is the form of continuous
integration; it writes nothing into docs/measured/faults.jsonl. Ends with 1 when anything is lost, doubled or changed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.benchmark.summary import provenance
from pipelines.faults import kills
from pipelines.faults.cuts import PART, cuts
from pipelines.faults.lives import live
from pipelines.faults.sources_local import SOURCES
from pipelines.faults.witness import Broken
from pipelines.paper.report import MEASURED, ROOT

Row = dict[str, Any]
SHORT = {"kills": 4, "cuts": 0, "lives": 3}
SHORT_KAFKA = 2


def main() -> int:
    """Run campaigns, and write down what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", nargs="?", default="all", choices=["kills", "power", "lives", "all"])
    parser.add_argument("--kills", type=int, help="at random, of each transport (default: 200)")
    parser.add_argument("--transport", nargs="+", default=list(SOURCES), choices=list(SOURCES))
    parser.add_argument("--cuts", type=int, help="of the power (default: 1000)")
    parser.add_argument("--lives", type=int, help="default: 200")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="lives at a time")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "faults")
    options = parser.parse_args()
    for key, whole in (("kills", 200), ("cuts", 1000), ("lives", 200)):
        if getattr(options, key) is None:
            setattr(options, key, SHORT[key] if options.short else whole)
    options.work = options.work / "faults" / ("short" if options.short else "whole")
    options.work.mkdir(parents=True, exist_ok=True)
    campaigns: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
        "kills": _kills,
        "power": _power,
        "lives": _lives,
    }
    found: list[Row] = []
    for name, campaign in campaigns.items():
        if options.campaign in (name, "all"):
            found += campaign(options)
    for row in found:
        print(json.dumps(row, ensure_ascii=False))
    if not options.short:
        _write(found)
    return 1 if any(row["lost"] or row["doubled"] or row["changed"] or row.get("_problems") for row in found) else 0


def _kills(options: argparse.Namespace) -> list[Row]:
    wanted = dict.fromkeys(options.transport, options.kills)
    if options.short and "kafka" in wanted:
        wanted["kafka"] = SHORT_KAFKA
    outcomes = kills.run(wanted, options.seed, options.work, spread=options.short, jobs=options.jobs)
    return [row | provenance(options.seed) for row in kills.rows(outcomes)]


def _power(options: argparse.Namespace) -> list[Row]:
    done = [
        _once(options, f"power-{options.seed + n}", partial(cuts, options.seed + n))
        for n in range(-(-options.cuts // PART))
    ]
    row = _row("power cut", "", sum(r["cuts"] for r in done), None)
    return [row | provenance(options.seed)] if done else []


def _lives(options: argparse.Namespace) -> list[Row]:
    done = [
        _once(options, f"life-{seed}", partial(_life, seed))
        for seed in range(options.seed, options.seed + options.lives)
    ]
    row = _row("random lives", "", len(done), sum(r["samples"] for r in done))
    problems = [r["problem"] for r in done if r["problem"]]
    for problem in problems:
        print(problem, file=sys.stderr)
    return [row | {"_problems": len(problems)} | provenance(options.seed)] if done else []


def _life(seed: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return {"samples": live(seed, Path(folder)).witness.n_acknowledged, "problem": ""}
        except Broken as error:
            return {"samples": 0, "problem": str(error)}


def _once(options: argparse.Namespace, name: str, run: Callable[[], Row]) -> Row:
    """Run a part, unless its result stands in the work folder; one with a problem is run again."""
    file: Path = options.work / f"{name}.json"
    if not file.is_file() or options.short:
        row = run()
        if row.get("problem"):
            return row
        file.write_text(json.dumps(row), encoding="utf-8")
    found: Row = json.loads(file.read_text("utf-8"))
    return found


def _row(campaign: str, of: str, n: int, samples: int | None) -> Row:
    """Return a row of a campaign that fails at the first sample that is lost."""
    return {
        "campaign": campaign, "of": of, "faults": n, "at points": None, "samples compared": samples,
        "lost": 0, "doubled": 0, "changed": 0,
    }  # fmt: skip


def _write(rows: list[Row]) -> None:
    """Put rows into ``faults.jsonl``, in the place of older ones of the same campaign."""
    file = MEASURED / "faults.jsonl"
    held = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []
    new = {(r["campaign"], r["of"]) for r in rows}
    held = [r for r in held if (r["campaign"], r["of"]) not in new] + rows
    file.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in held), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
