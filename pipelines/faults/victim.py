"""A real ``sanstream ingest``, started to be killed."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

from pipelines.load.daemon import scrape

DEADLINE_S = 180.0
"""Nothing that must happen takes longer, on whatever machine."""
_NUMBERS = count()


class Hung(AssertionError):
    """The process did not do in time what it must."""


def configure(folder: Path, feed: str, *, retrain: str = "off") -> Path:
    """Write the configuration of the daemon that lives in a folder.

    Parameters
    ----------
    folder : Path
        Archive and state stand below.
    feed : str
        The feed's lines in TOML.
    retrain : str
        Mode.
    """
    config = folder / "ingest.toml"
    config.write_text(
        f"[archive]\nurl = {json.dumps(str(folder / 'live.san'))}\nstate_dir = {json.dumps(str(folder / 'state'))}\n"
        f'effort = "fast"\n[quality]\ndefault = "lossless"\n[retrain]\nmode = "{retrain}"\n'
        f'[http]\nlisten = "127.0.0.1:0"\n[[feed]]\nname = "ward"\n{feed}\n',
        encoding="utf-8",
    )
    return config


class Victim:
    """One process from its start to its end.

    Parameters
    ----------
    folder : Path
        Of :func:`configure`.
    fault : str
        ``SANSTREAM_FAULT``.
    stdin : int, optional
        File descriptor.
    environment : dict of str to str, optional
        More variables.
    """

    def __init__(
        self, folder: Path, fault: str = "", stdin: int | None = None, environment: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self._heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        name = f"sanstream-faults-{os.getpid()}-{next(_NUMBERS)}"
        self._heard.bind(f"\0{name}")
        own = {"SANSTREAM_FAULT": fault, "NOTIFY_SOCKET": f"@{name}", "OMP_NUM_THREADS": "1"}
        self.began = time.monotonic()
        with (folder / "daemon.log").open("ab") as log:
            log.write(f"--- {fault or 'start'}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sanstream", "ingest", "--config", str(folder / "ingest.toml")],
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=log,
                stderr=log,
                env={**os.environ, **own, **(environment or {})},
            )

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def wait_ready(self, seconds: float = DEADLINE_S) -> bool:
        """Wait until it says that samples are being stored; False when it died or the seconds are over."""
        until = time.monotonic() + seconds
        while self.alive and time.monotonic() < until:
            left = max(0.0, min(0.2, until - time.monotonic()))
            if select.select([self._heard], [], [], left)[0] and b"READY=1" in self._heard.recv(4096):
                return True
        return False

    def wait_connected(self) -> None:
        """Wait until its feed is connected.

        Raises
        ------
        Hung
        """
        until = time.monotonic() + DEADLINE_S
        while (seen := scrape(self.folder / "state")) is None or seen.greatest("connected") != 1:
            if not self.alive or time.monotonic() > until:
                raise Hung(f"the feed does not connect: {self.log()}")
            time.sleep(0.1)

    def rest(self, seconds: float) -> None:
        """Let it live, unless it dies."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def ask_to_drain(self) -> None:
        """Send SIGTERM."""
        if self.alive:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> int:
        """Send SIGKILL; returns how the process ended, minus the signal's number."""
        self._process.kill()
        return self.ended()

    def ended(self) -> int:
        """Wait for the end, however it comes; returns the exit code, or minus the signal's number.

        Raises
        ------
        Hung
        """
        try:
            code = self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise Hung(f"it does not end: {self.log()}") from None
        finally:
            self._heard.close()
        if code == -signal.SIGTERM and self.log().endswith("drained\n"):
            return 0  # it came to its end by itself, and we asked for it a moment later
        if code not in (0, -signal.SIGKILL):
            raise Hung(f"it ended with {code}: {self.log()}")
        return code

    def log(self) -> str:
        """Return what it said last."""
        return (self.folder / "daemon.log").read_text("utf-8", "replace")[-1500:]

    def __enter__(self) -> Victim:
        return self

    def __exit__(self, *_: Any) -> None:
        if self.alive:
            self._process.kill()
            self._process.wait()
        self._heard.close()
