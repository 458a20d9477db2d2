"""Compiled loops of the encoder: quick quantisation under a bound, for runs coded by tables. Not normative.

One pass puts the coefficients of a window into a histogram of eighths of an octave; from it follows the error at every
step. What is chosen is checked with the decoder's own integers.
"""

from __future__ import annotations

import math

import numpy as np

from sanstream._jit import lean, lean_apart, lean_entry, lean_float
from sanstream._loops_analysis import maximum_code, rmse_code
from sanstream._loops_body import lean_on, restore, settled
from sanstream._loops_cross import asked_step, weigh
from sanstream._loops_group import CORRECTED, N_CROSS, SAMPLES, WAVELET
from sanstream._loops_lifting import forward_split
from sanstream._loops_samples import BASE, N_REFS, REFS
from sanstream._loops_wavelet import FRACTION, STEPS

N_BINS = 8 * 48
_ROUNDS = 6
_ISOLATED = 0.15
_HALF = 8
_NO_COST = 40
"""Step of a window without coefficients."""
_rmse_code = lean(getattr(rmse_code, "py_func", rmse_code))
_maximum_code = lean(getattr(maximum_code, "py_func", maximum_code))


@lean_apart
def _residual(x, missing, prediction, n, coefs, even, odd):
    """Transform what the prediction leaves; missing samples are bridged by straight lines. Returns those present."""
    present = 0
    last = -1
    for i in range(n):
        if missing[i]:
            continue
        present += 1
        coefs[i] = (x[i] - prediction[i]) << FRACTION
        if last < i - 1:
            before = coefs[last] if last >= 0 else coefs[i]
            for k in range(last + 1, i):
                coefs[k] = before + (coefs[i] - before) * (k - last) // (i - last)
        last = i
    for k in range(last + 1, n):
        coefs[k] = coefs[last] if last >= 0 else 0
    forward_split(coefs, n, even, odd)
    return present


@lean_apart
def _lean(body, plan, w, a, b, c, coefs, step, room, leaning):
    """Choose the window's cross weights from its coefficients; tells whether there are any."""
    columns, n = body.columns, b - a
    own, bands, refs = leaning.own, leaning.bands, leaning.refs
    count = 0
    for j in range(min(N_CROSS, columns[c, N_REFS])):
        r = columns[c, REFS + j]
        if r >= c or (r >= body.n_known and plan.tool[w, r] != WAVELET and plan.tool[w, r] != CORRECTED):
            continue
        if leaning.window[r] != w:  # a reference of several channels is transformed once
            leaning.window[r] = w
            for i in range(n):
                room.values[i] = (body.y[r, a + i] - columns[r, BASE] - body.san[r, a + i]) << FRACTION
            forward_split(room.values, n, room.even, room.odd)
            for i in range(n):
                bands[r, i] = room.values[i]
        for i in range(n):
            refs[count, i] = bands[r, i]
        leaning.place[count] = j
        count += 1
    if count == 0:
        return False
    for i in range(n):
        own[i] = coefs[i]
    weigh(leaning, count, n, step)
    any_weight = False
    for k in range(count):
        plan.cross[w, c, leaning.place[k]] = leaning.weights[k]
        any_weight = any_weight or leaning.weights[k] != 0
    return any_weight


@lean_apart
def _fill(coefs, n, magnitudes, count, energy):
    """Histogram of magnitudes by eighths of an octave; returns the whole energy."""
    count[:] = 0
    energy[:] = 0.0
    for i in range(n):
        magnitudes[i] = abs(float(coefs[i]))
    bits = magnitudes.view(np.int64)
    total = 0.0
    for i in range(n):
        k = min(max((bits[i] >> 49) - (1023 << 3), 0), N_BINS - 1)
        v = magnitudes[i] * magnitudes[i]
        count[k] += 1
        energy[k] += v
        total += v
    return total


