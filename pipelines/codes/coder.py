"""Entropy coding of quantised latents to real bytes: lanes of range asymmetric numeral systems with adapting tables.

A lane is a latent channel; all lanes take a step at a time, which numpy does at once. Each symbol is coded by the row
of its lane and of what the step before held. Rows start from counts of the training records and are made anew from
what has been coded every :data:`RENEW` steps, the same way on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sanstream.errors import InputError

LIMIT = 15
"""Values beyond +-LIMIT are coded as its symbol and set apart."""
SYMBOLS = 2 * LIMIT + 1
LEVELS = 3
"""Levels of the lane's own last magnitude, and of the mean over lanes."""
RENEW = 128
_BITS = 12
_LEAST = 1 << 16
_PRIOR = 60.0
"""Symbols that the starting counts of a row are worth."""
_HEAD = np.dtype("<u4")

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Prior:
    """What rows start from.

    Parameters
    ----------
    counts : ndarray, shape (n_lanes * LEVELS * LEVELS, SYMBOLS), uint8
        Shares of symbols, the largest of a row 255; 0 counts as a half.
    n_lanes : int
    """

    counts: npt.NDArray[np.uint8]
    n_lanes: int

    @property
    def n_bytes(self) -> int:
        """Bytes that a decoder has to hold."""
        return int(self.counts.nbytes)

    def start(self) -> Floats:
        """Return counts to adapt, (rows, SYMBOLS)."""
        counts = np.maximum(self.counts.astype(np.float64), 0.5)
        return np.asarray(counts * (_PRIOR / counts.sum(axis=1, keepdims=True)))


