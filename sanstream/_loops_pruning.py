"""Compiled loops of the encoder: which activations earn their bits, and what windows reached. Not normative."""

from __future__ import annotations

import math

import numpy as np

from sanstream._jit import entry, jit
from sanstream._loops_lifting import forward_split
from sanstream._loops_wavelet import FRACTION, band_starts


@jit
def _cost_in_time(values, n, step, out, scratch):
    """Spread each coefficient's cost in bits over the samples it stands for; ``out`` is cumulative (n + 1)."""
    half = (n + 1) >> 1
    forward_split(values, n, scratch[:half], scratch[half:])
    starts = np.empty(16, np.int64)
    n_bands = band_starts(n, starts)
    for i in range(n + 1):
        out[i] = 0.0
    for band in range(n_bands):
        depth = n_bands - band if band > 0 else n_bands - 1
        length = 1 << depth if n_bands > 1 else 1
        for i in range(starts[band], starts[band + 1]):
            r = abs(values[i]) / step
            if r < 0.5:
                cost = 0.6 * r * r
            else:
                cost = 2.5 + 1.7 * math.log2(r + 0.5)
            first = (i - starts[band]) * length
            share = cost / length
            if first < n:
                out[first + 1] += share
                if first + length < n:
                    out[first + length + 1] -= share
    rate = 0.0
    for i in range(n):
        rate += out[i + 1]
        out[i + 1] = out[i] + rate


@entry
def prune_activations(layout, kernels, plan, x, base, missing, san, steps, overhead, keep):
    """Mark the activations whose kernels save more bits than they cost.

    ``steps`` (float64 per own column, FRACTION bits) is the quantiser step that the bound suggests;
    ``san`` the synthesis of all activations. Returns the number kept.
    """
    n = layout.n
    n_columns = san.shape[1]
    saved = np.zeros(plan.n_act[0])
    plain = np.zeros(n + 1)
    explained = np.zeros(n + 1)
    values = np.zeros(n + 2, np.int64)
    scratch = np.zeros(n + 2, np.int64)
    for c in range(layout.n_known, n_columns):
        step = steps[c - layout.n_known]
        if step <= 0.0:
            continue
        last = np.int64(0)
        for t in range(n):
            if not missing[t, c]:
                last = x[t, c] - base[c]
            values[t] = last << FRACTION
        _cost_in_time(values, n, step, plain, scratch)
        for t in range(n):
            if not missing[t, c]:
                last = x[t, c] - base[c]
            values[t] = (last - san[t, c]) << FRACTION
        _cost_in_time(values, n, step, explained, scratch)
        for a in range(plan.n_act[0]):
            first = max(0, plan.act_index[a])
            stop = min(n, plan.act_index[a] + kernels.length[plan.act_kernel[a]])
            if stop > first:
                saved[a] += (plain[stop] - plain[first]) - (explained[stop] - explained[first])
    kept = 0
    for a in range(plan.n_act[0]):
        keep[a] = 1 if saved[a] > overhead else 0
        kept += keep[a]
    return kept


@entry
def window_errors(layout, x, y, missing, squares, worst):
    """Squared error sum and largest error per window and column, missing samples left out."""
    for t in range(layout.n):
        w = t // layout.window
        for c in range(layout.n_known, y.shape[1]):
            if missing[t, c]:
                continue
            d = abs(x[t, c] - y[t, c])
            squares[w, c] += float(d) * float(d)
            worst[w, c] = max(worst[w, c], d)
