"""Compiled loops: linear prediction, its weights solved from the samples before it (FORMAT.md clause 18)."""

from __future__ import annotations

import numpy as np

from sanstream._jit import lean, lean_apart
from sanstream._loops_predict import solve
from sanstream._loops_rans import DECODE, ENCODE
from sanstream._loops_tables import SAMPLE, code_next

PAD = 64
"""Zeros on both sides of each signal; no lag is longer."""
LIMIT = 1 << 17
MEMORY_BITS = 13
FIRST_PIECE = 64
RIDGE_SHIFT = 16
RIDGE_LIMIT = 1 << 34
OWN, ROW, LAG, COUNT = 0, 0, 1, 2
"""The own samples are the first term; a term is a signal, its first lag and how many lags."""
SEEN, N_TERMS, N_WEIGHTS, TERMS = 0, 1, 2, 4
"""Places in a column's line of ``shape``: samples seen, terms, weights; from TERMS the terms."""
_FILTER_LIMIT = 1 << 20

_solve = lean_apart(getattr(solve, "py_func", solve))


@lean
def bounded(v):
    """Clamp an input of the predictor."""
    return min(max(v, -LIMIT), LIMIT)


@lean
def _place(term, lag, own, offset):
    """Place of a regressor; the target, lag 0 of the first term, stands last."""
    if term > 0:
        return offset + lag
    return lag - 1 if lag else own


@lean
def _products(z, row1, i, row2, j, n):
    left = z[row1, i : i + n]
    right = z[row2, j : j + n]
    total = np.int64(0)
    for t in range(n):
        total += np.int64(left[t]) * np.int64(right[t])
    return total


@lean_apart
def gather_piece(z, shape, a, b, piece):
    """Covariances of all regressors and the target over samples ``a:b``, in the lower triangle of ``piece``.

    Neighbouring lags differ by a product at either end, so only first rows and columns are sums.
    """
    n = shape[N_WEIGHTS]
    first = PAD + a
    last = PAD + b
    offset1 = np.int64(0)
    for i in range(shape[N_TERMS]):
        row1 = shape[TERMS + 3 * i + ROW]
        lag1 = shape[TERMS + 3 * i + LAG]
        count1 = shape[TERMS + 3 * i + COUNT]
        if i == OWN:
            lag1, count1 = lag1 - 1, count1 + 1
        offset2 = offset1
        for j in range(i, shape[N_TERMS]):
            row2 = shape[TERMS + 3 * j + ROW]
            lag2 = shape[TERMS + 3 * j + LAG]
            count2 = shape[TERMS + 3 * j + COUNT]
            if j == OWN:
                lag2, count2 = lag2 - 1, count2 + 1
            for k in range(count1):
                for m in range(k if i == j else 0, count2):
                    u = _place(i, k, n, offset1)
                    v = _place(j, m, n, offset2)
                    if k == 0 or m == 0:
                        value = _products(z, row1, first - lag1 - k, row2, first - lag2 - m, b - a)
                    else:
                        s = _place(i, k - 1, n, offset1)
                        t = _place(j, m - 1, n, offset2)
                        value = (
                            piece[max(s, t), min(s, t)]
                            + np.int64(z[row1, first - lag1 - k]) * np.int64(z[row2, first - lag2 - m])
                            - np.int64(z[row1, last - lag1 - k]) * np.int64(z[row2, last - lag2 - m])
                        )
                    piece[max(u, v), min(u, v)] = value
            offset2 += shape[TERMS + 3 * j + COUNT]
        offset1 += shape[TERMS + 3 * i + COUNT]


@lean_apart
def learn(z, shape, a, b, cov, piece, weights, scratch):
    """Let the covariances of a column forget as much as ``a:b`` is long, add ``a:b``, and solve for new weights."""
    n = shape[N_WEIGHTS]
    gather_piece(z, shape, a, b, piece)
    for i in range(n + 1):
        for j in range(i + 1):
            cov[i, j] += piece[i, j] - ((cov[i, j] * (b - a)) >> MEMORY_BITS)
    _solve(cov, n, RIDGE_SHIFT, scratch, weights)


