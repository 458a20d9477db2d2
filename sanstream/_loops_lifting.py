"""Compiled loops: the wavelet of FORMAT.md clause 8.2, even and odd samples apart, so that lifting runs in vectors."""

from __future__ import annotations

from sanstream._jit import lean, lean_apart
from sanstream._loops_wavelet import ALPHA, BETA, DELTA, GAMMA, MAX_LEVELS, SCALE, SHORTEST, UNSCALE


@lean
def _lift_odd(even, odd, n_even, n_odd, factor):
    """Add to each odd sample ``factor`` (Q14) times the sum of its even neighbours."""
    inside = min(n_odd, n_even - 1)
    for i in range(inside):
        odd[i] += (factor * (even[i] + even[i + 1]) + 8192) >> 14
    for i in range(inside, n_odd):
        odd[i] += (factor * (even[i] + even[i]) + 8192) >> 14


@lean
def _lift_even(even, odd, n_even, n_odd, factor):
    """Add to each even sample ``factor`` (Q14) times the sum of its odd neighbours."""
    even[0] += (factor * (odd[0] + odd[0]) + 8192) >> 14
    for i in range(1, n_odd):
        even[i] += (factor * (odd[i - 1] + odd[i]) + 8192) >> 14
    for i in range(n_odd, n_even):
        even[i] += (factor * (odd[i - 1] + odd[i - 1]) + 8192) >> 14


@lean_apart
def forward_split(v, n, even, odd):
    """Transform ``v[:n]`` in place into bands; ``even`` and ``odd`` are room for half of it each."""
    levels = 0
    while n > SHORTEST and levels < MAX_LEVELS:
        levels += 1
        n_even = (n + 1) >> 1
        n_odd = n - n_even
        for i in range(n_odd):
            even[i] = v[2 * i]
            odd[i] = v[2 * i + 1]
        if n_even > n_odd:
            even[n_odd] = v[n - 1]
        _lift_odd(even, odd, n_even, n_odd, ALPHA)
        _lift_even(even, odd, n_even, n_odd, BETA)
        _lift_odd(even, odd, n_even, n_odd, GAMMA)
        _lift_even(even, odd, n_even, n_odd, DELTA)
        for i in range(n_even):
            v[i] = (even[i] * SCALE + 8192) >> 14
        for i in range(n_odd):
            v[n_even + i] = (odd[i] * UNSCALE + 8192) >> 14
        n = n_even


@lean_apart
def inverse_split(v, n, even, odd):
    """Transform bands ``v[:n]`` back into samples, in place."""
    levels = 0
    m = n
    while m > SHORTEST and levels < MAX_LEVELS:
        m = (m + 1) >> 1
        levels += 1
    for level in range(levels, 0, -1):
        m = n
        for _ in range(level - 1):
            m = (m + 1) >> 1
        n_even = (m + 1) >> 1
        n_odd = m - n_even
        for i in range(n_even):
            even[i] = (v[i] * UNSCALE + 8192) >> 14
        for i in range(n_odd):
            odd[i] = (v[n_even + i] * SCALE + 8192) >> 14
        _lift_even(even, odd, n_even, n_odd, -DELTA)
        _lift_odd(even, odd, n_even, n_odd, -GAMMA)
        _lift_even(even, odd, n_even, n_odd, -BETA)
        _lift_odd(even, odd, n_even, n_odd, -ALPHA)
        for i in range(n_odd):
            v[2 * i] = even[i]
            v[2 * i + 1] = odd[i]
        if n_even > n_odd:
            v[m - 1] = even[n_odd]
