"""Consecutive blocks to samples: those coded by tables in one compiled call, long stretches by several threads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sanstream.bank import Bank
from sanstream.block import BlockParts, read_block
from sanstream.block_coding import SegmentCoding
from sanstream.block_lattice import values_at
from sanstream.decode import decode_block, groups_for
from sanstream.decode_tables import beginnings, decode_groups
from sanstream.signal import IntSamples

_LEAST_SHARE = 1 << 18
"""Samples that are worth a thread."""
_MOST_THREADS = 8


def _most_threads() -> int:
    """How many threads this process may take: its processors, eight, and ``OMP_NUM_THREADS``, as workers are told."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    allowed = int(given) if given.isdecimal() else _MOST_THREADS
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS has none
    return min(own, _MOST_THREADS, allowed)


def decode_blocks(
    payloads: Sequence[bytes],
    first: int,
    coding: SegmentCoding,
    bank: Bank,
    channels: Sequence[int] | None = None,
    need: int | None = None,
) -> IntSamples:
    """Decode the samples of consecutive blocks.

    Parameters
    ----------
    payloads : sequence of bytes
        At least one.
    first : int
        Position of the first block in its segment.
    coding : SegmentCoding
    bank : Bank
        The bank that ``coding`` names.
    channels : sequence of int, optional
        Channels wanted, in this order; default all. Only their groups and ancestors are decoded.
    need : int, optional
        How many samples of the last block are wanted; what is given after them means nothing. Default: all.

    Returns
    -------
    ndarray, shape (n_channels wanted, n_samples), int32
        As :func:`decode_block` gives them.

    Raises
    ------
    CorruptError
        Naming segment and block, when the bytes are not what was written.
    """
    n_channels = coding.n_channels if channels is None else len(channels)
    n_values = len(payloads) * coding.block_samples * n_channels
    n_threads = min(n_values // _LEAST_SHARE, len(payloads), _most_threads())
    if n_threads < 2:
        return _decode(payloads, first, coding, bank, channels, need)
    cuts = [len(payloads) * k // n_threads for k in range(n_threads + 1)]

    def share(k: int) -> IntSamples:
        low, high = cuts[k], cuts[k + 1]
        last = need if k == n_threads - 1 else None
        return _decode(payloads[low:high], first + low, coding, bank, channels, last)

    with ThreadPoolExecutor(n_threads) as pool:
        return np.concatenate(list(pool.map(share, range(n_threads))), axis=1)


def _decode(
    payloads: Sequence[bytes],
    first: int,
    coding: SegmentCoding,
    bank: Bank,
    channels: Sequence[int] | None = None,
    need: int | None = None,
) -> IntSamples:
    """Do what :func:`decode_blocks` does, in this thread."""
    wanted = list(range(coding.n_channels)) if channels is None else list(channels)
    parts = [read_block(p, first + i, coding) for i, p in enumerate(payloads)]
    groups = beginnings(coding, bank, groups_for(coding, wanted))
    n = parts[0].n_samples
    n_alike = len(parts) if parts[-1].n_samples == n else [p.n_samples == n for p in parts].index(False)
    n_done = 0
    if groups is not None:
        least = n if need is None or n_alike < len(parts) else need
        samples, n_done = decode_groups(payloads[:n_alike], parts[:n_alike], coding, groups, least)
        if n_done == len(parts) and len(wanted) == 1:
            number = next(reversed(groups))
            one: IntSamples = samples[number][coding.groups[number].channels.index(wanted[0])].reshape(1, -1)
            _finish(one, parts, coding, wanted)
            return one
    out = np.empty((len(wanted), sum([p.n_samples for p in parts])), np.int32)
    if groups is not None:
        for number in groups if n_done else ():
            own = coding.groups[number].channels
            for i, channel in enumerate(wanted):
                if channel in own:
                    out[i, : n_alike * n] = samples[number][own.index(channel)].reshape(-1)
    at = n_done * n
    _finish(out[:, :at], parts[:n_done], coding, wanted)
    if n_done == n_alike < len(parts):  # the segment's last block is shorter
        out[:, at:] = _decode(payloads[n_done:], first + n_done, coding, bank, wanted, need)
        return out
    for i in range(n_done, len(parts)):
        out[:, at : at + parts[i].n_samples] = decode_block(payloads[i], first + i, coding, bank, wanted).T
        at += parts[i].n_samples
    return out


def _finish(out: IntSamples, parts: Sequence[BlockParts], coding: SegmentCoding, wanted: Sequence[int]) -> None:
    """Turn places on a lattice into values, and put missing codes where samples are missing."""
    if not coding.lattices and not any(p.gaps for p in parts):
        return
    for i, channel in enumerate(wanted):
        lattice = coding.lattices[channel] if coding.lattices else None
        if lattice is not None:
            out[i] = values_at(out[i], lattice)
    at = 0
    for part in parts:
        for i, channel in enumerate(wanted) if part.gaps else ():
            for start, length in part.gaps[channel]:
                out[i, at + start : at + start + length] = coding.missing[channel] or 0
        at += part.n_samples
