"""Rows of sanstream, by real archives; the bank that codes a record of mitdb never saw it."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from pipelines.benchmark import cases
from pipelines.benchmark.measure import CENTRE, rmse_bound, worst
from pipelines.pretrain.corpora import mitdb
from sanstream.archive import open as open_archive
from sanstream.archive_write import ArchiveWriter
from sanstream.bank import Bank, named_banks, read_bank
from sanstream.evaluate import evaluate
from sanstream.evaluate_report import Report
from sanstream.signal import Recording
from sanstream.train import train_bank, train_kernels

ROOT = Path(__file__).resolve().parents[2]
NAME = "sanstream"
LAYOUT = "2"
"""Counts up when rows gain or change a field, so that old ones are not taken for new."""
PACED = ("102", "104")
"""Records of mitdb that no bank learns from."""
_SOURCES = ("_loops_*.py", "bank*.py", "block*.py", "group_*.py", "encode*.py", "quality.py", "train.py", "san/*.py")


def codec_digest(bank: Bank | None) -> str:
    """Hash what decides the bytes: the codec's sources, and the bank or the shipped ones."""
    digest = hashlib.sha256()
    for pattern in _SOURCES:
        for path in sorted((ROOT / "sanstream").glob(pattern)):
            digest.update(path.read_bytes())
    for used in named_banks().values() if bank is None else (bank,):
        digest.update(f"{used.name} {used.id}".encode())
    return digest.hexdigest()


def fold_bank(fold: int, data: Path, work: Path, seed: int) -> Bank:
    """Train (or take from the work folder) the bank of one fold: all records but the fold's own and the paced.

    ``banks/foldN.sanbank`` in the work folder, trained before at an earlier state of the encoder, is taken as it is:
    delete it to train anew.
    """
    file = work / "banks" / f"fold{fold}.sanbank"
    if not file.is_file():
        names = cases.records("mitdb", data)
        examples = mitdb(data, [n for i, n in enumerate(names) if i % cases.N_FOLDS != fold and n not in PACED])
        kernels = train_kernels(examples, 360.0)
        bank = train_bank(f"fold{fold}", examples, n_blocks=2, kernels=kernels, rate_hz=360.0, seed=seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_bytes(bank.data)
        draft.replace(file)
    return read_bank(file.read_bytes())


def requests(recording: Recording, figure: cases.Figure) -> list[str]:
    """Write a figure's quality the way that archives are asked for it."""
    if figure.kind in (cases.LOSSLESS, cases.WINDOW):
        return [figure.request or "lossless"]
    asked = []
    for _, segment in cases.segments(recording):
        for place, channel in enumerate(segment.channels):
            bound = rmse_bound(segment, place, figure.value)
            quality = f"rmse={bound:.9f}adu" if figure.kind == cases.PRDN else f"max-error={figure.value:g}adu"
            asked.append(f"{channel.label}={quality if bound else 'lossless'}")
    return asked


def own_row(recording: Recording, figure: cases.Figure, effort: str, bank: Bank | None) -> dict[str, Any]:
    """Archive, evaluate and weigh one recording.

    Parameters
    ----------
    recording : Recording
    figure : Figure
    effort : str
    bank : Bank or None
        None lets the encoder choose among the shipped ones.

    Returns
    -------
    dict
        Sizes, losses, and how many windows (or, for a PRDN over the record, channels) broke their bound.
    """
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "archive"
        with ArchiveWriter(target) as writer:
            writer.add(recording, requests(recording, figure), effort=effort, bank=bank)
            writer.commit()
        report = evaluate(recording, target)
        with open_archive(target) as archive:
            info = archive.info()
        banks = {p.name: p.stat().st_size for p in (target / "banks").iterdir()}
    found = _losses(recording, report)
    broken = len(report.broken)
    if figure.kind == cases.PRDN:
        broken += sum(f["prdn"] > figure.value * (1 + 1e-6) for f in found)
    stored = info["stored_bytes"]
    return {
        "coded_bytes": info["coded_bytes"],
        "stored_bytes": stored["total"],
        "stored_signal": stored["signal"],
        "stored_bank": stored["bank"],
        "stored_metadata": stored["metadata"],
        "banks": banks,
        **worst(found),
        "broken": broken,
        "seconds": round(time.perf_counter() - began, 2),
    }


def _losses(recording: Recording, report: Report) -> list[dict[str, float]]:
    """Figures of every channel over the whole record, missing samples left out."""
    centre = {c.label: c.baseline for _, s in cases.segments(recording) for c in s.channels}
    found = []
    for stream in report.streams:
        for channel in stream.channels:
            own = channel.summary()
            losses = {"prdn": own["prdn"], "prd_raw": own["prd"], "max_error": own["max_error_adu"]}
            if centre[channel.name] == CENTRE:
                losses["prd_1024"] = own["prd_1024"]
            found.append(losses)
    return found