@lean_apart
def predict_others(z, shape, weights, a, b, out):
    """Sum what all terms but the own samples predict for ``a:b``, Q16."""
    for t in range(b - a):
        out[t] = 0
    at = shape[TERMS + COUNT]
    for i in range(1, shape[N_TERMS]):
        row = shape[TERMS + 3 * i + ROW]
        for k in range(shape[TERMS + 3 * i + COUNT]):
            weight = np.int32(weights[at])
            at += 1
            first = PAD + a - shape[TERMS + 3 * i + LAG] - k
            signal = z[row, first : first + b - a]
            for t in range(b - a):
                out[t] += np.int64(weight) * np.int64(signal[t])


@lean
def _filtered(n, taps, history):
    """Output of the LMS filter, Q4, and 256 + the energy of its history."""
    total = np.int64(0)
    energy = np.int64(256)
    for i in range(n):
        value = np.int64(history[i])
        total += taps[i] * value
        energy += value * value
    return total >> 16, energy


@lean
def _adapt(n, taps, history, error, energy):
    """Move the normalised LMS filter after a sample; the error is Q4."""
    gain = (bounded(error) << 26) // energy
    for i in range(n):
        w = taps[i] + ((gain * np.int64(history[i]) + (1 << 15)) >> 16)
        taps[i] = min(max(w, -_FILTER_LIMIT), _FILTER_LIMIT)


@lean
def code_predicted(
    mode, state, at, stream, rows, slots, track, a, b, x, y, signal, missing, base, shift, limits, delta, own, weights,
    taps, errors, others, backwards,
):  # fmt: skip
    """Predict samples ``a:b`` of one column with fixed weights and code the errors; fills ``y`` and ``signal``.

    One loop for both, since neither waits for the other. ``missing`` starts at sample ``a``; ``limits`` are the digital
    range and the missing code; ``taps`` (filter,) weights of the LMS filter, the latest sample's last; ``errors``
    (PAD + samples + PAD) what it filters; ``others`` what the other terms predict; ``backwards`` is room for weights.
    Returns the coder's state and the place in its stream.
    """
    lower, upper, absent = limits[0], limits[1], limits[2]
    n_filter = taps.shape[0]
    quantum = 2 * delta + 1
    for i in range(own):
        backwards[i] = weights[own - 1 - i]
    signal = signal[PAD + a - own : PAD + b]
    errors = errors[PAD + a - n_filter : PAD + b]
    newest = weights[0]
    old, older, third = weights[min(1, own - 1)], weights[min(2, own - 1)], weights[min(3, own - 1)]
    last = np.int64(signal[own - 1])
    second = energy = np.int64(0)
    fast, slow = track[0], track[1]
    for t in range(b - a):
        if missing[t]:
            v = y[a + t - 1] if a + t > 0 else base
            last = bounded((v - base) >> shift)
        else:
            value = np.int64(0)
            if mode == DECODE:
                value, state, at, fast, slow = code_next(
                    mode, state, at, stream, rows, slots, SAMPLE, fast, slow, value
                )
            acc = others[t]
            if own == 4:
                acc += third * signal[t] + older * signal[t + 1] + old * signal[t + 2]
            else:
                past = signal[t : t + own]
                for i in range(own - 1):
                    acc += backwards[i] * past[i]
            stage = (acc + newest * last) >> 12
            if n_filter == 8:
                second, energy = _filtered(8, taps, errors[t : t + 8])
            elif n_filter == 16:
                second, energy = _filtered(16, taps, errors[t : t + 16])
            total = stage + second
            rounded = base + (((total << shift) >> 4) if shift > 0 else ((total + 8) >> 4))
            rounded = min(max(rounded, lower), upper)
            if mode == ENCODE:
                value = x[a + t] - rounded
                if delta:
                    value = (value + delta) // quantum if value >= 0 else -((delta - value) // quantum)
                value, state, at, fast, slow = code_next(
                    mode, state, at, stream, rows, slots, SAMPLE, fast, slow, value
                )
            v = min(max(rounded + value * quantum, lower), upper)
            if v == absent:
                v += 1 if v < upper else -1
            last = bounded((v - base) >> shift)
            if n_filter:
                if n_filter == 8:
                    _adapt(8, taps, errors[t : t + 8], (last << 4) - total, energy)
                else:
                    _adapt(16, taps, errors[t : t + 16], (last << 4) - total, energy)
                errors[t + n_filter] = bounded((last << 4) - stage)
        y[a + t] = v
        signal[t + own] = last
    track[0], track[1] = fast, slow
    return state, at
