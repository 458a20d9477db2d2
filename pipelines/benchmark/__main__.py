"""Measure sanstream beside its peers, on the same samples, at the same quality.

Usage: python -m pipelines.benchmark [--data ../shared/data] [--databases mitdb,bonn] [--efforts thorough,default]
           [--figures TEXT] [--records 101,208] [--work build/benchmark] [--jobs N] [--seed 0] [--no-speed] [--no-peers]
           [--without WavPack] [--short]

Resumable: finished rows stand in the work folder and are kept while what decides them stays the same. Databases of
which all records are in go to docs/measured/benchmark-peers.jsonl (every codec) and benchmark.jsonl (the table).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.benchmark import cases, plots, short, speed, summary
from pipelines.benchmark.campaign import Options, measure
from pipelines.benchmark.own import ROOT

MEASURED = ROOT / "docs" / "measured"


def main() -> None:
    """Run what is missing, print the table, write the summaries and draw the plots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--databases", default=",".join(cases.DATABASES))
    parser.add_argument("--efforts", default="thorough,default", help="of sanstream; '' measures the peers alone")
    parser.add_argument("--figures", default="", help="run only figures whose names hold one of these texts")
    parser.add_argument("--records", default="", help="run only these records")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "benchmark")
    parser.add_argument("--jobs", type=int, default=1, help="records at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-speed", action="store_true", help="leave the speed table out")
    parser.add_argument("--no-peers", action="store_true", help="sanstream alone; nothing is written")
    parser.add_argument("--without", default="", help="leave peers out whose names hold one of these texts")
    parser.add_argument("--short", action="store_true", help="a minute of simulated signals, checked, nothing written")
    options = parser.parse_args()
    if options.short:
        short.run(options.data)
        return
    campaign = Options(
        options.data,
        options.work,
        tuple(e for e in options.efforts.split(",") if e),
        tuple(options.figures.split(",")),
        options.seed,
        peers=not options.no_peers,
        without=tuple(t for t in options.without.split(",") if t),
    )
    asked = [d for d in options.databases.split(",") if d]
    unknown = [d for d in asked if d not in cases.DATABASES]
    if unknown:
        parser.error(f"unknown database {unknown[0]!r}; use some of {', '.join(cases.DATABASES)}")
    chosen = {r for r in options.records.split(",") if r}
    whole, tasks = [], []
    for database in asked:
        names = cases.records(database, options.data, options.seed)
        if not names:
            print(f"{database}: not in {options.data}, left out")
        kept = [n for n in names if not chosen or n in chosen]
        tasks += [(database, n) for n in kept]
        if names and kept == names:
            whole.append(database)
    rows = measure(campaign, tasks, options.jobs)
    for line in summary.aggregate(rows, options.seed):
        print(summary.text_of(line))
    if whole and campaign.peers:
        complete = [r for r in rows if r["database"] in whole]
        summary.record(summary.aggregate(complete, options.seed), MEASURED)
        if not options.no_speed:
            speed.measure_apart(options.data, options.work, MEASURED)
        plots.draw(MEASURED)
        print("to put the tables into README.md: python pipelines/tables.py")


if __name__ == "__main__":
    main()
