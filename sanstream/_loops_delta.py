"""Compiled loops: a plain sequence of integers under a few adaptive models (FORMAT.md clause 6.4)."""

from __future__ import annotations

import numpy as np

from sanstream._jit import entry
from sanstream._loops_coder import CODER_SIZE, DECODE, ENCODE, INT_SLOTS, POS, code_int, finish, start


@entry
def code_sequence(buf, end, encode, values, models):
    """Code ``values`` (int64) in order, value i under model ``models[i]`` (0 to 3); returns the bytes used."""
    coder = np.zeros(CODER_SIZE, np.int64)
    model = np.full(4 * INT_SLOTS, 32768 << 8, np.int32)
    start(coder, buf, ENCODE if encode else DECODE, 0, end)
    for i in range(values.shape[0]):
        values[i] = code_int(coder, buf, model, models[i] * INT_SLOTS, values[i])
    finish(coder, buf)
    return coder[POS]
