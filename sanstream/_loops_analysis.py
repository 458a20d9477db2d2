"""Compiled loops of the encoder: step search and quantisation under a bound. Not normative.

The encoder may be as floating as it likes; every choice is checked with the decoder's own integers.
"""

from __future__ import annotations

import math

import numpy as np

from sanstream._jit import entry, jit
from sanstream._loops_coefficients import code_coefficients
from sanstream._loops_correct import choose_corrected, corrected_errors, quantise
from sanstream._loops_cross import asked_step, weigh
from sanstream._loops_group import CORRECTED, N_CROSS, SAMPLES, WAVELET, cross_prediction, rebuild, settle
from sanstream._loops_rate import choose_frugal
from sanstream._loops_samples import BASE, N_REFS, REFS
from sanstream._loops_wavelet import FRACTION, STEPS, forward

_TINY = 1e-9


@jit
def coefficient_error(coefs, n, step, q):
    """Sum of squared differences between coefficients and their quantised values, digital steps squared."""
    total = 0.0
    for i in range(n):
        d = (coefs[i] - q[i] * step) / 64.0
        total += d * d
    return total


@jit
def exact_error(x, missing, a, n, c, prediction, values, lower, upper, absent):
    """Squared error sum and maximum error of the decoded window, missing samples left out."""
    total = 0.0
    worst = np.int64(0)
    for i in range(n):
        if missing[a + i, c]:
            continue
        d = abs(x[a + i, c] - settle(prediction[i] + values[i], lower, upper, absent))
        total += float(d) * float(d)
        if d > worst:
            worst = d
    return total, worst


@jit
def residual_coefficients(x, missing, a, n, c, prediction, coefs, scratch):
    """Transform what the prediction leaves; missing samples are bridged by straight lines."""
    i = 0
    last = np.int64(0)
    have = False
    while i < n:
        if not missing[a + i, c]:
            last = (x[a + i, c] - prediction[i]) << FRACTION
            coefs[i] = last
            have = True
            i += 1
            continue
        j = i
        while j < n and missing[a + j, c]:
            j += 1
        after = ((x[a + j, c] - prediction[j]) << FRACTION) if j < n else last
        before = last if have else after
        for k in range(i, j):
            coefs[k] = before + (after - before) * (k - i + 1) // (j - i + 1)
        i = j
    forward(coefs, n, scratch)


@jit
def _lean_window(columns, plan, w, a, n, c, y, san, coefs, step, values, scratch, leaning):
    """Choose a window's cross weights from its coefficients; tells whether there are any."""
    count = 0
    for j in range(min(N_CROSS, columns[c, N_REFS])):
        r = columns[c, REFS + j]
        if r >= c or (plan.tool[w, r] != WAVELET and plan.tool[w, r] != CORRECTED):
            continue
        if leaning.window[r] != w:
            leaning.window[r] = w
            for i in range(n):
                values[i] = (y[a + i, r] - columns[r, BASE] - san[a + i, r]) << FRACTION
            forward(values, n, scratch)
            leaning.bands[r, :n] = values[:n]
        leaning.refs[count, :n] = leaning.bands[r, :n]
        leaning.place[count] = j
        count += 1
    if count == 0:
        return False
    leaning.own[:n] = coefs
    weigh(leaning, count, n, step)
    for k in range(count):
        plan.cross[w, c, leaning.place[k]] = leaning.weights[k]
    return leaning.weights[:count].any()


@jit
def _largest_step(coefs, n, budget, q):
    """Largest step index whose plain quantisation keeps the squared error within ``budget``."""
    low = 0
    high = 255
    while low < high:
        mid = (low + high + 1) >> 1
        quantise(coefs, n, STEPS[mid], 0.5, 0.0, q)
        if coefficient_error(coefs, n, STEPS[mid], q) <= budget:
            low = mid
        else:
            high = mid - 1
    return low


