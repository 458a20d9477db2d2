"""Compiled loops: closed-loop prediction of samples, tool b (FORMAT.md clause 9).

Every channel of a group is predicted from its own past, the other channels and the SAN
reconstruction by recursive least squares, then by a normalised LMS filter on what is left.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from sanstream._jit import entry, jit
from sanstream._loops_coder import COST, SLOTS, code_gamma, code_mixed, code_probability
from sanstream._loops_models import (
    N_SAMPLE,
    SAMPLE_BASE,
    SAMPLE_NODES,
    W_SAMPLE,
    cap,
    half_octave,
    octave,
)
from sanstream._loops_predict import accumulate, forget, solve

MAX_REGRESSORS = 62
MAX_REFERENCES = 24
SAN_REACH = 3
LMS_TAPS = 16
SAMPLE_LIMIT = 250
_UNARY = 20
_RIDGE_SHIFT = 16
_Z_LIMIT = 1 << 17
_LMS_LIMIT = 1 << 20

BASE, SHIFT, FAST, SLOW, ERROR, SEEN, N_REFS, REFS = 0, 1, 2, 3, 4, 5, 6, 8
"""Places in a column's row of ``columns``: subtracted offset, input shift, error averages, last error, samples seen,
number of references; from REFS stand the references."""
START = MAX_REGRESSORS + 2
"""From here stand the start weights in a column's row of ``weights``; before them what was learned since."""

Predictor = namedtuple("Predictor", "own cross hop forget use_san columns taps weights cov scratch")
"""Parameters and state of a group's predictors; arrays are indexed by column of the group.

``columns`` (n, REFS + MAX_REFERENCES); ``taps`` (n, 2, LMS_TAPS), errors and LMS weights; ``weights``
(n, 2 (MAX_REGRESSORS + 2)); ``cov`` (n, size, size); ``scratch`` (size + 1, size).
"""


def new_predictor(own, cross, hop, forget_shift, use_san, refs, n_refs, n_columns, start_weight, start_ridge):
    """Allocate the state for ``n_columns`` columns; ``refs`` is (n_columns, MAX_REFERENCES) int64."""
    n_regressors = [own + cross * n_refs[c] + (2 * SAN_REACH + 1 if use_san else 0) for c in range(n_columns)]
    size = int(max(n_regressors, default=0)) + 1
    columns = np.zeros((n_columns, REFS + MAX_REFERENCES), np.int64)
    columns[:, N_REFS] = n_refs
    columns[:, REFS:] = refs
    weights = np.zeros((n_columns, 2 * START), np.int64)
    weights[:, START:] = start_weight
    cov = np.zeros((n_columns, size, size), np.int64)
    for c in range(n_columns):
        for i in range(n_regressors[c]):
            cov[c, i, i] = start_ridge[c]
    taps = np.zeros((n_columns, 2, LMS_TAPS), np.int64)
    scratch = np.zeros((size + 1, size), np.int64)
    return Predictor(own, cross, hop, forget_shift, use_san, columns, taps, weights, cov, scratch)


@jit
def _bounded(v):
    if v > _Z_LIMIT:
        return np.int64(_Z_LIMIT)
    if v < -_Z_LIMIT:
        return np.int64(-_Z_LIMIT)
    return v


@jit
def _regressors(s, y, san, t, c, n_total, out):
    """Fill ``out`` with the regressors of column ``c`` at time ``t``; returns their number."""
    k = 0
    base = s.columns[c, BASE]
    shift = s.columns[c, SHIFT]
    for i in range(1, s.own + 1):
        out[k] = _bounded((y[t - i, c] - base) >> shift) if t >= i else 0
        k += 1
    for j in range(s.columns[c, N_REFS]):
        r = s.columns[c, REFS + j]
        lag = 0 if r < c else 1
        for i in range(s.cross):
            u = t - lag - i
            out[k] = _bounded((y[u, r] - s.columns[r, BASE]) >> s.columns[r, SHIFT]) if u >= 0 else 0
            k += 1
    if s.use_san:
        for i in range(-SAN_REACH, SAN_REACH + 1):
            u = t + i
            out[k] = _bounded(san[u, c] >> shift) if 0 <= u < n_total else 0
            k += 1
    return k


