"""Daemons to kill, quickly: a process that has everything imported forks one for each line that it reads.

``python -m pipelines.faults.zygote`` reads JSON lines: ``{"start": [arguments of sanstream], "stdin": PATH,
"log": PATH, "fault": "point:nth", "fsyncs": 0}`` answers with the process's id, ``{"wait": ID}`` with its exit status
once it has ended.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]


class Zygote:
    """The forking process, from outside.

    Parameters
    ----------
    folder : Path
        Logs of the daemons go here.
    """

    def __init__(self, folder: Path) -> None:
        self.log = folder / "daemons.log"
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.faults.zygote"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
            )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", self.log.read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()

    def start(self, *arguments: str, stdin: Path | None = None, fault: str = "", fsyncs: int = 0) -> int:
        """Start ``sanstream ARGUMENTS``; returns its process id. From fsync number ``fsyncs`` on, all fail."""
        path = str(stdin or os.devnull)
        return int(self._ask(start=arguments, stdin=path, log=str(self.log), fault=fault, fsyncs=fsyncs))

    def wait(self, process: int) -> int:
        """Wait for a daemon's end; returns its exit code, or minus the signal that ended it."""
        return int(self._ask(wait=process))

    def kill(self, process: int) -> int:
        """Kill a daemon with SIGKILL; as :meth:`wait`."""
        os.kill(process, signal.SIGKILL)
        return self.wait(process)

    def _ask(self, **question: Any) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


def _become(question: dict[str, Any]) -> None:
    """Be a daemon; does not return."""
    code = 70
    try:
        for path, flags, number in (
            (question["stdin"], os.O_RDONLY, 0),
            (question["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 1),
        ):
            handle = os.open(path, flags)
            os.dup2(handle, number)
        os.dup2(1, 2)
        from sanstream import durable
        from sanstream.cli import run

        durable._fault = durable.parse_fault(question["fault"])
        if question["fsyncs"]:
            _break_fsync(question["fsyncs"])
        code = run([str(a) for a in question["start"]])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _break_fsync(number: int) -> None:
    """Let fsync fail from its ``number``-th call on, as a broken disk does."""
    real, calls = os.fsync, itertools.count(1)

    def fsync(handle: Any) -> None:
        if next(calls) >= number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(handle)

    os.fsync = fsync  # type: ignore[assignment]


def _warm() -> None:
    """Load what a daemon would load, compiled loops too."""
    import tempfile

    import sanstream.cli
    import sanstream.daemon.run
    import sanstream.feeds
    from pipelines.faults.power import World
    from sanstream.durable import Disk

    for scheme in sanstream.feeds.schemes():
        with suppress(Exception):
            sanstream.feeds.feed_class(f"{scheme}://x")
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.steps = world.steps[:6]
        world.live(Disk())


def main() -> None:
    """Fork what is asked for, until the input ends."""
    _warm()
    running: set[int] = set()
    print("ready", flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        if "start" in question:
            process = os.fork()
            if not process:
                _become(question)
            running.add(process)
            print(process, flush=True)
        else:
            _, status = os.waitpid(question["wait"], 0)
            running.discard(question["wait"])
            print(os.waitstatus_to_exitcode(status), flush=True)
    for process in running:
        os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    main()
