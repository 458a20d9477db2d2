"""Compiled loops: coding of a window's quantised wavelet coefficients (FORMAT.md clause 8)."""

from __future__ import annotations

import numpy as np

from sanstream._jit import jit
from sanstream._loops_coder import SLOTS, code_gamma, code_mixed, code_simple
from sanstream._loops_models import (
    COEF_BASE,
    COEF_NODES,
    CORR_BASE,
    N_COEF,
    N_CORR,
    SIMPLE_BAND,
    W_COEF,
    W_CORR,
    cap,
    half_octave,
)
from sanstream._loops_wavelet import band_starts

COEF_LIMIT = 250
_ESCAPE = 13


@jit
def _magnitude(coder, buf, model, weight, wbase, n, value):
    """Code a non-zero signed value: gt1, gt2, ... in unary from node 2, escape by Elias gamma; then the sign."""
    m = abs(value)
    u = 1
    while u < _ESCAPE:
        for i in range(n):
            coder[SLOTS + i] += 1
        bit = code_mixed(coder, buf, model, weight, wbase + u * n, n, COEF_LIMIT, 1 if m > u else 0)
        if bit == 0:
            break
        u += 1
    if u == _ESCAPE:
        m = code_gamma(coder, buf, max(m - _ESCAPE + 1, 1)) + _ESCAPE - 1
    else:
        m = np.int64(u)
    return m


@jit
def coefficient_contexts(coder, q, i, starts, band, depth, san, step, other, has_other):
    """Put the contexts of coefficient ``i`` at node 0 into ``coder[SLOTS:]``."""
    a = starts[band]
    b = starts[band + 1]
    pa = starts[band - 1] if band >= 2 else 0
    pn = (a - pa) if band >= 2 else 0
    ga = starts[band - 2] if band >= 3 else 0
    gn = (pa - ga) if band >= 3 else 0
    k = i - a
    m1 = abs(q[i - 1]) if k > 0 else 0
    m2 = abs(q[i - 2]) if k > 1 else 0
    m3 = abs(q[i - 3]) if k > 2 else 0
    m4 = abs(q[i - 4]) if k > 3 else 0
    p0 = 0
    p1 = 0
    p2 = 0
    g0 = 0
    h = k >> 1
    if pn > 0:
        p0 = abs(q[pa + (h if h < pn else pn - 1)])
        if h + 1 < pn:
            p1 = abs(q[pa + h + 1])
        if h > 0:
            p2 = abs(q[pa + h - 1])
    if gn > 0:
        h = k >> 2
        g0 = abs(q[ga + (h if h < gn else gn - 1)])
    s0 = (abs(san[i]) * 4) // step
    s1 = (abs(san[i - 1]) * 4) // step if k > 0 else 0
    s2 = (abs(san[i + 1]) * 4) // step if i + 1 < b else 0
    o0 = 0
    o1 = 0
    if has_other:
        o0 = abs(other[i])
        if k > 0:
            o1 += abs(other[i - 1])
        if i + 1 < b:
            o1 += abs(other[i + 1])
    near = cap(half_octave(2 * m1 + m2), 7)
    par = cap(half_octave(2 * p0 + p1 + p2), 7)
    wide = cap(half_octave(m1 + m2 + m3 + m4), 7)
    d64 = depth * 64
    coder[SLOTS + 0] = COEF_BASE[0] + (d64 + near * 8 + par) * COEF_NODES
    coder[SLOTS + 1] = COEF_BASE[1] + (d64 + wide * 8 + cap(half_octave(g0 + p0), 7)) * COEF_NODES
    coder[SLOTS + 2] = COEF_BASE[2] + (d64 + cap(half_octave(s0), 15) * 4 + cap((near + 1) >> 1, 3)) * COEF_NODES
    coder[SLOTS + 3] = (
        COEF_BASE[3]
        + (d64 + (has_other * 32 + cap(half_octave(o0), 3) * 8 + cap(half_octave(o1), 3) * 2 + cap(m1, 1))) * COEF_NODES
    )
    mass = 6 * m1 + 3 * m2 + 2 * m3 + m4 + 4 * p0 + 2 * (p1 + p2) + 2 * g0 + 4 * o0 + 2 * o1
    coder[SLOTS + 4] = COEF_BASE[4] + (depth * 32 + cap(2 * half_octave(mass) + (mass & 1), 31)) * COEF_NODES
    coder[SLOTS + 5] = (
        COEF_BASE[5] + (d64 + cap(half_octave(s0 + ((s1 + s2) >> 1)), 15) * 4 + cap((par + 1) >> 1, 3)) * COEF_NODES
    )