@jit
def _code_value(coder, buf, model, weight, wbase, g, e):
    """Code one signed prediction error from prepared contexts; ``g`` low bits lie outside the unary part."""
    bit = code_mixed(coder, buf, model, weight, wbase, N_SAMPLE, SAMPLE_LIMIT, 1 if e == 0 else 0)
    if bit:
        return np.int64(0)
    for i in range(N_SAMPLE):
        coder[SLOTS + i] += 1
    negative = code_mixed(coder, buf, model, weight, wbase + N_SAMPLE, N_SAMPLE, SAMPLE_LIMIT, 1 if e < 0 else 0)
    m = abs(e) - 1
    high = m >> g
    u = 0
    while u < _UNARY:
        for i in range(N_SAMPLE):
            coder[SLOTS + i] += 1
        bit = code_mixed(
            coder, buf, model, weight, wbase + (2 + u) * N_SAMPLE, N_SAMPLE, SAMPLE_LIMIT,
            1 if high > u else 0,
        )  # fmt: skip
        if bit == 0:
            break
        u += 1
    out = np.int64(u)
    if u == _UNARY:
        out = code_gamma(coder, buf, max(high - _UNARY + 1, 1)) + _UNARY - 1
    node = 2 + (u if u < _UNARY else _UNARY - 1)
    first = 0
    for b in range(g - 1, -1, -1):
        bit = (m >> b) & 1
        depth = g - 1 - b
        if depth < 2:
            target = 22 + (1 if u == 0 else 0) if depth == 0 else 24 + 2 * first + (1 if u == 0 else 0)
            for i in range(N_SAMPLE):
                coder[SLOTS + i] += target - node
            node = target
            bit = code_mixed(coder, buf, model, weight, wbase + target * N_SAMPLE, N_SAMPLE, SAMPLE_LIMIT, bit)
            if depth == 0:
                first = bit
        else:
            bit = code_probability(coder, buf, 32768, bit)
        out = (out << 1) | bit
    return -(out + 1) if negative else out + 1


