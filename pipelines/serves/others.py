"""Recordings of other kinds, with the shipped banks: what their reports say, channel by channel summed up."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import sanstream
from pipelines.benchmark import cases
from sanstream import formats
from sanstream.evaluate import evaluate
from sanstream.evaluate_signals import ChannelSignals
from sanstream.serves.assess import Served, assess
from sanstream.serves.beats import reference_of
from sanstream.serves.limits import beyond

Row = dict[str, Any]

DATABASES = {"cinc2015": 6, "cpsc2018": 10, "eegmmidb": 1, "edf-bdf": 4}
"""Databases, and how many of their records."""
QUALITIES = ("prdn=5", "prdn=9")


def names(data: Path) -> list[tuple[str, str]]:
    """Return database and record of what is there."""
    return [(d, r) for d, most in DATABASES.items() for r in cases.records(d, data)[:most]]


def record_row(source: Path, effort: str) -> Row:
    """Archive one recording at every quality and measure all its channels."""
    recording = formats.read(source)
    found: Row = {}
    for quality in QUALITIES:
        served: list[Served] = []

        def look(signals: ChannelSignals, own: list[Served] = served) -> None:
            own.append(assess(signals, reference_of(recording.annotations, signals.rate_hz)))

        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "archive"
            sanstream.archive([source], to=target, quality=[quality], effort=effort)
            report = evaluate(recording, target, look=look)
        found[quality] = {
            "broken": len(report.broken),
            "channels": [s.to_dict() | {"attention": [a.text for a in beyond(s)]} for s in served],
        }
    return found


def lines(rows: Sequence[tuple[str, Row]]) -> list[Row]:
    """Sum up: for each database, quality and measure the median and the worst channel.

    Parameters
    ----------
    rows : sequence of (database, row)
    """
    out = []
    for database in dict.fromkeys(d for d, _ in rows):
        for quality in QUALITIES:
            channels = [c for d, row in rows if d == database for c in row[quality]["channels"]]
            for measure, values, worst in _measures(channels):
                if values:
                    out.append(
                        {
                            "database": database,
                            "quality": quality,
                            "measure": measure,
                            "channels": len(values),
                            "median": round(float(np.median(values)), 3),
                            "worst": round(float(worst(values)), 3),
                        }
                    )
    return out


def _measures(channels: Sequence[Row]) -> list[tuple[str, list[float], Any]]:
    beats = [b for c in channels for b in c["beats"]]
    st = [own for c in channels if c["st"] and c["st"]["unit"] == "µV" for own in c["st"]["levels"].values()]
    found: list[tuple[str, list[float], Any]] = []
    for name in dict.fromkeys(b["detector"] for b in beats):
        own = [b["f1_points"] for b in beats if b["detector"] == name]
        found.append((f"F1 of {name} against its beats in the original, points", own, min))
    found.append(("ST level, mean difference, µV", [abs(a["mean"]) for a in st], max))
    found.append(("ST level, 95 % limit, µV", [max(-a["low"], a["high"]) for a in st], max))
    for band in ("delta", "theta", "alpha", "beta", "gamma"):
        own = [c["spectrum"]["bands"][band] for c in channels if c["spectrum"] and band in c["spectrum"]["bands"]]
        changes = [b["change"] for b in own if b["change"] is not None]
        found.append((f"{band}: change of power, %", changes, lambda v: max(v, key=abs)))
        found.append((f"{band}: coherence", [b["coherence"] for b in own if b["coherence"] is not None], min))
    for modality in ("pressure", "ppg", "respiration"):
        own = [c["pulses"] for c in channels if c["pulses"] and c["modality"] == modality]
        total = [max(1, p["counts"]["found"] + p["counts"]["missed"]) for p in own]
        shares = [100 * p["counts"]["missed"] / n for p, n in zip(own, total, strict=True)]
        found.append((f"{modality}: peaks lost, %", shares, max))
        if modality == "pressure":
            for what in ("peak", "trough"):
                limits = [max(-p[what]["low"], p[what]["high"]) for p in own if p["unit"].lower() == "mmhg"]
                found.append((f"{modality}: {what}, 95 % limit, mmHg", limits, max))
        times = [max(-p["time_ms"]["low"], p["time_ms"]["high"]) for p in own]
        found.append((f"{modality}: time of peaks, 95 % limit, ms", times, max))
    return found
