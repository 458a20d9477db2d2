"""Samples without numbers or times of their own: counted from 0 in their session, and put on a clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.chunk import Chunk, stream_name
from sanstream.feeds.floats import FloatLattice
from sanstream.signal import Channel

_FILE_NS = 5 * 10**9
_WINDOW_NS = 10 * 10**9
_MOVE_NS = 10**8


class Numbering:
    """One stream of a source that only counts.

    Its clock is our arrival, freed from bursts: it moves when every chunk of ten seconds came later (the source
    paused) or earlier (its rate is not quite what it says) than the clock had it, by a tenth of a second or more.
    A source five seconds ahead of real time is being read from a file: from then on only its numbers count.

    Parameters
    ----------
    recording, session : str
    rate : Fraction
    channels : sequence of Channel, or FloatLattice
        Descriptors for integers; a lattice for floats.
    start_ns : int or None
        Time of sample 0, when it is known.
    """

    def __init__(
        self,
        recording: str,
        session: str,
        rate: Fraction,
        channels: Sequence[Channel] | FloatLattice,
        *,
        start_ns: int | None = None,
    ) -> None:
        self._recording, self._session, self._rate = recording, session, rate
        self._channels = channels if isinstance(channels, FloatLattice) else tuple(channels)
        self._start_ns = start_ns
        self._fixed = start_ns is not None
        self._late: deque[tuple[int, int]] = deque()
        self._stream = stream_name(rate)
        self.next_sample = 0

    def chunk(self, values: npt.NDArray[Any], arrival_ns: int, device_ns: int | None = None) -> Chunk:
        """Return the next samples, shape (n_samples, n_channels), as a chunk.

        Parameters
        ----------
        values : ndarray
            int32, or floats for a lattice.
        arrival_ns : int
        device_ns : int or None
            The device's clock at the first of them, when it sends one.
        """
        if isinstance(self._channels, FloatLattice):
            channels, samples = self._channels.convert(values)
        else:
            channels, samples = self._channels, np.ascontiguousarray(values, dtype=np.int32)
        first = self.next_sample
        self.next_sample += len(samples)
        if device_ns is None:
            device_ns = self._time_ns(first, len(samples), arrival_ns)
        return Chunk(
            self._recording, self._stream, self._session, first, samples, self._rate, channels, device_ns, arrival_ns
        )

    def _time_ns(self, first: int, n: int, arrival_ns: int) -> int:
        elapsed = int(first * 10**9 / self._rate)
        begin_ns = arrival_ns - int(n * 10**9 / self._rate) - elapsed
        if self._start_ns is None:
            self._start_ns = begin_ns
        late = begin_ns - self._start_ns
        if late < -_FILE_NS:
            self._fixed = True
        if not self._fixed:
            self._late.append((arrival_ns, late))
            if arrival_ns - self._late[0][0] >= _WINDOW_NS:
                least, most = min(t for _, t in self._late), max(t for _, t in self._late)
                moved = least if least > _MOVE_NS else most if most < -_MOVE_NS else 0
                self._start_ns += moved
                self._late = deque((at, t - moved) for at, t in self._late if at > arrival_ns - _WINDOW_NS)
        return self._start_ns + elapsed