@jit
def _contexts(coder, s, y, t, c, second, rounded, fraction, quantum, clipped):
    """Prepare the contexts of column ``c``; returns (weight-set scale, low bits)."""
    shift = s.columns[c, SHIFT]
    fast = (s.columns[c, FAST] << shift) // quantum
    qa = 31 if clipped else cap(half_octave(fast), 30)
    qb = cap(half_octave((s.columns[c, SLOW] << shift) // quantum), 31)
    e1 = ((s.taps[c, 0, 0] >> 4) << shift) // quantum
    e2 = ((s.taps[c, 0, 1] >> 4) << shift) // quantum
    neighbour = np.int64(0)
    for j in range(s.columns[c, N_REFS]):
        r = s.columns[c, REFS + j]
        neighbour = ((s.columns[r, ERROR] >> 4) << s.columns[r, SHIFT]) // quantum
        if r < c:
            break
    mean = fast >> 8
    g = octave(mean) - 2
    if g < 0:
        g = 0
    l1 = cap(octave(abs(e1)), 7)
    l2 = cap(octave(abs(e2)), 7)
    lo = cap(octave(abs(neighbour)), 7)
    dis = ((second >> 1) << shift) // quantum
    if dis > 15:
        dis = np.int64(15)
    elif dis < -15:
        dis = np.int64(-15)
    d1 = np.int64(0)
    d2 = np.int64(0)
    dm = np.int64(0)
    if t >= 3:
        d1 = y[t - 1, c] - y[t - 2, c]
        d2 = y[t - 2, c] - y[t - 3, c]
        dm = rounded - y[t - 1, c]
    coder[SLOTS + 0] = SAMPLE_BASE[0] + (qa * 8 + fraction) * SAMPLE_NODES
    coder[SLOTS + 1] = SAMPLE_BASE[1] + (qb * 32 + qa) * SAMPLE_NODES
    coder[SLOTS + 2] = (
        SAMPLE_BASE[2]
        + ((((l1 * 2 + (1 if e1 > 0 else 0)) * 8 + l2) * 2 + (1 if e2 > 0 else 0)) * 4 + cap(g, 3)) * SAMPLE_NODES
    )
    coder[SLOTS + 3] = SAMPLE_BASE[3] + ((lo * 2 + (1 if neighbour > 0 else 0)) * 32 + qa) * SAMPLE_NODES
    coder[SLOTS + 4] = SAMPLE_BASE[4] + ((dis + 16) * 16 + (qa >> 1)) * SAMPLE_NODES
    coder[SLOTS + 5] = SAMPLE_BASE[5] + ((d1 & 31) * 32 + (dm & 31)) * SAMPLE_NODES
    coder[SLOTS + 6] = SAMPLE_BASE[6] + (((d1 & 15) * 16 + (d2 & 15)) * 4 + (dm & 3)) * SAMPLE_NODES
    coder[SLOTS + 7] = (
        SAMPLE_BASE[7]
        + ((cap(octave(abs(d1)), 15) * 16 + cap(octave(abs(dm)), 15)) * 2 + (1 if d1 > 0 else 0)) * SAMPLE_NODES
    )
    return qa >> 1, g


@jit
def _adapt(s, c, t, regs, n, target, stage1, total):
    """Move column ``c``'s filters after a sample: ``target`` is z (integer), errors are Q4."""
    error1 = (target << 4) - stage1
    error = (target << 4) - total
    magnitude = abs(error)
    if magnitude > (1 << 40):
        magnitude = np.int64(1 << 40)
    s.columns[c, FAST] += ((magnitude << 4) - s.columns[c, FAST]) >> 3
    s.columns[c, SLOW] += ((magnitude << 4) - s.columns[c, SLOW]) >> 6
    s.columns[c, ERROR] = error
    norm = np.int64(256)
    for i in range(LMS_TAPS):
        norm += s.taps[c, 0, i] * s.taps[c, 0, i]
    bounded = _bounded(error)
    gain = (bounded << 24) // norm
    for i in range(LMS_TAPS):
        w = s.taps[c, 1, i] + ((gain * s.taps[c, 0, i] + (1 << 15)) >> 16)
        s.taps[c, 1, i] = min(max(w, -_LMS_LIMIT), _LMS_LIMIT)
    for i in range(LMS_TAPS - 1, 0, -1):
        s.taps[c, 0, i] = s.taps[c, 0, i - 1]
    s.taps[c, 0, 0] = _bounded(error1)
    acc = np.int64(0)
    for i in range(n):
        acc += regs[i] * s.weights[c, START + i]
    regs[n] = _bounded(target - (acc >> 16))
    accumulate(s.cov[c], regs, n)
    s.columns[c, SEEN] += 1
    seen = s.columns[c, SEEN]
    hop = s.hop if seen >= 512 else 16
    if seen % 32 == 0:
        forget(s.cov[c], n, s.forget)
    if seen % hop == 0:
        solve(s.cov[c], n, _RIDGE_SHIFT, s.scratch, s.weights[c])


@entry
def code_samples(coder, buf, model, weight, s, x, y, missing, san, a, b, active, delta, lower, upper, absent, costs):
    """Code samples ``a:b`` of the columns with ``active[c]``; ``y`` receives the decoded samples.

    ``x`` and ``y`` are int64 (n, n_columns); ``missing`` uint8 of the same shape; ``delta`` the
    allowed error per column; ``lower``, ``upper``, ``absent`` the digital range and missing code.
    """
    regs = np.zeros(MAX_REGRESSORS + 2, np.int64)
    n_total = y.shape[0]
    n_columns = y.shape[1]
    for t in range(a, b):
        for c in range(n_columns):
            if not active[c]:
                continue
            if missing[t, c]:
                y[t, c] = y[t - 1, c] if t > 0 else s.columns[c, BASE]
                continue
            n = _regressors(s, y, san, t, c, n_total, regs)
            acc = np.int64(0)
            for i in range(n):
                acc += regs[i] * (s.weights[c, i] + s.weights[c, START + i])
            stage1 = acc >> 12
            second = np.int64(0)
            for i in range(LMS_TAPS):
                second += s.taps[c, 1, i] * s.taps[c, 0, i]
            second = second >> 16
            total = stage1 + second
            shift = s.columns[c, SHIFT]
            if shift > 0:
                rounded = s.columns[c, BASE] + ((total << shift) >> 4)
                fraction = 0
            else:
                rounded = s.columns[c, BASE] + ((total + 8) >> 4)
                fraction = ((total + 8) & 15) >> 1
            if rounded < lower[c]:
                rounded = lower[c]
            elif rounded > upper[c]:
                rounded = upper[c]
            quantum = 2 * delta[c] + 1
            clipped = t > 0 and (y[t - 1, c] == lower[c] or y[t - 1, c] == upper[c])
            scale, g = _contexts(coder, s, y, t, c, second, rounded, fraction, quantum, clipped)
            k = x[t, c] - rounded
            if k >= 0:
                k = (k + delta[c]) // quantum
            else:
                k = -((-k + delta[c]) // quantum)
            wbase = W_SAMPLE + scale * SAMPLE_NODES * N_SAMPLE
            before = coder[COST]
            k = _code_value(coder, buf, model, weight, wbase, g, k)
            costs[c] += coder[COST] - before
            v = rounded + k * quantum
            if v < lower[c]:
                v = lower[c]
            elif v > upper[c]:
                v = upper[c]
            if v == absent[c]:
                v = v + 1 if v < upper[c] else v - 1
            y[t, c] = v
            if clipped and v == y[t - 1, c]:
                continue  # a signal at its rail teaches nothing
            _adapt(s, c, t, regs, n, _bounded((v - s.columns[c, BASE]) >> shift), stage1, total)
