"""Compiled loops of the encoder: activations chosen one by one, by bits and error together. Not normative.

Each activation is weighed on the stretch that it touches, with and without it. What a stretch costs is estimated
from the wavelet coefficients of what the activations leave over, in floating point.
"""

from __future__ import annotations

import numpy as np

from sanstream._jit import lean, lean_apart, lean_entry, lean_float
from sanstream._loops_wavelet import ALPHA, BETA, DELTA, GAMMA, MAX_LEVELS, SCALE, SHORTEST, UNSCALE

_MARGIN = 32
_GRID = 64
_ZERO = 0.7
"""Below this many steps a coefficient is better zero; its error then weighs 6 bits a squared step."""
_EXPONENT = 2.0**-23
_BIAS = 127.0 - 0.043
"""A float32's bits, as an integer times 2^-23, are its log2 plus this, within 0.043."""
_UNIT = 1.0 / (1 << 14)


@lean_float
def _sum_bits(squares, whole, n):
    """Bits and error of ``n`` coefficients from their squares, in steps squared; ``whole`` are the same as int32."""
    total = np.float32(0.0)
    for i in range(n):
        s = squares[i]
        log = np.float32(whole[i]) * np.float32(_EXPONENT) - np.float32(_BIAS)
        total += np.float32(6.0) * s if s < np.float32(_ZERO**2) else np.float32(3.6) + np.float32(0.65) * log
    return total


@lean_float
def _lift_odd(even, odd, n_even, n_odd, factor):
    inside = min(n_odd, n_even - 1)
    for i in range(inside):
        odd[i] += factor * (even[i] + even[i + 1])
    for i in range(inside, n_odd):
        odd[i] += factor * (even[i] + even[i])


@lean_float
def _lift_even(even, odd, n_even, n_odd, factor):
    even[0] += factor * (odd[0] + odd[0])
    for i in range(1, n_odd):
        even[i] += factor * (odd[i - 1] + odd[i])
    for i in range(n_odd, n_even):
        even[i] += factor * (odd[i - 1] + odd[i - 1])


@lean_apart
def _stretch_bits(low, n, inverse, even, odd, squares, whole):
    """Bits and error of a stretch ``low[:n]`` (consumed) at quantiser step ``1 / inverse``."""
    total = 0.0
    levels = 0
    while n > SHORTEST and levels < MAX_LEVELS:
        levels += 1
        n_even = (n + 1) >> 1
        n_odd = n - n_even
        for i in range(n_odd):
            even[i] = low[2 * i]
            odd[i] = low[2 * i + 1]
        if n_even > n_odd:
            even[n_odd] = low[n - 1]
        _lift_odd(even, odd, n_even, n_odd, np.float32(ALPHA * _UNIT))
        _lift_even(even, odd, n_even, n_odd, np.float32(BETA * _UNIT))
        _lift_odd(even, odd, n_even, n_odd, np.float32(GAMMA * _UNIT))
        _lift_even(even, odd, n_even, n_odd, np.float32(DELTA * _UNIT))
        for i in range(n_even):
            low[i] = even[i] * np.float32(SCALE * _UNIT)
        for i in range(n_odd):
            r = odd[i] * np.float32(UNSCALE * _UNIT) * inverse
            squares[i] = r * r
        total += _sum_bits(squares, whole, n_odd)
        n = n_even
    for i in range(n):
        r = low[i] * inverse
        squares[i] = r * r
    return total + _sum_bits(squares, whole, n)


@lean_float
def _add(left, shape, share):
    for j in range(shape.shape[0]):
        left[j] += share * shape[j]


@lean
def _put(left, shapes, k, length, i0, n, amplitude, sign):
    first, stop = max(0, -i0), min(length, n - i0)
    for c in range(left.shape[0]):
        if amplitude[c] != 0.0 and stop > first:
            _add(left[c, i0 + first : i0 + stop], shapes[k, c, first:stop], np.float32(sign * amplitude[c]))


@lean
def _cost(left, a, b, inverse, room):
    total = 0.0
    for c in range(left.shape[0]):
        if inverse[c] > 0.0:
            for t in range(b - a):
                room[0, t] = left[c, a + t]
            total += _stretch_bits(room[0], b - a, inverse[c], room[1], room[2], room[3], room[3].view(np.int32))
    return total


@lean_entry
def choose_activations(left, shapes, lengths, act_kernel, act_index, act_amp, inverse, price, room, keep):
    """Drop activations without which bits and error together are less.

    Parameters
    ----------
    left : ndarray, shape (n_channels, n), float32
        Samples, base removed, missing ones bridged; receives what the activations leave over.
    shapes : ndarray, shape (n_kernels, n_channels, longest), float32
        Kernels at amplitude 1, digital steps.
    lengths : ndarray, shape (n_kernels,)
    act_kernel, act_index : ndarray, shape (n,)
    act_amp : ndarray, shape (n, n_channels), float64
    inverse : ndarray, shape (n_channels,), float32
        1 / the quantiser step that the bound suggests, digital steps; 0 leaves a channel out.
    price : ndarray, shape (n,), float64
        Bits of each activation.
    room : ndarray, shape (4, at least :func:`stretch_samples`), float32
    keep : ndarray, shape (n,), uint8
        Receives 1 for every activation that stays.
    """
    n = left.shape[1]
    size = min(n, room.shape[1])
    for i in range(act_kernel.shape[0]):
        keep[i] = 1
        _put(left, shapes, act_kernel[i], lengths[act_kernel[i]], act_index[i], n, act_amp[i], -1.0)
    last = -1
    now = 0.0
    for i in range(act_kernel.shape[0]):
        k = act_kernel[i]
        first = act_index[i]
        a = max(0, first - _MARGIN) // _GRID * _GRID
        b = min(n, a + size)
        if a != last:
            now = _cost(left, a, b, inverse, room)
        _put(left, shapes, k, lengths[k], first, n, act_amp[i], 1.0)
        without = _cost(left, a, b, inverse, room)
        if without <= now + price[i]:
            keep[i] = 0
            now = without
        else:
            _put(left, shapes, k, lengths[k], first, n, act_amp[i], -1.0)
        last = a  # what follows at the same index touches the same stretch


def stretch_samples(longest: int) -> int:
    """Return how many samples an activation of a kernel of ``longest`` taps is weighed on."""
    return longest + 2 * _MARGIN + _GRID
