"""MIT-BIH, three-fold: the bank that codes a record never saw it. Size and every bound, by real archives.

Usage: python -m pipelines.mitdb [--data ../shared/data] [--effort thorough] [--records 101,208] [--work build/mitdb]

Resumable: finished rows stand in the work folder and are kept while the codec's sources stay the same. When all
records asked for are done, one line per figure goes to docs/measured/mitdb.jsonl.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.pretrain.corpora import mitdb
from sanstream import formats
from sanstream.archive import open as open_archive
from sanstream.archive_write import ArchiveWriter
from sanstream.bank import Bank, read_bank
from sanstream.demo_peers import measure_peers
from sanstream.evaluate import evaluate
from sanstream.quality import prdn
from sanstream.signal import Recording
from sanstream.train import train_bank, train_kernels

ROOT = Path(__file__).resolve().parents[1]
PACED = ("102", "104")
N_FOLDS = 3


def commit() -> str:
    """Return the checkout's commit, ``+`` appended when files differ from it."""
    return _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else "")


def _git(*words: str) -> str:
    return subprocess.run(("git", *words), cwd=ROOT, capture_output=True, text=True).stdout.strip()


def codec_digest() -> str:
    """Hash of the sources that decide what is encoded."""
    digest = hashlib.sha256()
    for pattern in ("_loops_*.py", "bank*.py", "block*.py", "group_state.py", "encode*.py", "train.py", "san/*.py"):
        for path in sorted((ROOT / "sanstream").glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def fold_bank(names: list[str], fold: int, data: Path, work: Path, seed: int) -> Bank:
    """Train (or take from the work folder) the bank of one fold: all records but the fold's own and the paced."""
    file = work / f"fold{fold}.sanbank"
    if not file.is_file():
        seen = [n for i, n in enumerate(names) if i % N_FOLDS != fold and n not in PACED]
        examples = mitdb(data, seen)
        kernels = train_kernels(examples, 360.0)
        bank = train_bank(f"fold{fold}", examples, n_blocks=2, kernels=kernels, rate_hz=360.0, seed=seed)
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_bytes(bank.data)
        draft.replace(file)
    return read_bank(file.read_bytes())


def first_lead(recording: Recording) -> Recording:
    """Return the recording with its first channel alone."""
    (stream,) = recording.streams
    (segment,) = stream.segments
    one = replace(segment, channels=segment.channels[:1], samples=np.ascontiguousarray(segment.samples[:, :1]))
    return replace(recording, streams=(replace(stream, segments=(one,)),), annotations=())


def figures(recording: Recording, request: str, bank: Bank, effort: str) -> dict[str, Any]:
    """Archive, evaluate, and return size, PRDN over the record and the number of broken windows."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "archive"
        with ArchiveWriter(target) as writer:
            writer.add(recording, [request], effort=effort, bank=bank)
            writer.commit()
        report = evaluate(recording, target)
        with open_archive(target) as archive:
            (entry,) = archive.info()["recordings"]
            stream = entry["streams"][0]
            decoded = archive.recordings[recording.name].streams[stream["name"]].read()
    original = recording.streams[0].segments[0].samples
    return {
        "bits_per_sample": stream["bits_per_sample"],
        "coded_bytes": stream["coded_bytes"],
        "prdn": max(prdn(original[:, c], decoded[:, c]) for c in range(original.shape[1])),
        "broken": len(report.broken),
    }


def jobs(recording: Recording) -> dict[str, tuple[Recording, str]]:
    """Name every figure of one record: its recording and its quality."""
    lead = first_lead(recording)
    deviation = float(lead.streams[0].segments[0].samples.std())
    plain = replace(recording, annotations=())
    out = {"both leads, lossless": (plain, "lossless")}
    for percent in (2, 5, 9, 20):
        out[f"lead 1, PRDN {percent} % per record"] = (lead, f"rmse={deviation * percent / 100:.6f}adu")
    for request in ("prdn=5", "prdn=9", "max-error=4adu"):
        out[f"both leads, {request} per window"] = (plain, request)
    return out


def main() -> None:
    """Run what is missing, print the table, append the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--effort", default="thorough")
    parser.add_argument("--records", default="")
    parser.add_argument("--figures", default="", help="run only figures whose names hold one of these texts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mitdb")
    options = parser.parse_args()
    names = sorted(p.stem for p in (options.data / "mitdb").glob("*.hea"))
    chosen = [n for n in options.records.split(",") if n] or names
    work = options.work / codec_digest()
    work.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {}
    for name in chosen:
        bank = fold_bank(names, names.index(name) % N_FOLDS, options.data, work, options.seed)
        recording = formats.read(options.data / "mitdb" / name)
        for figure, (signal, request) in jobs(recording).items():
            if not any(text in figure for text in options.figures.split(",")):
                continue
            file = work / f"{name} {options.effort} {figure.replace(' ', '-').replace('=', '')}.json"
            if not file.is_file():
                row = figures(signal, request, bank, options.effort)
                if figure.endswith("lossless"):
                    row["peers"] = measure_peers(signal.streams[0].segments[0].samples)
                draft = file.with_suffix(f".{os.getpid()}")
                draft.write_text(json.dumps(row))
                draft.replace(file)
            row = json.loads(file.read_text())
            rows.setdefault(figure, []).append(row)
            print(f"{name}  {figure:40s} {row['bits_per_sample']:.4f} bit/sample  prdn {row['prdn']:.3f}  "
                  f"broken {row['broken']}", flush=True)  # fmt: skip
    summarise(rows, options.effort, len(chosen), len(names), options.seed)


def summarise(rows: dict[str, list[dict[str, Any]]], effort: str, n_records: int, n_all: int, seed: int) -> None:
    """Print means over records; record them when every record is in."""
    machine = f"{platform.machine()}, {platform.python_version()}"
    lines = []
    for figure, own in rows.items():
        line: dict[str, Any] = {
            "figure": figure,
            "effort": effort,
            "records": n_records,
            "sanstream": round(float(np.mean([r["bits_per_sample"] for r in own])), 4),
        }
        for peer in own[0].get("peers", {}):
            line[peer] = round(float(np.mean([r["peers"][peer] for r in own])), 4)
        line["broken windows"] = sum(r["broken"] for r in own)
        line |= {"_commit": commit(), "_machine": machine, "_seed": seed}
        lines.append(line)
        print(json.dumps(line))
    if n_records == n_all:
        file = ROOT / "docs" / "measured" / "mitdb.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        names = {(line["figure"], effort) for line in lines}
        old = [json.loads(t) for t in file.read_text().splitlines()] if file.is_file() else []
        kept = [row for row in old if (row["figure"], row["effort"]) not in names]
        file.write_text("".join(json.dumps(row) + "\n" for row in kept + lines))


if __name__ == "__main__":
    main()
