"""One challenge at a time: in a process beside the daemon, or in the caller's thread for tests."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sanstream.retrain_job import Job, run_job

TIMEOUT_S = 900.0
IDLE_S = 120.0
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_MAX_LINE = 1 << 22


class Training(Protocol):
    """Does challenges."""

    busy: bool

    def begin(self, job: Job) -> None:
        """Start one; only when not busy."""

    def result(self) -> Mapping[str, Any] | None:
        """Return what the challenge gave, once; None while there is nothing."""

    def close(self) -> None:
        """Stop."""


class InlineTraining:
    """Does a challenge at once, in the caller's thread."""

    def __init__(self, run: Callable[[Job], dict[str, Any]] = run_job) -> None:
        self.busy = False
        self._run = run
        self._result: dict[str, Any] | None = None

    def begin(self, job: Job) -> None:
        """Do it."""
        self.busy = True
        self._result = self._run(json.loads(json.dumps(job)))

    def result(self) -> Mapping[str, Any] | None:
        """Return what it gave, once."""
        self.busy = False
        result, self._result = self._result, None
        return result

    def close(self) -> None:
        """Do nothing."""


class ProcessTraining:
    """Does challenges in ``python -m sanstream.daemon.trainer``, which is started when needed and ends when idle.

    Parameters
    ----------
    timeout_s : float
        A challenge that takes longer is given up and its process killed.
    idle_s : float
        Without work for so long the process ends.
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S, idle_s: float = IDLE_S) -> None:
        self.busy = False
        self._timeout_s, self._idle_s = timeout_s, idle_s
        self._process: subprocess.Popen[bytes] | None = None
        self._since = 0.0
        self._line = b""

    @property
    def pid(self) -> int | None:
        """Id of the process, while there is one."""
        return None if self._process is None else self._process.pid

    def begin(self, job: Job) -> None:
        """Hand a challenge over."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sanstream.daemon.trainer", str(os.getpid())],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env=os.environ | dict.fromkeys(_THREADS, "1"),
            )  # fmt: skip
            assert self._process.stdout is not None
            os.set_blocking(self._process.stdout.fileno(), False)
        self.busy, self._since, self._line = True, time.monotonic(), b""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it died: result() says so
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()

    def result(self) -> Mapping[str, Any] | None:
        """Return what a challenge gave, once it is there; a failure is a result with the key ``failed``."""
        if self._process is None:
            return None
        waited = time.monotonic() - self._since
        if not self.busy:
            if waited > self._idle_s:
                self.close()
            return None
        assert self._process.stdout is not None
        self._line += self._process.stdout.read() or b""
        head, newline, _ = self._line.partition(b"\n")
        if newline:
            self.busy, self._since = False, time.monotonic()
            try:
                found = json.loads(head)
            except ValueError:
                found = None
            return found if isinstance(found, dict) else self._failed("unreadable result")
        if self._process.poll() is not None:
            return self._failed("the training process died")
        if waited > self._timeout_s or len(self._line) > _MAX_LINE:
            return self._failed("took too long")
        return None

    def _failed(self, why: str) -> dict[str, Any]:
        self.close()
        return {"failed": why}

    def close(self) -> None:
        """Kill the process."""
        process, self._process, self.busy = self._process, None, False
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            process.wait()
