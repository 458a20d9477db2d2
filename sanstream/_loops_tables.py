"""Compiled loops: integers of any size by rows of symbols that an expected magnitude chooses (FORMAT.md clause 17)."""

from __future__ import annotations

import math

import numpy as np

from sanstream._jit import lean, lean_apart
from sanstream._loops_rans import ENCODE, WIDTH, code_few, code_raw, code_symbol
from sanstream._loops_wavelet import MAX_LEVELS, SHORTEST

MEAN_BITS = 7
_TOP = 448
"""Expected magnitudes from 3.5 on are halved, with as many low bits of the value outside the symbol."""
_STEPS = 16
N_LEVELS = _STEPS + 4
N_RATIOS = 5
SAMPLE, COEFFICIENT, CORRECTION, BAND = 0, N_LEVELS * N_RATIOS, 2 * N_LEVELS * N_RATIOS, 3 * N_LEVELS * N_RATIOS
N_ROWS = BAND + 16
_PRIOR = 1024
_MEAN_LIMIT = 1 << 46
VALUE_LIMIT = 1 << 36


def _levels() -> np.ndarray:
    """Level of each expected magnitude below ``_TOP``: quarter octaves from 1/8 on, coarser below."""
    bounds = [2, 6, 12, 20, 30, 42, 56, 72, 92, 116, 144, 178, 220, 272, 340]
    return np.array([sum(bound <= mean for bound in bounds) for mean in range(_TOP)], dtype=np.int64)


LEVEL = _levels()
_NEAR = 16 * _TOP


