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

_LOOK_S = 0.1


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit code, seconds, CPU seconds of all processes, most memory of a worker, what it said."""

    code: int
    wall_s: float
    cpu_s: float
    worker_rss: int
    said: str


def workers_of(pid: int) -> list[psutil.Process]:
    """Return the worker processes of a client."""
    found = []
    with suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                if any("spawn_main" in word for word in child.cmdline()):
                    found.append(child)
    return found


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
    started, peak = time.monotonic(), 0
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "sanstream", "reencode", *map(str, words)], stdout=out, stderr=out, env=env, cwd=ROOT
        )
        while True:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            peak = max([peak, *map(_peak, workers_of(process.pid))])
            look(process.pid)
            time.sleep(_LOOK_S)
    process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it once more
    wall = time.monotonic() - started
    said = log.read_text("utf-8", "replace").strip()
    return Ended(process.returncode, wall, used.ru_utime + used.ru_stime, peak, said)


def _peak(process: psutil.Process) -> int:
    """Return the most memory that a process ever had, in bytes."""
    with suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0
