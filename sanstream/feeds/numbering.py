"""Samples without numbers or times of their own: counted from 0 in their session, and put on a clock."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.chunk import Chunk, stream_name
from sanstream.feeds.floats import FloatLattice
from sanstream.signal import Channel

_AHEAD_NS = 500_000_000


class Numbering:
    """One stream of a source that only counts.

    Samples that come in real time are placed by their arrival, so that a pause shows. A source that runs ahead of
    real time by half a second is being read from a file: from then on its samples are placed by their number.

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
        self._began_ns: int | None = None
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
            device_ns = self._time_ns(first, arrival_ns)
        return Chunk(
            self._recording, self._stream, self._session, first, samples, self._rate, channels, device_ns, arrival_ns
        )

    def _time_ns(self, first: int, arrival_ns: int) -> int | None:
        elapsed = int(first * 10**9 / self._rate)
        if self._began_ns is None:
            self._began_ns = arrival_ns
        if self._start_ns is None and self._began_ns + elapsed > arrival_ns + _AHEAD_NS:
            self._start_ns = self._began_ns
        return None if self._start_ns is None else self._start_ns + elapsed
