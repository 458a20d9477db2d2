"""Workers and clients killed at random: the archive comes out as that of an undisturbed run, and keeps its bounds."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.reencode.process import run_reencode, workers_of
from pipelines.reencode.sources import make_source
from sanstream.archive import verify
from sanstream.evaluate import evaluate
from sanstream.signal import Recording

Row = dict[str, Any]


@dataclass(frozen=True)
class Kills:
    """What is done: one of two workers, or every so often the client, killed every ``mean_s`` seconds on average."""

    recordings: int
    seconds: float
    mean_s: float
    effort: str
    quality: str
    seed: int
    data: Path
    most: int | None = None
    client_share: float = 0.25


@dataclass
class Killer:
    """Kills by a clock of its own, ``most`` times at most."""

    mean_s: float
    client_share: float
    random: random.Random
    most: int | None = None
    workers: int = 0
    clients: int = 0
    _next: float = field(default=0.0)

    def __post_init__(self) -> None:
        self._wait()

    def look(self, client: int) -> None:
        """Kill, when it is time and somebody is there."""
        if time.monotonic() < self._next or self.workers + self.clients == self.most:
            return
        workers = workers_of(client)
        if not workers:
            return
        if self.random.random() < self.client_share:
            os.kill(client, signal.SIGKILL)
            self.clients += 1
        else:
            os.kill(self.random.choice(workers).pid, signal.SIGKILL)
            self.workers += 1
        self._wait()

    def _wait(self) -> None:
        self._next = time.monotonic() + self.random.expovariate(1 / self.mean_s)


def run(kills: Kills, work: Path) -> tuple[Row, list[str]]:
    """Kill until the archive is there; returns the row, and what is wrong with the archive."""
    origin, source, found = make_source(work, kills)
    options = ["--quality", kills.quality, "--effort", kills.effort]
    whole, target = work / "whole.san", work / "killed.san"
    wrong: list[str] = []
    for path in (whole, target):
        shutil.rmtree(path, ignore_errors=True)
    calm = run_reencode([source, "--to", whole, *options, "--workers", "1"], work / "log")
    if calm.code:
        return {"campaign": "kills"}, [f"undisturbed, it ended with {calm.code}: {calm.said}"]
    killer = Killer(kills.mean_s, kills.client_share, random.Random(kills.seed), kills.most)
    started, runs = time.monotonic(), 0
    while True:
        ended = run_reencode([source, "--to", target, *options, "--workers", "2"], work / "log", killer.look)
        runs += 1
        if ended.code not in (0, -signal.SIGKILL):
            return {"campaign": "kills"}, [f"run {runs} ended with {ended.code}: {ended.said}"]
        if not ended.code:
            break
    seconds = time.monotonic() - started
    wrong += [f"verify: {p}" for p in verify(target, deep=True)]
    wrong += _differences(whole, target)
    wrong += _broken(found, target)
    return {
        "campaign": "kills",
        "signal": origin,
        "recordings": kills.recordings,
        "M samples": round(sum(g.samples.size for r in found for s in r.streams for g in s.segments) / 1e6, 2),
        "quality": kills.quality,
        "effort": kills.effort,
        "mean s between kills": kills.mean_s,
        "workers killed": killer.workers,
        "clients killed": killer.clients,
        "undisturbed, one worker s": round(calm.wall_s, 1),
        "killed, two workers s": round(seconds, 1),
        "bytes": "equal" if not wrong else "see what is wrong",
    }, wrong


def _differences(a: Path, b: Path) -> list[str]:
    one, other = ({str(p.relative_to(r)): p.read_bytes() for p in r.rglob("*") if p.is_file()} for r in (a, b))
    return [f"{key} differs" for key in sorted({*one, *other}) if one.get(key) != other.get(key)]


def _broken(found: list[Recording], target: Path) -> list[str]:
    return [f"{r.name}: {line}" for r in found for line in evaluate(r, target).broken]
