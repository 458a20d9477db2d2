"""Compiled loops of the encoder: quantisation that weighs each coefficient's error against its bits. Not normative.

What a value costs is read off the decoder's own models as they stand at the window's begin.
"""

from __future__ import annotations

import math

import numpy as np

from sanstream._jit import jit
from sanstream._loops_coder import BIT_COST, SLOTS, mixed_probability
from sanstream._loops_coefficients import coefficient_contexts
from sanstream._loops_models import COEF_NODES, N_COEF, SIMPLE_BAND, W_COEF
from sanstream._loops_wavelet import FRACTION, STEPS, band_starts

_BIT = 1.0 / 65536
_SURELY_ZERO = 0.45
_HIGHEST_PRICE = 0.8
_STEPS_TRIED = 5
_ROUNDS = 6


@jit
def _bit_cost(p, bit):
    """Bits that coding ``bit`` costs when 1 has probability p / 65536."""
    return _BIT * (BIT_COST[p >> 4] if bit else BIT_COST[(65535 - p) >> 4])


@jit
def _unary_cost(coder, model, weight, wbase, m):
    """Bits of a magnitude m >= 1 beyond "not zero", and of the sign; SLOTS stand at node 0 before and after."""
    cost = 1.0
    for u in range(1, min(m, 2) + 1):
        for i in range(N_COEF):
            coder[SLOTS + i] += u
        p = mixed_probability(coder, model, weight, wbase + u * N_COEF, N_COEF)
        for i in range(N_COEF):
            coder[SLOTS + i] -= u
        cost += _bit_cost(p, m > u)
    if m > 2:
        cost += 1.6 * math.log2(m - 1.0)
    return cost


@jit
def frugal(coefs, n, step, price, q, shape, other, has_other, coder, model, weight):
    """Quantise so that ``error + price * bits`` is small, errors in squared steps; returns (bits, error).

    The error returned is the sum of squared differences in digital steps.
    """
    starts = np.empty(16, np.int64)
    n_bands = band_starts(n, starts)
    total = 0.0
    error = 0.0
    last_zero = 0
    inverse = 1.0 / step
    for band in range(n_bands):
        a = starts[band]
        b = starts[band + 1]
        depth = n_bands - 1 - band
        wbase = W_COEF + depth * COEF_NODES * N_COEF
        any_other = 0
        large = 0
        empty = 0.0
        for i in range(a, b):
            r = abs(coefs[i]) * inverse
            empty += r * r
            q[i] = 0
            if r >= 0.5:
                large += 1
            if has_other and other[i] != 0:
                any_other = 1
        slot = SIMPLE_BAND + depth * 8 + last_zero * 4 + has_other * 2 + any_other
        p_zero = np.int64(model[slot]) >> 8
        none = _bit_cost(p_zero, True)
        some = _bit_cost(p_zero, False)
        last_zero = 1
        if large == 0:
            total += none
            error += empty
            continue
        bits = some
        left = 0.0
        kept = 0
        for i in range(a, b):
            r = abs(coefs[i]) * inverse
            coefficient_contexts(coder, q, i, starts, band, depth, shape, step, other, has_other)
            p = mixed_probability(coder, model, weight, wbase, N_COEF)
            best_bits = _bit_cost(p, False)
            best_error = r * r
            if r >= _SURELY_ZERO:
                not_zero = _bit_cost(p, True)
                best = best_error + price * best_bits
                top = max(int(r + 0.5), 1)
                value = np.int64(0)
                for m in range(max(1, top - 1), top + 1):
                    cost = not_zero + _unary_cost(coder, model, weight, wbase, m)
                    d = (r - m) * (r - m)
                    if d + price * cost < best:
                        best = d + price * cost
                        best_bits = cost
                        best_error = d
                        value = np.int64(m)
                if value > 0:
                    kept += 1
                    q[i] = value if coefs[i] > 0 else -value
            bits += best_bits
            left += best_error
        if kept == 0 or empty + price * none <= left + price * bits:
            for i in range(a, b):
                q[i] = 0
            bits = none
            left = empty
        else:
            last_zero = 0
        total += bits
        error += left
    scale = step / float(1 << FRACTION)
    return total, error * scale * scale


@jit
def _dearest(coefs, n, step, budget, q, shape, other, has_other, coder, model, weight):
    """Highest price at which ``step`` stays within ``budget``; returns (price, bits), price -1 where none does."""
    bits, error = frugal(coefs, n, step, 0.0, q, shape, other, has_other, coder, model, weight)
    if error > budget:
        return -1.0, 0.0
    low = 0.0
    high = _HIGHEST_PRICE
    for _ in range(_ROUNDS):
        mid = 0.5 * (low + high)
        b, error = frugal(coefs, n, step, mid, q, shape, other, has_other, coder, model, weight)
        if error <= budget:
            low = mid
            bits = b
        else:
            high = mid
    return low, bits


@jit
def choose_frugal(coefs, n, top, budget, q, shape, other, has_other, coder, model, weight):
    """Step index and price of least bits within ``budget`` (squared digital steps), from step ``top`` down.

    ``q`` receives the quantised coefficients. Index -1 where no step keeps the budget.
    """
    best = -1
    best_bits = 1e300
    best_price = 0.0
    worse = 0
    for k in range(_STEPS_TRIED):
        index = top - k
        if index < 0 or worse >= 2:
            break
        price, bits = _dearest(coefs, n, STEPS[index], budget, q, shape, other, has_other, coder, model, weight)
        if price < 0:
            continue
        if bits < best_bits:
            best = index
            best_bits = bits
            best_price = price
            worse = 0
        else:
            worse += 1
    if best >= 0:
        frugal(coefs, n, STEPS[best], best_price, q, shape, other, has_other, coder, model, weight)
    return best
