"""Compiled loops: the 9/7 lifting transform in fixed point (FORMAT.md clause 8).

Values carry FRACTION fractional bits. A window of any length is split into bands stored one after
the other: approximation first, then details from coarse to fine. Integers only.
"""

from __future__ import annotations

import numpy as np

from sanstream._jit import jit

FRACTION = 6
SHORTEST = 8
"""A band of this length or less is split no further."""
MAX_LEVELS = 12

# Cohen-Daubechies-Feauveau 9/7 lifting steps (Daubechies and Sweldens 1998), Q14
ALPHA, BETA, GAMMA, DELTA = -25987, -868, 14466, 7266
SCALE, UNSCALE = 18835, 14252  # 1.149604398 and its inverse, Q14


@jit
def n_levels(n):
    """Return the number of splits of a window of ``n`` samples."""
    levels = 0
    while n > SHORTEST and levels < MAX_LEVELS:
        n = (n + 1) >> 1
        levels += 1
    return levels


@jit
def band_starts(n, starts):
    """Fill ``starts`` with the first position of each band (approximation, then coarse to fine).

    Returns the number of bands; ``starts[n_bands]`` is ``n``.
    """
    levels = n_levels(n)
    sizes = np.empty(MAX_LEVELS + 1, np.int64)
    sizes[0] = n
    for i in range(levels):
        sizes[i + 1] = (sizes[i] + 1) >> 1
    starts[0] = 0
    for b in range(1, levels + 1):
        starts[b] = sizes[levels - b + 1]
    starts[levels + 1] = n
    return levels + 1


@jit
def _lift(v, n, first, factor):
    """Add ``factor`` (Q14) times the sum of both neighbours to every second sample from ``first``."""
    for i in range(first, n, 2):
        left = v[i - 1] if i > 0 else v[i + 1]
        right = v[i + 1] if i + 1 < n else v[i - 1]
        v[i] += (factor * (left + right) + 8192) >> 14


@jit
def forward(v, n, scratch):
    """Transform ``v[:n]`` (int64, FRACTION fractional bits) in place into bands."""
    for _ in range(n_levels(n)):
        _lift(v, n, 1, ALPHA)
        _lift(v, n, 0, BETA)
        _lift(v, n, 1, GAMMA)
        _lift(v, n, 0, DELTA)
        half = (n + 1) >> 1
        for i in range(half):
            scratch[i] = (v[2 * i] * SCALE + 8192) >> 14
        for i in range(n - half):
            scratch[half + i] = (v[2 * i + 1] * UNSCALE + 8192) >> 14
        for i in range(n):
            v[i] = scratch[i]
        n = half


@jit
def inverse(v, n, scratch):
    """Transform bands ``v[:n]`` back into samples, in place."""
    sizes = np.empty(MAX_LEVELS + 1, np.int64)
    levels = n_levels(n)
    sizes[0] = n
    for i in range(levels):
        sizes[i + 1] = (sizes[i] + 1) >> 1
    for level in range(levels - 1, -1, -1):
        n = sizes[level]
        half = sizes[level + 1]
        for i in range(half):
            scratch[2 * i] = (v[i] * UNSCALE + 8192) >> 14
        for i in range(n - half):
            scratch[2 * i + 1] = (v[half + i] * SCALE + 8192) >> 14
        for i in range(n):
            v[i] = scratch[i]
        _lift(v, n, 0, -DELTA)
        _lift(v, n, 1, -GAMMA)
        _lift(v, n, 0, -BETA)
        _lift(v, n, 1, -ALPHA)


STEPS = np.array(
    [(m << (i >> 3)) >> 3 for i in range(256) for m in [(64, 70, 76, 83, 91, 99, 108, 117)[i & 7]]], dtype=np.int64
)
"""Quantiser steps, FRACTION fractional bits: STEPS[i] is about 2^(i/8) / 8 digital steps."""