@lean_apart
def _choose(count, energy, budget, width):
    """Return the step whose estimated cost is least within ``budget`` at a dead zone of ``width`` eighths below it."""
    n_above = 0.0
    for k in range(N_BINS):
        n_above += count[k]
    below = 0.0
    best = -1
    for s in range(256):
        # coefficients below 2^((s + 24 - width) / 8) become zero: STEPS[s] is about 2^(s / 8 + 3)
        k = s + 24 - width
        if s == 0:
            for i in range(min(k, N_BINS)):
                below += energy[i]
                n_above -= count[i]
        elif k - 1 < N_BINS:
            below += energy[k - 1]
            n_above -= count[k - 1]
        step = float(STEPS[s])
        if below + n_above * step * step / 12.0 > budget:
            break
        best = s
    return best


@lean_float
def _error(magnitudes, n, step, threshold):
    """Squared error of what :func:`_quantise` would give, but for the outermost coefficients."""
    inverse = np.float64(1.0) / step
    small = 0.5 * step
    left, here, right = magnitudes[: n - 2], magnitudes[1 : n - 1], magnitudes[2:n]
    total = 0.0
    for i in range(n - 2):
        r = here[i] * inverse
        least = threshold + (_ISOLATED if left[i] < small and right[i] < small else 0.0)
        d = here[i] - (math.floor(r + 0.5) if r >= least else 0.0) * step
        total += d * d
    return total


@lean_apart
def _quantise(coefs, n, step, threshold, q):
    """Quantise with a dead zone of ``threshold`` steps, wider between small neighbours; returns the squared error."""
    inverse = 1.0 / step
    small = 0.5 * step
    total = 0.0
    before = 0.0
    v = float(abs(coefs[0]))
    for i in range(n):
        after = float(abs(coefs[i + 1])) if i + 1 < n else 0.0
        r = v * inverse
        least = threshold + (_ISOLATED if before < small and after < small else 0.0)
        m = math.floor(r + 0.5) if r >= least else 0.0
        d = v - m * step
        total += d * d
        before = v
        v = after
        k = np.int64(m)
        q[i] = k if coefs[i] > 0 else -k
    return total


@lean
def _exact(x, missing, prediction, values, n, limits):
    total = 0.0
    worst = np.int64(0)
    for i in range(n):
        d = abs(x[i] - settled(prediction[i] + values[i], limits)) if not missing[i] else 0
        total += float(d) * float(d)
        worst = max(worst, d)
    return total, worst


@lean
def _within_rmse(x, missing, prediction, coefs, n, present, bound, limits, q, room, spectrum, trials):
    """Quantise one window so that its RMSE stays within ``bound``: (step or -1, squared error, maximum error)."""
    magnitudes, count, energy = spectrum
    limit = bound * bound * present * (1 - 1e-9)
    rounding = present / 12.0 if bound > 0.6 else 0.0
    scale = float(1 << (2 * FRACTION))
    budget = max(limit - rounding, 0.3 * limit) * scale
    everything = _fill(coefs, n, magnitudes, count, energy)
    if everything <= 0.9 * budget:
        for i in range(n):
            q[i] = 0
            room.values[i] = 0
        total, worst = _exact(x, missing, prediction, room.values, n, limits)
        if total <= limit:
            return _NO_COST, total, worst
    for _ in range(_ROUNDS):
        step = _choose(count, energy, budget, _HALF) - 1
        if step < 0:
            return -1, 0.0, np.int64(0)
        low, high = 0.5, 1.3
        threshold = 0.6
        error = 0.0
        for _ in range(trials):
            error = _error(magnitudes, n, STEPS[step], threshold)
            if error <= budget:
                low = threshold
                if error >= 0.985 * budget:
                    break
            else:
                high = threshold
            threshold = 0.5 * (low + min(high, low + 0.2))
        _quantise(coefs, n, STEPS[step], low, q)
        restore(q, STEPS[step], n, room.values, room.even, room.odd)
        total, worst = _exact(x, missing, prediction, room.values, n, limits)
        if total <= limit:
            return step, total, worst
        budget *= min(0.98, 0.997 * limit / total)
    return -1, 0.0, np.int64(0)


