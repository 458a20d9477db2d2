"""Put the daemon under load, and write down what it took.

Usage: python -m pipelines.load sim  [--streams 2000] [--seconds 600] [--seed 1] [--short]
       python -m pipelines.load nats [--streams 100,200,400,...] [--seconds 120] [--seed 1] [--short]
       python -m pipelines.load soak [--streams 20] [--days 7] [--seed 1] [--short]

sim: simulated streams of 2 leads at 250 Hz in real time, generator and daemon in one process on two cores.
nats: a publisher, nats-server with JetStream and the daemon on two cores, ever more streams until the lag grows.
soak: a simulated week as fast as it goes, with retention and retraining, on a clock turned by hand.
Each compares what is archived with what was sent, and ends with 1 when that is not the same. Resumable: what is done
stands in the work folder (--work, default build/load). --short is the form of continuous integration: fewer streams
for some seconds, counts and no times, and nothing written into docs/measured/load.jsonl.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipelines.load import sim
from pipelines.load.summary import Row, write_row
from pipelines.paper.report import ROOT

SHORT_STREAMS, SHORT_S = 200, 20


def main() -> int:
    """Run one campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", choices=["sim", "nats", "soak"])
    parser.add_argument("--streams", help="how many; nats: a list to try, separated by commas")
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "load")
    options = parser.parse_args()
    work = options.work / ("short" if options.short else "whole")
    rows, wrong = {"sim": _sim}[options.campaign](options, work)
    for row in rows:
        print(", ".join(f"{k}: {v:.3g}" if isinstance(v, float) else f"{k}: {v}" for k, v in row.items()))
        if not options.short:
            write_row(row, options.seed)
    for line in wrong[:20]:
        print(f"wrong: {line}", file=sys.stderr)
    return 1 if wrong else 0


def _sim(options: argparse.Namespace, work: Path) -> tuple[list[Row], list[str]]:
    short = options.short
    load = sim.Load(
        streams=int(options.streams or (SHORT_STREAMS if short else 2000)),
        seconds=options.seconds or (SHORT_S if short else 600),
        seed=options.seed,
    )
    row, wrong = sim.run(load, work, again=short)
    return [row], wrong


if __name__ == "__main__":
    sys.exit(main())
