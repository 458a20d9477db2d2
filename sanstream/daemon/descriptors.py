"""Channels as segments have them: one object for equal ones, their ranges wide enough for their samples."""

from __future__ import annotations

import json
from dataclasses import replace

from sanstream.chunk import Chunk
from sanstream.daemon.streams import is_in_range, range_of_all
from sanstream.signal import Channel

_INT16, _INT32 = (-(1 << 15) + 1, (1 << 15) - 1), (-(1 << 31) + 1, (1 << 31) - 1)


class Descriptors:
    """Channel tuples, one object for equal ones, their ranges widened where samples leave them."""

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[tuple[Channel, ...], str]] = {}
        self._present: dict[str, tuple[tuple[Channel, ...], int, int]] = {}

    def fitting(self, chunk: Chunk) -> tuple[Channel, ...]:
        """Return the chunk's channels, with room for all of its samples."""
        held = self._by_id.get(id(chunk.channels))
        if held is None:
            if len(self._by_id) > 50_000:
                self._by_id.clear()
            content = json.dumps([c.to_dict() for c in chunk.channels], sort_keys=True)
            held = self._by_id[id(chunk.channels)] = (chunk.channels, content)  # the object is kept, so its id stays
        present = self._present.get(held[1])
        if present is None:
            present = self._present[held[1]] = (chunk.channels, *range_of_all(chunk.channels))
        channels, low, high = present
        x = chunk.samples
        # all channels at once first: a look at each costs four times as much
        if (int(x.min()) < low or int(x.max()) > high) and not is_in_range(chunk, channels):
            channels = _wide_enough(chunk, channels)
            self._present[held[1]] = (channels, *range_of_all(channels))
        return channels


def _wide_enough(chunk: Chunk, channels: tuple[Channel, ...]) -> tuple[Channel, ...]:
    """Widen the digital ranges that samples leave: to 16 bits, else to 32."""
    out = []
    for column, channel in enumerate(channels):
        x = chunk.samples[:, column]
        held = x if channel.missing is None else x[x != channel.missing]
        least, most = (int(held.min()), int(held.max())) if len(held) else (0, 0)
        low, high = channel.digital_min, channel.digital_max
        if least < low or most > high:
            wide = _INT16 if _INT16[0] <= min(low, least) and max(high, most) <= _INT16[1] else _INT32
            low, high = min(wide[0], low, least), max(wide[1], high)
        # the missing code stays what the feed says, also where it now lies inside the range
        out.append(replace(channel, digital_min=low, digital_max=high))
    return tuple(out)
