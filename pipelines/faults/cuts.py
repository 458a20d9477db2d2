"""Cut the power of engines, many times.

``python -m pipelines.faults.cuts --cuts 1000`` goes on where it was stopped; every hundred are one JSON line of
``docs/measured/faults-power.jsonl`` with commit, machine, seed and counts.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from pipelines.benchmark.summary import provenance
from pipelines.faults.power import cut_and_go_on

Row = dict[str, Any]
MEASURED = Path(__file__).resolve().parents[2] / "docs" / "measured" / "faults-power.jsonl"
PART = 100
N_OPERATIONS = 720
"""A life has about so many."""


def cuts(seed: int) -> Row:
    """Cut the power of :data:`PART` lives, every second one soon after a kill."""
    rng = random.Random(seed)
    began, seen = time.monotonic(), 0
    for i in range(PART):
        how: Row = {"at": rng.randint(1, N_OPERATIONS), "tear": rng.choice(["none", "zeros", rng.randrange(1 << 30)])}
        if i % 2:
            how |= {"kill": str(how["at"]), "at": how["at"] + rng.randint(1, 80)}
        with tempfile.TemporaryDirectory() as folder:
            try:
                seen += cut_and_go_on(Path(folder), **how).lost
            except BaseException as error:
                error.add_note(f"cut_and_go_on(folder, **{how})")
                raise
    seconds = round(time.monotonic() - began, 1)
    return {"campaign": "power cut", "cuts": seen, "after a kill": PART // 2, "lost": 0, "doubled": 0, "s": seconds}


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, default=MEASURED)
    options = parser.parse_args()
    rows = options.to.read_text(encoding="utf-8").splitlines() if options.to.exists() else []
    done = {json.loads(row)["_seed"] for row in rows}
    for i in range(-(-options.cuts // PART)):
        seed = options.seed * 1000 + i
        if seed in done:
            continue
        row = {**cuts(seed), **provenance(seed)}
        with options.to.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
