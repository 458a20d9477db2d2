"""Daemons that share a feed and an archive, each a process with its own state folder; killed, paused, recovered."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

_DEADLINE_S = 300.0
_PEACEFUL = (0, 128 + signal.SIGTERM)
"""The second of one that was told to stop before it had begun."""
LEASE_S = 4.0
PARTITIONS = 8


@dataclass
class Worker:
    """One place for a daemon.

    Parameters
    ----------
    name : str
    state : Path
        Its state folder now.
    process : Popen or None
    due : float
        When something is done with it next.
    what : str
        That something: ``"start"``, ``"continue"``, or nothing.
    generation : int
        Counts its state folders.
    recovering : Popen or None
        Finishes its last state folder.
    told : bool
        Whether it was told to stop; told twice, it would end at once.
    """

    name: str
    state: Path
    process: subprocess.Popen[bytes] | None = None
    due: float = 0.0
    what: str = ""
    generation: int = 0
    recovering: subprocess.Popen[bytes] | None = None
    told: bool = False


@dataclass
class Fleet:
    """Daemons, and what is done to them.

    Parameters
    ----------
    folder : Path
    url : str
        Of the archive.
    feed : str
        Lines of the ``[[feed]]`` table.
    seed : int
    """

    folder: Path
    url: str
    feed: str
    seed: int
    workers: list[Worker] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def begin(self, n: int) -> None:
        """Start so many daemons."""
        self._random = random.Random(self.seed)
        self.workers = [Worker(f"w{i}", self.folder / f"w{i}.state") for i in range(n)]
        for worker in self.workers:
            self._start(worker)

    def disturb(self) -> None:
        """Do something to one daemon, at random: mostly kill it."""
        lively = [w for w in self.workers if w.process is not None and not w.what]
        if not lively:
            return
        worker, kind = self._random.choice(lively), self._random.random()
        assert worker.process is not None
        if kind < 0.7:
            self.counts["kills"] += 1
            self._end(worker, signal.SIGKILL)
            self._wait(worker, "start", 6.0)
        elif kind < 0.85:
            self.counts["pauses"] += 1
            worker.process.send_signal(signal.SIGSTOP)
            self._wait(worker, "continue", 2 * LEASE_S)
        else:
            self.counts["stops"] += 1
            worker.process.send_signal(signal.SIGTERM)
            worker.told = True
            self._wait(worker, "start", 6.0)

    def tend(self) -> None:
        """Do what is due, and notice daemons that ended by themselves."""
        now = time.monotonic()
        for worker in self.workers:
            process = worker.process
            if worker.recovering is not None and worker.recovering.poll() is not None:
                self._recovered(worker)
            if process is not None and worker.what != "continue" and process.poll() is not None:
                worker.process = None
                # a stop that the archive refuses something to is finished by the next start
                if worker.what != "start":
                    self.problems.append(f"{worker.name} ended with {process.returncode}")
                    self._wait(worker, "start", 1.0)
            if worker.what and now >= worker.due:
                if worker.what == "continue":
                    assert process is not None
                    process.send_signal(signal.SIGCONT)
                    worker.what = ""
                elif worker.process is None and worker.recovering is None:
                    self._start(worker, elsewhere=self._random.random() < 0.4)

    def finish(self) -> None:
        """End all daemons in peace; then finish what each state folder holds."""
        for worker in self.workers:
            if worker.process is not None:
                worker.process.send_signal(signal.SIGCONT)
                if not worker.told:
                    worker.process.send_signal(signal.SIGTERM)
        for worker in self.workers:
            if worker.process is not None:
                code = worker.process.wait(_DEADLINE_S)
                if code not in _PEACEFUL:
                    self.problems.append(f"{worker.name} ended with {code}")
                worker.process = None
            if worker.recovering is not None:
                worker.recovering.wait(_DEADLINE_S)
                self._recovered(worker)
        for state in sorted(self.folder.glob("w*.state")):
            if (state / "version").exists() and self._recover(state).wait(_DEADLINE_S):
                self.problems.append(f"{state.name} could not be recovered")

    def kill(self) -> None:
        """End everything at once."""
        for worker in self.workers:
            for process in (worker.process, worker.recovering):
                if process is not None and process.poll() is None:
                    process.kill()
                    process.wait()

    def _wait(self, worker: Worker, what: str, most_s: float) -> None:
        worker.what, worker.due = what, time.monotonic() + self._random.uniform(0.2, 1.0) * most_s

    def _end(self, worker: Worker, how: signal.Signals) -> None:
        assert worker.process is not None
        worker.process.send_signal(how)
        worker.process.wait(_DEADLINE_S)
        worker.process = None

    def _start(self, worker: Worker, *, elsewhere: bool = False) -> None:
        """Start a daemon; ``elsewhere``, with a new state folder, while another process recovers the old one."""
        worker.what, worker.told = "", False
        if elsewhere:
            if (worker.state / "version").exists():  # it had come so far
                self.counts["recoveries"] += 1
                worker.recovering = self._recover(worker.state)
            worker.generation += 1
            worker.state = self.folder / f"{worker.name}-{worker.generation}.state"
        config = self.folder / f"{worker.name}.toml"
        config.write_text(
            f"[archive]\nurl = {json.dumps(self.url)}\nstate_dir = {json.dumps(str(worker.state))}\n"
            f'shared = true\neffort = "fast"\n[retrain]\nmode = "off"\n[http]\nlisten = "127.0.0.1:0"\n{self.feed}',
            encoding="utf-8",
        )
        worker.process = _python(self.folder / f"{worker.name}.log", "ingest", "--config", config)

    def _recover(self, state: Path) -> subprocess.Popen[bytes]:
        return _python(self.folder / "recover.log", "recover", state, "--to", self.url)

    def _recovered(self, worker: Worker) -> None:
        if worker.recovering is not None and worker.recovering.returncode:
            self.problems.append(f"a recovery for {worker.name} ended with {worker.recovering.returncode}")
        worker.recovering = None


def _python(log: Path, *arguments: str | Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sanstream", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("ab") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, env=environment)


def fresh(folder: Path) -> Path:
    """Return an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
