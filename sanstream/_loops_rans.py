"""Compiled loops: range asymmetric numeral system over counted rows of symbols (FORMAT.md clause 16).

One source serves encoding and decoding. Decoding reads 16-bit words from ``stream``; encoding writes there what
:func:`write_words` turns into words afterwards, last first, because such a coder gives back what went in last.
"""

from __future__ import annotations

import numpy as np

from sanstream._jit import entry, lean, lean_apart
from sanstream._loops_coder import CODE, END, HIGH, LOW, MODE, POS

DECODE, ENCODE = 0, 1
ROW_BITS = 12
ROW = 1 << ROW_BITS
LEAST = 1 << 16
"""The state lies in LEAST ... 2^32 - 1; it is LEAST when nothing has been coded."""
SEEN = 32
"""What one occurrence adds to a symbol's count."""
_FULL = 1 << 17
_FIRST_REBUILD, _LAST_REBUILD = 12, 1024
_RAW = 1 << 31
_CHUNK = 32

WIDTH = 32
"""Most symbols of a row."""
_COUNT, _DUE, _CODED, _SIZE, _FIELDS = WIDTH + 1, 2 * WIDTH + 1, 2 * WIDTH + 2, 2 * WIDTH + 3, 2 * WIDTH + 4
"""Places in a line of ``rows``: first slot of each symbol (and the end), counts, symbols until the line is made anew,
symbols coded (at most ``_LAST_REBUILD``), number of symbols."""


def new_rows(size: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return fresh rows (row, field) of ``size`` symbols that start from ``count``, and room for their slots."""
    rows = np.zeros((len(size), _FIELDS), np.int32)
    rows[:, _COUNT : _COUNT + WIDTH] = count
    rows[:, _SIZE] = size
    return rows, np.empty((len(size), ROW + _CHUNK), np.uint8)


@lean_apart
def _rebuild(mode, rows, slots, row):
    """Give a row slots by its counts: each symbol at least one, what is left to the first most frequent."""
    size = np.int64(rows[row, _SIZE])
    total = np.int64(0)
    for s in range(size):
        total += rows[row, _COUNT + s]
    if total > _FULL:
        total = np.int64(0)
        for s in range(size):
            rows[row, _COUNT + s] = (rows[row, _COUNT + s] + 1) >> 1
            total += rows[row, _COUNT + s]
    scale = (np.int64(ROW - size) << 32) // total
    best = 0
    left = np.int64(ROW)
    for s in range(size):
        share = 1 + ((rows[row, _COUNT + s] * scale) >> 32)
        rows[row, s] = share
        left -= share
        if rows[row, _COUNT + s] > rows[row, _COUNT + best]:
            best = s
    rows[row, best] += left
    at = np.int64(0)
    for s in range(size):
        stop = at + rows[row, s]
        rows[row, s] = at
        while mode == DECODE and at < stop:
            chunk = slots[row, at : at + _CHUNK]
            for i in range(_CHUNK):
                chunk[i] = s  # what passes the end is written over by the next symbol
            at += _CHUNK
        at = stop
    rows[row, size] = ROW
    coded = rows[row, _CODED]
    rows[row, _DUE] = max(coded >> 1, _FIRST_REBUILD)
    rows[row, _CODED] = min(coded + rows[row, _DUE], _LAST_REBUILD)


@lean
def _refill(state, at, stream):
    """Take a word when the state has become small, without a branch; past the end the last word comes again."""
    needed = 1 if state < LEAST else 0
    word = np.int64(stream[min(at, stream.shape[0] - 1)])
    return (state << (needed << 4)) | (word & -needed), at + needed


@lean
def code_symbol(mode, state, at, stream, rows, slots, row, symbol):
    """Code one symbol in ``row``; returns (symbol, state, place in the stream)."""
    if rows[row, _DUE] == 0:
        _rebuild(mode, rows, slots, row)
    rows[row, _DUE] -= 1
    if mode == DECODE:
        slot = state & (ROW - 1)
        symbol = np.int64(slots[row, slot])
        first = np.int64(rows[row, symbol])
        state = (rows[row, symbol + 1] - first) * (state >> ROW_BITS) + slot - first
        state, at = _refill(state, at, stream)
    else:
        first = np.int64(rows[row, symbol])
        stream[at] = (first << 16) | (rows[row, symbol + 1] - first)
        at += 1
    rows[row, _COUNT + symbol] += SEEN
    return symbol, state, at


@lean
def code_few(mode, state, at, stream, bits, value):
    """Code ``bits`` equiprobable bits, at most 16; returns (value, state, place in the stream)."""
    if mode == DECODE:
        value = state & ((1 << bits) - 1)
        state >>= bits
        state, at = _refill(state, at, stream)
    else:
        stream[at] = _RAW | (bits << 16) | value
        at += 1 if bits else 0
    return value, state, at


@lean_apart
def code_raw(mode, state, at, stream, bits, value):
    """Code ``bits`` equiprobable bits, at most 48, low 16 first; returns (value, state, place in the stream)."""
    out = np.int64(0)
    done = 0
    while bits > done:
        few = min(bits - done, 16)
        part, state, at = code_few(mode, state, at, stream, few, (value >> done) & ((1 << few) - 1))
        out |= part << done
        done += few
    return out, state, at


@entry
def write_words(stream, n, words):
    """Turn ``stream[:n]`` into the words that a decoder reads; returns the place of the first in ``words``.

    The two first words are the decoder's first state, low half first.
    """
    state = np.int64(LEAST)
    at = words.shape[0]
    for i in range(n - 1, -1, -1):
        op = np.int64(stream[i])
        if op & _RAW:
            bits = (op >> 16) & 31
            if state >= np.int64(1) << (32 - bits):
                at -= 1
                words[at] = state & 0xFFFF
                state >>= 16
            state = (state << bits) | (op & 0xFFFF)
        else:
            share = op & 0xFFFF
            if state >= share << (32 - ROW_BITS):
                at -= 1
                words[at] = state & 0xFFFF
                state >>= 16
            state = ((state // share) << ROW_BITS) + state % share + (op >> 16)
    at -= 2
    words[at] = state & 0xFFFF
    words[at + 1] = state >> 16
    return at


@entry
def end_front(coder, buf):
    """End the arithmetic coder's part of a run; returns the byte where the words begin.

    Writes the fewest bytes that say the interval whatever follows them; a decoder knows their number from its state.
    """
    low = coder[LOW]
    high = coder[HIGH]
    n = 0
    while n < 4:
        mask = (np.int64(1) << (32 - 8 * n)) - 1
        if ((low + mask) & ~mask) + mask <= high:
            break
        n += 1
    if coder[MODE] == DECODE:
        return coder[POS] - 4 + n
    mask = (np.int64(1) << (32 - 8 * n)) - 1
    value = (low + mask) & ~mask
    for k in range(n):
        if coder[POS] < coder[END]:
            buf[coder[POS]] = (value >> (24 - 8 * k)) & 0xFF
        coder[POS] += 1
    coder[CODE] = 0
    return coder[POS]
