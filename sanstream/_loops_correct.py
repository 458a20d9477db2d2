"""Compiled loops of the encoder: a dead-zone quantiser, and sparse corrections under a maximum error. Not normative."""

from __future__ import annotations

import math

import numpy as np

from sanstream._jit import jit
from sanstream._loops_group import rebuild, settle
from sanstream._loops_wavelet import STEPS


@jit
def quantise(coefs, n, step, threshold, isolated, q):
    """Quantise with a dead zone of ``threshold`` steps, ``isolated`` more where both neighbours are small.

    Returns a proxy of the cost in bits.
    """
    cost = 0.0
    inverse_step = 1.0 / step
    for i in range(n):
        r = abs(coefs[i]) * inverse_step
        t = threshold
        left = abs(coefs[i - 1]) * inverse_step if i > 0 else 0.0
        right = abs(coefs[i + 1]) * inverse_step if i + 1 < n else 0.0
        if left < 0.5 and right < 0.5:
            t += isolated
        if r < t:
            q[i] = 0
            continue
        m = np.int64(r + 0.5)
        if m == 0:
            m = np.int64(1)
        q[i] = m if coefs[i] > 0 else -m
        cost += 4.5 + 1.7 * math.log2(m)
    return cost


@jit
def correct(x, missing, a, n, c, prediction, values, delta, corrections, lower, upper, absent):
    """Corrections that bring every sample within ``delta``; returns (cost proxy, ok)."""
    quantum = 2 * delta + 1
    cost = 0.0
    ok = True
    for i in range(n):
        corrections[i] = 0
        if missing[a + i, c]:
            continue
        v = settle(prediction[i] + values[i], lower, upper, absent)
        e = x[a + i, c] - v
        k = (abs(e) + delta) // quantum
        if k == 0:
            continue
        corrections[i] = k if e > 0 else -k
        cost += 6.0 + 2.0 * math.log2(k)
        if abs(x[a + i, c] - settle(v + corrections[i] * quantum, lower, upper, absent)) > delta:
            ok = False
    return cost, ok


@jit
def choose_corrected(
    x, missing, a, n, c, prediction, coefs, delta, q, values, corrections, scratch, lower, upper, absent, tries
):
    """Step and corrections of the cheapest window within maximum error ``delta``; returns (step index, cost)."""
    centre = 0
    while centre < 255 and STEPS[centre] < 64 * (2 * delta + 1):
        centre += 1
    best = -1
    best_cost = 1e300
    for k in range(-2, 4 * tries, 4 if tries < 4 else 2):
        index = min(max(centre + k, 0), 255)
        cost = quantise(coefs, n, STEPS[index], 0.6, 0.1, q)
        rebuild(q, STEPS[index], n, values, scratch)
        more, ok = correct(x, missing, a, n, c, prediction, values, delta, corrections, lower, upper, absent)
        if ok and cost + more < best_cost:
            best_cost = cost + more
            best = index
    if best >= 0:
        quantise(coefs, n, STEPS[best], 0.6, 0.1, q)
        rebuild(q, STEPS[best], n, values, scratch)
        correct(x, missing, a, n, c, prediction, values, delta, corrections, lower, upper, absent)
    return best, best_cost


@jit
def corrected_errors(x, missing, a, n, c, prediction, values, corrections, delta, low, high, gap):
    """Put the corrections into ``values``; returns RMSE and maximum error."""
    total = 0.0
    worst = np.int64(0)
    present = 0
    for i in range(n):
        v = settle(prediction[i] + values[i], low, high, gap) + corrections[i] * (2 * delta + 1)
        values[i] = v - prediction[i]
        if not missing[a + i, c]:
            d = abs(x[a + i, c] - settle(v, low, high, gap))
            total += float(d) * float(d)
            worst = max(worst, d)
            present += 1
    return math.sqrt(total / max(present, 1)), worst
