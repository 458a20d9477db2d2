"""Many blocks coded by tables at once: what their groups begin with is made once, one loop runs over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream._loops_body import N_TRACKS
from sanstream._loops_coder import CODER_SIZE
from sanstream._loops_decode import Front, Room, Start, Taps, decode_group
from sanstream._loops_group import N_CROSS, Layout, Plan
from sanstream._loops_linear import PAD
from sanstream._loops_models import SIMPLE_END
from sanstream._loops_rans import ROW, new_rows
from sanstream._loops_tables import COEFFICIENT, first_counts
from sanstream.bank import Bank
from sanstream.block import BlockParts
from sanstream.block_coding import TABLES, SegmentCoding, ancestry
from sanstream.group_state import GroupPlace, kernels_of, loop_layout, loop_predictor, place_of
from sanstream.group_tables import fresh_filters

_AHEAD = 16
"""Samples more that an ancestor must have: descendants look ahead of their own by at most 8."""
_SIZE, _COUNT = first_counts()
_ROWS, _ = new_rows(_SIZE[:COEFFICIENT], _COUNT[:COEFFICIENT])
_NONE, _NONE_OF_TWO = np.zeros(0, np.int64), np.zeros((0, 0), np.int64)
_NO_SAMPLES, _NO_OFFSETS = np.zeros((0, 1, 1), np.int32), np.zeros((1, 0, 2), np.int64)
_MAX_SPARES = 2
_NO_KERNELS = Taps(np.zeros((0, 1, 1), np.int64))


Desk = tuple[Start, Room, Plan, Front]
"""What a loop works with."""


@dataclass
class Beginning:
    """What every block of a group begins with.

    Parameters
    ----------
    place : GroupPlace
    layout : Layout
        Of a full block.
    limits : ndarray, shape (n_columns, 3), int64
        Digital range and missing code.
    start : Start
    plain : bool
        No block has needed the general decoder so far.
    spares : list of Desk
        What loops worked with before, for full blocks.
    """

    place: GroupPlace
    layout: Layout
    limits: npt.NDArray[np.int64]
    start: Start
    plain: bool = True
    spares: list[Desk] = field(default_factory=list)


@dataclass(frozen=True)
class _Named:
    """A group of a coding under a bank, by what names them."""

    seal: bytes
    bank_id: str
    number: int
    coding: SegmentCoding = field(compare=False)
    bank: Bank = field(compare=False)


@lru_cache(maxsize=256)
def _beginning(group: _Named) -> Beginning | None:
    """Make what the blocks of a group begin with; None where only the general decoder will do."""
    coding, bank = group.coding, group.bank
    if coding.coder != TABLES or kernels_of(coding, bank):
        return None
    place = place_of(coding, group.number)
    layout = loop_layout(coding, place, coding.block_samples)
    predictor = loop_predictor(coding, place, group.number, False)
    filters = fresh_filters(coding.block_samples, layout, coding.predictor, predictor, False)
    model = (bank.models[0][:SIMPLE_END].astype(np.int32) << 8) | bank.models[1][:SIMPLE_END]
    limits = np.stack([layout.lower, layout.upper, layout.absent], axis=1)
    start = Start(predictor.columns, filters.shape, filters.weights, filters.cov, model, _ROWS)
    return Beginning(place, layout, limits, start)


def beginnings(coding: SegmentCoding, bank: Bank, groups: Sequence[int]) -> dict[int, Beginning] | None:
    """Return what the blocks of some groups begin with; None where only the general decoder will do."""
    if coding.coder != TABLES:
        return None
    found = {}
    for number in groups:
        beginning = _beginning(_Named(coding.seal, bank.id, number, coding, bank))
        if beginning is None or not beginning.plain:
            return None
        found[number] = beginning
    return found


def decode_groups(
    payloads: Sequence[bytes],
    parts: Sequence[BlockParts],
    coding: SegmentCoding,
    groups: dict[int, Beginning],
    need: int,
) -> tuple[dict[int, npt.NDArray[np.int32]], int]:
    """Decode groups of consecutive blocks of equal length.

    Parameters
    ----------
    payloads : sequence of bytes
    parts : sequence of BlockParts
        Of each payload.
    coding : SegmentCoding
    groups : dict of int to Beginning
        As :func:`beginnings` gives them, ancestors before descendants.
    need : int
        How many samples of the last block are wanted; more may be given.

    Returns
    -------
    samples : dict of int to ndarray, shape (n_channels of the group, n_blocks, n_samples), int32
    n_done : int
        Blocks that were decoded; those after them are left to the general decoder.
    """
    n, n_blocks = parts[0].n_samples, len(parts)
    data = np.frombuffer(bytearray().join(payloads), np.uint8)
    origins = list(accumulate(map(len, payloads[:-1]), initial=0))
    samples: dict[int, npt.NDArray[np.int32]] = {}
    offsets: dict[int, npt.NDArray[np.int64]] = {}
    n_done = n_blocks
    for number, beginning in groups.items():
        place, start = beginning.place, beginning.start
        n_columns, n_known = len(place.columns), place.n_known
        known, before = _NO_SAMPLES, _NO_OFFSETS
        if n_known:
            line = ancestry(coding.groups, number)[:-1]
            known = _joined([samples[g] for g in line], 0)
            before = _joined([offsets[g] for g in line], 1)
        runs = np.array(
            [(p.runs[number][0] + at, p.runs[number][1] + at) for p, at in zip(parts, origins, strict=True)], np.int64
        )
        alone = n_columns - n_known == 1
        wanted = min(n, need + (_AHEAD if len(groups) > 1 else 0)) if alone else n
        out = np.empty((n_columns - n_known, n_blocks, n), np.int32)
        found = np.empty((n_blocks, n_columns - n_known, 2), np.int64)
        n_words = max([b - a for a, b in runs.tolist()]) // 2 + 2
        desk = beginning.spares.pop() if n == coding.block_samples and beginning.spares else None
        if desk is None or len(desk[1].stream) < n_words:
            desk = _desk(coding, beginning, n, max(n_words, n))
        own, room, plan, front = desk
        done = decode_group(
            data, runs, wanted, _missing(parts, place.columns, n), known, before, start, own, room, plan,
            beginning.layout if n == coding.block_samples else beginning.layout._replace(n=n), beginning.limits, front,
            _NO_KERNELS, coding.predictor.hop, out, found,
        )  # fmt: skip
        if n == coding.block_samples and len(beginning.spares) < _MAX_SPARES:
            beginning.spares.append(desk)
        if done < n_blocks:
            beginning.plain = False
            n_done = min(n_done, done)
        samples[number], offsets[number] = out, found
        if n_done == 0:
            break
    return samples, n_done


def _desk(coding: SegmentCoding, beginning: Beginning, n: int, n_words: int) -> Desk:
    """Make what the loop works with, for blocks of ``n`` samples and runs of ``n_words`` words."""
    own = Start(*(v.copy() for v in beginning.start))
    n_columns = len(beginning.place.columns)
    room = _room(coding, n, n_columns, own.cov.shape[1] + 1, n_words)
    return own, room, _blank_plan(coding, n, n_columns), Front(own.columns)


def _room(coding: SegmentCoding, n: int, n_columns: int, size: int, n_words: int) -> Room:
    window, taps = min(coding.window_samples, n), coding.predictor.filter
    return Room(
        np.empty((len(_ROWS), ROW + 32), np.uint8),
        np.empty((n_columns, n + 2 * PAD), np.int32),
        np.empty((n_columns, n + 2 * PAD if taps else 0), np.int32),
        np.empty((n_columns, taps), np.int64),
        np.empty((n_columns, N_TRACKS), np.int64),
        np.zeros(CODER_SIZE, np.int64),
        np.zeros(n_words, np.uint32),
        np.empty(window + 2, np.int64),
        np.empty(size, np.int64),
        np.zeros((size, size), np.int64),
        np.zeros((size, size), np.int64),
    )


def _blank_plan(coding: SegmentCoding, n: int, n_columns: int) -> Plan:
    table = np.empty((6, -(-n // coding.window_samples), n_columns), np.int64)
    cross = np.empty((*table.shape[1:], N_CROSS), np.int64)
    tool, step, delta, rmse, maximum, constant = table
    return Plan(
        tool, step, delta, rmse, maximum, cross, constant, _NONE_OF_TWO, _NONE_OF_TWO, np.zeros(1, np.int64), _NONE,
        _NONE, _NONE_OF_TWO,
    )  # fmt: skip


def _joined(arrays: list[npt.NDArray[Any]], axis: int) -> npt.NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=axis)


def _missing(parts: Sequence[BlockParts], columns: Sequence[int], n: int) -> npt.NDArray[np.uint8]:
    if not any(part.gaps for part in parts):
        return _none_missing(len(columns), len(parts), n)
    mask = np.zeros((len(columns), len(parts), n), np.uint8)
    for number, part in enumerate(parts):
        if part.gaps:
            for i, channel in enumerate(columns):
                for start, length in part.gaps[channel]:
                    mask[i, number, start : start + length] = 1
    return mask


@lru_cache(maxsize=8)
def _none_missing(*shape: int) -> npt.NDArray[np.uint8]:
    """Return a mask that nobody writes to."""
    return np.zeros(shape, np.uint8)
