"""Compiled loops: the samples of a run coded by tables, all windows and channels (FORMAT.md clauses 16 to 18).

Arrays are (column, sample): columns are worked through one after the other.
"""

from __future__ import annotations

from collections import namedtuple

from sanstream._jit import entry, lean, lean_apart, lean_entry
from sanstream._loops_coder import INT_SLOTS, code_int
from sanstream._loops_group import (
    CONSTANT,
    CORRECTED,
    CROSS_BITS,
    N_CROSS,
    SAMPLES,
    SPARSE,
    WAVELET,
)
from sanstream._loops_lifting import forward_split, inverse_split
from sanstream._loops_linear import (
    FIRST_PIECE,
    PAD,
    SEEN,
    TERMS,
    bounded,
    code_predicted,
    gather_piece,
    learn,
    predict_others,
)
from sanstream._loops_models import INT_CONSTANT, INT_CROSS, INT_MEAN
from sanstream._loops_samples import BASE, N_REFS, REFS, SHIFT
from sanstream._loops_tables import CORRECTION, code_coefficients, code_series
from sanstream._loops_wavelet import FRACTION, STEPS

N_TRACKS = 5
"""Per column: two running means of prediction errors, bands of the last wavelet window, two of corrections."""

Body = namedtuple("Body", "columns limits missing x y z san track window n_known hop")
"""``columns`` as in :mod:`sanstream._loops_samples`; ``limits`` (column, 3) digital range and missing code;
``missing``, ``x``, ``y``, ``san`` (column, sample); ``z`` (signal, PAD + samples + PAD) int32; ``track`` (column,
N_TRACKS)."""

Filters = namedtuple("Filters", "shape weights cov taps errors")
"""Predictors by column, as :func:`sanstream._loops_linear.learn` and ``predict`` take them."""

Room = namedtuple("Room", "values others backwards shape even odd scratch piece starts")
"""Scratch: vectors of a window, weights, two of half a window, two matrices, band starts."""


@lean
def settled(v, limits):
    """Clamp a decoded value to the digital range and step off the missing code."""
    v = min(max(v, limits[0]), limits[1])
    if v == limits[2]:
        v += 1 if v < limits[1] else -1
    return v


@entry
def code_levels(coder, buf, model, layout, s, plan):
    """Code what the windows need before the words: levels of tools constant and sparse, cross weights of a and c."""
    n_windows, n_columns = plan.tool.shape
    for w in range(n_windows):
        for c in range(layout.n_known, n_columns):
            tool = plan.tool[w, c]
            if tool == CONSTANT or tool == SPARSE:
                kind = INT_CONSTANT if tool == CONSTANT else INT_MEAN
                base = s.columns[c, BASE]
                v = base + code_int(coder, buf, model, kind * INT_SLOTS, plan.constant[w, c] - base)
                plan.constant[w, c] = min(max(v, layout.lower[c]), layout.upper[c])
            for j in range(min(N_CROSS, s.columns[c, N_REFS])):
                r = s.columns[c, REFS + j]
                used = (tool == WAVELET or tool == CORRECTED) and r < c
                if not used or (r >= layout.n_known and plan.tool[w, r] != WAVELET and plan.tool[w, r] != CORRECTED):
                    plan.cross[w, c, j] = 0
                    continue
                last = plan.cross[w - 1, c, j] if w > 0 else 0
                v = last + code_int(coder, buf, model, INT_CROSS * INT_SLOTS, plan.cross[w, c, j] - last)
                plan.cross[w, c, j] = min(max(v, -4096), 4096)


@lean
def lean_on(columns, cross, y, san, a, b, c, out):
    """Prediction of column ``c`` in ``a:b`` before the wavelet: base, SAN and weighted channels already decoded."""
    for t in range(b - a):
        out[t] = 0
    for j in range(min(N_CROSS, columns[c, N_REFS])):
        weight = cross[j]
        if weight == 0:
            continue
        r = columns[c, REFS + j]
        base = columns[r, BASE]
        for t in range(b - a):
            out[t] += weight * (y[r, a + t] - base - san[r, a + t])
    base = columns[c, BASE]
    for t in range(b - a):
        out[t] = base + san[c, a + t] + ((out[t] + (1 << (CROSS_BITS - 1))) >> CROSS_BITS)


@lean
def restore(q, step, n, values, even, odd):
    """Give the residual of quantised coefficients, digital steps."""
    for i in range(n):
        values[i] = q[i] * step
    inverse_split(values, n, even, odd)
    for i in range(n):
        values[i] = (values[i] + (1 << (FRACTION - 1))) >> FRACTION


