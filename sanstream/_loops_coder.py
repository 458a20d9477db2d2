"""Compiled loops: binary arithmetic coder with logistic mixing (FORMAT.md clauses 5 and 6).

One source serves encoding, decoding and cost estimation: ``coder[MODE]`` says which. Integers only.
"""

from __future__ import annotations

import numpy as np

from sanstream._jit import entry, jit

DECODE, ENCODE, ESTIMATE = 0, 1, 2
LOW, HIGH, CODE, POS, MODE, COST, END = 0, 1, 2, 3, 4, 5, 6
SLOTS, INPUTS, CODER_SIZE = 8, 24, 40
"""Places in the coder's state (int64[CODER_SIZE]). COST counts 1/65536 bit, END is the last readable byte + 1;
from SLOTS stand the contexts of the next bit, from INPUTS what they gave the mixer."""

STRETCH_MAX = 2815  # 11 nepers in 1/256, probability 1.7e-5


def _squash_table() -> np.ndarray:
    """65536 / (1 + e^(-x/256)) for x = -2815 ... 2815, by exact integer arithmetic."""
    e = 18374827034086858296  # floor(2^64 e^(-1/256))
    power = 2**64
    table = [0] * (2 * STRETCH_MAX + 1)
    for x in range(STRETCH_MAX + 1):
        p = (65536 * 2**64) // (2**64 + power)
        table[STRETCH_MAX + x] = min(65536 - 1, max(1, p))
        table[STRETCH_MAX - x] = 65536 - table[STRETCH_MAX + x]
        power = (power * e) >> 64
    return np.array(table, dtype=np.int32)


def _stretch_table(squash: np.ndarray) -> np.ndarray:
    """Inverse of squash on 4096 cells: the largest x with squash(x) <= centre of the cell."""
    centres = np.arange(4096) * 16 + 8
    return (
        (np.searchsorted(squash, centres, side="right") - 1 - STRETCH_MAX)
        .clip(-STRETCH_MAX, STRETCH_MAX)
        .astype(np.int32)
    )


def _cost_table() -> np.ndarray:
    """-log2(p/4096) in 1/65536 bit for the encoder's estimates (never normative)."""
    p = (np.arange(4096) + 0.5) / 4096
    return np.round(-np.log2(p) * 65536).astype(np.int64)


