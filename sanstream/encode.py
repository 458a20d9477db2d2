"""Scaffold of encode.py."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from sanstream.bank import Bank, named_banks
from sanstream.block import Group, SegmentCoding
from sanstream.decode import seal
from sanstream.quality import Quality
from sanstream.signal import Channel, IntSamples


@dataclass(frozen=True)
class Plan:
    """How a segment will be encoded."""

    coding: SegmentCoding
    bank: Bank


def plan_segment(
    samples: IntSamples,
    channels: Sequence[Channel],
    qualities: Sequence[Quality],
    rate: Fraction,
    *,
    segment_id: str,
    effort: str = "default",
    bank: Bank | None = None,
    device: str | None = None,
) -> Plan:
    """Plan a segment."""
    bank = bank or named_banks()["general"]
    window = max(1, math.floor(rate * 5))
    coding = SegmentCoding(
        segment_id,
        rate,
        tuple(c.digital_min for c in channels),
        tuple(c.digital_max for c in channels),
        tuple(c.missing for c in channels),
        window,
        window * 2,
        (Group(tuple(range(len(channels)))),),
        bank.id,
    )
    return Plan(coding, bank)


def encode_blocks(samples: IntSamples, plan: Plan) -> Iterator[bytes]:
    """Encode block after block."""
    step = plan.coding.block_samples
    for number in range(plan.coding.n_blocks(len(samples))):
        block = samples[number * step : (number + 1) * step].astype(np.int32)
        delta = np.diff(block, axis=0, prepend=np.zeros((1, block.shape[1]), np.int32)).astype("<i4")
        yield seal(zlib.compress(delta.tobytes()), number, plan.coding)
