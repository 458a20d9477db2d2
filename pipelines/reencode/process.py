"""``sanstream reencode`` as a process of its own: its CPU time, its workers and how much memory each takes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipelines.paper.report import ROOT

_WAIT_S, _LOOK_S = 0.01, 0.25
"""Between two looks whether it has ended, and at its workers: looking takes CPU time itself."""


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit code, seconds, CPU seconds of all processes, most memory of a worker, what it said."""

    code: int
    wall_s: float
    cpu_s: float
    worker_rss: int
    said: str


def workers_of(pid: int) -> list[psutil.Process]:
    """Return the worker processes of a client: what its fork server has forked, or what it spawned."""
    found = []
    with suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                words = " ".join(child.cmdline())
                if "spawn_main" in words or ("forkserver" in words and child.ppid() != pid):
                    found.append(child)
    return found


def _cpu_of(pid: int, seen: dict[int, float]) -> None:
    """Keep the CPU seconds of a client's descendants, which it does not wait for."""
    with suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                seen[child.pid] = sum(child.cpu_times()[:2])


def run_reencode(words: Sequence[str | Path], log: Path, look: Callable[[int], None] = lambda pid: None) -> Ended:
    """Run the command to its end; ``look`` is called again and again with its process id.

    Parameters
    ----------
    words : sequence of str
        What follows ``sanstream reencode``.
    log : Path
        File for what it says.
    look : callable
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    started, looked, peak = time.monotonic(), 0.0, 0
    children: dict[int, float] = {}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "sanstream", "reencode", *map(str, words)], stdout=out, stderr=out, env=env, cwd=ROOT
        )
        while True:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - looked > _LOOK_S:
                looked = time.monotonic()
                peak = max([peak, *map(_peak, workers_of(process.pid))])
                _cpu_of(process.pid, children)
                look(process.pid)
            time.sleep(_WAIT_S)
    process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it once more
    wall = time.monotonic() - started
    said = log.read_text("utf-8", "replace").strip()
    return Ended(process.returncode, wall, used.ru_utime + used.ru_stime + sum(children.values()), peak, said)


def _peak(process: psutil.Process) -> int:
    """Return the most memory that a process ever had, in bytes."""
    with suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0
