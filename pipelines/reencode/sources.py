"""Archives to re-encode: real recordings where they are, else simulated ones."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from pipelines.paper.report import ROOT
from sanstream import formats
from sanstream.archive import ArchiveWriter
from sanstream.archive import open as open_archive
from sanstream.signal import Recording
from sanstream.simulate import simulate_ecg

DATA = ROOT.parent / "shared" / "data"
LEAST_REAL = 24


class Asked(Protocol):
    """What a campaign says of its recordings."""

    @property
    def recordings(self) -> int:
        """How many."""

    @property
    def seconds(self) -> float:
        """How long each is, where it is simulated."""

    @property
    def seed(self) -> int:
        """Of what is simulated."""

    @property
    def data(self) -> Path:
        """Folder of real recordings."""


def recordings(n: int, seconds: float, seed: int, data: Path) -> tuple[str, list[Recording]]:
    """Return where the recordings are from, and ``n`` of them, of two leads at 360 Hz; the same again if too few."""
    headers = sorted((data / "mitdb").glob("*.hea"))
    if len(headers) >= min(n, LEAST_REAL) and seconds >= 1800:
        found = [formats.read(h) for h in headers[:n]]
        times = range(-(-n // len(found)))
        return "mitdb", [replace(r, name=f"{r.name}-{k + 1}") if k else r for k in times for r in found][:n]
    return "simulated", [simulate_ecg(seconds, rate_hz=Fraction(360), seed=seed + i, name=f"bed{i}") for i in range(n)]


def make_source(folder: Path, asked: Asked) -> tuple[str, Path, list[Recording]]:
    """Write them as a lossless archive of effort fast, as a daemon would, or find it written."""
    origin, found = recordings(asked.recordings, asked.seconds, asked.seed, asked.data)
    path = folder / "source.san"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with ArchiveWriter(path) as writer:
            for recording in found:
                writer.add(recording, effort="fast")
            writer.commit()
    with open_archive(path) as held:
        assert len(held.recordings) == asked.recordings, f"{path} holds other recordings: remove it"
    return origin, path, found
