"""Rows of the tables in docs/evaluation.md, from what was measured of each record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sanstream.serves.assess import F1_POINTS
from sanstream.serves.matching import Counts, gross

Row = dict[str, Any]

NAMES = {"xqrs": "XQRS (wfdb)", "neurokit": "NeuroKit2", "neurokit as recorded": "NeuroKit2, lead not turned"}
WHATS = ("original", "archived", "noise", "dither")


def results_of(records: Sequence[Row]) -> list[Row]:
    """Return one row for each record, quality and detector, its counts as :class:`Counts`."""
    out = []
    for record in records:
        for result in record["results"]:
            counts = {what: Counts(*result[what]) for what in WHATS}
            out.append({"record": record["record"], **result, **counts})
    return out


def points(row: Row, what: str) -> float:
    """Return F1 less that of the original, percentage points."""
    return float(100 * (row[what].f1 - row["original"].f1))


def is_worse(row: Row, what: str = "archived") -> bool:
    """Whether F1 is worse than the original's by more than the limit."""
    return points(row, what) < -F1_POINTS - 1e-9


def summary(records: Sequence[Row]) -> list[Row]:
    """Sum over records: the gross F1 pools all beats."""
    rows, lines = results_of(records), []
    for quality in dict.fromkeys(r["quality"] for r in rows):
        for detector in NAMES:
            own = [r for r in rows if r["quality"] == quality and r["detector"] == detector]
            pooled = {what: 100 * gross(r[what] for r in own).f1 for what in WHATS}
            line: Row = {
                "quality": quality,
                "detector": NAMES[detector],
                "records": len(own),
                "beats": sum(r["original"].found + r["original"].missed for r in own),
                "bit/sample": float(np.mean([r["bits"] for r in own])),
                "F1 % original": round(pooled["original"], 3),
                "F1 % archived": round(pooled["archived"], 3),
                "points": round(pooled["archived"] - pooled["original"], 3),
                "points, mean of records": round(float(np.mean([points(r, "archived") for r in own])), 3),
                "points, white noise": round(pooled["noise"] - pooled["original"], 3),
                "points, dither": round(pooled["dither"] - pooled["original"], 3),
            }
            for what in WHATS[1:]:
                line[f"worse: {what}"] = sum(is_worse(r, what) for r in own)
            lines.append(line)
    return lines


def record_lines(records: Sequence[Row], *, worse_only: bool) -> list[Row]:
    """Return a line for every record, quality and detector, or for those worse than the limit alone."""
    lines = []
    for row in sorted(results_of(records), key=lambda r: (r["quality"], list(NAMES).index(r["detector"]), r["record"])):
        if worse_only and not is_worse(row):
            continue
        line: Row = {
            "quality": row["quality"],
            "detector": NAMES[row["detector"]],
            "record": row["record"],
            "F1 % original": round(100 * row["original"].f1, 2),
            "F1 % archived": round(100 * row["archived"].f1, 2),
            "points": round(points(row, "archived"), 2),
            "points, white noise": round(points(row, "noise"), 2),
            "points, dither": round(points(row, "dither"), 2),
        }
        if worse_only:
            changed = row["changed"]
            line["beats now missed"] = _named(changed["missed"])
            line["beats now found"] = _named(changed["found"])
            line["false beats"] = f"{changed['extra']:+d}"
        lines.append(line)
    return lines


def _named(kinds: dict[str, int]) -> str:
    return ", ".join(f"{n} {symbol}" for symbol, n in sorted(kinds.items(), key=lambda k: -k[1])) or "0"


def rhythm_lines(records: Sequence[Row]) -> list[Row]:
    """Return how far heart-rate variability and ST level move: median and greatest absolute change over records."""
    rows, lines = results_of(records), []
    keys = (
        ("mean RR, ms", "mean_rr_ms"), ("SDNN, ms", "sdnn_ms"), ("RMSSD, ms", "rmssd_ms"), ("pNN50, points", "pnn50"),
        ("LF/HF", "lf_hf"),
    )  # fmt: skip
    for quality in dict.fromkeys(r["quality"] for r in rows):
        for detector in NAMES:
            own = [r for r in rows if r["quality"] == quality and r["detector"] == detector]
            for name, key in keys:
                moved = [
                    (abs(b[key] - a[key]), r["record"])
                    for r in own
                    for a, b in [r["rhythm"]]
                    if a[key] is not None and b[key] is not None
                ]
                lines.append(_moved(quality, f"{name} by {NAMES[detector]}", moved))
            shifts = [(r["shift_sd_ms"] or 0.0, r["record"]) for r in own]
            lines.append(_moved(quality, f"time of beats (SD), ms, by {NAMES[detector]}", shifts))
        own = [r for r in rows if r["quality"] == quality and r["detector"] == next(iter(NAMES))]
        for place in own[0]["st"]:
            wide = [(max(-r["st"][place]["low"], r["st"][place]["high"]), r["record"]) for r in own]
            bias = [(abs(r["st"][place]["mean"]), r["record"]) for r in own]
            lines.append(_moved(quality, f"ST {place}, mean difference, µV", bias))
            lines.append(_moved(quality, f"ST {place}, 95 % limit, µV", wide))
    return lines


def _moved(quality: str, what: str, values: Sequence[tuple[float, str]]) -> Row:
    if not values:
        return {"quality": quality, "change of": what, "median": None, "greatest": None, "in record": ""}
    greatest, record = max(values)
    median = float(np.median([v for v, _ in values]))
    return {
        "quality": quality,
        "change of": what,
        "median": round(median, 3),
        "greatest": round(greatest, 3),
        "in record": record,
    }