def _levels_and_shifts() -> np.ndarray:
    """Level | low bits << 5 of each expected magnitude below ``_NEAR``."""
    mean, low = np.arange(_NEAR), np.zeros(_NEAR, np.int64)
    while (mean >= _TOP).any():
        low += mean >= _TOP
        mean = np.where(mean >= _TOP, mean >> 1, mean)
    octave = _STEPS + (mean - _TOP // 2) // (_TOP // 8)
    packed = np.where(low > 0, octave, LEVEL[np.minimum(mean, _TOP - 1)]) | low << 5
    return np.array(packed, dtype=np.uint8)


_LEVEL_LOW = _levels_and_shifts()
REACH = np.array([4, 4, 8, 8, 8, 8] + [16] * (N_LEVELS - 6), dtype=np.int64)
"""Values from -reach + 1 to reach - 2 have a symbol of their own; the two outermost symbols are escapes."""


_ZERO = bytes.fromhex(
    "faf7efebe9d5c6bbb1a89b8f8070604d594b382ffaf9ebe4d7bfb39c8c79685a4c453f36473f362dfaf3e1dccdbaac988676"
    "6b5e50443d36463c342efaf9f3ece7d6c8b3a3938576695c5349544c4741a2eae5dbc8b9ac998d7f6d6155493d313b342c28"
)
_TAIL = bytes.fromhex(
    "1f2126292a2e3132363a434e5b697a91768799a41c22272c333d434c59697785929aa2b08694a2ab212b2f37424d575e6979"
    "8693a2adb6c0a1aeb8bf303753465b5f646c7784909ea9b5bfc8afbac2c7af8e9e989d99a5a7aaafb4babec4c9d0b5bec5cb"
)
"""By depth and level: how often a coefficient is zero, and how often a magnitude is more than the one before, in 1/256;
from 19 records of MIT-BIH."""


def first_counts() -> tuple[np.ndarray, np.ndarray]:
    """Return sizes (row,) and counts (row, symbol) that every run starts from: two-sided geometric distributions."""
    size = np.zeros(N_ROWS, np.int64)
    count = np.zeros((N_ROWS, WIDTH), np.int64)
    for level in range(N_LEVELS):
        inside = np.flatnonzero(level == LEVEL) if level < _STEPS else np.array([224 + 56 * (level - _STEPS) + 28])
        mean = 2 * int(inside.sum()) // len(inside) + 8  # Q8
        # P(v) ~ theta^|v| has a mean magnitude of 2 theta / (1 - theta^2)
        theta = ((math.isqrt(65536 + mean * mean) - 256) << 16) // mean
        root = math.isqrt(theta << 16)
        power = [65536]
        for _ in range(2 * WIDTH):
            power.append((power[-1] * root) >> 16)
        reach = int(REACH[level])
        odd = 1 if level >= _STEPS else 0
        weights = [power[abs(2 * (s - reach) + odd)] for s in range(2 * reach)]
        for kind in (SAMPLE, CORRECTION):
            for ratio in range(N_RATIOS):
                row = kind + level * N_RATIOS + ratio
                size[row] = 2 * reach
                count[row, : 2 * reach] = [1 + (w * _PRIOR) // sum(weights) for w in weights]
        for depth in range(N_RATIOS):
            row = COEFFICIENT + level * N_RATIOS + depth
            size[row] = 2 * reach
            none, tail = _ZERO[N_LEVELS * depth + level], _TAIL[N_LEVELS * depth + level]
            weight = [256 * none]
            part = ((65536 - weight[0]) * (256 - tail)) >> 9
            for _ in range(reach):
                weight.append(part)
                part = (part * tail) >> 8
            count[row, : 2 * reach] = [1 + (weight[abs(s - reach)] * _PRIOR >> 16) for s in range(2 * reach)]
    size[BAND:] = 16
    count[BAND:, :16] = 16
    for row in range(16):
        count[BAND + row, row] = 256
    return size, count


@lean
def code_value(mode, state, at, stream, rows, slots, kind, ratio, mean, value):
    """Code a signed integer whose magnitude is expected to be ``mean`` / 128; returns (value, state, place)."""
    mean = min(max(mean, 0), _MEAN_LIMIT)
    low = 0
    while mean >= _NEAR:
        mean >>= 1
        low += 1
    packed = np.int64(_LEVEL_LOW[mean])
    level = packed & 31
    low += packed >> 5
    reach = REACH[level]
    high = value >> low
    symbol = min(max(high + reach, 0), 2 * reach - 1)
    row = kind + level * N_RATIOS + ratio
    symbol, state, at = code_symbol(mode, state, at, stream, rows, slots, row, symbol)
    if symbol == 0 or symbol == 2 * reach - 1:
        over = high - reach + 2 if symbol else 1 - reach - high
        bits = 0
        while mode == ENCODE and over >> bits:
            bits += 1
        bits, state, at = code_raw(mode, state, at, stream, 6, bits)
        bits = min(max(bits, 1), 38)
        top = np.int64(1) << (bits - 1)
        over, state, at = code_raw(mode, state, at, stream, bits - 1, over - top)
        over += top
        high = over + reach - 2 if symbol else 1 - reach - over
    else:
        high = symbol - reach
    if low <= 16:
        part, state, at = code_few(mode, state, at, stream, low, value & ((1 << low) - 1))
    else:
        part, state, at = code_raw(mode, state, at, stream, low, value & ((1 << low) - 1))
    high = (high << low) | part
    return min(max(high, -VALUE_LIMIT), VALUE_LIMIT), state, at


@lean
def code_next(mode, state, at, stream, rows, slots, kind, fast, slow, value):
    """Code the next value of a series with two running means of magnitudes, Q7.

    Returns (value, state, place, means).
    """
    ratio = (
        (1 if 2 * fast > slow else 0)
        + (1 if 4 * fast > 3 * slow else 0)
        + (1 if 4 * fast > 5 * slow else 0)
        + (1 if fast > 2 * slow else 0)
    )
    mean = (3 * fast + 5 * slow) >> 3
    value, state, at = code_value(mode, state, at, stream, rows, slots, kind, ratio, mean, value)
    size = abs(value) << MEAN_BITS
    return value, state, at, fast + ((size - fast) >> 3), slow + ((size - slow) >> 5)


@lean_apart
def code_series(mode, state, at, stream, rows, slots, kind, track, missing, values):
    """Code one value per sample that is not missing; ``track`` holds the two running means."""
    fast = track[0]
    slow = track[1]
    for i in range(values.shape[0]):
        value = np.int64(0)
        if not missing[i]:
            value, state, at, fast, slow = code_next(mode, state, at, stream, rows, slots, kind, fast, slow, values[i])
        values[i] = value
    track[0] = fast
    track[1] = slow
    return state, at


@lean
def _sizes(n, starts):
    """Fill in where each band begins, approximation first; returns the number of bands."""
    levels = 0
    m = n
    while m > SHORTEST and levels < MAX_LEVELS:
        m = (m + 1) >> 1
        levels += 1
    starts[levels + 1] = n
    m = n
    for i in range(levels):
        m = (m + 1) >> 1
        starts[levels - i] = m
    starts[0] = 0
    return levels + 1


@lean_apart
def code_coefficients(mode, state, at, stream, rows, slots, track, q, shape, step, other, has, starts):
    """Code the quantised coefficients of one window of one channel: how many bands matter, then each of theirs."""
    n = q.shape[0]
    bands = _sizes(n, starts)
    top = bands
    if mode == ENCODE:
        while top > 0:
            any_value = False
            for i in range(starts[top - 1], starts[top]):
                any_value |= q[i] != 0
            if any_value:
                break
            top -= 1
    top, state, at = code_symbol(mode, state, at, stream, rows, slots, BAND + track[2], top)
    track[2] = top
    top = min(top, bands)
    for band in range(top):
        a = starts[band]
        b = starts[band + 1]
        depth = min(bands - 1 - band, N_RATIOS - 1)
        above = starts[band - 1] if band >= 2 else 0
        n_above = a - above if band >= 2 else 0
        m1 = m2 = m3 = np.int64(0)
        for i in range(a, b):
            h = (i - a) >> 1
            parent = aside = np.int64(0)
            if n_above:
                h = min(h, n_above - 1)
                parent = abs(q[above + h])
                aside = abs(q[above + min(h + 1, n_above - 1)]) + abs(q[above + max(h - 1, 0)])
            if has:
                beside = (abs(other[i - 1]) if i > a else 0) + (abs(other[i + 1]) if i + 1 < b else 0)
                mean = 32 * m1 + 14 * m2 + 10 * m3 + 10 * parent + 3 * aside + 40 * abs(other[i]) + 4 * beside
            else:
                mean = 56 * m1 + 12 * m2 + 6 * m3 + 16 * parent + 4 * aside
            size = abs(shape[i])
            if i > a:
                size += abs(shape[i - 1]) >> 1
            if i + 1 < b:
                size += abs(shape[i + 1]) >> 1
            mean += min(max(size, 0), 1 << 40) * 8 // step
            value, state, at = code_value(mode, state, at, stream, rows, slots, COEFFICIENT, depth, mean, q[i])
            q[i] = value
            m3 = m2
            m2 = m1
            m1 = abs(value)
    if mode != ENCODE:
        for i in range(starts[top], n):
            q[i] = 0
    return state, at
