"""What is done to blocks beside the engine's loop: plan a new segment, encode, decode again and check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.archive_reached import Reached, ReachedWindow
from sanstream.daemon.lanes import Block, Lane
from sanstream.daemon.streams import StreamState, segment_id
from sanstream.encode_live import LiveStart, Part, encode_part, plan_live
from sanstream.encode_plan import Plan
from sanstream.quality import LOSSLESS, Quality


@dataclass
class Work:
    """Blocks of one lane, in order, and what they become; touches nothing of the lane that the engine changes.

    Parameters
    ----------
    stream : StreamState
    lane : Lane
    blocks : list of Block
    effort : str
        Of a segment that begins.
    start : LiveStart or None
        What a segment that begins starts from; None for one that has a plan.
    plan : Plan or None
    reached : Reached or None
    payloads : list of bytes
    windows : list of list of ReachedWindow
    states : list of dict
        What :meth:`~sanstream.archive_reached.Reached.state` says after each block.
    n_exact : int
        Blocks that are stored without loss because the encoder failed.
    """

    stream: StreamState
    lane: Lane
    blocks: list[Block]
    effort: str
    start: LiveStart | None
    plan: Plan | None
    reached: Reached | None
    payloads: list[bytes] = field(default_factory=list)
    windows: list[list[ReachedWindow]] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)
    n_exact: int = 0

    def encode(self) -> None:
        """Plan what has no plan, then encode and check every block."""
        if not self.blocks:
            return
        if self.plan is None:
            self.plan = self._planned()
        if self.reached is None:
            self.reached = Reached(self.plan.coding, self.plan.bank, self.lane.qualities)
        for block in self.blocks:
            payload, windows = self._encoded(self.plan, self.reached, block)
            self.windows.append(windows)
            self.payloads.append(payload)
            self.states.append(self.reached.state())

    def _planned(self) -> Plan:
        lane, first = self.lane, self.blocks[0].samples
        if self.start is None:
            raise AssertionError("a segment that begins needs something to start from")
        return plan_live(
            bridged(first, [c.missing for c in lane.channels]),
            lane.channels,
            lane.qualities,
            lane.rate,
            segment_id=segment_id(lane.key, lane.name, np.ascontiguousarray(first, "<i4").tobytes()),
            start=self.start,
            effort=self.effort,
        )

    def _encoded(self, plan: Plan, reached: Reached, block: Block) -> tuple[bytes, list[ReachedWindow]]:
        try:
            payload = encode_part(Part(plan, block.number, block.samples))
            return payload, reached.add(payload, block.number, block.samples)
        except Exception:
            # a defect of the encoder must not stop the ward: without loss there is no bound to miss
            exact = tuple(Quality(LOSSLESS, 0.0, LOSSLESS) for _ in plan.qualities)
            payload = encode_part(Part(replace(plan, qualities=exact, kernels=None), block.number, block.samples))
            self.n_exact += 1
            return payload, reached.add(payload, block.number, block.samples)


def bridged(samples: npt.NDArray[np.int32], missing: Sequence[int | None]) -> npt.NDArray[np.int32]:
    """Return samples for planning: missing ones repeat the one before, or the first that is there."""
    out = samples.copy()
    for c, code in enumerate(missing):
        gone = samples[:, c] == code if code is not None else np.zeros(len(samples), np.bool_)
        if not gone.any():
            continue
        held = np.flatnonzero(~gone)
        if not len(held):
            out[:, c] = 0
            continue
        before = np.maximum(np.searchsorted(held, np.arange(len(samples)), side="right") - 1, 0)
        out[:, c] = samples[held[before], c]
    return out
