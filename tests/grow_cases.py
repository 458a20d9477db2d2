"""Live segments that the tests of growing archives share: planned once, encoded block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import google_crc32c
import numpy as np
from archive_cases import walk

from sanstream.archive_growth import GrownSegment
from sanstream.archive_manifest import SegmentEntry
from sanstream.archive_reached import Reached
from sanstream.chunk import Event
from sanstream.encode_live import Part, encode_part, plan_live, shipped_start
from sanstream.encode_plan import Plan
from sanstream.quality import Quality, choose_qualities
from sanstream.signal import Channel, IntSamples

RATE = Fraction(100)
START_NS = 1_700_000_000 * 10**9
STREAM = "100hz"
LEADS = (
    Channel("II", "mV", 200.0, 0, -2048, 2047, -2048, 12),
    Channel("V", "mV", 200.0, 0, -2048, 2047, -2048, 12),
)
LOSSLESS: Sequence[Quality] = choose_qualities((), LEADS)


def ward(n: int, seed: int = 0, hole: tuple[int, int] | None = None) -> IntSamples:
    """Samples of LEADS, with a stretch where both are missing."""
    x = np.stack([walk(n, seed=seed), walk(n, seed=seed + 100)], axis=1)
    if hole is not None:
        x[hole[0] : hole[1]] = -2048
    return x


@lru_cache(maxsize=64)
def _plan(segment_id: str) -> Plan:
    plan = plan_live(
        ward(1000), LEADS, LOSSLESS, RATE, segment_id=segment_id, start=shipped_start(LEADS), effort="fast"
    )
    # short blocks, so that a test needs few samples
    return replace(plan, coding=replace(plan.coding, block_samples=plan.coding.window_samples))


@dataclass(frozen=True, eq=False)
class LiveSegment:
    """A segment and its blocks."""

    entry: SegmentEntry
    blocks: tuple[bytes, ...]
    samples: IntSamples
    plan: Plan

    def grown(self, first_shard: int, stop_shard: int) -> GrownSegment:
        """What a commit of shards ``first_shard`` to ``stop_shard`` gives."""
        per = self.entry.shard_samples // self.entry.coding.block_samples
        n = min(stop_shard * self.entry.shard_samples, len(self.samples))
        return GrownSegment(
            STREAM,
            RATE,
            self.partial(n),
            self.plan.bank,
            first_shard * per,
            self.blocks[first_shard * per : stop_shard * per],
        )

    def partial(self, n: int) -> SegmentEntry:
        """The entry of the first ``n`` samples."""
        reached = Reached(self.entry.coding, self.plan.bank, LOSSLESS)
        step = self.entry.coding.block_samples
        for number in range(self.entry.coding.n_blocks(n)):
            reached.add(self.blocks[number], number, self.samples[number * step : (number + 1) * step])
        return replace(
            self.entry,
            n_samples=n,
            n_windows=reached.n_windows,
            reached=reached.figures(),
            samples_crc=reached.samples_crc,
        )


def segment(
    name: str, start: int, samples: IntSamples, blocks_per_shard: int = 2, flags: tuple[str, ...] = ()
) -> LiveSegment:
    """Encode a segment."""
    plan = _plan(f"{google_crc32c.value(name.encode()):016x}")
    step = plan.coding.block_samples
    blocks = tuple(
        encode_part(Part(plan, i, samples[i * step : (i + 1) * step])) for i in range(-(-len(samples) // step))
    )
    entry = SegmentEntry(
        name,
        start,
        len(samples),
        blocks_per_shard * step,
        LEADS,
        plan.coding,
        tuple(str(q) for q in LOSSLESS),
        flags=flags,
        clock=((0, START_NS + start, START_NS + start + 5),),
    )
    return LiveSegment(entry, blocks, samples, plan)


def event(number: int, at_s: float, text: str = "", kind: str = "alarm", duration_s: float = 0.0, **more: str) -> Event:
    """An event at a second of the recording."""
    return Event(
        more.get("recording", "bed1"),
        more.get("session", "s1"),
        number,
        START_NS + round(at_s * 10**9),
        kind,
        text,
        round(duration_s * 10**9),
    )
