"""Re-encoding inside the test's own process, and recordings and bounds that its tests share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import sanstream
from sanstream.archive import ArchiveWriter
from sanstream.reencode_jobs import Job, run_job
from sanstream.signal import Channel, Recording, Segment, Stream

RATE = 100
MISSING = -(2**15)


class Inline:
    """Runs jobs here, one after the other."""

    ran: ClassVar[list[str]] = []

    def __init__(self, client: object, done: Callable[[Job], Sequence[Job]], workers: int | None) -> None:
        self._done = done

    def run(self, jobs: Sequence[Job]) -> None:
        ready = deque(jobs)
        while ready:
            job = ready.popleft()
            run_job(job)
            self.ran.append(job.where)
            ready.extend(self._done(job))


@contextmanager
def _nobody(cluster: object) -> Iterator[None]:
    yield None


def run_inline(monkeypatch: pytest.MonkeyPatch) -> type[Inline]:
    """Let ``reencode`` run its jobs in this process."""
    own = type("Own", (Inline,), {"ran": []})
    monkeypatch.setattr("sanstream.reencode.Runner", own)
    monkeypatch.setattr("sanstream.reencode.connected", _nobody)
    monkeypatch.setattr("sanstream.reencode.device_of", lambda client: "cpu")
    return own


def channels(n: int = 2, **changes: Any) -> tuple[Channel, ...]:
    """Leads with a missing code."""
    own = {"unit": "mV", "gain": 200.0, "digital_min": -(2**15) + 1, "missing": MISSING, **changes}
    return tuple(Channel(f"lead{i}", **own) for i in range(n))


def signal(seconds: float, seed: int = 0, n: int = 2, rate: int = RATE) -> np.ndarray:
    """Beats, wander and noise, louder and softer by turns."""
    from conftest import beats

    x = beats(int(seconds * rate), n, rate_hz=rate, seed=seed)
    swell = 1 + 0.9 * np.sin(2 * np.pi * np.arange(len(x)) / (37 * rate))
    return np.round(x * swell[:, None]).astype(np.int32)


def one(x: np.ndarray, name: str = "bed", at: Sequence[int] = (0,), **changes: Any) -> Recording:
    """A recording of one stream, cut into segments at ``at``."""
    own = channels(x.shape[1])
    stops = [*at[1:], len(x)]
    segments = tuple(Segment(a, own, x[a:b]) for a, b in zip(at, stops, strict=True))
    return Recording(name, (Stream(f"{RATE}hz", Fraction(RATE), segments),), **changes)


def make(
    path: Path | str, *recordings: Recording, quality: Sequence[str] = (), effort: str = "fast", **options: Any
) -> Any:
    """Write an archive."""
    with ArchiveWriter(path, **options) as writer:
        for recording in recordings:
            writer.add(recording, quality, effort=effort)
        writer.commit()
    return path


def files(root: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def read(path: Path, name: str = "bed", stream: str = f"{RATE}hz") -> np.ndarray:
    """All samples of one stream."""
    with sanstream.open(path) as held:
        return held.recordings[name].streams[stream].read()


def worst_prdn(x: np.ndarray, z: np.ndarray, window: int = 10 * RATE) -> float:
    """The largest PRDN of any window and channel, per cent."""
    found = 0.0
    for a in range(0, len(x), window):
        for c in range(x.shape[1]):
            own, other = x[a : a + window, c].astype(float), z[a : a + window, c].astype(float)
            error = np.linalg.norm(own - other)
            if error:
                found = max(found, 100 * error / np.linalg.norm(own - own.mean()))
    return found
