"""Where each adaptive model stands in the arrays of probabilities, counts and weights (FORMAT.md clause 6)."""

from __future__ import annotations

import numpy as np

from sanstream._jit import jit
from sanstream._loops_coder import INT_SLOTS

# -- integers coded by code_int, one model each
(
    INT_STEP, INT_DELTA, INT_BASE, INT_RMSE, INT_MAXIMUM, INT_CROSS, INT_SHIFT, INT_CONSTANT, INT_MEAN, INT_TOTAL,
    INT_FIRST,
) = range(11)  # fmt: skip
CLASSES = 7
INT_GAP = 11  # one per class of the last surprise
INT_AMPLITUDE = INT_GAP + CLASSES  # likewise
N_INT = INT_AMPLITUDE + CLASSES
# -- single bits coded by code_simple
SIMPLE = N_INT * INT_SLOTS
SIMPLE_TOOL = SIMPLE  # 8 x 8: tool given the channel's previous tool
SIMPLE_BAND = SIMPLE + 64  # 16 x 8: is this band all zero
SIMPLE_KERNEL = SIMPLE + 192  # 16 x 16: kernel given the previous kernel, in unary
SIMPLE_END = SIMPLE + 448

# -- wavelet coefficients: contexts x nodes
COEF_NODES = 16
COEF_SIZES = (13 * 64, 13 * 64, 13 * 64, 13 * 64, 13 * 32, 13 * 64)
N_COEF = len(COEF_SIZES)
COEF = SIMPLE_END
COEF_BASE = np.array([COEF + COEF_NODES * sum(COEF_SIZES[:i]) for i in range(N_COEF)], dtype=np.int64)
COEF_END = COEF + COEF_NODES * sum(COEF_SIZES)

# -- correction steps after the wavelet (tool c), same coder as coefficients, contexts of their own
CORR_SIZES = (512, 512)
N_CORR = len(CORR_SIZES)
CORR = COEF_END
CORR_BASE = np.array([CORR + COEF_NODES * sum(CORR_SIZES[:i]) for i in range(N_CORR)], dtype=np.int64)
CORR_END = CORR + COEF_NODES * sum(CORR_SIZES)

# -- predicted samples
SAMPLE_NODES = 32
SAMPLE_SIZES = (256, 1024, 1024, 512, 512, 1024, 1024, 512)
N_SAMPLE = len(SAMPLE_SIZES)
SAMPLE = CORR_END
SAMPLE_BASE = np.array([SAMPLE + SAMPLE_NODES * sum(SAMPLE_SIZES[:i]) for i in range(N_SAMPLE)], dtype=np.int64)
SAMPLE_END = SAMPLE + SAMPLE_NODES * sum(SAMPLE_SIZES)

N_SLOTS = SAMPLE_END

# -- weight sets
W_COEF = 0  # 13 bands x COEF_NODES sets of N_COEF
W_CORR = W_COEF + 13 * COEF_NODES * N_COEF
W_SAMPLE = W_CORR + COEF_NODES * N_CORR  # 16 scales x SAMPLE_NODES sets of N_SAMPLE
N_WEIGHTS = W_SAMPLE + 16 * SAMPLE_NODES * N_SAMPLE


def blank_models() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Untrained probabilities (uint16), counts (uint8) and weights (int32, 16.16)."""
    prob = np.full(N_SLOTS, 32768, dtype=np.uint16)
    count = np.zeros(N_SLOTS, dtype=np.uint8)
    weight = np.empty(N_WEIGHTS, dtype=np.int32)
    weight[W_COEF:W_CORR] = int(65536 * 0.3)
    weight[W_CORR:W_SAMPLE] = int(65536 * 0.6)
    weight[W_SAMPLE:] = int(65536 * 0.25)
    return prob, count, weight


@jit
def cap(v, top):
    """Return the smaller of both."""
    return v if v < top else top


@jit
def octave(v):
    """Bit length of v >= 0."""
    n = 0
    while v > 0:
        v >>= 1
        n += 1
    return n


@jit
def half_octave(v):
    """About 2 log2(v) + 1 for v >= 1; 0 for 0."""
    if v <= 0:
        return 0
    n = octave(v)
    if n == 1:
        return 1
    return 2 * n - 2 + ((v >> (n - 2)) & 1)
