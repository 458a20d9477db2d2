"""Compiled loops: one group of many blocks at once, coded by tables, without wavelets and activations.

The same integers as :mod:`sanstream._loops_body` gives block by block (FORMAT.md clauses 16 to 18); what the loop
cannot decode, or finds damaged, it leaves to that one.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from sanstream._jit import entry, lean, lean_apart
from sanstream._loops_body import code_levels, settled
from sanstream._loops_coder import END, POS
from sanstream._loops_group import CONSTANT, N_CROSS, SAMPLES, code_front
from sanstream._loops_linear import (
    FIRST_PIECE,
    LIMIT,
    PAD,
    SEEN,
    TERMS,
    bounded,
    code_predicted,
    learn,
    predict_others,
)
from sanstream._loops_rans import DECODE, LEAST, end_front
from sanstream._loops_samples import BASE, SHIFT

FIRST_MEAN = 512
"""Prediction errors are expected to be 4 at first (Q7)."""
Start = namedtuple("Start", "columns shape weights cov model rows")
"""What every block of a group begins with: ``columns`` as in :mod:`sanstream._loops_samples`; ``shape``, ``weights``
and ``cov`` as in :class:`sanstream._loops_body.Filters`; ``model`` contexts of the front; ``rows`` as
:func:`sanstream._loops_rans.new_rows` makes them. The loop works on a second one, which is set back to the first."""

Room = namedtuple("Room", "slots z errors taps track coder stream others backwards piece scratch")
"""What the loop works with; nothing in it outlives a block."""

Front = namedtuple("Front", "columns")
Taps = namedtuple("Taps", "taps")


@lean_apart
def _decode_samples(
    state, at, stream, rows, slots, track, z, shape, weights, cov, taps, errors, missing, y, base, shift, limits, delta,
    hop, others, backwards, piece, scratch, a, b, need,
):  # fmt: skip
    """Decode samples ``a:b`` of one column, or to ``need``; the last piece of a block teaches nobody."""
    n = y.shape[0]
    first = a
    while first < min(b, need):
        last = min(b, first + min(hop, max(FIRST_PIECE, shape[SEEN])))
        stop = min(last, need)
        predict_others(z, shape, weights, first, stop, others)
        state, at = code_predicted(
            DECODE, state, at, stream, rows, slots, track, first, stop, y, y, z[shape[TERMS]], missing[first:stop],
            base, shift, limits, delta, shape[TERMS + 2], weights, taps, errors, others, backwards,
        )  # fmt: skip
        if stop < last or last == n:
            break
        learn(z, shape, first, last, cov, piece, weights, scratch)
        shape[SEEN] += last - first
        first = last
    return state, at


@lean
def _hold(level, limits, z, y, base, shift, a, b):
    """Fill a window of one value, and let predictors see it."""
    value = settled(level, limits)
    seen = bounded((value - base) >> shift)
    for t in range(a, b):
        y[t] = value
        z[PAD + t] = seen


@lean_apart
def _set_back(own, start, room, plan):
    """Let a block begin as every block does."""
    for c in range(start.columns.shape[0]):
        for i in range(start.columns.shape[1]):
            own.columns[c, i] = start.columns[c, i]
        for i in range(start.shape.shape[1]):
            own.shape[c, i] = start.shape[c, i]
        for i in range(start.weights.shape[1]):
            own.weights[c, i] = start.weights[c, i]
            for j in range(start.cov.shape[2]):
                own.cov[c, i, j] = start.cov[c, i, j]
        for i in range(room.z.shape[1]):
            room.z[c, i] = 0
        for i in range(room.errors.shape[1]):
            room.errors[c, i] = 0
        for i in range(room.taps.shape[1]):
            room.taps[c, i] = 0
        for i in range(room.track.shape[1]):
            room.track[c, i] = 0 if i == 2 else FIRST_MEAN
    for i in range(start.model.shape[0]):
        own.model[i] = start.model[i]
    for i in range(start.rows.shape[0]):
        for j in range(start.rows.shape[1]):
            own.rows[i, j] = start.rows[i, j]
    for w in range(plan.tool.shape[0]):
        for c in range(plan.tool.shape[1]):
            plan.tool[w, c] = plan.step[w, c] = plan.delta[w, c] = 0
            plan.rmse[w, c] = plan.maximum[w, c] = plan.constant[w, c] = 0
            for j in range(N_CROSS):
                plan.cross[w, c, j] = 0


@lean_apart
def _words(data, begin, end, stream):
    """Take words from bytes; returns their number."""
    n = (end - begin) >> 1
    for i in range(n):
        stream[i] = np.uint32(data[begin + 2 * i]) | np.uint32(data[begin + 2 * i + 1]) << 8
    return n


@lean_apart
def _tools(plan, n_known):
    """Tell whether any window needs words, and whether any needs the general decoder."""
    worded = other = False
    for w in range(plan.tool.shape[0]):
        for c in range(n_known, plan.tool.shape[1]):
            worded |= plan.tool[w, c] == SAMPLES
            other |= plan.tool[w, c] != SAMPLES and plan.tool[w, c] != CONSTANT
    return worded, other


@lean_apart
def _body(state, at, stream, own, room, plan, layout, limits, missing, out, number, hop, need):
    """Decode all windows of a block, or to ``need``."""
    n = layout.n
    for w in range(plan.tool.shape[0]):
        a = w * layout.window
        b = min(n, a + layout.window)
        if a >= need:
            break
        for c in range(layout.n_known, plan.tool.shape[1]):
            y = out[c - layout.n_known, number]
            base, shift = own.columns[c, BASE], own.columns[c, SHIFT]
            if plan.tool[w, c] == CONSTANT:
                _hold(plan.constant[w, c], limits[c], room.z[c], y, base, shift, a, b)
                continue
            state, at = _decode_samples(
                state, at, stream, own.rows, room.slots, room.track[c], room.z, own.shape[c], own.weights[c],
                own.cov[c], room.taps[c], room.errors[c], missing[c, number], y, base, shift, limits[c],
                plan.delta[w, c], hop, room.others, room.backwards, room.piece, room.scratch, a, b, need,
            )  # fmt: skip
    return state, at


@lean_apart
def _know(known, offsets, own, z, number):
    """Let predictors see the columns of the ancestors."""
    for c in range(known.shape[0]):
        base = offsets[number, c, 0]
        shift = offsets[number, c, 1]
        own.columns[c, BASE] = base
        own.columns[c, SHIFT] = shift
        for t in range(known.shape[2]):
            z[c, PAD + t] = min(max((np.int64(known[c, number, t]) - base) >> shift, -LIMIT), LIMIT)


@entry
def decode_group(
    data, runs, need, missing, known, offsets, start, own, room, plan, layout, limits, front, kernels, hop, out, found
):  # fmt: skip
    """Decode one group of consecutive blocks of equal length; returns how many were decoded.

    ``data`` holds the blocks' bytes and ``runs`` (block, 2) where each block's run of this group begins and ends in it;
    ``need`` samples of the last block are wanted (all, where the group has several columns of its own); ``missing``
    (column, block, sample); ``known`` (known column, block, sample) and ``offsets`` (block, known column, 2) come from
    the ancestors: samples, base and shift; ``limits`` (column, 3) are digital range and missing code. Fills ``out``
    (own column, block, sample), and ``found`` (block, own column, 2) with base and shift.
    """
    n_known = layout.n_known
    n_blocks = runs.shape[0]
    for number in range(n_blocks):
        begin, end = runs[number, 0], runs[number, 1]
        _set_back(own, start, room, plan)
        _know(known, offsets, own, room.z, number)
        code_front(room.coder, data, begin, end, DECODE, own.model, layout, front, kernels, plan, 0)
        code_levels(room.coder, data, own.model, layout, front, plan)
        worded, other = _tools(plan, n_known)
        if other or room.coder[POS] > room.coder[END] + 4:
            return number
        begin = end_front(room.coder, data)
        left = end - begin
        if left < 0 or left & 1 or (left < 4 if worded else left > 0):
            return number
        n_words = _words(data, begin, end, room.stream)
        words = room.stream[: max(n_words, 1)]
        state = np.int64(words[0]) | np.int64(words[1]) << 16 if worded else np.int64(LEAST)
        at = 2 if worded else 0
        wanted = need if number == n_blocks - 1 else layout.n
        state, at = _body(state, at, words, own, room, plan, layout, limits, missing, out, number, hop, wanted)
        if wanted >= layout.n and worded and (at != n_words or state != LEAST):
            return number
        for c in range(n_known, plan.tool.shape[1]):
            found[number, c - n_known, 0] = own.columns[c, BASE]
            found[number, c - n_known, 1] = own.columns[c, SHIFT]
    return n_blocks
