"""A lane: a segment that still grows, and the samples that wait for its next blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.archive_reached import Reached
from sanstream.daemon.waiting import WaitList
from sanstream.encode_plan import Plan
from sanstream.quality import Quality
from sanstream.shard import shard_samples
from sanstream.signal import Channel, IntSamples

MAIN, LATE = "main", "late"
MOVED = "moved"
"""Flag of a segment that began because its stream came back: from another daemon, a restart, or a silence."""
GAP_S = 3600
"""A longer stretch without samples ends a segment."""
_LATE_IDLE_S = 30


@dataclass
class Buffer:
    """One block that fills."""

    samples: IntSamples
    held: npt.NDArray[np.bool_]
    n_held: int = 0
    arrival_ns: int = 0
    newest_ns: int = 0


@dataclass(frozen=True)
class Runs:
    """Which samples of a block are there.

    Parameters
    ----------
    n_samples : int
        Length of the block.
    holes : tuple of (int, int)
        Half-open stretches without samples, from the block's start.
    """

    n_samples: int
    holes: tuple[tuple[int, int], ...]

    def held(self, start: int) -> Iterator[tuple[int, int]]:
        """Yield the stretches with samples, for a block that stands at ``start``."""
        at = 0
        for low, high in (*self.holes, (self.n_samples, self.n_samples)):
            if low > at:
                yield start + at, start + low
            at = high


@dataclass(frozen=True, eq=False)
class Block:
    """A block that is whole, or that nothing more will come for.

    Parameters
    ----------
    lane : Lane
    number : int
    samples : ndarray, shape (n_samples, n_channels), int32
    runs : Runs
    arrival_ns : int
        When its first sample came; 0 when none did.
    newest_ns : int
        When its last sample came.
    """

    lane: Lane
    number: int
    samples: IntSamples
    runs: Runs
    arrival_ns: int
    newest_ns: int

    @property
    def start(self) -> int:
        """Place of its first sample on the stream's grid."""
        return self.lane.start + self.number * self.lane.block_samples


