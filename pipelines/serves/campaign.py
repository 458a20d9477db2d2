"""Rows of records, each made once: the campaign goes on where it was cut off."""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from pipelines.benchmark import cases
from pipelines.benchmark.own import ROOT, codec_digest, fold_bank
from pipelines.benchmark.rows import Rows
from pipelines.serves import hearts, others
from sanstream import formats

Row = dict[str, Any]
_HEART = ("agreement", "beats", "detectors", "matching", "pieces", "rhythm", "st")
"""Files of the package that decide the rows of MIT-BIH."""


def _sources(own: str, names: tuple[str, ...]) -> str:
    digest = hashlib.sha256((ROOT / "pipelines" / "serves" / own).read_bytes())
    for name in names:
        digest.update((ROOT / "sanstream" / "serves" / f"{name}.py").read_bytes())
    return digest.hexdigest()


def heart_row(record: str, options: argparse.Namespace) -> Row:
    """Return the row of one record of MIT-BIH, made now or before."""
    fold = cases.records("mitdb", options.data).index(record) % cases.N_FOLDS
    bank = fold_bank(fold, options.data, options.work, options.seed)
    recording = formats.read(options.data / "mitdb" / record)
    key = (codec_digest(bank), _sources("hearts.py", _HEART), options.effort, str(options.seed))
    make = partial(hearts.record_row, recording, options.effort, bank, options.seed)
    row = Rows(options.work / "rows").get(f"mitdb {record}", key, make)
    print(f"mitdb {record}", flush=True)
    return row


def other_row(database: str, record: str, options: argparse.Namespace) -> Row:
    """Return the row of a record of another database, made now or before."""
    key = (codec_digest(None), _sources("others.py", (*_HEART, "assess", "pulses", "spectra")), options.effort)
    make = partial(others.record_row, options.data / database / record, options.effort)
    row = Rows(options.work / "rows").get(f"{database} {record}", key, make)
    print(f"{database} {record}", flush=True)
    return row


def measure(act: Callable[..., Row], tasks: list[tuple[str, ...]], options: argparse.Namespace) -> list[Row]:
    """Make the rows of all tasks, several at a time where ``jobs`` says so."""
    if options.jobs <= 1:
        return [act(*task, options) for task in tasks]
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        return [future.result() for future in [pool.submit(act, *task, options) for task in tasks]]