@lean_apart
def _code_wavelet(mode, state, at, stream, rows, slots, body, plan, room, w, a, b, c, previous):
    n = b - a
    shape = room.shape[:n]
    for t in range(n):
        shape[t] = body.san[c, a + t] << FRACTION
    if plan.n_act[0]:
        forward_split(shape, n, room.even, room.odd)
    step = STEPS[plan.step[w, c]]
    q = plan.coefs[c, a:b]
    other = plan.coefs[max(previous, 0), a:b]
    track = body.track[c]
    state, at = code_coefficients(
        mode, state, at, stream, rows, slots, track, q, shape, step, other, previous >= 0, room.starts
    )
    corrections = plan.corrections[c, a:b]
    corrected = plan.tool[w, c] == CORRECTED
    if corrected:
        state, at = code_series(
            mode, state, at, stream, rows, slots, CORRECTION, track[3:], body.missing[c, a:b], corrections
        )
    lean_on(body.columns, plan.cross[w, c], body.y, body.san, a, b, c, room.others)
    restore(q, step, n, room.values, room.even, room.odd)
    quantum = 2 * plan.delta[w, c] + 1
    limits = body.limits[c]
    for t in range(n):
        v = settled(room.others[t] + room.values[t], limits)
        if corrected:
            v = settled(v + corrections[t] * quantum, limits)
        body.y[c, a + t] = v
    return state, at


@lean_apart
def _code_samples(mode, state, at, stream, rows, slots, body, filters, delta, room, a, b, c):
    shape = filters.shape[c]
    weights = filters.weights[c]
    base = body.columns[c, BASE]
    shift = body.columns[c, SHIFT]
    first = a
    while first < b:
        last = min(b, first + min(body.hop, max(FIRST_PIECE, shape[SEEN])))
        predict_others(body.z, shape, weights, first, last, room.others)
        state, at = code_predicted(
            mode, state, at, stream, rows, slots, body.track[c], first, last, body.x[c], body.y[c], body.z[c],
            body.missing[c, first:last], base, shift, body.limits[c], delta, shape[TERMS + 2], weights, filters.taps[c],
            filters.errors[c], room.others, room.backwards,
        )  # fmt: skip
        learn(body.z, shape, first, last, filters.cov[c], room.piece, weights, room.scratch)
        shape[SEEN] += last - first
        first = last
    return state, at


@lean
def _hold(body, plan, w, a, b, c):
    """Fill a window of tool constant or sparse."""
    for t in range(a, b):
        level = plan.constant[w, c] + (body.san[c, t] if plan.tool[w, c] == SPARSE else 0)
        body.y[c, t] = settled(level, body.limits[c])


@lean
def _note(body, a, b, c):
    """Let predictors see a window that they did not code."""
    base = body.columns[c, BASE]
    shift = body.columns[c, SHIFT]
    for t in range(a, b):
        body.z[c, PAD + t] = bounded((body.y[c, t] - base) >> shift)


@lean_entry
def code_waveless(mode, state, at, stream, rows, slots, body, filters, plan, room):
    """Do what :func:`code_body` does where no window is a wavelet's: a third of the compilation."""
    n_windows, n_columns = plan.tool.shape
    n = body.y.shape[1]
    for w in range(n_windows):
        a = w * body.window
        b = min(n, a + body.window)
        for c in range(body.n_known, n_columns):
            if plan.tool[w, c] == SAMPLES:
                state, at = _code_samples(
                    mode, state, at, stream, rows, slots, body, filters, plan.delta[w, c], room, a, b, c
                )
            else:
                _hold(body, plan, w, a, b, c)
                _note(body, a, b, c)
    return state, at


@lean_entry
def code_body(mode, state, at, stream, rows, slots, body, filters, plan, room):
    """Code all windows; returns the decoder's state and the place in the stream where it ended."""
    n_windows, n_columns = plan.tool.shape
    n = body.y.shape[1]
    for w in range(n_windows):
        a = w * body.window
        b = min(n, a + body.window)
        previous = -1
        for c in range(body.n_known, n_columns):
            tool = plan.tool[w, c]
            if tool == SAMPLES:
                state, at = _code_samples(
                    mode, state, at, stream, rows, slots, body, filters, plan.delta[w, c], room, a, b, c
                )
                continue
            if tool == WAVELET or tool == CORRECTED:
                state, at = _code_wavelet(mode, state, at, stream, rows, slots, body, plan, room, w, a, b, c, previous)
                previous = c
            else:
                _hold(body, plan, w, a, b, c)
            _note(body, a, b, c)
    return state, at


@lean_entry
def gather(z, shape, a, b, piece):
    """Covariances of one column's regressors over ``a:b``, for the encoder's choice of start weights."""
    gather_piece(z, shape, a, b, piece)
