"""Blocks looked at beside the engine's loop: phi and usability of their windows, by one thread, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from sanstream.drift import Look, Loop
from sanstream.drift_windows import PhiRule, bridged, look_at, loops_of, phi_of
from sanstream.reservoir import Key
from sanstream.signal import Channel, IntSamples

_MAX_BYTES = 128 << 20


@dataclass(frozen=True, eq=False)
class Glance:
    """A block to look at.

    Parameters
    ----------
    key : (str, str)
    generation : int
        Of the rules; a result under rules that are no longer the stream's is not looked at.
    samples : ndarray, shape (n_samples, n_channels), int32
    channels : tuple of Channel
    rate : Fraction
    window_samples : int
    watched : tuple of int
        Channels to look at.
    rules : tuple of PhiRule or None
        One per watched channel.
    time_ns : int
        Of the first sample.
    bits_per_sample : float
    """

    key: Key
    generation: int
    samples: IntSamples
    channels: tuple[Channel, ...]
    rate: Fraction
    window_samples: int
    watched: tuple[int, ...]
    rules: tuple[PhiRule | None, ...]
    time_ns: int
    bits_per_sample: float


@dataclass(frozen=True, eq=False)
class Seen:
    """What a look gave.

    Parameters
    ----------
    glance : Glance
    windows : list of tuple of Look
        Per window one per watched channel.
    loops : list of Loop or None
        Per window the loop of two channels, where they draw one.
    usable : float
        Share of usable windows.
    """

    glance: Glance
    windows: list[tuple[Look, ...]]
    loops: list[Loop | None]
    usable: float


def look(glance: Glance) -> Seen:
    """Look at all full windows of a block."""
    size = glance.window_samples
    n = len(glance.samples) // size
    if not n:
        return Seen(glance, [], [], 0.0)  # a segment's short end
    columns, bridges = [], []
    for c, rule in zip(glance.watched, glance.rules, strict=True):
        windows = np.ascontiguousarray(glance.samples[: n * size, c]).reshape(n, size)
        sight = look_at(windows, glance.channels[c], glance.rate)
        phi = np.ones(n)
        good = sight.usable
        bridges.append(bridged(windows, glance.channels[c]))
        if good.any():
            phi[good] = phi_of(bridges[-1][good], rule)
        figures = (phi, good, sight.noise, sight.sway, sight.reach, sight.tempo)
        columns.append([Look(*values) for values in zip(*(f.tolist() for f in figures), strict=True)])
    windows_seen: list[tuple[Look, ...]] = list(zip(*columns, strict=True)) if columns else [()] * n
    usable = [lk.usable for w in windows_seen for lk in w]
    loops: list[Loop | None] = [None] * n
    if len(bridges) == 2:
        drawn = loops_of(bridges, [glance.channels[c] for c in glance.watched], glance.rate)
        loops = [Loop(*row) if np.isfinite(row).all() else None for row in drawn.tolist()]
    return Seen(glance, windows_seen, loops, float(np.mean(usable)) if usable else 0.0)


class Sights:
    """A queue of blocks to look at.

    Parameters
    ----------
    inline : bool
        Look in the caller's thread, for tests with an injected clock.
    max_bytes : int
        Of samples that wait; beyond that the oldest block is not looked at.
    """

    def __init__(self, *, inline: bool = False, max_bytes: int = _MAX_BYTES) -> None:
        self._inline, self._max_bytes = inline, max_bytes
        self._waiting: deque[Glance] = deque()
        self._done: deque[Seen] = deque()
        self._bytes = 0
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.n_skipped = 0

    def put(self, glance: Glance) -> None:
        """Queue a block."""
        if self._inline:
            self._done.append(look(glance))
            return
        with self._change:
            self._waiting.append(glance)
            self._bytes += glance.samples.nbytes
            while self._bytes > self._max_bytes and len(self._waiting) > 1:
                self._bytes -= self._waiting.popleft().samples.nbytes
                self.n_skipped += 1
            self._change.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sights", daemon=True)
            self._thread.start()

    def take(self) -> Sequence[Seen]:
        """Return what has been looked at since the last call."""
        out = []
        while self._done:
            out.append(self._done.popleft())
        return out

    def close(self) -> None:
        """End the thread; what waits is not looked at."""
        with self._change:
            self._closed = True
            self._waiting.clear()
            self._change.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            import river.drift  # noqa: F401 (takes seconds: here it stops nobody, at the first full watch it would)
        except (OSError, ImportError):  # too many open files: the next block's thread tries again
            self._thread = None
            return
        while True:
            with self._change:
                while not self._waiting and not self._closed:
                    self._change.wait()
                if self._closed:
                    return
                glance = self._waiting.popleft()
                self._bytes -= glance.samples.nbytes
            try:
                self._done.append(look(glance))
            except Exception:
                # a defect of the watch costs one block its look, not all streams the watch
                self.n_skipped += 1
