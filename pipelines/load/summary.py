"""One row from what was seen of a daemon, and the file that all rows stand in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.benchmark.summary import provenance
from pipelines.load.daemon import Seen, quantile
from pipelines.paper.report import MEASURED

Row = dict[str, Any]
MIB = 1 << 20


def figures(points: Sequence[dict[str, Any]], expected: int) -> Row:
    """Sum up a run.

    Parameters
    ----------
    points : sequence of dict
        Of :func:`pipelines.load.daemon.watch`, from the daemon's first answer to its last.
    expected : int
        Samples, all channels, that were sent.

    Returns
    -------
    dict
        Rates over the time in which samples came; memory and files at the first quarter of it and at its end.
    """
    whole = [p for p in points if p["samples"] >= expected]
    last = whole[0] if whole else points[-1]
    live = [p for p in points if p["samples"] > 0 and p["t"] <= last["t"]] or list(points)
    first, seen = live[0], points[-1]["seen"]
    assert isinstance(seen, Seen)
    seconds = max(1e-9, last["t"] - first["t"])
    early = live[len(live) // 4]
    commit, acknowledge = seen.buckets("journal_to_commit_seconds"), seen.buckets("acknowledge_seconds")
    return {
        "M samples/s": (last["samples"] - first["samples"]) / seconds / 1e6,
        "cores used": (last["cpu_s"] - first["cpu_s"]) / seconds,
        "queue s, most": max(p["queue_s"] for p in live),
        "age of newest s, most": max(p["age_s"] for p in live),
        "acknowledged s, p50": quantile(acknowledge, 0.5),
        "acknowledged s, p99": quantile(acknowledge, 0.99),
        "journal to commit s, p50": quantile(commit, 0.5),
        "journal to commit s, p99": quantile(commit, 0.99),
        "RSS MiB, first quarter": round(early["rss"] / MIB),
        "RSS MiB, end": round(last["rss"] / MIB),
        "RSS MiB, most": round(max(p["rss"] for p in points) / MIB),
        "open files, most": max(p["files"] for p in points),
        "journal MiB, most": round(max(p["journal"] for p in points) / MIB),
        "ledger MiB, most": round(max(p["ledger"] for p in points) / MIB),
    }


def keep_points(points: Sequence[dict[str, Any]], file: Path) -> None:
    """Write all that was seen, one JSON line a look."""
    lines = ({k: v for k, v in p.items() if k != "seen"} for p in points)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_row(row: Row, seed: int, *, folder: Path = MEASURED) -> None:
    """Put a row into ``load.jsonl``, in the place of an older one of the same campaign and size."""
    file = folder / "load.jsonl"
    held = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []
    rows = [r for r in held if (r["campaign"], r["streams"]) != (row["campaign"], row["streams"])]
    rows.append(row | provenance(seed))
    file.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
