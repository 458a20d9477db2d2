"""The training process: challenges as JSON lines on stdin, results on stdout, at the lowest priority.

Started as ``python -m sanstream.daemon.trainer PARENT``, a process id; it ends with that one, or when stdin does.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any

_DATA_BYTES = 3 << 30
_NICE = 19
_PR_SET_PDEATHSIG = 1


def confine() -> None:
    """Take the lowest priority, bound memory, write no core, and die with the parent (Linux)."""
    os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    for limit, value in ((resource.RLIMIT_DATA, _DATA_BYTES), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    with contextlib.suppress(OSError, AttributeError):  # elsewhere the end of stdin must do
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the daemon's to handle


def answer(line: str) -> dict[str, Any]:
    """Do one challenge; what goes wrong becomes a result that says so."""
    from sanstream.retrain_job import run_job

    try:
        return run_job(json.loads(line))
    except MemoryError:
        return {"failed": "out of memory"}
    except Exception as error:
        return {"failed": f"{type(error).__name__}"}


def main() -> None:
    """Serve until stdin ends."""
    confine()
    if sys.argv[1:] != [str(os.getppid())]:
        return  # the parent died before it could be asked to take this process along
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(answer(line)), flush=True)


if __name__ == "__main__":
    main()
