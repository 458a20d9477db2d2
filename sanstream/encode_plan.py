"""A planned segment, and the encoding of some of its blocks, several at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sanstream.bank import Bank
from sanstream.block_coding import TABLES, SegmentCoding
from sanstream.encode_block import encode_block
from sanstream.encode_effort import Effort
from sanstream.encode_kernels import Activated, KernelChoice, match
from sanstream.encode_match import match_quickly
from sanstream.quality import Quality
from sanstream.signal import IntSamples

_BATCH_BLOCKS = 16
_THREADS: ContextVar[int] = ContextVar("threads", default=0)


@contextmanager
def encode_threads(n: int) -> Iterator[None]:
    """Let blocks be encoded by ``n`` threads at most while the block runs, as where other processes have the cores."""
    token = _THREADS.set(n)
    try:
        yield
    finally:
        _THREADS.reset(token)


@dataclass(frozen=True)
class Plan:
    """How a segment will be encoded.

    Parameters
    ----------
    coding : SegmentCoding
    bank : Bank
    effort : Effort
    qualities : tuple of Quality
    kernels : KernelChoice or None
    device : str or None
    """

    coding: SegmentCoding
    bank: Bank
    effort: Effort
    qualities: tuple[Quality, ...]
    kernels: KernelChoice | None = None
    device: str | None = None


def encode_numbers(samples: IntSamples, plan: Plan, numbers: Sequence[int]) -> Iterator[bytes]:
    """Encode chosen blocks, several at a time, in order."""
    workers = _THREADS.get() or max(1, min(os.cpu_count() or 1, 16))
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[bytes]] = deque()
        for first in range(0, len(numbers), _BATCH_BLOCKS):
            batch = numbers[first : first + _BATCH_BLOCKS]
            for number, activated in zip(batch, activations_of(samples, plan, batch), strict=True):
                pending.append(pool.submit(_one, samples, plan, int(number), activated))
            while len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _one(samples: IntSamples, plan: Plan, number: int, activated: Activated | None) -> bytes:
    size = plan.coding.block_samples
    part = samples[number * size : (number + 1) * size]
    return encode_block(part, number, plan.coding, plan.bank, plan.effort, plan.qualities, activated)


def _bridged(part: IntSamples, plan: Plan, channels: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return a block for matching, (n_channels, n), missing samples replaced by their neighbours' line."""
    out = part[:, channels].T.astype(np.float32)
    for i, c in enumerate(channels):
        code = plan.coding.missing[c]
        gone = part[:, c] == code if code is not None else None
        if gone is not None and gone.any():
            at = np.flatnonzero(~gone)
            out[i] = np.interp(np.arange(len(part)), at, out[i, at]) if len(at) else 0.0
    return out


def activations_of(samples: IntSamples, plan: Plan, numbers: Sequence[int]) -> list[Activated | None]:
    """Match kernels in a batch of blocks; equally long blocks go through torch together."""
    if plan.kernels is None:
        return [None] * len(numbers)
    size = plan.coding.block_samples
    channels = list(plan.coding.groups[0].channels)
    parts = [_bridged(samples[n * size : (n + 1) * size], plan, channels) for n in numbers]
    if plan.coding.coder == TABLES:
        return [match_quickly(part, plan.kernels) for part in parts]
    out: list[Activated | None] = [None] * len(numbers)
    for length in {p.shape[1] for p in parts}:
        chosen = [i for i, p in enumerate(parts) if p.shape[1] == length]
        for i, found in zip(
            chosen, match(np.stack([parts[i] for i in chosen]), plan.kernels, plan.device), strict=True
        ):
            out[i] = found
    return out