@jit
def code_coefficients(coder, buf, model, weight, q, n, san, step, other, has_other):
    """Code ``q[:n]`` (int64, bands in order) of one window and channel.

    ``san`` holds the SAN reconstruction's own coefficients (FRACTION bits), ``other`` the quantised
    coefficients of the channel coded before in this window (``has_other`` 0 or 1).
    """
    starts = np.empty(16, np.int64)
    n_bands = band_starts(n, starts)
    last_zero = 0
    for band in range(n_bands):
        a = starts[band]
        b = starts[band + 1]
        depth = n_bands - 1 - band  # 0 = finest
        any_other = 0
        if has_other:
            for i in range(a, b):
                if other[i] != 0:
                    any_other = 1
                    break
        zero = 1
        for i in range(a, b):
            if q[i] != 0:
                zero = 0
                break
        slot = SIMPLE_BAND + depth * 8 + last_zero * 4 + has_other * 2 + any_other
        zero = code_simple(coder, buf, model, slot, zero)
        last_zero = zero
        if zero:
            for i in range(a, b):
                q[i] = 0
            continue
        wbase = W_COEF + depth * COEF_NODES * N_COEF
        for i in range(a, b):
            coefficient_contexts(coder, q, i, starts, band, depth, san, step, other, has_other)
            k = i - a
            v = q[i]
            bit = code_mixed(coder, buf, model, weight, wbase, N_COEF, COEF_LIMIT, 1 if v != 0 else 0)
            if bit == 0:
                q[i] = 0
                continue
            m = _magnitude(coder, buf, model, weight, wbase, N_COEF, v)
            sign_slot = COEF_BASE[4] + (depth * 32) * COEF_NODES + 15
            context = 0
            if has_other and other[i] != 0:
                context = 1 if other[i] > 0 else 2
            previous = 0
            if k > 0 and q[i - 1] != 0:
                previous = 1 if q[i - 1] > 0 else 2
            sign_slot += (context * 3 + previous) * COEF_NODES
            negative = code_simple(coder, buf, model, sign_slot, 1 if v < 0 else 0)
            q[i] = -m if negative else m


@jit
def code_corrections(coder, buf, model, weight, steps, n):
    """Code the sparse integer corrections ``steps[:n]`` of tool c, in units of 2 delta + 1."""
    wide = np.int64(0)
    for i in range(n):
        m1 = abs(steps[i - 1]) if i > 0 else 0
        m2 = abs(steps[i - 2]) if i > 1 else 0
        m3 = abs(steps[i - 3]) if i > 2 else 0
        coder[SLOTS + 0] = CORR_BASE[0] + (cap(m1, 3) * 64 + cap(m2, 3) * 16 + cap(m3, 3) * 4) * COEF_NODES
        coder[SLOTS + 1] = CORR_BASE[1] + cap(half_octave(wide), 31) * COEF_NODES
        v = steps[i]
        bit = code_mixed(coder, buf, model, weight, W_CORR, N_CORR, COEF_LIMIT, 1 if v != 0 else 0)
        m = np.int64(0)
        if bit:
            m = _magnitude(coder, buf, model, weight, W_CORR, N_CORR, v)
            sign_slot = CORR_BASE[0] + 15
            if m1:
                sign_slot += COEF_NODES * (1 if steps[i - 1] > 0 else 2)
            negative = code_simple(coder, buf, model, sign_slot, 1 if v < 0 else 0)
            steps[i] = -m if negative else m
        else:
            steps[i] = 0
        wide += ((cap(m, 64) << 10) - wide) >> 5
