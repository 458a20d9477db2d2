"""Hold the queries against annotations: MIT-BIH archived in several ways, beats and bigeminy found by SQL alone.

Usage: python -m pipelines.jobs.scores [--data ../shared/data/mitdb] [--work build/queries]

Resumable: archives and datasets in the work folder that are whole are not made again (effort thorough takes half an
hour on a busy machine). Rows go to docs/measured/queries.jsonl, from which pipelines/tables.py fills docs/queries.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import sanstream
from pipelines.jobs.query import ask, connect
from pipelines.jobs.records import RecordsJob, run
from pipelines.paper.report import ROOT, write_measured
from sanstream import formats
from sanstream.serves.matching import SYMBOLS, TOLERANCE_S, Counts, counts_of, gross, paired
from sanstream.signal import Annotations

WAYS = (("prdn=5", "default"), ("sparse", "default"), ("sparse", "thorough"))
PACED = ("102", "104")
_TENTHS = 10
"""Bigeminy is compared tenth of a second by tenth."""
Row = dict[str, Any]


def main() -> int:
    """Archive, export, ask and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "mitdb")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "queries")
    options = parser.parse_args()
    sources = sorted(options.data.glob("*.hea"))
    if not sources:
        raise SystemExit(f"{options.data}: no records; name the folder of MIT-BIH with --data")
    options.work.mkdir(parents=True, exist_ok=True)
    truth = {s.stem: formats.read(s).annotations[0] for s in sources}
    rows: list[Row] = []
    for quality, effort in WAYS:
        archive, dataset = (options.work / f"{quality}-{effort}{end}" for end in (".san", "-records"))
        if not archive.is_dir():
            print(f"archiving at {quality}, effort {effort}", file=sys.stderr)
            sanstream.archive(sources, to=archive, quality=quality, effort=effort)
        run(RecordsJob(str(archive), str(dataset)))
        rows += rows_of(archive, dataset, truth, {"quality": quality, "effort": effort})
    write_measured("queries", rows)
    for row in rows:
        print(row)
    return 0


def rows_of(archive: Path, dataset: Path, truth: dict[str, Annotations], names: Row) -> list[Row]:
    """Return one row for the records without a pacemaker, one for those with."""
    with sanstream.open(archive) as opened:
        info = opened.info()
        n_values = sum(s.n_samples * len(s.channels) for r in opened.recordings.values() for s in r.streams.values())
    connection = connect(str(dataset))
    began = time.perf_counter()
    beats = ask(connection, "beats").select(["recording", "time_ns"]).to_pandas()
    seconds = time.perf_counter() - began
    runs = ask(connection, "bigeminy").to_pylist()
    size = sum(f.stat().st_size for f in dataset.rglob("*.parquet"))
    rows = []
    for label, records in (
        ("without pacemaker", [n for n in truth if n not in PACED]),
        ("102 and 104, paced", [n for n in truth if n in PACED]),
    ):
        counts = gross(_beats(beats[beats["recording"] == n]["time_ns"].to_numpy(), truth[n]) for n in records)
        both, wanted, found = np.sum([_bigeminy(runs, n, truth[n]) for n in records], axis=0) / _TENTHS
        rows.append(
            {
                **names,
                "bit/sample": 8 * info["coded_bytes"] / n_values,
                "dataset MB": size / 1e6,
                "records": f"{len(records)} {label}" if "without" in label else label,
                "beats": counts.found + counts.missed,
                "sensitivity": counts.sensitivity,
                "predictivity": counts.predictivity,
                "bigeminy s": round(float(wanted)),
                "found s": round(float(found)),
                "of it right": float(both / found) if found else None,
                "of all found": float(both / wanted) if wanted else None,
                "beats.sql s": seconds,
            }
        )
    return rows


def _beats(time_ns: npt.NDArray[np.int64], annotations: Annotations) -> Counts:
    times = np.asarray(annotations.columns["time_ns"])
    real = times[np.isin(np.asarray(annotations.columns["symbol"], str), SYMBOLS)]
    return counts_of(*paired(np.sort(time_ns), np.sort(real), round(TOLERANCE_S * 1e9)))


def _bigeminy(runs: Sequence[Row], record: str, annotations: Annotations) -> tuple[int, int, int]:
    """Return tenths of seconds that are both, annotated, and found."""
    times = np.asarray(annotations.columns["time_ns"])
    notes = [(int(t), str(n).strip("\x00")) for t, n in zip(times, annotations.columns["aux_note"], strict=True)]
    rhythms = [(t, n) for t, n in notes if n.startswith("(")] + [(int(times[-1]), "(END")]
    spans = [(a, b) for (a, name), (b, _) in pairwise(rhythms) if name == "(B"]
    real = _marked(spans, int(times[-1]))
    ours = _marked([(r["start_ns"], r["stop_ns"]) for r in runs if r["recording"] == record], int(times[-1]))
    return int((real & ours).sum()), int(real.sum()), int(ours.sum())


def _marked(spans: Sequence[tuple[int, int]], end_ns: int) -> npt.NDArray[np.bool_]:
    out = np.zeros(end_ns * _TENTHS // 10**9 + 1, np.bool_)
    for start, stop in spans:
        out[start * _TENTHS // 10**9 : stop * _TENTHS // 10**9] = True
    return out


if __name__ == "__main__":
    sys.exit(main())