@jit
def _dead_zone(coefs, n, step, budget, isolated, q):
    """Widest dead zone at ``step`` within ``budget``; returns (threshold, cost)."""
    low = 0.5
    high = 1.5
    for _ in range(6):
        mid = 0.5 * (low + high)
        quantise(coefs, n, step, mid, isolated, q)
        if coefficient_error(coefs, n, step, q) <= budget:
            low = mid
        else:
            high = mid
    return low, quantise(coefs, n, step, low, isolated, q)


@jit
def _allowance(missing, a, n, c, bound):
    """Return samples present, squared error allowed in all, and that of coefficients before rounding to integers."""
    present = 0
    for i in range(n):
        if not missing[a + i, c]:
            present += 1
    limit = bound * bound * present * (1 - _TINY)
    rounding = present / 12.0 if bound > 0.6 else 0.0
    return present, limit, max(limit - rounding, 0.3 * limit)


@jit
def choose_wavelet(x, missing, a, n, c, prediction, coefs, bound, q, values, scratch, lower, upper, absent, tries):
    """Quantise one window so that its RMSE stays within ``bound``.

    Returns (step index, RMSE, maximum error, cost proxy); step index -1 when no step reaches the bound.
    """
    present, limit, budget = _allowance(missing, a, n, c, bound)
    zero = 0.0
    for i in range(n):
        v = coefs[i] / 64.0
        zero += v * v
    if zero <= 0.9 * budget:
        for i in range(n):
            q[i] = 0
        rebuild(q, STEPS[255], n, values, scratch)
        total, worst = exact_error(x, missing, a, n, c, prediction, values, lower, upper, absent)
        if total <= limit:
            return 40, math.sqrt(total / max(present, 1)), worst, 0.0
    for _ in range(6):
        top = _largest_step(coefs, n, budget, q)
        best = -1
        best_cost = 1e300
        best_threshold = 0.5
        for k in range(tries):
            index = top - 1 - k
            if index < 0:
                break
            threshold, cost = _dead_zone(coefs, n, STEPS[index], budget, 0.1, q)
            if cost < best_cost:
                best_cost = cost
                best = index
                best_threshold = threshold
        if best < 0:
            return -1, 0.0, np.int64(0), 0.0
        quantise(coefs, n, STEPS[best], best_threshold, 0.1, q)
        rebuild(q, STEPS[best], n, values, scratch)
        total, worst = exact_error(x, missing, a, n, c, prediction, values, lower, upper, absent)
        if total <= limit:
            return best, math.sqrt(total / max(present, 1)), worst, best_cost
        budget *= min(0.97, 0.995 * limit / total)
    return -1, 0.0, np.int64(0), 0.0


@jit
def refine_wavelet(
    x, missing, a, n, c, prediction, coefs, bound, index, q, values, scratch, lower, upper, absent, shape, other,
    has_other, coder, model, weight,
):  # fmt: skip
    """Quantise one window anew by the decoder's models, from step ``index`` on; keeps the bound like choose_wavelet.

    Returns (step index, RMSE, maximum error); step index -1 where nothing better was found.
    """
    present, limit, budget = _allowance(missing, a, n, c, bound)
    for _ in range(3):
        step = choose_frugal(coefs, n, min(index + 2, 255), budget, q, shape, other, has_other, coder, model, weight)
        if step < 0:
            return -1, 0.0, np.int64(0)
        rebuild(q, STEPS[step], n, values, scratch)
        total, worst = exact_error(x, missing, a, n, c, prediction, values, lower, upper, absent)
        if total <= limit:
            return step, math.sqrt(total / max(present, 1)), worst
        budget *= min(0.97, 0.995 * limit / total)
    return -1, 0.0, np.int64(0)


@entry
def rmse_code(v):
    """Smallest code whose RMSE figure is at least ``v``: 0 is exact, else 2^((code - 1) / 8) / 16."""
    if v <= 0:
        return 0
    code = int(math.ceil(8 * math.log2(v * 16) - 1e-9)) + 1
    return min(max(code, 1), 255)


@entry
def maximum_code(v):
    """Smallest code whose figure is at least ``v``: exact up to 32, then eighths of an octave."""
    if v <= 32:
        return v
    code = 32 + int(math.ceil(8 * (math.log2(v) - 5) - 1e-9))
    return min(code, 255)


