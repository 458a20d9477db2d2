"""Electrodes swapped on real recordings: MIT-BIH, its two leads exchanged after ten minutes.

Usage: python -m pipelines.drift.recorded [--data ../shared/data/mitdb] [--jobs 1] [--short]

Each record is watched as it is (alarms here are the heart's own changes, or false) and with the exchange: the delay of
the alarm, and bits per sample of the last ten minutes, which no training saw, with the kernels of before and with
those retrained on minutes one to nine after the exchange. Resumable; the summary goes to
docs/measured/drift-recorded.jsonl. ``--short`` takes one record and writes nothing.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from pipelines.benchmark.rows import Rows
from pipelines.drift import measure
from pipelines.drift.__main__ import WITHIN, decided_by
from pipelines.paper.report import ROOT, write_measured
from sanstream.formats import read
from sanstream.retrain import challenge, coded_bytes
from sanstream.signal import Channel, IntSamples

Row = dict[str, Any]
AT_MINUTE, MINUTES = 10, 30
_QUALITIES = ("prdn=5", "prdn=9")


@dataclass(frozen=True)
class Recorded:
    """A recording whose leads may change places, with the face that :class:`measure.Ward` looks at.

    Parameters
    ----------
    x : np.ndarray
        Digital samples (n, 2) int32.
    rate : Fraction
        Hz.
    channels : tuple of Channel
    swap_s : float or None
        From when on the leads' samples are exchanged; the channels keep their names, as a monitor does.
    """

    x: IntSamples
    rate: Fraction
    channels: tuple[Channel, ...]
    swap_s: float | None = None

    def samples(self, start_s: float, duration_s: float) -> IntSamples:
        """Return a stretch, (n_samples, 2) int32."""
        rate = float(self.rate)
        first = round(start_s * rate)
        out = self.x[first : first + round(duration_s * rate)].copy()
        if self.swap_s is not None:
            after = max(0, round(self.swap_s * rate) - first)
            out[after:] = out[after:, ::-1]
        return out


def recorded(record: str) -> Recorded:
    """Read a two-lead record."""
    stream = read(record).streams[0]
    return Recorded(stream.segments[0].samples, stream.rate, stream.segments[0].channels)


def watched(record: str) -> Row:
    """Look at a record as it is and with the exchange, with the kernels of its first minutes."""
    source = recorded(record)
    ward = measure.Ward(source)
    row = {"before": ward.series(0, AT_MINUTE), "same": ward.series(60.0 * AT_MINUTE, MINUTES - AT_MINUTE)}
    ward.signal = replace(source, swap_s=60.0 * AT_MINUTE)
    return {**row, "swapped": ward.series(60.0 * AT_MINUTE, MINUTES - AT_MINUTE)}


def retrained(record: str) -> Row:
    """Bits per sample of minutes 20 to 30, kernels of before the exchange and retrained on minutes 11 to 20."""
    source = recorded(record)
    ward = measure.Ward(source)
    ward.signal, at, row = replace(source, swap_s=60.0 * AT_MINUTE), 60.0 * AT_MINUTE, {}
    for quality in _QUALITIES:
        old = ward.planned(ward.case(at - 60 * measure.TRAIN_BLOCKS, quality, "fast", None), ward.plan.kernels)
        case = ward.case(at + 60, quality, "fast", old)
        decision = challenge(case)
        unseen = ward.stretches(at + 60 + 60 * measure.TRAIN_BLOCKS, 10)
        n = sum(s.samples.size for s in unseen)
        plans = (old, old if decision.start is None else ward.planned(case, decision.start.kernels))
        row[quality] = [round(8 * coded_bytes(plan, unseen) / n, 4) for plan in plans]
    return row


def row_of(task: tuple[Path, str, str]) -> Row:
    """Make one row, or take it from the work folder."""
    folder, what, record = task
    torch.set_num_threads(1)
    name = f"{what} {Path(record).name}"
    decided = [*decided_by(), Path(__file__).read_text(encoding="utf-8"), name]
    return Rows(folder).get(name, decided, lambda: {"watched": watched, "retrained": retrained}[what](record))


def line_of(name: str, seen: Row, bits: Row) -> Row:
    """Return one record's row of the table."""
    heard = [h for h in measure.watched_over(seen["before"], seen["same"]) if h.minute >= AT_MINUTE]
    n = len(seen["before"]["bits"])
    swapped = measure.watched_over(seen["before"], seen["swapped"])
    alarms = [h.alarm.window - 6 * n for h in swapped if h.minute >= AT_MINUTE]
    row: Row = {
        "record": name, "σ": max(measure.sigmas(seen["before"], seen["swapped"])), "alarms without": len(heard),
        "delay, s": 10 * alarms[0] if alarms else None, "within 5 min": bool(alarms) and alarms[0] <= WITHIN,
    }  # fmt: skip
    for quality in _QUALITIES:
        old, new = bits[quality]
        row |= {f"{quality}, bit/sample before": old, f"{quality}, after": new}
        row[f"{quality}, saved %"] = round(100 * (1 - new / old), 2)
    return row


def summary(lines: list[Row]) -> Row:
    """Return the row over all records; bits are means, and what is saved is of those means."""
    large = [r for r in lines if r["σ"] >= 3]
    delays = [r["delay, s"] for r in lines if r["delay, s"] is not None]
    row: Row = {
        "record": f"all {len(lines)}", "σ": f"3 or more: {len(large)}",
        "within 5 min": f"{sum(r['within 5 min'] for r in large)} of these",
        "delay, s": median(delays) if delays else None, "alarms without": sum(r["alarms without"] for r in lines),
    }  # fmt: skip
    for quality in _QUALITIES:
        old, new = (float(np.mean([r[f"{quality}, {k}"] for r in lines])) for k in ("bit/sample before", "after"))
        row |= {f"{quality}, bit/sample before": old, f"{quality}, after": new}
        row[f"{quality}, saved %"] = 100 * (1 - new / old)
    return row


def main() -> None:
    """Measure what is missing and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "mitdb")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "drift-recorded")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="one record, nothing written")
    options = parser.parse_args()
    records = sorted(str(p.with_suffix("")) for p in options.data.glob("*.hea"))[: 1 if options.short else None]
    asked = [(options.work, what, r) for r in records for what in ("watched", "retrained")]
    with ProcessPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(row_of, asked))
    lines = [line_of(Path(r).name, *rows[2 * i : 2 * i + 2]) for i, r in enumerate(records)]
    table = [*lines, summary(lines)]
    for line in table:
        print(line)
    if not options.short:
        write_measured("drift-recorded", table)


if __name__ == "__main__":
    main()
