"""What is wrong in a daemon's status, and which stream to look at first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sanstream.daemon.look import Looked

SILENT_S = 30.0
"""A stream of which nothing came for so long is silent."""
LAG_S = 10.0
GOOD, ODD, BAD = 0, 1, 2


def number(value: object) -> float:
    """Return a figure of a status as a number; 0 where there is none."""
    if isinstance(value, float):
        return value if math.isfinite(value) else 0.0
    return float(value) if isinstance(value, int) and abs(value) < 2**63 else 0.0


def rows(status: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return a status's ``"streams"`` or ``"feeds"``."""
    found = status.get(name, [])
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def state_of(stream: Mapping[str, Any]) -> int:
    """Return :data:`BAD` for a silent stream, :data:`ODD` for one that lags, lacks or drifts, else :data:`GOOD`."""
    if number(stream.get("last_sample_age_s")) > SILENT_S:
        return BAD
    figures = ("gap_samples", "late_samples", "conflicts")
    odd = number(stream.get("lag_s")) > LAG_S or any(number(stream.get(f)) for f in figures)
    return ODD if odd or stream.get("drift") in ("alarmed", "training") else GOOD


def worst_first(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Sort streams: the longest silent first, then by lag, lacking samples, conflicts, late samples, name."""

    def key(stream: Mapping[str, Any]) -> tuple[object, ...]:
        age_s = number(stream.get("last_sample_age_s"))
        lag_s = number(stream.get("lag_s"))
        return (
            -age_s if age_s > SILENT_S else 0.0,
            -lag_s if lag_s > LAG_S else 0.0,
            -number(stream.get("gap_samples")),
            -number(stream.get("conflicts")),
            -number(stream.get("late_samples")),
            -state_of(stream),
            str(stream.get("recording")),
            str(stream.get("stream")),
        )

    return sorted(rows(status, "streams"), key=key)


def problems(looked: Looked) -> list[str]:
    """Say what is wrong, one sentence each; empty when all is well."""
    if not looked.running:
        return [f"no daemon answers at {looked.asked}" if looked.asked else "the daemon does not run"]
    status, found = looked.status, []
    causes = status.get("causes", [])
    if isinstance(causes, list):
        found += [f"not ready: {cause}" for cause in causes]
    if status.get("disk_full") and not found:
        found.append("a disk is full")
    for feed in rows(status, "feeds"):
        if not feed.get("connected", True) and not any(str(feed.get("name")) in f for f in found):
            why = f": {feed['error']}" if feed.get("error") else ""
            found.append(f"feed {feed.get('name')} is not connected{why}")
    silent = sum(state_of(stream) == BAD for stream in rows(status, "streams"))
    if silent:
        found.append(f"{silent} {'stream is' if silent == 1 else 'streams are'} silent for more than {SILENT_S:g} s")
    return found
