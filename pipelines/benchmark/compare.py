"""What changed since a commit: sizes of sanstream then and now, figure by figure.

Usage: python -m pipelines.benchmark.compare COMMIT

Both sides are the rows of docs/measured/benchmark-peers.jsonl, as they stand in that commit and in the working tree;
only rows that were measured anew are compared. Writes docs/measured/benchmark-since.jsonl.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

from pipelines.benchmark.__main__ import MEASURED
from pipelines.benchmark.summary import PEERS_FILE, provenance, write

Row = dict[str, Any]
_KEY = ("database", "figure", "codec", "effort")


def own(text: str) -> dict[tuple[str, ...], Row]:
    """Rows of sanstream by what they are of."""
    rows = [json.loads(line) for line in text.splitlines() if line]
    return {tuple(str(r[k]) for k in _KEY): r for r in rows if r["codec"] == "sanstream"}


def compared(before: dict[tuple[str, ...], Row], after: dict[tuple[str, ...], Row]) -> list[Row]:
    """One row for each figure and effort that was measured on both sides at different commits."""
    out = []
    for key, new in after.items():
        old = before.get(key)
        if old is None or old["_commit"] == new["_commit"]:
            continue
        row: Row = {"database": new["database"], "figure": new["figure"], "effort": new["effort"]}
        for name in ("coded", "stored"):
            column = f"{name} bit/sample"
            row |= {f"{name} then": old[column], f"{name} now": new[column]}
            row[f"{name} ratio"] = round(new[column] / old[column], 4)
        out.append({**row, "broken windows": new["broken windows"], "_then": old["_commit"]})
    return out


def main() -> None:
    """Compare, print what grew, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    commit = parser.parse_args().commit
    file = MEASURED / PEERS_FILE
    shown = subprocess.run(
        ["git", "show", f"{commit}:docs/measured/{PEERS_FILE}"], cwd=MEASURED, capture_output=True, text=True
    )
    if shown.returncode:
        sys.exit(f"{commit}: {shown.stderr.strip()}")
    rows = compared(own(shown.stdout), own(file.read_text(encoding="utf-8")))
    write(MEASURED / "benchmark-since.jsonl", [row | provenance(0) for row in rows])
    for row in rows:
        print(f"{row['database']:10s} {row['figure']:36s} {row['effort']:9s} coded {row['coded ratio']:.4f} "
              f"stored {row['stored ratio']:.4f}{'  GREW' if row['coded ratio'] > 1 else ''}")  # fmt: skip


if __name__ == "__main__":
    main()