@entry
def analyse_window(layout, s, plan, w, x, y, missing, san, kind, bound, leaning, tries, frugal, coder, model, weight):
    """Plan tools a and c for window ``w`` of a group.

    ``kind`` per window and column: 0 leave the plan as it is, 1 RMSE bound (``bound[w, c]`` digital steps),
    2 maximum-error bound. ``y`` receives the decoded samples. Windows whose bound no step reaches
    get tool b, lossless. Where ``frugal``, quantisation follows the models, which adapt as the decoder's will.
    """
    nothing = np.zeros(1, np.uint8)
    previous = -1
    prediction = np.zeros(layout.window + 2, np.int64)
    values = np.zeros(layout.window + 2, np.int64)
    scratch = np.zeros(layout.window + 2, np.int64)
    a = w * layout.window
    b = min(layout.n, a + layout.window)
    n = b - a
    for c in range(layout.n_known, y.shape[1]):
        if kind[w, c] == 0:
            continue
        low, high, gap = layout.lower[c], layout.upper[c], layout.absent[c]
        plan.cross[w, c, :] = 0
        cross_prediction(s.columns, plan.cross, w, a, b, c, y, san, prediction)
        coefs = np.zeros(n, np.int64)
        residual_coefficients(x, missing, a, n, c, prediction, coefs, scratch)
        asked = asked_step(kind[w, c], bound[w, c])
        if _lean_window(s.columns, plan, w, a, n, c, y, san, coefs, asked, values, scratch, leaning):
            cross_prediction(s.columns, plan.cross, w, a, b, c, y, san, prediction)
            residual_coefficients(x, missing, a, n, c, prediction, coefs, scratch)
        q = plan.coefs[c, a:b]
        corrections = plan.corrections[c, a:b]
        if kind[w, c] == 1:
            step, rmse, worst = -1, 0.0, np.int64(0)
            for tighter in range(4):  # a bound that rounding makes hard to meet is met by a smaller one
                if step < 0:
                    level = bound[w, c] * 0.6**tighter
                    step, rmse, worst, _ = choose_wavelet(
                        x, missing, a, n, c, prediction, coefs, level, q, values, scratch, low, high, gap, tries
                    )
            if frugal and step >= 0 and q.any():
                shape = np.zeros(n, np.int64)
                for i in range(n):
                    shape[i] = san[a + i, c] << FRACTION
                forward(shape, n, scratch)
                other = plan.coefs[max(previous, 0), a:b]
                has_other = 1 if previous >= 0 else 0
                plain = q.copy()
                found, found_rmse, found_worst = refine_wavelet(
                    x, missing, a, n, c, prediction, coefs, bound[w, c], step, q, values, scratch, low, high, gap,
                    shape, other, has_other, coder, model, weight,
                )  # fmt: skip
                if found >= 0:
                    step, rmse, worst = found, found_rmse, found_worst
                else:
                    q[:] = plain
                    rebuild(q, STEPS[step], n, values, scratch)
                code_coefficients(coder, nothing, model, weight, q, n, shape, STEPS[step], other, has_other)
            if step >= 0:
                previous = c
        else:
            delta = np.int64(bound[w, c])
            step, _ = choose_corrected(
                x, missing, a, n, c, prediction, coefs, delta, q, values, corrections, scratch, low, high, gap, tries
            )
            rmse, worst = corrected_errors(x, missing, a, n, c, prediction, values, corrections, delta, low, high, gap)
            plan.delta[w, c] = delta
        if step < 0:
            plan.tool[w, c] = SAMPLES
            plan.delta[w, c] = 0
            for t in range(a, b):
                y[t, c] = x[t, c]
            continue
        plan.tool[w, c] = CORRECTED if kind[w, c] == 2 else WAVELET
        plan.step[w, c] = step
        plan.rmse[w, c] = rmse_code(rmse)
        plan.maximum[w, c] = maximum_code(worst)
        for i in range(n):
            y[a + i, c] = settle(prediction[i] + values[i], low, high, gap)