@dataclass(eq=False)
class Lane:
    """A growing segment.

    Blocks before ``n_ready`` have been handed out, before ``n_committed`` are in the ledger, before ``n_sealed`` in the
    archive.

    Parameters
    ----------
    key : tuple of str
        Recording and stream.
    kind : str
        ``"main"``, or ``"late"`` for samples that came after their block.
    start : int
        Place of the first sample on the stream's grid.
    rate : Fraction
    channels : tuple of Channel
    qualities : tuple of Quality
    block_samples : int
    shard_samples : int
        Of a full shard; 0 for the usual size.
    limit : int or None
        Place at which another segment begins.
    limit_flag : str
        Why it begins there.
    flags : list of str
        Why it began.
    name : str
        Its name in the archive.
    end : int
        One past the last sample that came.
    closing_ns : int or None
        When it ends, on the engine's clock; None while it is open.
    ending : bool
        All its samples have been handed out, and no more are taken.
    closed : bool
        No block follows those committed.
    touched_ns : int
        When samples last came, on the engine's clock.
    anchors, fresh_anchors : list of (int, int, int)
        Sample of the segment, device clock, arrival: of committed blocks, and of those to come.
    """

    key: tuple[str, str]
    kind: str
    start: int
    rate: Fraction
    channels: tuple[Channel, ...]
    qualities: tuple[Quality, ...]
    block_samples: int
    shard_samples: int = 0
    limit: int | None = None
    limit_flag: str = "midnight"
    flags: list[str] = field(default_factory=list)
    name: str = ""
    end: int = -1
    n_ready: int = 0
    n_committed: int = 0
    n_sealed: int = 0
    closing_ns: int | None = None
    ending: bool = False
    closed: bool = False
    touched_ns: int = 0
    plan: Plan | None = None
    reached: Reached | None = None
    definition: Any = None
    buffers: dict[int, Buffer] = field(default_factory=dict)
    waiting: WaitList = field(default_factory=WaitList)
    anchors: list[tuple[int, int, int]] = field(default_factory=list)
    fresh_anchors: list[tuple[int, int, int]] = field(default_factory=list)
    places: list[Any] = field(default_factory=list)
    sealed_figures: Any = None

    def __post_init__(self) -> None:
        self.end = max(self.end, self.start)
        n_channels = len(self.channels)
        self.shard_samples = self.shard_samples or shard_samples(float(self.rate), n_channels, self.block_samples)
        self._missing = np.array([0 if c.missing is None else c.missing for c in self.channels], np.int32)

    @property
    def may_have_holes(self) -> bool:
        """Whether every channel has a code for samples that are not there."""
        return all(c.missing is not None for c in self.channels)

    @property
    def open_start(self) -> int:
        """Place of the first sample of the first block that was not handed out."""
        return self.start + self.n_ready * self.block_samples

    @property
    def coming(self) -> int:
        """Place up to which samples fill shards, which go to the archive by themselves."""
        n = self.n_ready
        while (buffer := self.buffers.get(n)) is not None and buffer.n_held == self.block_samples:
            n += 1
        return self.start + n * self.block_samples // self.shard_samples * self.shard_samples

    def begin_at(self, start: int) -> None:
        """Begin earlier; only while no block was handed out."""
        old, self.buffers = self.buffers, {}
        before, self.start = self.start, start
        if self.name == str(before):
            self.name = str(start)
        self.fresh_anchors = [(a + before - start, b, c) for a, b, c in self.fresh_anchors]
        for number, buffer in sorted(old.items()):
            at = before + number * self.block_samples
            for low, high in Runs(self.block_samples, _holes(buffer.held)).held(0):
                self.put(at + low, buffer.samples[low:high], buffer.arrival_ns)

    def end_soon(self, flag: str) -> None:
        """Let another segment begin with the next block of which nothing has come yet."""
        stop = self.start + max(1, -(-(self.end - self.start) // self.block_samples)) * self.block_samples
        if self.limit is None or stop < self.limit:
            self.limit, self.limit_flag = stop, flag

    def end_now(self, now_ns: int) -> None:
        """Let another segment begin with the next sample, and this one end as soon as none is late any more."""
        if not self.closed and self.closing_ns is None:
            self.limit, self.limit_flag, self.closing_ns = self.end, MOVED, now_ns

    def is_over(self, now_ns: int, wait_s: float) -> bool:
        """Tell whether nothing more is to be waited for: its end is set and past, or it has been silent for long."""
        if self.closing_ns is not None:
            return abs(now_ns - self.closing_ns) >= wait_s * 1e9  # a clock that was set back must not hold it open
        return abs(now_ns - self.touched_ns) > (GAP_S if self.kind == MAIN else _LATE_IDLE_S + wait_s) * 1e9

    def is_filling(self, now_ns: int) -> bool:
        """Tell whether it is plain that no block is whole yet and that it goes on: the usual case, told cheaply."""
        whole = self.start + (self.n_ready + 1) * self.block_samples
        return self.end < whole and self.closing_ns is None and 0 <= now_ns - self.touched_ns < _LATE_IDLE_S * 10**9

    def holds(self, start: int, stop: int) -> bool:
        """Tell whether any sample of ``start`` to ``stop`` waits here."""
        for number, low, high in self._split(start, stop):
            buffer = self.buffers.get(number)
            if buffer is not None and buffer.held[low:high].any():
                return True
        return False

    def put(self, start: int, samples: IntSamples, arrival_ns: int) -> None:
        """Put samples at a place; where one waits already, it stays.

        Parameters
        ----------
        start : int
            Place on the grid, at or after :attr:`open_start`.
        samples : ndarray, shape (n, n_channels), int32
        arrival_ns : int
        """
        at = 0
        is_new = start >= self.end  # the usual case: the next samples of a feed
        for number, low, high in self._split(start, start + len(samples)):
            part = samples[at : at + high - low]
            at += high - low
            buffer = self.buffers.get(number)
            if buffer is None:
                buffer = self.buffers[number] = self._buffer()
            if not buffer.n_held:
                buffer.arrival_ns = arrival_ns
            buffer.newest_ns = arrival_ns
            held = buffer.held[low:high]
            if not is_new and buffer.n_held and held.any():
                free = ~held
                buffer.samples[low:high][free] = part[free]
                buffer.n_held += int(free.sum())
            else:
                buffer.samples[low:high] = part
                buffer.n_held += high - low
            held[:] = True
        self.end = max(self.end, start + len(samples))

    def ready(self, reorder_s: float, *, finish: bool, most: int) -> list[Block]:
        """Hand out the blocks that nothing more will come for, in order.

        Parameters
        ----------
        reorder_s : float
            Seconds for which samples may come in another order.
        finish : bool
            The lane ends: hand out all, the last one short.
        most : int
            At most so many.

        Returns
        -------
        list of Block
        """
        out: list[Block] = []
        size = self.block_samples
        while len(out) < most and self.open_start < self.end:
            buffer = self.buffers.get(self.n_ready)
            whole = buffer is not None and buffer.n_held == size
            if not (whole or finish or self.end >= self.open_start + size + int(reorder_s * self.rate)):
                break
            n = min(size, self.end - self.open_start)
            buffer = self.buffers.pop(self.n_ready, None) or self._buffer()
            runs = Runs(n, () if whole else _holes(buffer.held[:n]))
            out.append(Block(self, self.n_ready, buffer.samples[:n], runs, buffer.arrival_ns, buffer.newest_ns))
            self.n_ready += 1
        return out

    def take_back(self, blocks: Sequence[Block]) -> None:
        """Take blocks back that could not be committed; they are handed out again."""
        for block in reversed(blocks):
            buffer = self._buffer()
            n = block.runs.n_samples
            buffer.samples[:n] = block.samples
            for low, high in block.runs.held(0):
                buffer.held[low:high] = True
            buffer.n_held, buffer.arrival_ns = int(buffer.held.sum()), block.arrival_ns
            buffer.newest_ns = block.newest_ns
            self.buffers[block.number] = buffer
            self.n_ready = block.number

    def release(self) -> None:
        """Let go of the journal's samples that committed blocks hold whole."""
        done = self.start + self.n_committed * self.block_samples
        self.waiting.release(max(done, self.end) if self.closed else done)

    def _buffer(self) -> Buffer:
        samples = np.empty((self.block_samples, len(self.channels)), np.int32)
        samples[:] = self._missing
        return Buffer(samples, np.zeros(self.block_samples, np.bool_))

    def _split(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield block number, first and one past the last sample in the block."""
        size = self.block_samples
        at = start - self.start
        stop -= self.start
        while at < stop:
            number, low = divmod(at, size)
            high = min(size, low + stop - at)
            yield number, low, high
            at += high - low


def _holes(held: npt.NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ~held, [False]]).astype(np.int8)))
    return tuple((int(a), int(b)) for a, b in edges.reshape(-1, 2))
