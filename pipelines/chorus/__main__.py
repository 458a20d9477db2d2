"""Run the CHORUS waveform benchmark: sanstream and its rivals, write, size, fidelity and reads, in one run.

Usage: python -m pipelines.chorus [--record ../shared/data/mimic4wdb/85594648_0001] [--rounds 5] [--seed 0]
           [--only Sanstream,AtriumDB] [--without SanstreamThorough] [--to docs/measured] [--short]

Every round times each cell for all contestants in turn, at the same places. Everything is written anew, but sanstream
thorough's archive, which takes minutes: it is kept in build/chorus while what decides it stays the same.
Writes chorus.jsonl: one line a contestant. --short checks everything on a minute of made-up signals and writes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from pipelines.benchmark.own import ROOT, codec_digest
from pipelines.benchmark.speed import cpu_name
from pipelines.benchmark.summary import provenance, write
from pipelines.chorus import rivals, signals
from pipelines.chorus.contestant import Sanstream, SanstreamThorough
from pipelines.chorus.protocol import Cell, cells, faults, length_s, n_samples, stored_bytes, timed

CONTESTANTS: dict[str, type[Any]] = {
    "sanstream fast": Sanstream,
    "sanstream thorough": SanstreamThorough,
    "WFDB 516 (FLAC)": rivals.Flac,
    "AtriumDB": rivals.AtriumDB,
    "Zarr + Blosc zstd": rivals.Zarr,
    "Parquet gzip": rivals.Parquet,
    "HDF5 gzip (CCDEF)": rivals.Hdf5,
}
_OWN = "sanstream fast"
_LONG_S = 5.0
"""A cell that takes so long is timed once."""
_SETTLED_S = 3.0
"""Files younger than this are no files that stand for long, and caches pass them over."""


@dataclass
class _Entry:
    """A contestant with what it wrote."""

    name: str
    kind: type[Any]
    path: str
    n_bytes: int = 0
    write_s: float | None = None
    faults: list[str] = field(default_factory=list)
    wall_s: dict[Cell, list[float]] = field(default_factory=dict)
    cpu_s: dict[Cell, list[float]] = field(default_factory=dict)


def main() -> None:
    """Measure, print and write the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, default=ROOT.parent / "shared" / "data" / "mimic4wdb" / "85594648_0001")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="contestants whose names hold one of these texts")
    parser.add_argument("--without", default="", help="leave contestants out whose names hold one of these texts")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "measured")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "chorus")
    parser.add_argument("--short", action="store_true", help="a minute of made-up signals, checked, nothing written")
    options = parser.parse_args()
    chosen = {n: k for n, k in CONTESTANTS.items() if _named(n, options.only, True) and not _named(n, options.without)}
    if options.short:
        _short({n: k for n, k in chosen.items() if k is not SanstreamThorough}, options.seed)
        return
    known = provenance(options.seed) | {"_cpu": cpu_name(), "_rounds": options.rounds, "_record": options.record.name}
    waveforms = signals.load(options.record)
    with tempfile.TemporaryDirectory(dir=_made(options.work)) as folder:
        entries = [_written(n, k, waveforms, Path(folder), options.work) for n, k in chosen.items()]
        _race(entries, waveforms, options.rounds, options.seed, cells())
    lines = _lines(entries, waveforms)
    write(options.to / "chorus.jsonl", [line | known for line in lines])


def _named(name: str, texts: str, default: bool = False) -> bool:
    wanted = [t for t in texts.split(",") if t]
    return any(t in name for t in wanted) if wanted else default


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _short(chosen: dict[str, type[Any]], seed: int) -> None:
    """Check every contestant on made-up signals; times are printed and mean nothing."""
    waveforms = signals.made_up(60, seed)
    with tempfile.TemporaryDirectory() as folder:
        entries = []
        for name, kind in chosen.items():
            # rivals know one gain a signal, and floats only as integers
            given = waveforms if kind is Sanstream else signals.plain(waveforms)
            entries.append(_written(name, kind, given, Path(folder), None))
        wrong = {e.name: e.faults for e in entries if e.faults}
        _race(entries, signals.plain(waveforms), 1, seed, cells(0.05), settle=False)
    for entry in entries:
        print(f"{entry.name}: {entry.n_bytes} bytes, {len(entry.faults)} faults")
    if _OWN in wrong:
        sys.exit(f"{_OWN} is not faithful: {wrong[_OWN]}")


