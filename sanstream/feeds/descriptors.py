"""Channel descriptors fit for live signals: a gap can begin at any time, so every channel has a missing code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from sanstream.errors import UnsupportedError
from sanstream.signal import Channel

_LOW, _HIGH = -(2**31), 2**31 - 1


def with_missing(channels: Sequence[Channel]) -> tuple[Channel, ...]:
    """Give every channel that has none a missing code outside its digital range.

    One below the range where that fits 32 bits, else one above it; so it is never a legal sample.

    Raises
    ------
    UnsupportedError
        When a channel without missing code uses all 32 bits.
    """
    return tuple(c if c.missing is not None else replace(c, missing=_code(c)) for c in channels)


def _code(channel: Channel) -> int:
    if channel.digital_min > _LOW:
        return channel.digital_min - 1
    if channel.digital_max < _HIGH:
        return channel.digital_max + 1
    raise UnsupportedError(
        f"channel {channel.label!r:.60} uses all 32 bits, so no code is left for missing samples",
        hint="give its digital range, or one bit less",
    )


@lru_cache(maxsize=4096)
def _labelled(label: str, unit: str, gain: float, low: int, high: int) -> Channel:
    return Channel(label, unit, gain, 0, low, high)


def plain_channels(labels: Sequence[str], unit: str, gain: float, low: int, high: int) -> tuple[Channel, ...]:
    """Describe channels of integers that share unit, gain and range; missing codes included."""
    return with_missing([_labelled(label, unit, gain, low, high) for label in labels])
