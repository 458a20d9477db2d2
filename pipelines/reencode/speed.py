"""Two workers against one: wall time, CPU seconds a sample, and memory."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.reencode.process import Ended, run_reencode
from pipelines.reencode.sources import make_source

Row = dict[str, Any]
MIB = 1 << 20
MOST_RSS = 1536 * MIB


@dataclass(frozen=True)
class Speed:
    """What is measured: recordings of so many seconds, best of so many rounds."""

    recordings: int
    seconds: float
    rounds: int
    effort: str
    quality: str
    seed: int
    data: Path


def run(speed: Speed, work: Path) -> tuple[Row, list[str]]:
    """Measure; returns the row, and what is wrong: other bytes, or too much memory."""
    origin, source, found = make_source(work, speed)
    values = sum(g.samples.size for r in found for s in r.streams for g in s.segments)
    del found
    wrong: list[str] = []
    rounds: dict[int, list[Ended]] = {1: [], 2: []}
    first: dict[str, bytes] = {}
    for _ in range(speed.rounds):
        for workers, ended in rounds.items():
            target = work / "target.san"
            shutil.rmtree(target, ignore_errors=True)
            words: list[str | Path] = [source, "--to", target, "--quality", speed.quality, "--effort", speed.effort]
            ended.append(run_reencode([*words, "--workers", str(workers)], work / "log"))
            if ended[-1].code:
                wrong.append(f"{workers} workers ended with {ended[-1].code}: {ended[-1].said}")
                return {"campaign": "speed"}, wrong
            now = {str(p.relative_to(target)): p.read_bytes() for p in sorted(target.rglob("*")) if p.is_file()}
            first = first or now
            if now != first:
                wrong.append(f"{workers} workers made other bytes")
    one, two = (min(e, key=lambda x: x.wall_s) for e in rounds.values())
    least = {n: min(e.cpu_s for e in ended) for n, ended in rounds.items()}
    peak = max(e.worker_rss for ended in rounds.values() for e in ended)
    if peak > MOST_RSS:
        wrong.append(f"a worker had {peak / MIB:.0f} MiB")
    return {
        "campaign": "speed",
        "signal": origin,
        "recordings": speed.recordings,
        "M samples": round(values / 1e6, 2),
        "quality": speed.quality,
        "effort": speed.effort,
        "rounds": speed.rounds,
        "one worker s": round(one.wall_s, 1),
        "two workers s": round(two.wall_s, 1),
        "wall ratio": round(one.wall_s / two.wall_s, 3),
        "CPU µs/sample, one": round(1e6 * least[1] / values, 3),
        "CPU µs/sample, two": round(1e6 * least[2] / values, 3),
        "CPU ratio": round(least[2] / least[1], 3),
        "worker RSS MiB, most": round(peak / MIB),
    }, wrong
