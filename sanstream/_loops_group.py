"""Compiled loops: one entropy-coder run = one channel group of one block (FORMAT.md clause 7).

The same function encodes, estimates and decodes. Columns of a group's arrays are its ancestors'
channels (already decoded, ``n_known`` of them) followed by its own channels in coding order.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from sanstream._jit import entry, jit
from sanstream._loops_activations import code_activations
from sanstream._loops_coder import INT_SLOTS, code_int, code_simple, start
from sanstream._loops_coefficients import code_coefficients, code_corrections
from sanstream._loops_models import (
    INT_BASE,
    INT_CONSTANT,
    INT_CROSS,
    INT_DELTA,
    INT_MAXIMUM,
    INT_MEAN,
    INT_RMSE,
    INT_SHIFT,
    INT_STEP,
    SIMPLE_TOOL,
)
from sanstream._loops_samples import BASE, N_REFS, REFS, SHIFT
from sanstream._loops_wavelet import FRACTION, STEPS, forward, inverse

WAVELET, SAMPLES, CORRECTED, CONSTANT, SPARSE = 0, 1, 2, 3, 4
N_TOOLS = 5
N_CROSS = 8
CROSS_BITS = 5
"""Cross-channel weights of the wavelet tools are in 1/32."""

Layout = namedtuple("Layout", "n window n_known lower upper absent")
"""Samples in the block, samples in a window, known columns, digital range and missing code per column."""

Plan = namedtuple(
    "Plan", "tool step delta rmse maximum cross constant coefs corrections n_act act_kernel act_index act_amp"
)
"""Decisions per window and column, coefficients and corrections per sample, activations of the block."""


@jit
def _int(coder, buf, model, kind, value):
    return code_int(coder, buf, model, kind * INT_SLOTS, value)


@jit
def _code_field(coder, buf, model, kind, field, w, c, last, top):
    """Code one entry of a plan's table as its difference from the channel's last one."""
    v = last[c] + _int(coder, buf, model, kind, field[w, c] - last[c])
    field[w, c] = min(max(v, 0), top)
    last[c] = field[w, c]


@jit
def _code_plan(coder, buf, model, n_known, tools, step, delta, rmse, maximum):
    """Code tool, step, delta and what was reached, window by window, channel by channel."""
    n_windows, n_columns = tools.shape
    last_tool = np.zeros(n_columns, np.int64)
    last = np.zeros((4, n_columns), np.int64)
    last[0, :] = 40
    for w in range(n_windows):
        for c in range(n_known, n_columns):
            tool = 0
            while tool < N_TOOLS - 1:
                slot = SIMPLE_TOOL + last_tool[c] * 8 + tool
                if code_simple(coder, buf, model, slot, 1 if tools[w, c] > tool else 0) == 0:
                    break
                tool += 1
            tools[w, c] = tool
            last_tool[c] = tool
            if tool == WAVELET or tool == CORRECTED:
                _code_field(coder, buf, model, INT_STEP, step, w, c, last[0], 255)
            if tool == SAMPLES or tool == CORRECTED:
                _code_field(coder, buf, model, INT_DELTA, delta, w, c, last[1], 1 << 24)
            if tool == CONSTANT or (tool == SAMPLES and delta[w, c] == 0):
                rmse[w, c] = 0
                maximum[w, c] = 0
                continue
            _code_field(coder, buf, model, INT_RMSE, rmse, w, c, last[2], 255)
            _code_field(coder, buf, model, INT_MAXIMUM, maximum, w, c, last[3], 255)


@jit
def cross_prediction(columns, cross, w, a, b, c, y, san, out):
    """Prediction of column ``c`` in ``a:b`` before the wavelet: base, SAN and weighted channels already decoded."""
    for t in range(a, b):
        out[t - a] = 0
    for j in range(min(N_CROSS, columns[c, N_REFS])):
        weight = cross[w, c, j]
        if weight == 0:
            continue
        r = columns[c, REFS + j]
        for t in range(a, b):
            out[t - a] += weight * (y[t, r] - columns[r, BASE] - san[t, r])
    half = 1 << (CROSS_BITS - 1)
    for t in range(a, b):
        out[t - a] = columns[c, BASE] + san[t, c] + ((out[t - a] + half) >> CROSS_BITS)


@jit
def settle(v, lower, upper, absent):
    """Clamp a decoded value to the digital range and step off the missing code."""
    if v < lower:
        v = lower
    elif v > upper:
        v = upper
    if v == absent:
        v = v + 1 if v < upper else v - 1
    return v


@jit
def rebuild(coefs, step, n, values, scratch):
    """Inverse transform of quantised coefficients: residual in digital steps, rounded."""
    for i in range(n):
        values[i] = coefs[i] * step
    inverse(values, n, scratch)
    for i in range(n):
        values[i] = (values[i] + (1 << (FRACTION - 1))) >> FRACTION


@jit
def _code_cross(coder, buf, model, columns, tool, cross, w, c):
    for j in range(min(N_CROSS, columns[c, N_REFS])):
        r = columns[c, REFS + j]
        if r >= c or (tool[w, r] != WAVELET and tool[w, r] != CORRECTED):
            cross[w, c, j] = 0
            continue
        last = cross[w - 1, c, j] if w > 0 else 0
        v = last + _int(coder, buf, model, INT_CROSS, cross[w, c, j] - last)
        cross[w, c, j] = min(max(v, -4096), 4096)


@entry
def code_wavelet(coder, buf, model, weight, layout, s, plan, w, a, b, c, previous, y, san, work):
    """Code one window of one channel with tool a or c and rebuild it into ``y``.

    ``previous`` is the column coded with the wavelet before in this window, or -1; ``work`` is
    int64 (4, at least the window's samples + 2).
    """
    lower, upper, absent = layout.lower[c], layout.upper[c], layout.absent[c]
    n = b - a
    prediction = work[0]
    values = work[1]
    scratch = work[2]
    shape = work[3]
    _code_cross(coder, buf, model, s.columns, plan.tool, plan.cross, w, c)
    for t in range(a, b):
        shape[t - a] = san[t, c] << FRACTION
    forward(shape, n, scratch)
    step = STEPS[plan.step[w, c]]
    coefs = plan.coefs[c, a:b]
    other = plan.coefs[max(previous, 0), a:b]
    code_coefficients(coder, buf, model, weight, coefs, n, shape, step, other, 1 if previous >= 0 else 0)
    cross_prediction(s.columns, plan.cross, w, a, b, c, y, san, prediction)
    rebuild(coefs, step, n, values, scratch)
    if plan.tool[w, c] == CORRECTED:
        corrections = plan.corrections[c, a:b]
        code_corrections(coder, buf, model, weight, corrections, n)
        quantum = 2 * plan.delta[w, c] + 1
        for i in range(n):
            v = settle(prediction[i] + values[i], lower, upper, absent)
            values[i] = v - prediction[i] + corrections[i] * quantum
    for i in range(n):
        y[a + i, c] = settle(prediction[i] + values[i], lower, upper, absent)


@entry
def code_front(coder, buf, pos, end, mode, model, layout, s, kernels, plan, stop_after):
    """Begin a group's run: the plan, the activations, then base and input shift of every channel.

    ``stop_after`` 1 ends after the plan, 2 after the activations, 0 goes on.
    """
    n_columns = plan.tool.shape[1]
    start(coder, buf, mode, pos, end)
    _code_plan(coder, buf, model, layout.n_known, plan.tool, plan.step, plan.delta, plan.rmse, plan.maximum)
    if stop_after == 1:
        return
    code_activations(
        coder, buf, model, layout.n, kernels.taps.shape[0], plan.n_act, plan.act_kernel, plan.act_index, plan.act_amp
    )
    if stop_after == 2:
        return
    previous_base = np.int64(0)
    for c in range(layout.n_known, n_columns):
        v = previous_base + _int(coder, buf, model, INT_BASE, s.columns[c, BASE] - previous_base)
        s.columns[c, BASE] = min(max(v, layout.lower[c]), layout.upper[c])
        previous_base = s.columns[c, BASE]
        v = _int(coder, buf, model, INT_SHIFT, s.columns[c, SHIFT])
        s.columns[c, SHIFT] = min(max(v, 0), 16)


@entry
def code_level(coder, buf, model, layout, s, plan, w, a, b, c, y, san):
    """Code one window of one channel with tool constant or sparse: its level."""
    tool = plan.tool[w, c]
    kind = INT_CONSTANT if tool == CONSTANT else INT_MEAN
    v = s.columns[c, BASE] + _int(coder, buf, model, kind, plan.constant[w, c] - s.columns[c, BASE])
    v = min(max(v, layout.lower[c]), layout.upper[c])
    plan.constant[w, c] = v
    for t in range(a, b):
        shape = np.int64(0) if tool == CONSTANT else san[t, c]
        y[t, c] = settle(v + shape, layout.lower[c], layout.upper[c], layout.absent[c])