def _written(name: str, kind: type[Any], waveforms: Any, folder: Path, kept: Path | None) -> _Entry:
    """Write, weigh and compare; what takes minutes is taken over from a former run."""
    place = _made(folder / kind.__name__)
    entry = _Entry(name, kind, str(place / "wavetest"))
    cache = kept / f"thorough-{_digest(waveforms)}" if kept is not None and kind is SanstreamThorough else None
    if cache is not None and (cache / "seconds.json").is_file():
        shutil.copytree(cache / "wavetest", place / "wavetest")
        entry.write_s = float(json.loads((cache / "seconds.json").read_text()))
    else:
        began = time.perf_counter()
        kind().write_waveforms(entry.path, waveforms)
        entry.write_s = time.perf_counter() - began
        if cache is not None:
            shutil.copytree(place / "wavetest", _made(cache) / "wavetest")
            (cache / "seconds.json").write_text(json.dumps(entry.write_s))
    entry.n_bytes = stored_bytes(place)
    entry.faults = faults(kind, entry.path, waveforms)
    bits = 8 * entry.n_bytes / n_samples(waveforms)
    print(f"{name}: {bits:.3f} bit/sample, written in {entry.write_s:.2f} s {entry.faults or ''}", file=sys.stderr)
    return entry


def _digest(waveforms: Any) -> str:
    digest = hashlib.sha256(codec_digest(None).encode())
    for name, waveform in waveforms.items():
        digest.update(name.encode())
        for chunk in waveform["chunks"]:
            digest.update(chunk["samples"].tobytes())
    return digest.hexdigest()[:16]


def _race(
    entries: list[_Entry], waveforms: Any, rounds: int, seed: int, columns: list[Cell], settle: bool = True
) -> None:
    """Time every cell, round by round, contestants in turn; one round beforehand compiles and warms."""
    names, total_s = list(waveforms), length_s(waveforms)
    if settle:
        time.sleep(_SETTLED_S)
    for number in range(-1 if settle else 0, rounds):
        for cell in columns:
            turn = number % max(1, len(entries))
            for entry in entries[turn:] + entries[:turn]:
                if (number < 0 and cell.n_reads != 5) or max(entry.wall_s.get(cell, [0.0])) > _LONG_S:
                    continue
                wall, cpu = timed(entry.kind, entry.path, names, total_s, cell, seed + 1000 * number)
                if number >= 0:
                    entry.wall_s.setdefault(cell, []).append(wall)
                    entry.cpu_s.setdefault(cell, []).append(cpu)
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)


def _lines(entries: list[_Entry], waveforms: Any) -> list[dict[str, Any]]:
    """Return one line a contestant: best wall seconds of each cell; medians and processor seconds are kept aside."""
    total = n_samples(waveforms)
    out = []
    for entry in entries:
        line: dict[str, Any] = {
            "contestant": entry.name,
            "bit/sample": round(8 * entry.n_bytes / total, 3),
            "write, s": None if entry.write_s is None else round(entry.write_s, 2),
            "chunks that differ": len(entry.faults),
        }
        for cell, times in entry.wall_s.items():
            if not cell.once or cell.n_reads == 500:
                line[cell.name] = round(min(times), 4)
            line[f"_best {cell.name}"] = round(min(times), 5)
            line[f"_median {cell.name}"] = round(median(times), 5)
            line[f"_cpu {cell.name}"] = round(min(entry.cpu_s[cell]), 5)
        out.append(line)
    return out


if __name__ == "__main__":
    main()
