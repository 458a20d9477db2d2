"""Simulated streams in real time: generator and daemon in one process, counts and samples compared after the drain."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import sanstream
from pipelines.load import daemon
from pipelines.load.summary import Row, figures, keep_points
from sanstream.feeds.sim import sim_samples

STREAM = "250hz"
COMPARED = 50


@dataclass(frozen=True)
class Load:
    """What is sent.

    Parameters
    ----------
    streams, leads, rate_hz, seconds : int
    seed : int
    """

    streams: int = 2000
    leads: int = 2
    rate_hz: int = 250
    seconds: int = 600
    seed: int = 1

    @property
    def url(self) -> str:
        """The feed's URL."""
        return (
            f"sim://ecg?streams={self.streams}&leads={self.leads}&rate={self.rate_hz}&seconds={self.seconds}"
            f"&seed={self.seed}&session=load"
        )

    @property
    def n_values(self) -> int:
        """Samples in all, of all leads."""
        return self.streams * self.leads * self.rate_hz * self.seconds


def run(load: Load, work: Path, *, again: bool = False) -> tuple[Row, list[str]]:
    """Run the daemon over the load, unless that is done already, and compare what it archived.

    Parameters
    ----------
    load : Load
    work : Path

        An unfinished run in it is begun anew, and with ``again`` also a finished one.

    Returns
    -------
    row : dict
    wrong : list of str
        What is not as sent; empty when all is well.
    """
    folder = work / f"sim-{load.streams}x{load.leads}x{load.rate_hz}x{load.seconds}-{load.seed}"
    if again:
        shutil.rmtree(folder, ignore_errors=True)
    done = folder / "run.json"
    if not done.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        measured = measure(load, folder)
        done.write_text(json.dumps(measured), encoding="utf-8")
    row: Row = {"campaign": "sim", "streams": load.streams, "leads": load.leads, "rate Hz": load.rate_hz}
    row["signal s"] = load.seconds
    row |= json.loads(done.read_text("utf-8"))
    wrong = compare(load, folder)
    row["counts"] = "exact" if not wrong else f"{len(wrong)} wrong"
    row["streams compared"] = min(COMPARED, load.streams)
    return row, wrong


def measure(load: Load, folder: Path) -> Row:
    """Let the daemon take everything and drain; returns figures."""
    process = daemon.ingest(folder, load.url)
    points: list[dict[str, Any]] = []
    try:
        points.extend(daemon.watch(process, folder / "state"))
    finally:
        if process.poll() is None:
            process.kill()
    if process.returncode != 0 or not points:
        raise SystemExit(f"the daemon ended with {process.returncode}; see {folder / 'daemon.log'}")
    keep_points(points, folder / "points.jsonl")
    return figures(points, load.n_values)


def compare(load: Load, folder: Path) -> list[str]:
    """Count every stream's samples, and compare some streams sample by sample with what was sent."""
    n = load.rate_hz * load.seconds
    chosen = set(random.Random(load.seed).sample(range(load.streams), min(COMPARED, load.streams)))
    wrong = []
    digits = max(4, len(str(load.streams - 1)))
    with sanstream.open(folder / "live.san") as archive:
        for number in range(load.streams):
            name = f"sim{number:0{digits}d}"
            found = archive.recordings.get(name)
            if found is None:
                wrong.append(f"{name} is not there")
                continue
            stream = found.streams[STREAM]
            segments = stream.entry.segments
            first, held = segments[0].start_sample, sum(s.n_samples for s in segments)
            if held != n or segments[-1].stop_sample - first != n:
                wrong.append(f"{name}: {held} samples, sent were {n}")
            elif number in chosen:
                sent = sim_samples(load.url, number, 0, n)
                if not np.array_equal(stream.read(first, first + n), sent):
                    wrong.append(f"{name}: other samples than were sent")
        extra = len(archive.recordings) - load.streams
    if extra > 0:
        wrong.append(f"{extra} recordings that were never sent")
    return wrong
