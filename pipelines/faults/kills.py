"""kill -9 at random moments and at every named fault point, with real processes, publishers and brokers.

A life: a daemon is killed again and again while samples come, started at once each time, and drained in the end. Then
the archive holds every sample that was acknowledged, once and equal.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pipelines.faults.numbered import Verdict
from pipelines.faults.sources import Source
from pipelines.faults.sources_local import SOURCES
from pipelines.faults.victim import DEADLINE_S, Hung, Victim, configure
from sanstream.durable import POINTS

KILLS_A_LIFE = 10
OF_ARCHIVING = ("partial_made", "recording_written", "before_rename", "renamed")
"""Points ``archive.*`` of ``sanstream archive``, which no daemon reaches."""
OF_SHARING = ("seal.places", "seal.descriptor")
"""Points of daemons that share an archive."""
OFTEN = ("journal.append", "journal.synced", "ledger.append", "ledger.synced", "engine.acknowledged")
"""Points that a process reaches many times: it dies at one of the first few."""
FIRST = ("seal.bank", "seal.catalog", "archive.before_catalog")
"""Points that are reached only while the archive is new."""
REACHABLE = (
    *FIRST,
    *(
        p
        for p in POINTS
        if p not in FIRST
        and p.rpartition(".")[2] not in OF_ARCHIVING
        and p not in OF_SHARING
        and not p.startswith("retrain.")
    ),
)
"""Points of a daemon without retraining that shares its archive with no other."""
_AT_POINT_S, _NEWS_S = 0.5, 30.0


@dataclass
class Outcome:
    """What became of one life.

    Parameters
    ----------
    transport : str
    seed : int
    verdict : Verdict
    killed : int
        At random moments.
    reached : list of str
        Fault points at which a process died.
    missed : list of str
        Fault points that were not reached before the process had drained.
    problems : list of str
        Of :meth:`sanstream.Archive.verify`, or why the life could not be lived to its end.
    seconds : float
    """

    transport: str
    seed: int
    verdict: Verdict = field(default_factory=Verdict)
    killed: int = 0
    reached: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict.good and not self.problems

    def __str__(self) -> str:
        found = ", ".join(f"{v} {k}" for k, v in vars(self.verdict).items())
        wrong = "".join(f"\n  {p}" for p in self.problems)
        points = f"{len(self.reached)} points" + (f" (not {', '.join(self.missed)})" if self.missed else "")
        return f"{self.transport} seed {self.seed}: {self.killed} kills, {points}; {found}; {self.seconds:.0f} s{wrong}"


class Life:
    """One archive, one source, and the daemons that die between them.

    Parameters
    ----------
    transport : str
    folder : Path
        An empty one.
    seed : int
    retrain : str
        Mode.
    """

    def __init__(self, transport: str, folder: Path, seed: int, *, retrain: str = "off") -> None:
        self.folder, self.random = folder, random.Random(f"{transport} {seed}")
        self.outcome = Outcome(transport, seed)
        self.source: Source = SOURCES[transport](folder, seed)
        configure(folder, self.source.feed, retrain=retrain)
        self._start_s = 2.0

    def live(self, kills: int, points: Sequence[str] = ()) -> Outcome:
        """Kill daemons at points, then at random moments; drain the last one, and compare."""
        began = time.monotonic()
        try:
            with self._start() as first:
                if self.source.begins_first:
                    self.source.begin()
                first.wait_connected()
                if not self.source.begins_first:
                    self.source.begin()
                first.rest(0.5 if self.source.replays else self.random.uniform(0.5, self.source.window_s))
                self._count(first.kill())
            for point in points:
                self._die_at(point)
            while self.outcome.killed < kills:
                self.random.choice((self._kill_early, self._kill_running, self._kill_running, self._kill_draining))()
            self._finish()
        except Hung as error:
            self.outcome.problems.append(f"{error}")
        finally:
            self.source.close()
        self.outcome.seconds = round(time.monotonic() - began, 1)
        return self.outcome

    def _start(self, fault: str = "") -> Victim:
        return Victim(self.folder, fault, self.source.stdin)

    def _count(self, code: int) -> None:
        """Note a death; a process that had drained meanwhile was not killed."""
        self.outcome.killed += code != 0
        self.source.died()

    def _kill_early(self) -> None:
        """Kill before it says that it is ready: while it recovers."""
        with self._start() as victim:
            victim.rest(self._start_s * self.random.uniform(0.5, 1.0))
            self._count(victim.kill())

    def _kill_running(self) -> None:
        with self._start() as victim:
            self._wait_ready(victim)
            victim.rest(self.random.uniform(0.0, self.source.window_s))
            self._count(victim.kill())

    def _kill_draining(self) -> None:
        with self._start() as victim:
            self._wait_ready(victim)
            victim.rest(self.random.uniform(0.0, self.source.window_s))
            victim.ask_to_drain()
            victim.rest(self.random.uniform(0.0, 0.6))
            self._count(victim.kill())

    def _wait_ready(self, victim: Victim) -> None:
        if not victim.wait_ready():
            raise Hung(f"it does not start: {victim.log()}")
        self._start_s = time.monotonic() - victim.began

    def _die_at(self, point: str) -> None:
        """Let a process die at a point: at its start, while it archives, or while it drains."""
        nth = self.random.randint(1, 3) if point in OFTEN else 1
        with self._start(f"{point}:{nth}") as victim:
            if victim.wait_ready():
                # a source that begins again needs longer each time until it brings something new
                before, until = self._journal(), time.monotonic() + _NEWS_S
                while victim.alive and self._journal() == before and time.monotonic() < until:
                    victim.rest(0.1)
                victim.rest(_AT_POINT_S)
                victim.ask_to_drain()
            died = victim.ended() != 0
            (self.outcome.reached if died else self.outcome.missed).append(point)
            self.source.died()

    def _journal(self) -> int:
        """Return the bytes of the newest journal file."""
        files = sorted((self.folder / "state" / "journal").glob("*.log"))
        with suppress(FileNotFoundError):  # removed meanwhile
            return files[-1].stat().st_size if files else 0
        return 0

    def _finish(self) -> None:
        """Let a process take the rest, drain, and compare."""
        with self._start() as last:
            self._wait_ready(last)
            self.source.end()
            until = time.monotonic() + DEADLINE_S
            while last.alive and time.monotonic() < until and self._lost():
                last.rest(1.0)
            last.ask_to_drain()
            if last.ended() != 0:
                raise Hung("the last process was killed")
        self.outcome.verdict = self.source.compare()
        self.outcome.problems += verify(self.folder / "live.san")

    def _lost(self) -> bool:
        return not (self.folder / "live.san" / "catalog.json").exists() or self.source.compare().lost > 0


def verify(archive: Path) -> list[str]:
    """Return what a deep verification finds."""
    import sanstream

    with sanstream.open(archive) as opened:
        return [str(p) for p in opened.verify(deep=True)]


def run(wanted: Mapping[str, int], seed: int, work: Path, *, spread: bool = False, jobs: int = 2) -> list[Outcome]:
    """Live lives until every transport's daemons died so often at random, and once at every point.

    Parameters
    ----------
    wanted : mapping of str to int
        Kills of each transport.
    seed : int
        Of the first life; each further life has the next one.
    work : Path
        A life whose result stands here is not lived again.
    spread : bool
        Each point with one of the transports only.
    jobs : int
        Lives at a time, each in a process of its own.
    """
    plans = []
    for place, (transport, kills) in enumerate(wanted.items()):
        points = tuple(p for p in REACHABLE if p not in SOURCES[transport].unreachable)
        if spread:
            points = points[place :: len(wanted)]
        for number in range(-(-kills // KILLS_A_LIFE)):
            n = min(KILLS_A_LIFE, kills - number * KILLS_A_LIFE)
            plans.append((transport, n, seed + number, points if number == 0 else (), work))
    out = []
    # each life has threads that publish, and liblsl is told of its network once a process
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for made in as_completed([pool.submit(_lived, *plan) for plan in plans]):
            out.append(made.result())
            print(out[-1], file=sys.stderr, flush=True)
    return out


def _lived(transport: str, kills: int, seed: int, points: Sequence[str], work: Path) -> Outcome:
    folder = work / f"{transport}-{seed}"
    done = folder.with_suffix(f".{kills}-{len(points)}.json")
    if done.is_file():
        data: dict[str, Any] = json.loads(done.read_text("utf-8"))
        return Outcome(**data | {"verdict": Verdict(**data["verdict"])})
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    outcome = Life(transport, folder, seed).live(kills, points)
    if outcome.good:
        shutil.rmtree(folder, ignore_errors=True)
        done.write_text(json.dumps(asdict(outcome)), encoding="utf-8")
    return outcome


def rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Sum up each transport's lives in one line."""
    out = []
    for transport in sorted({o.transport for o in outcomes}):
        own = [o for o in outcomes if o.transport == transport]
        total = Verdict()
        for outcome in own:
            total += outcome.verdict
        out.append(
            {
                "campaign": "kill -9",
                "of": transport,
                "faults": sum(o.killed for o in own),
                "at points": sum(len(o.reached) for o in own),
                "samples compared": total.compared,
                "lost": total.lost,
                "doubled": total.doubled,
                "changed": total.changed + total.misplaced,
                "_missed": sorted({p for o in own for p in o.missed}),
                "_problems": sum(len(o.problems) for o in own),
            }
        )
    return out