SQUASH = _squash_table()
STRETCH = _stretch_table(SQUASH)
BIT_COST = _cost_table()
# adaptation: step 65536/(n + 1.5) down to the limit held per model set
RATE = np.array([int(65536 / (n + 1.6)) for n in range(256)], dtype=np.int64)
CONFIDENCE = np.array([256 * (n + 1) * 2 // (2 * n + 3) if n < 30 else 256 for n in range(256)], dtype=np.int64)


@jit
def start(coder, buf, mode, pos, end):
    """Begin a run at byte ``pos``; ``end`` bounds the reads (zeros beyond) and the writes (counted, not made)."""
    coder[LOW] = 0
    coder[HIGH] = 0xFFFFFFFF
    coder[POS] = pos
    coder[MODE] = mode
    coder[COST] = 0
    coder[END] = end
    coder[CODE] = 0
    if mode == DECODE:
        for _ in range(4):
            b = 0
            if coder[POS] < end:
                b = np.int64(buf[coder[POS]])
            coder[POS] += 1
            coder[CODE] = (coder[CODE] << 8) | b


@entry
def finish(coder, buf):
    """Write the fewest bytes that identify the interval; the decoder reads zeros past the end."""
    if coder[MODE] != ENCODE:
        return
    low = coder[LOW]
    high = coder[HIGH]
    for n in range(5):
        mask = (np.int64(1) << (32 - 8 * n)) - 1
        value = (low + mask) & ~mask
        if value <= high:
            for k in range(n):
                if coder[POS] < coder[END]:
                    buf[coder[POS]] = (value >> (24 - 8 * k)) & 0xFF
                coder[POS] += 1
            return


@jit
def code_probability(coder, buf, p, bit):
    """Code one bit whose probability of 1 is p / 65536, 1 <= p <= 65535."""
    mode = coder[MODE]
    if mode == ESTIMATE:
        if bit == 1:
            coder[COST] += BIT_COST[p >> 4]
        else:
            coder[COST] += BIT_COST[(65535 - p) >> 4]
        return bit
    low = coder[LOW]
    high = coder[HIGH]
    span = high - low
    mid = low + (span >> 16) * p + (((span & 0xFFFF) * p) >> 16)
    if mode == DECODE:
        bit = 1 if coder[CODE] <= mid else 0
    if bit == 1:
        high = mid
    else:
        low = mid + 1
    while ((low ^ high) & 0xFF000000) == 0:
        if mode == ENCODE:
            if coder[POS] < coder[END]:
                buf[coder[POS]] = high >> 24
            coder[POS] += 1
        else:
            b = 0
            if coder[POS] < coder[END]:
                b = np.int64(buf[coder[POS]])
            coder[POS] += 1
            coder[CODE] = ((coder[CODE] & 0xFFFFFF) << 8) | b
        low = (low << 8) & 0xFFFFFFFF
        high = ((high << 8) & 0xFFFFFFFF) | 0xFF
    coder[LOW] = low
    coder[HIGH] = high
    return bit


@jit
def code_gamma(coder, buf, value):
    """Code 1 <= value < 2^40 in Elias gamma, every bit equiprobable."""
    top = 0
    while value >> (top + 1):
        top += 1
    n = 0
    while n < 40:
        if code_probability(coder, buf, 32768, 1 if top > n else 0) == 0:
            break
        n += 1
    out = np.int64(1)
    for b in range(n - 1, -1, -1):
        out = (out << 1) | code_probability(coder, buf, 32768, (value >> b) & 1)
    return out


@jit
def mixed_probability(coder, model, weight, wbase, n):
    """Probability of 1 (of 65536) of the bit whose ``n`` contexts stand in ``coder[SLOTS:SLOTS + n]``.

    ``weight[wbase:wbase + n]`` (16.16) is the weight set; ``coder[INPUTS:INPUTS + n]`` receives the contexts' votes.
    """
    dot = np.int64(0)
    for i in range(n):
        m = np.int64(model[coder[SLOTS + i]])
        x = (np.int64(STRETCH[m >> 12]) * CONFIDENCE[m & 255]) >> 8
        coder[INPUTS + i] = x
        dot += x * weight[wbase + i]
    dot = dot >> 16
    if dot > STRETCH_MAX:
        dot = np.int64(STRETCH_MAX)
    elif dot < -STRETCH_MAX:
        dot = np.int64(-STRETCH_MAX)
    return np.int64(SQUASH[dot + STRETCH_MAX])


@jit
def code_mixed(coder, buf, model, weight, wbase, n, limit, bit):
    """Code one bit by :func:`mixed_probability`; adapt its contexts and weights."""
    p = mixed_probability(coder, model, weight, wbase, n)
    bit = code_probability(coder, buf, p, bit)
    error = (np.int64(bit) << 16) - p
    for i in range(n):
        weight[wbase + i] += (coder[INPUTS + i] * error + 0x8000) >> 16
        adapt(model, coder[SLOTS + i], bit, limit)
    return bit


@jit
def adapt(model, slot, bit, limit):
    """Move a context (probability << 8 | count) towards the bit that was seen."""
    m = np.int64(model[slot])
    p = m >> 8
    k = m & 255
    p += ((((bit << 16) - bit) - p) * RATE[k]) >> 16
    if k < limit:
        k += 1
    model[slot] = (p << 8) | k


@jit
def code_simple(coder, buf, model, slot, bit):
    """Code one bit from a single adaptive context; adapt it."""
    q = np.int64(model[slot]) >> 8
    if q < 48:
        q = np.int64(48)
    elif q > 65488:
        q = np.int64(65488)
    bit = code_probability(coder, buf, q, bit)
    adapt(model, slot, bit, 60)
    return bit


INT_SLOTS = 160
"""Slots of one integer model: 40 exponents, a sign, the top two mantissa bits per exponent."""


@jit
def code_int(coder, buf, model, slot, value):
    """Code a signed integer, |value| < 2^38: exponent in unary, sign, mantissa; all but low bits adaptive."""
    magnitude = abs(value)
    exponent = 0
    while magnitude >> exponent:
        exponent += 1
    e = 0
    while e < 39:
        bit = code_simple(coder, buf, model, slot + e, 1 if exponent > e else 0)
        if bit == 0:
            break
        e += 1
    if e == 0:
        return np.int64(0)
    negative = code_simple(coder, buf, model, slot + 40, 1 if value < 0 else 0)
    out = np.int64(1)
    for b in range(e - 2, -1, -1):
        bit = (magnitude >> b) & 1
        depth = e - 2 - b
        if depth == 0:
            bit = code_simple(coder, buf, model, slot + 41 + e, bit)
        elif depth == 1:
            bit = code_simple(coder, buf, model, slot + 81 + 2 * min(e, 38) - 4 + (out & 1), bit)
        else:
            bit = code_probability(coder, buf, 32768, bit)
        out = (out << 1) | bit
    return -out if negative else out