def context(before: Ints, n_lanes: int) -> Ints:
    """Return the row of each lane after steps ``before``, shape (..., n_lanes) either way."""
    size = np.minimum(np.abs(before), LIMIT)
    own = np.minimum(size, LEVELS - 1)
    all_lanes = size.sum(axis=-1, keepdims=True)
    level = (all_lanes > n_lanes // 16).astype(np.int64) + (all_lanes > n_lanes // 2)
    return np.asarray((np.arange(n_lanes) * LEVELS + own) * LEVELS + level)


def fit(latents: list[Ints]) -> Prior:
    """Count symbols of training latents, each of shape (n_steps, n_lanes)."""
    n_lanes = latents[0].shape[1]
    counts = np.zeros((n_lanes * LEVELS * LEVELS, SYMBOLS))
    for values in latents:
        np.add.at(counts, (_rows(values), np.clip(values, -LIMIT, LIMIT) + LIMIT), 1)
    scaled = 255 * counts / np.maximum(counts.max(axis=1, keepdims=True), 1)
    return Prior(np.round(scaled).astype(np.uint8), n_lanes)


def _rows(values: Ints) -> Ints:
    before = np.vstack([np.zeros((1, values.shape[1]), np.int64), values[:-1]])
    return context(before, values.shape[1])


def _frequencies(counts: Floats) -> Ints:
    """Give each row shares of 4096, at least one a symbol: first slots (rows, SYMBOLS + 1)."""
    room = (1 << _BITS) - SYMBOLS
    share = np.floor(counts * (room / counts.sum(axis=1, keepdims=True))).astype(np.int64) + 1
    share[np.arange(len(share)), share.argmax(axis=1)] += (1 << _BITS) - share.sum(axis=1)
    return np.hstack([np.zeros((len(share), 1), np.int64), np.cumsum(share, axis=1)])


def encode(values: Ints, prior: Prior) -> bytes:
    """Write latents.

    Parameters
    ----------
    values : ndarray, shape (n_steps, n_lanes), int64
        Within +-32 000.
    prior : Prior

    Returns
    -------
    bytes

    Raises
    ------
    InputError
        On another number of lanes than the prior's, or values out of range.
    """
    n_steps, n_lanes = values.shape
    if n_lanes != prior.n_lanes or np.abs(values).max(initial=0) > 32000:
        raise InputError(
            f"latents of {n_lanes} lanes up to {np.abs(values).max(initial=0)} for tables of {prior.n_lanes} lanes",
            hint="give the lanes that the tables were made from, and values within +-32000",
        )
    symbols, rows = np.clip(values, -LIMIT, LIMIT) + LIMIT, _rows(values)
    first, share = _forward(symbols, rows, prior)
    state = np.full(n_lanes, _LEAST, np.uint64)
    words: list[npt.NDArray[np.uint16]] = []
    for f, c in zip(share[::-1].astype(np.uint64), first[::-1].astype(np.uint64), strict=True):
        full = state >= f << np.uint64(32 - _BITS)
        words.append((state[full] & np.uint64(0xFFFF)).astype(np.uint16))
        state[full] >>= np.uint64(16)
        state = ((state // f) << np.uint64(_BITS)) + state % f + c
    body = np.concatenate(words[::-1]) if words else np.zeros(0, np.uint16)
    far = values[np.abs(values) >= LIMIT]
    beyond = (np.abs(far) - LIMIT).astype("<u2")
    head = np.array([n_steps, len(beyond)], _HEAD).tobytes() + state.astype(_HEAD).tobytes()
    return head + beyond.tobytes() + body.astype("<u2").tobytes()


def _forward(symbols: Ints, rows: Ints, prior: Prior) -> tuple[Ints, Ints]:
    """Follow the adapting rows as the decoder will: first slot and share of every symbol."""
    counts = prior.start()
    first, share = np.empty_like(symbols), np.empty_like(symbols)
    for start in range(0, len(symbols), RENEW):
        slots = _frequencies(counts)
        r, s = rows[start : start + RENEW], symbols[start : start + RENEW]
        first[start : start + RENEW] = slots[r, s]
        share[start : start + RENEW] = slots[r, s + 1] - slots[r, s]
        np.add.at(counts, (r, s), 1)
    return first, share


def decode(data: bytes, prior: Prior) -> Ints:
    """Read what :func:`encode` wrote, shape (n_steps, n_lanes)."""
    n_lanes = prior.n_lanes
    n_steps, n_beyond = (int(v) for v in np.frombuffer(data, _HEAD, 2))
    state = np.frombuffer(data, _HEAD, n_lanes, offset=8).astype(np.uint64)
    at = 8 + 4 * n_lanes
    beyond = np.frombuffer(data, "<u2", n_beyond, offset=at).astype(np.int64)
    body = np.frombuffer(data, "<u2", offset=at + 2 * n_beyond).astype(np.uint64)
    values, place = np.zeros((n_steps, n_lanes), np.int64), 0
    counts, row, used = prior.start(), context(np.zeros(n_lanes, np.int64), n_lanes), 0
    seen: list[Ints] = []
    for step in range(n_steps):
        if step % RENEW == 0:
            if seen:
                np.add.at(counts, (np.array(seen), values[step - RENEW : step].clip(-LIMIT, LIMIT) + LIMIT), 1)
            slots, seen = _frequencies(counts), []
        own = slots[row]
        slot = (state & np.uint64((1 << _BITS) - 1)).astype(np.int64)
        symbol = (own[:, 1:] <= slot[:, None]).sum(axis=1)
        lane = np.arange(n_lanes)
        first = own[lane, symbol]
        state = ((own[lane, symbol + 1] - first).astype(np.uint64)) * (state >> np.uint64(_BITS))
        state += (slot - first).astype(np.uint64)
        low = state < _LEAST
        count = int(low.sum())
        state[low] = (state[low] << np.uint64(16)) | body[place : place + count]
        place += count
        seen.append(row)
        found = symbol - LIMIT
        far = np.abs(found) == LIMIT
        if far.any():
            reach = int(far.sum())
            found[far] += np.sign(found[far]) * beyond[used : used + reach]
            used += reach
        values[step] = found
        row = context(found, n_lanes)
    return values
