"""The benchmark's protocol: write, weigh, compare, and time reads at random places."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Waveforms = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Cell:
    """One column of the table.

    Parameters
    ----------
    n_reads : int
    seconds : float
        Of one read; the whole record where it is not longer.
    one_channel : bool
        A random signal per read, or all.
    once : bool
        Open once; else for every read.
    """

    n_reads: int
    seconds: float
    one_channel: bool = False
    once: bool = False

    @property
    def name(self) -> str:
        """What the table calls it."""
        what = "whole" if self.n_reads == 1 else f"{self.n_reads} x {self.seconds:g} s"
        return f"{'open once, ' if self.once else ''}{'one' if self.one_channel else 'all'}: {what}"


def cells(scale: float = 1.0) -> list[Cell]:
    """Return the benchmark's columns; ``scale`` shortens reads for a short record."""
    blocks = [(1, float("inf")), (5, 500 * scale), (50, 50 * scale), (500, 5 * scale)]
    return [Cell(n, s, one, once) for once in (False, True) for one in (False, True) for n, s in blocks]


def n_samples(waveforms: Waveforms) -> int:
    """Count samples as the benchmark does: every sample of a chunk."""
    return sum(len(c["samples"]) for w in waveforms.values() for c in w["chunks"])


def length_s(waveforms: Waveforms) -> float:
    """Return the record's length in seconds."""
    return max(float(w["chunks"][-1]["end_time"]) for w in waveforms.values())


def stored_bytes(folder: Path) -> int:
    """Weigh everything below a folder."""
    return sum(os.path.getsize(os.path.join(place, f)) for place, _, files in os.walk(folder) for f in files)


def faults(kind: type[Any], path: str, waveforms: Waveforms) -> list[str]:
    """Compare every chunk as the benchmark does, read by a new object; say what differs.

    Shapes and the places of NaN must be equal, values within half a step (and a relative 1e-5).
    """
    out = []
    for name, waveform in waveforms.items():
        for number, chunk in enumerate(waveform["chunks"]):
            got = np.asarray(kind().read_waveforms(path, chunk["start_time"], chunk["end_time"], [name])[name])
            expected = chunk["samples"]
            if got.shape != expected.shape:
                out.append(f"{name}, chunk {number}: shape {got.shape}, expected {expected.shape}")
                continue
            gone = np.isnan(expected)
            if not np.array_equal(np.isnan(got), gone):
                out.append(f"{name}, chunk {number}: missing samples elsewhere")
            n_wrong = int((~np.isclose(got[~gone], expected[~gone], atol=0.5 / chunk["gain"])).sum())
            if n_wrong:
                out.append(f"{name}, chunk {number}: {n_wrong} samples differ")
    return out


def timed(kind: type[Any], path: str, names: list[str], total_s: float, cell: Cell, seed: int) -> tuple[float, float]:
    """Read a cell's stretches; returns wall and processor seconds.

    Opening counts, once or for every read; the places depend on ``seed`` alone.
    """
    rng = random.Random(seed)
    seconds = min(cell.seconds, total_s)
    asks = []
    for _ in range(cell.n_reads):
        start = rng.random() * (total_s - seconds)
        asks.append((start, start + seconds, [rng.choice(names)] if cell.one_channel else names))
    reader = kind()
    wall, cpu = time.perf_counter(), time.process_time()
    if cell.once:
        opened = reader.open_waveforms(path, names)
        for start, stop, wanted in asks:
            reader.read_opened_waveforms(opened, start, stop, wanted)
        reader.close_waveforms(opened)
    else:
        for start, stop, wanted in asks:
            reader.read_waveforms(path, start, stop, wanted)
    return time.perf_counter() - wall, time.process_time() - cpu
