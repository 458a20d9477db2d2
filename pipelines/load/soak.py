"""A simulated week on a clock turned by hand: retention, changing signals and retraining, as fast as it goes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import sanstream
from pipelines.load.daemon import process_figures
from pipelines.load.summary import MIB, Row
from sanstream.chunk import Chunk, Delivery, stream_name
from sanstream.config import ArchiveSettings, RetrainSettings, Settings
from sanstream.daemon.adaptation import Adaptation
from sanstream.daemon.adapting import Adapting
from sanstream.daemon.engine import Engine
from sanstream.daemon.inbox import FeedLink, Inbox
from sanstream.durable import Disk
from sanstream.feeds import FeedOptions, FeedState
from sanstream.feeds.sim import Simulation
from sanstream.quality import prdn
from sanstream.telemetry import Telemetry

START_NS = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z."""
DAY_S = 86_400
PRDN = 5.0
COMPARED = 100
_SLACK = 1 + 1e-6


@dataclass(frozen=True)
class Soak:
    """What is simulated.

    Parameters
    ----------
    streams, leads, rate_hz, days : int
    day_s : int
        Seconds of a day; shorter for a short form.
    chunk_s : int
        Seconds of signal per message.
    change_s : int
        Every stream's signal becomes another one's so often.
    keep_s : int
        Segments older than this are deleted.
    seed : int
    """

    streams: int = 20
    leads: int = 1
    rate_hz: int = 64
    days: int = 7
    day_s: int = DAY_S
    chunk_s: int = 60
    change_s: int = 2 * DAY_S
    keep_s: int = 2 * DAY_S
    seed: int = 1

    def simulation(self) -> Simulation:
        """Return the streams as functions of sample numbers."""
        url = (
            f"sim://ecg?streams={self.streams}&leads={self.leads}&rate={self.rate_hz}&seed={self.seed}"
            f"&change={self.change_s}&chunk={self.chunk_s}"
        )
        return Simulation(FeedOptions("soak", url))


class Clock:
    """Nanoseconds since 1970 that pass only when told."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        """Return the time."""
        return self.now_ns


class Ward:
    """An engine on a clock of its own, and the messages that it gets.

    Parameters
    ----------
    soak : Soak
    folder : Path
        Archive and state; goes on where an earlier one stopped.
    second : int
        Seconds since the start.
    """

    def __init__(self, soak: Soak, folder: Path, second: int) -> None:
        self.soak, self.folder, self.sim = soak, folder, soak.simulation()
        self.clock = Clock(START_NS + second * 10**9)
        self.telemetry = Telemetry()
        state, disk = folder / "state", Disk()
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        retrain = RetrainSettings(max_per_day=2)
        settings = Settings(
            ArchiveSettings(str(folder / "live.san"), state, keep_s=float(soak.keep_s), effort="fast"),
            {"default": f"prdn={PRDN:g}"},
            retrain=retrain,
        )
        self.adaptation = Adaptation(retrain, state, disk, self.clock, inline=True)
        self.pool = ThreadPoolExecutor(2)
        self.engine = Engine(
            settings, telemetry=self.telemetry, disk=disk, clock=self.clock, pool=self.pool,
            adapting=Adapting(self.adaptation),
        )  # fmt: skip
        self.inbox = Inbox("soak", can_wait=True, queue_s=1e9, max_bytes=1 << 40)
        self.engine.add_feed(FeedLink("soak", "sim", self.inbox, FeedState(connected=True)))
        self.stream = stream_name(self.sim.rate)
        self.n_acknowledged = 0

    def send(self, second: int) -> None:
        """Give every stream's message that begins at a second, and turn until what is whole is committed."""
        n, first = self.soak.chunk_s * self.soak.rate_hz, second * self.soak.rate_hz
        self.clock.now_ns = START_NS + (second + self.soak.chunk_s) * 10**9
        for number in range(self.soak.streams):
            samples = self.sim.samples(number, first, n)
            chunk = Chunk(
                self.sim.names[number], self.stream, "week", first, samples, self.sim.rate,
                self.sim.ring(number, 0)[1], START_NS + second * 10**9, self.clock.now_ns,
            )  # fmt: skip
            self.inbox.put(Delivery((chunk,), samples.nbytes, self._acknowledged))
        self.engine.step()
        self.engine.commit()

    def _acknowledged(self) -> None:
        self.n_acknowledged += 1

    def look(self) -> Row:
        """Measure memory, files and disk."""
        return {
            **process_figures(os.getpid()),
            "archive": folder_bytes(self.folder / "live.san"),
            "state": folder_bytes(self.folder / "state"),
            "deleted": _value(self.telemetry.retention_deleted_segments),
            "retrained": sum(self.adaptation.state(key)["retrained"] for key in self.engine.state.streams),
            "alarms": sum(self.adaptation.state(key)["alarms"] for key in self.engine.state.streams),
            "acknowledged": self.n_acknowledged,
        }

    def close(self, *, drain: bool) -> None:
        """End, the archive complete where asked."""
        if drain:
            self.engine.drain()
        self.engine.close()
        self.pool.shutdown()


