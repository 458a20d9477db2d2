"""Random access: ten seconds out of an archive, warm, and the first of a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.benchmark import cases
from pipelines.benchmark.own import ROOT, requests
from pipelines.benchmark.timing import EXACT, LOSSY
from sanstream.archive import open as open_archive
from sanstream.archive_write import ArchiveWriter
from sanstream.zarr_codec import SanstreamCodec

READ_S = 10
N_READS = 60
_FRESH = """
import sys, time
began = time.perf_counter()
import sanstream
with sanstream.open(sys.argv[1]) as archive:
    (recording,) = archive.recordings.values()
    (stream,) = recording.streams.values()
    stream.read(0, int(sys.argv[2]))
print(time.perf_counter() - began)
"""


def measure(case: cases.Case, seed: int = 0, *, effort: str = "default") -> list[dict[str, Any]]:
    """Time reads of one record's archives.

    Parameters
    ----------
    case : Case
        Of one stream.
    seed : int
        Of the places read.
    effort : str

    Returns
    -------
    list of dict
        One line per quality: median milliseconds of a read through sanstream and through zarr, all
        channels, and the seconds of the first read in a fresh process whose loops are compiled.
    """
    (stream,) = case.recording.streams
    n = READ_S * int(stream.rate)
    starts = np.random.default_rng(seed).integers(0, stream.n_samples - n, N_READS).tolist()
    lines = []
    for figure in (EXACT, LOSSY):
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "archive"
            with ArchiveWriter(target) as writer:
                writer.add(case.recording, requests(case.recording, figure), effort=effort)
                writer.commit()
            lines.append(
                {
                    "signals": f"{case.database} {case.record}, {stream.segments[0].samples.shape[1]} channels",
                    "quality": figure.name,
                    "effort": effort,
                    f"sanstream.open, {READ_S} s, ms": _own_ms(target, starts, n),
                    f"zarr.open, {READ_S} s, ms": _zarr_ms(target, case, starts, n),
                    "first in a fresh process, s": _fresh_s(target, n),
                }
            )
    return lines


def _median_ms(read: Callable[[int], object], starts: list[int]) -> float:
    read(starts[0])
    times = []
    for start in starts:
        began = time.perf_counter()
        read(start)
        times.append(time.perf_counter() - began)
    return round(1000 * float(np.median(times)), 2)


def _own_ms(target: Path, starts: list[int], n: int) -> float:
    with open_archive(target) as archive:
        (recording,) = archive.recordings.values()
        (stream,) = recording.streams.values()
        return _median_ms(lambda start: stream.read(start, start + n), starts)


def _zarr_ms(target: Path, case: cases.Case, starts: list[int], n: int) -> float:
    import zarr
    from zarr.registry import register_codec

    register_codec("sanstream", SanstreamCodec)  # an installed package does this by itself

    group = zarr.open_group(target, mode="r")
    array: Any = group[f"{case.recording.name}/{case.recording.streams[0].name}"]
    while not hasattr(array, "shape"):
        (array,) = (member for _, member in array.members())
    return _median_ms(lambda start: array[start : start + n], starts)


def _fresh_s(target: Path, n: int) -> float:
    """Best of three processes after one that may compile."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    times = []
    for _ in range(4):
        done = subprocess.run(
            [sys.executable, "-c", _FRESH, str(target), str(n)], env=env, capture_output=True, text=True, check=True
        )
        times.append(float(done.stdout))
    return round(min(times[1:]), 3)