@lean
def _within_maximum(x, missing, prediction, coefs, n, delta, limits, q, corrections, room):
    """Quantise one window and correct it to a maximum error: (step or -1, squared error, maximum error)."""
    quantum = 2 * delta + 1
    step = 0
    while step < 255 and STEPS[step] < 80 * quantum:
        step += 1
    _quantise(coefs, n, STEPS[step], 0.6, q)
    restore(q, STEPS[step], n, room.values, room.even, room.odd)
    total = 0.0
    worst = np.int64(0)
    for i in range(n):
        corrections[i] = 0
        if missing[i]:
            continue
        v = settled(prediction[i] + room.values[i], limits)
        e = x[i] - v
        k = (abs(e) + delta) // quantum
        corrections[i] = k if e > 0 else -k
        d = abs(x[i] - settled(v + corrections[i] * quantum, limits))
        total += float(d) * float(d)
        worst = max(worst, d)
    return (step if worst <= delta else -1), total, worst


@lean_entry
def analyse_quick(body, plan, kind, bound, room, leaning, spectrum, trials):
    """Plan tools a and c for a whole group block; ``body.y`` receives what the decoder will give.

    ``kind`` per window and column: 0 leave the plan as it is, 1 RMSE bound (``bound[w, c]`` digital steps), 2
    maximum-error bound. Windows whose bound no step reaches get tool b, lossless. ``trials``: dead zones tried.
    """
    n_windows, n_columns = plan.tool.shape
    for w in range(n_windows):
        a = w * body.window
        b = min(body.y.shape[1], a + body.window)
        n = b - a
        for c in range(body.n_known, n_columns):
            if kind[w, c] == 0:
                continue
            x = body.x[c, a:b]
            missing = body.missing[c, a:b]
            limits = body.limits[c]
            prediction = room.others
            coefs = room.shape
            q = plan.coefs[c, a:b]
            for j in range(N_CROSS):
                plan.cross[w, c, j] = 0
            asked = asked_step(kind[w, c], bound[w, c])
            present = 0
            for turn in range(2):
                lean_on(body.columns, plan.cross[w, c], body.y, body.san, a, b, c, prediction)
                present = _residual(x, missing, prediction, n, coefs, room.even, room.odd)
                if turn or not _lean(body, plan, w, a, b, c, coefs, asked, room, leaning):
                    break
            delta = np.int64(0)
            corrections = plan.corrections[c, a:b]
            if kind[w, c] == 1:
                step, total, worst = -1, 0.0, np.int64(0)
                for tighter in range(4):  # a bound that rounding makes hard to meet is met by a smaller one
                    if step < 0:
                        level = bound[w, c] * 0.6**tighter
                        step, total, worst = _within_rmse(
                            x, missing, prediction, coefs, n, present, level, limits, q, room, spectrum, trials
                        )
            else:
                delta = np.int64(bound[w, c])
                step, total, worst = _within_maximum(
                    x, missing, prediction, coefs, n, delta, limits, q, corrections, room
                )
            if step < 0:
                plan.tool[w, c] = SAMPLES
                plan.delta[w, c] = 0
                for t in range(n):
                    body.y[c, a + t] = x[t]
                continue
            plan.tool[w, c] = CORRECTED if kind[w, c] == 2 else WAVELET
            plan.step[w, c] = step
            plan.delta[w, c] = delta
            plan.rmse[w, c] = _rmse_code(math.sqrt(total / max(present, 1)))
            plan.maximum[w, c] = _maximum_code(worst)
            for t in range(n):
                v = settled(prediction[t] + room.values[t], limits)
                if kind[w, c] == 2:
                    v = settled(v + corrections[t] * (2 * delta + 1), limits)
                body.y[c, a + t] = v