def run(soak: Soak, work: Path, *, again: bool = False) -> tuple[Row, list[str]]:
    """Live through the days that are not done yet, and compare what was kept.

    Parameters
    ----------
    soak : Soak
    work : Path
        Each finished day stands in it; the next one goes on from there.
    again : bool
        Begin anew.

    Returns
    -------
    row : dict
    wrong : list of str
    """
    folder = work / f"soak-{soak.streams}x{soak.days}x{soak.day_s}-{soak.seed}"
    if again:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "days.jsonl"
    days: list[Row] = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []
    if len(days) < soak.days:
        ward = Ward(soak, folder, len(days) * soak.day_s)
        for day in range(len(days), soak.days):
            began = time.monotonic()
            for second in range(day * soak.day_s, (day + 1) * soak.day_s, soak.chunk_s):
                ward.send(second)
            days.append(ward.look() | {"wall_s": time.monotonic() - began})
            print(f"day {day + 1}: {json.dumps(days[-1])}", file=sys.stderr, flush=True)
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(days[-1]) + "\n")
        ward.close(drain=True)
    wrong = compare(soak, folder)
    return _row(soak, days, wrong), wrong


def _row(soak: Soak, days: list[Row], wrong: list[str]) -> Row:
    early, last = days[min(1, len(days) - 1)], days[-1]
    return {
        "campaign": "soak",
        "streams": soak.streams,
        "leads": soak.leads,
        "rate Hz": soak.rate_hz,
        "signal s": soak.days * soak.day_s,
        "M samples/s": soak.streams * soak.leads * soak.rate_hz * soak.days * soak.day_s
        / max(1e-9, sum(d["wall_s"] for d in days)) / 1e6,
        "RSS MiB, first quarter": round(early["rss"] / MIB),
        "RSS MiB, end": round(last["rss"] / MIB),
        "RSS MiB, most": round(max(d["rss"] for d in days) / MIB),
        "open files, most": max(d["files"] for d in days),
        "archive MiB, by day": " ".join(str(round(d["archive"] / MIB)) for d in days),
        "state MiB, most": round(max(d["state"] for d in days) / MIB),
        "segments deleted": int(last["deleted"]),
        "alarms": last["alarms"],
        "retrained": last["retrained"],
        "counts": "exact" if not wrong else f"{len(wrong)} wrong",
        "streams compared": soak.streams,
    }  # fmt: skip


def compare(soak: Soak, folder: Path) -> list[str]:
    """Look for every sample of the time that is kept, and hold random windows against their bound."""
    sim, wrong = soak.simulation(), []
    pick = random.Random(soak.seed)
    n = soak.days * soak.day_s * soak.rate_hz
    oldest = max(0, n - soak.keep_s * soak.rate_hz)
    window = 10 * soak.rate_hz
    with sanstream.open(folder / "live.san") as archive:
        for number, name in enumerate(sim.names):
            stream = archive.recordings[name].streams[stream_name(sim.rate)]
            segments = sorted(stream.entry.segments, key=lambda s: s.start_sample)
            first = segments[0].start_sample
            held = sum(s.n_samples for s in segments)
            if first > oldest or segments[-1].stop_sample != n or held != n - first:
                wrong.append(f"{name}: {held} samples from {first} on, sent were {n}")
                continue
            for _ in range(-(-COMPARED // soak.streams)):
                segment = pick.choice(segments)
                at = segment.start_sample + pick.randrange(max(1, segment.n_samples // window)) * window
                stop = min(at + window, segment.stop_sample)
                x, y = sim.samples(number, at, stop - at), stream.read(at, stop)
                far = [c for c in range(soak.leads) if _is_far(x[:, c], y[:, c])]
                wrong += [f"{name}, lead {c}, samples {at} to {stop}: beyond its bound" for c in far]
        problems = archive.verify(deep=False)
    return wrong + [f"verify: {p}" for p in problems]


def folder_bytes(folder: Path) -> int:
    """Add up the files below a folder."""
    total = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
                total += os.stat(os.path.join(here, name)).st_size
    return total


def _is_far(x: npt.NDArray[np.int32], y: npt.NDArray[np.int32]) -> bool:
    return not np.array_equal(x, y) and prdn(x, y) > PRDN * _SLACK


def _value(counter: Any) -> float:
    return float(next(iter(counter.collect())).samples[0].value)
