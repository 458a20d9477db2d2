"""kill -9 of real daemons at random moments and at named points; what was acknowledged must be there once, equal."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

import sanstream
from pipelines.faults.transports import Transport
from pipelines.faults.zygote import Zygote

DEADLINE_S = 60.0


class Lost(AssertionError):
    """Something acknowledged is gone, doubled or changed."""


class Ward:
    """A daemon's folders, and the daemon that runs on them.

    Parameters
    ----------
    folder : Path
    zygote : Zygote
    transport : Transport
    listen : str
        Address of its pages; empty for none.
    more : str
        Further tables of ``ingest.toml``.
    """

    def __init__(self, folder: Path, zygote: Zygote, transport: Transport, listen: str = "", more: str = "") -> None:
        self.folder, self.transport, self._zygote = folder, transport, zygote
        self.archive, self.state = folder / "live", folder / "state"
        self.process = 0
        config = folder / "ingest.toml"
        config.write_text(
            f'[archive]\nurl = "{self.archive}"\nstate_dir = "{self.state}"\neffort = "fast"\n'
            f'[http]\nlisten = "{listen}"\n[retrain]\nmode = "off"\n{more}\n[[feed]]\nname = "ward"\n'
            + "".join(f"{k} = {json.dumps(v)}\n" for k, v in transport.table.items())
        )
        self._arguments = ("ingest", "--config", str(config))

    def start(self, fault: str = "", fsyncs: int = 0) -> None:
        """Start the daemon; as :meth:`Zygote.start`."""
        self.process = self._zygote.start(*self._arguments, stdin=self.transport.stdin, fault=fault, fsyncs=fsyncs)

    def kill(self) -> bool:
        """Kill it; tells whether it still ran."""
        return self._zygote.kill(self.process) == -signal.SIGKILL

    def wait(self) -> int:
        """Wait until it ends by itself; returns its exit code."""
        return self._zygote.wait(self.process)

    def drain(self) -> int:
        """Ask it to finish, as systemd would; returns its exit code."""
        os.kill(self.process, signal.SIGTERM)
        return self.wait()

    def has_moved(self, since: object) -> bool:
        """Tell whether the journal is another than ``since``."""
        return self.journal() != since

    def journal(self) -> object:
        """Return what the journal looks like from outside."""
        try:
            return sorted((p.name, p.stat().st_size) for p in (self.state / "journal").iterdir())
        except OSError:
            return None

    def values(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return the first channel of every recording, holes left out, as a reader finds it."""
        if not (self.archive / "catalog.json").exists():
            return {}
        out = {}
        with sanstream.open(self.archive) as archive:
            for name, recording in archive.recordings.items():
                (stream,) = recording.streams.values()
                x = stream.read(physical=True)
                if x.shape[1] > 1 and not np.array_equal(x[:, 0], -x[:, 1], equal_nan=True):
                    raise Lost(f"{name}: its channels do not belong together")
                out[name] = np.round(x[~np.isnan(x[:, 0]), 0] * self.transport.scale).astype(np.int64)
        return out


