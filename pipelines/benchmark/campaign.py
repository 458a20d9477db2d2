"""All rows of a list of records, several records at a time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.benchmark import cases
from pipelines.benchmark.codec import HINT
from pipelines.benchmark.own import LAYOUT, NAME, codec_digest, fold_bank, own_row
from pipelines.benchmark.peers import peer_row, peers_of, sources_of
from pipelines.benchmark.rows import Rows, files_digest, samples_digest

Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What is run.

    Parameters
    ----------
    data, work : Path
        Folder of the databases, and of what is finished.
    efforts : tuple of str
        Of sanstream.
    figures : tuple of str
        Figures whose names hold one of these texts.
    seed : int
    most_s : float or None
        Seconds kept of each record.
    peers : bool
        Measure the peers too.
    without : tuple of str
        Peers whose names hold one of these texts are left out.
    """

    data: Path
    work: Path
    efforts: tuple[str, ...]
    figures: tuple[str, ...] = ("",)
    seed: int = 0
    most_s: float | None = None
    peers: bool = True
    without: tuple[str, ...] = ()


def measure(options: Options, tasks: list[tuple[str, str]], n_jobs: int = 1) -> list[Row]:
    """Measure records.

    Parameters
    ----------
    options : Options
    tasks : list of (database, record)
    n_jobs : int
        Processes.

    Returns
    -------
    list of dict
        In the order of ``tasks``, figure by figure and codec by codec.
    """
    if n_jobs <= 1:
        return [row for task in tasks for row in record_rows(options, *task)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_jobs, mp_context=context) as pool:
        if options.efforts and any(d == "mitdb" for d, _ in tasks):
            for done in [pool.submit(_train, options, fold) for fold in range(cases.N_FOLDS)]:
                done.result()
        futures = [pool.submit(record_rows, options, *task) for task in tasks]
        return [row for future in futures for row in future.result()]


def _train(options: Options, fold: int) -> None:
    fold_bank(fold, options.data, options.work, options.seed)


def _show(row: Row) -> None:
    size = "left out: " + row["missing"] if "missing" in row else "cannot hold the samples"
    if row.get("coded_bytes") is not None:
        bits = 8 * row["coded_bytes"] / row["n_samples"]
        size = f"{bits:8.4f} bit/sample  prdn {row['prdn']:.3f}  broken {row['broken']}"
    codec = f"{row['codec']} {row['effort']}".strip()
    print(f"{row['database']:10s} {row['record']:14s} {row['figure']:38s} {codec:32s} {size}", flush=True)


def record_rows(options: Options, database: str, record: str) -> list[Row]:
    """Return all rows of one record, each printed as it comes; those that are finished are not run again."""
    case = cases.load(database, record, options.data, most_s=options.most_s)
    rows = Rows(options.work / "rows" / database)
    out = []
    for figure in _figures(options, database):
        for row in _figure_rows(options, rows, case, figure):
            _show(row)
            out.append(row)
    return out


def _figures(options: Options, database: str) -> list[cases.Figure]:
    return [f for f in cases.figures(database) if any(text in f.name for text in options.figures)]


def _figure_rows(options: Options, rows: Rows, case: cases.Case, figure: cases.Figure) -> Iterator[Row]:
    recording = cases.wanted(case, figure)
    same = (samples_digest(recording), str(figure))
    common = {
        "database": case.database,
        "record": case.record,
        "figure": figure.name,
        "n_samples": sum(s.samples.size for _, s in cases.segments(recording)),
    }
    peers = [p for p in peers_of(figure) if options.peers and not any(t in p.name for t in options.without)]
    for peer in peers:
        who = {**common, "codec": peer.name, "effort": ""}
        name = f"{case.record} {figure.name} {peer.name}"
        decided = (*same, files_digest(sources_of(peer)))
        try:
            yield who | rows.get(name, decided, partial(peer_row, peer, recording, figure))
        except ImportError as error:
            yield who | {"missing": f"{HINT} ({error})"}
    bank = None
    if options.efforts and case.fold is not None:
        bank = fold_bank(case.fold, options.data, options.work, options.seed)
    for effort in options.efforts:
        name = f"{case.record} {figure.name} {NAME} {effort}"
        who = {**common, "codec": NAME, "effort": effort}
        make = partial(own_row, recording, figure, effort, bank)
        yield who | rows.get(name, (*same, codec_digest(bank), effort, LAYOUT), make)
