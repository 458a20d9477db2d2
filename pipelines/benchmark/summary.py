"""Means over records: every codec's figures, and the table of sanstream beside the best peer."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.benchmark import cases
from pipelines.benchmark.own import NAME, ROOT

Row = dict[str, Any]

PEERS_FILE, TABLE_FILE = "benchmark-peers.jsonl", "benchmark.jsonl"
_MEAN = {"prdn": "PRDN %", "prd_1024": "PRD_1024 %", "prd_raw": "PRD raw %"}


def commit() -> str:
    """Return the checkout's commit, ``+`` appended when files differ from it."""
    return _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else "")


def _git(*words: str) -> str:
    return subprocess.run(("git", *words), cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def provenance(seed: int) -> Row:
    """Say which code, on which machine, with which seed."""
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    return {"_commit": commit(), "_machine": machine, "_seed": seed}


def aggregate(rows: list[Row], seed: int = 0) -> list[Row]:
    """Join records: bits per sample and PRD are means over records, the maximum error is the greatest.

    Stored bytes of sanstream are those of one archive of all records: each bank counts once.

    Parameters
    ----------
    rows : list of dict
        As measured, one per record, figure, codec and effort.
    seed : int

    Returns
    -------
    list of dict
        One line per database, figure, codec and effort; codecs that are not installed are left out, the
        sizes of one that cannot hold some record are None.
    """
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        if "missing" not in row:
            groups.setdefault((row["database"], row["figure"], row["codec"], row["effort"]), []).append(row)
    return [_line(own) | provenance(seed) for own in groups.values()]


def _line(own: list[Row]) -> Row:
    first = own[0]
    line: Row = {k: first[k] for k in ("database", "figure", "codec", "effort")}
    line["records"] = len(own)
    line["samples"] = sum(r["n_samples"] for r in own)
    line["coded bit/sample"] = _bits(own, "coded_bytes")
    line["stored bit/sample"] = _bits(own, "stored_bytes")
    for key, title in _MEAN.items():
        known = [r[key] for r in own if r.get(key) is not None]
        line[title] = round(float(np.mean(known)), 4) if len(known) == len(own) else None
    errors = [r["max_error"] for r in own if "max_error" in r]
    line["maximum error"] = int(max(errors)) if errors else None
    line["broken windows"] = sum(r["broken"] for r in own)
    if "banks" in first:
        banks = {name: size for r in own for name, size in r["banks"].items()}
        shares = {share: _bits(own, f"stored_{share}") or 0.0 for share in ("signal", "metadata")}
        shares["bank"] = round(8 * sum(banks.values()) / line["samples"], 4)
        line["stored bit/sample"] = round(sum(shares.values()), 4)
        line |= {f"_stored {share}": bits for share, bits in shares.items()}
    line["_seconds"] = round(sum(r["seconds"] for r in own), 1)
    return line


def _bits(own: list[Row], key: str) -> float | None:
    if any(r.get(key) is None for r in own):
        return None
    return round(float(np.mean([8 * r[key] / r["n_samples"] for r in own])), 4)


def text_of(line: Row) -> str:
    """Write a line for people."""
    size = line["coded bit/sample"]
    name = f"{line['codec']} {line['effort']}".strip()
    bits = "cannot hold the samples" if size is None else f"{size:8.4f} bit/sample"
    return f"{line['database']:10s} {line['figure']:38s} {name:32s} {bits}  ({line['records']} records)"


def table(lines: list[Row]) -> list[Row]:
    """Put sanstream beside the best peer, figure by figure.

    Parameters
    ----------
    lines : list of dict
        From :func:`aggregate`.
    """
    out = []
    for database, figure in dict.fromkeys((line["database"], line["figure"]) for line in lines):
        own = [x for x in lines if (x["database"], x["figure"]) == (database, figure)]
        ours = {x["effort"]: x for x in own if x["codec"] == NAME}
        if not ours:
            continue
        peers = [x for x in own if x["codec"] != NAME and x["coded bit/sample"] is not None]
        best = min(peers, key=lambda x: float(x["coded bit/sample"]), default=None)
        leading = ours.get("thorough") or next(iter(ours.values()))
        size = leading["coded bit/sample"]
        row: Row = {"database": database, "figure": figure, "records": leading["records"]}
        for effort in ("thorough", "default"):
            row[f"sanstream {effort}"] = ours[effort]["coded bit/sample"] if effort in ours else None
        row["best peer"] = best["coded bit/sample"] if best else None
        row["which"] = best["codec"] if best else "–"
        row["ratio"] = round(size / best["coded bit/sample"], 3) if best else None
        row["stored"] = leading["stored bit/sample"]
        row["of it bank"] = leading.get("_stored bank")
        row["broken windows"] = sum(x["broken windows"] for x in ours.values())
        out.append(row | {k: v for k, v in leading.items() if k.startswith("_")} | {"_effort": leading["effort"]})
    return out


def read(file: Path) -> list[Row]:
    """Read JSON lines; none when the file is not there."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def write(file: Path, lines: list[Row]) -> None:
    """Write JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def record(lines: list[Row], folder: Path) -> None:
    """Replace what was measured anew, keep the rest, and make the table from all of it."""
    fresh = {_key(line) for line in lines}
    kept = [line for line in read(folder / PEERS_FILE) if _key(line) not in fresh]
    merged = sorted(kept + lines, key=_place)
    write(folder / PEERS_FILE, merged)
    write(folder / TABLE_FILE, table(merged))


def _key(line: Row) -> tuple[str, str, str, str]:
    return line["database"], line["figure"], line["codec"], line["effort"]


def _place(line: Row) -> tuple[int, int, bool, float, str]:
    """Order: databases and figures as listed, sanstream first, then by size."""
    databases = [*cases.DATABASES, cases.SIMULATED]
    names = [f.name for f in cases.figures(line["database"])]
    figure = names.index(line["figure"]) if line["figure"] in names else len(names)
    size = line["coded bit/sample"]
    return (
        databases.index(line["database"]),
        figure,
        line["codec"] != NAME,
        float("inf") if size is None else size,
        line["codec"],
    )