def until(ready: Callable[[], object], seconds: float) -> bool:
    """Poll until something is true; False after so many seconds."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def kill_at_random(ward: Ward, n: int, rng: random.Random, most_s: float = 0.4) -> int:
    """Let a daemon live ``n`` times, killed every time, and once more to its end; then look.

    Half of the moments count from the start, the others from the first byte that it journals.

    Returns
    -------
    int
        How many were killed before they had ended.

    Raises
    ------
    Lost
    """
    killed = 0
    ward.transport.prepare(ward)
    must: dict[str, npt.NDArray[np.int64]] = {}
    for _ in range(n):
        ward.transport.more()
        before = ward.journal()
        ward.start()
        if rng.random() < 0.7:
            until(partial(ward.has_moved, before), 10.0)
        time.sleep(rng.uniform(0, most_s))
        killed += ward.kill()
        if not ward.transport.keeps:
            must = _joined(must, ward.values())
    ward.transport.more()
    before = ward.journal()
    ward.start()
    if ward.transport.ends:
        code = ward.wait()
    else:
        until(partial(ward.has_moved, before), DEADLINE_S)
        ward.transport.finish()
        wanted = ward.transport.acknowledged()
        if not until(lambda: _has(ward.values(), wanted), DEADLINE_S):
            raise Lost(f"of {wanted} there are {_lengths(ward.values())}")
        code = ward.drain()
    if code:
        raise Lost(f"the last daemon ended with {code}")
    check(ward, must)
    return killed


def kill_at_point(ward: Ward, point: str) -> None:
    """Let a daemon die at a fault point, then another live to its end; then look.

    Raises
    ------
    Lost
    """
    ward.start("engine.committed:3")
    ward.wait()
    ward.start(point)
    if ward.wait() != -signal.SIGKILL:
        raise Lost(f"it did not die at {point}")
    ward.start()
    if ward.wait():
        raise Lost("the last daemon failed")
    check(ward, {})


def _oddities(got: npt.NDArray[np.int64] | None, n: int) -> str:
    """Say what is lost, what is doubled, and where the order breaks."""
    if got is None:
        return "none came"
    lost, doubled = len(np.setdiff1d(np.arange(n), got)), len(got) - len(np.unique(got))
    breaks = np.flatnonzero(np.diff(got) != 1)[:5]
    return f"{lost} lost, {doubled} doubled, order breaks at {[(int(i), int(got[i]), int(got[i + 1])) for i in breaks]}"


def check(ward: Ward, must: dict[str, npt.NDArray[np.int64]]) -> None:
    """Look at the archive after the last daemon's end.

    Raises
    ------
    Lost
    """
    with sanstream.open(ward.archive) as archive:
        problems = archive.verify(deep=True)
        if problems:
            raise Lost(f"verify finds {problems[:3]}")
        for name, recording in archive.recordings.items():
            n_events = sum(map(len, recording.annotations))
            if n_events != ward.transport.events:
                raise Lost(f"{name}: {n_events} events in place of {ward.transport.events}")
    got = ward.values()
    for name, n in ward.transport.acknowledged().items():
        if not np.array_equal(got.get(name, np.zeros(0)), np.arange(n)):
            raise Lost(f"{name}: {_lengths(got)} samples in place of {n}, or others: {_oddities(got.get(name), n)}")
    for name, wanted in must.items():
        if (np.diff(got[name]) <= 0).any():
            raise Lost(f"{name}: samples twice, or in another order")
        gone = np.setdiff1d(wanted, got[name])
        if len(gone):
            raise Lost(f"{name}: {len(gone)} journalled samples are gone, the first {gone[0]}")


def _joined(
    a: dict[str, npt.NDArray[np.int64]], b: dict[str, npt.NDArray[np.int64]]
) -> dict[str, npt.NDArray[np.int64]]:
    none = np.zeros(0, np.int64)
    return {name: np.union1d(a.get(name, none), b.get(name, none)) for name in {*a, *b}}


def _has(values: dict[str, npt.NDArray[np.int64]], wanted: dict[str, int]) -> bool:
    return all(len(values.get(name, ())) >= n for name, n in wanted.items())


def _lengths(values: dict[str, npt.NDArray[np.int64]]) -> dict[str, int]:
    return {name: len(x) for name, x in values.items()}


def compare(ward: Ward, other: Ward) -> None:
    """Look whether a ward that was killed has what another has that was not.

    Raises
    ------
    Lost
    """
    other.start()
    if other.wait():
        raise Lost("a daemon that nobody killed failed")
    got, want = ward.values(), other.values()
    if got.keys() != want.keys() or any(not np.array_equal(got[name], want[name]) for name in want):
        raise Lost(f"{_lengths(got)} in place of {_lengths(want)}, or others")
