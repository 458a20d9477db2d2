"""Compiled loops are loaded, or compiled, before the first sample waits for them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from sanstream.archive_reached import Reached
from sanstream.encode_live import Part, encode_part, plan_live, shipped_start
from sanstream.quality import parse_quality
from sanstream.signal import Channel

_N = 2000


def warm_up(effort: str) -> None:
    """Plan, encode and decode a short made-up block, without loss and within a bound.

    Parameters
    ----------
    effort : str
        As the daemon will use it. In a fresh installation this takes some ten seconds, later none to speak of.
    """
    t = np.arange(_N)
    x = np.stack([(200 * np.sin(t / 9)).astype(np.int32) + t % 7, (90 * np.cos(t / 13)).astype(np.int32)], axis=1)
    channels = tuple(Channel(f"ECG {i}", "mV", 200.0, 0, -32767, 32767, missing=-32768) for i in range(2))
    for asked in ("lossless", "prdn=5"):
        qualities = tuple(parse_quality(asked, c) for c in channels)
        plan = plan_live(
            x, channels, qualities, Fraction(250), segment_id="0" * 16, start=shipped_start(channels), effort=effort
        )
        payload = encode_part(Part(plan, 0, x))
        Reached(plan.coding, plan.bank, qualities).add(payload, 0, x)
