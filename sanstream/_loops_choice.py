"""Compiled loops of the encoder: activations chosen one by one, by bits and error together. Not normative.

Each activation is weighed on the stretch that it touches, with and without it. What a stretch costs is estimated
from the wavelet coefficients of what the activations leave over.
"""

from __future__ import annotations

import math

import numpy as np

from sanstream._jit import entry, jit
from sanstream._loops_wavelet import FRACTION, forward

_MARGIN = 32
_GRID = 64
_ZERO = 0.7
"""Below this many steps a coefficient is better zero; its error then weighs 6 bits a squared step."""


@jit
def stretch_cost(values, n, step, scratch):
    """Bits and error of ``values[:n]`` (digital steps, FRACTION fractional bits; consumed) at quantiser ``step``."""
    forward(values, n, scratch)
    cost = 0.0
    for i in range(n):
        r = abs(values[i]) / step
        if r < _ZERO:
            cost += 6.0 * r * r
        else:
            cost += 3.6 + 1.3 * math.log2(r)
    return cost


@jit
def _add(left, shapes, k, length, i0, n, amplitude, sign):
    for c in range(left.shape[0]):
        f = sign * amplitude[c]
        if f != 0.0:
            for j in range(max(0, -i0), min(length, n - i0)):
                left[c, i0 + j] += f * shapes[k, c, j]


@jit
def _cost(left, a, b, steps, values, scratch):
    total = 0.0
    for c in range(left.shape[0]):
        if steps[c] <= 0.0:
            continue
        for t in range(a, b):
            values[t - a] = np.int64(left[c, t] * (1 << FRACTION))
        total += stretch_cost(values, b - a, steps[c], scratch)
    return total


@entry
def choose_activations(left, shapes, lengths, act_kernel, act_index, act_amp, steps, price, keep):
    """Drop activations without which bits and error together are less.

    Parameters
    ----------
    left : ndarray, shape (n_channels, n), float64
        Samples, base removed, missing ones bridged; receives what the activations leave over.
    shapes : ndarray, shape (n_kernels, n_channels, longest), float64
        Kernels at amplitude 1, digital steps.
    lengths : ndarray, shape (n_kernels,)
    act_kernel, act_index : ndarray, shape (n,)
    act_amp : ndarray, shape (n, n_channels), float64
    steps : ndarray, shape (n_channels,), float64
        Quantiser step that the bound suggests, FRACTION fractional bits; 0 leaves a channel out.
    price : ndarray, shape (n,), float64
        Bits of each activation.
    keep : ndarray, shape (n,), uint8
        Receives 1 for every activation that stays.
    """
    n = left.shape[1]
    size = min(n, lengths.max() + 2 * _MARGIN + _GRID)
    values = np.zeros(size + 2, np.int64)
    scratch = np.zeros(size + 2, np.int64)
    for i in range(len(act_kernel)):
        keep[i] = 1
        _add(left, shapes, act_kernel[i], lengths[act_kernel[i]], act_index[i], n, act_amp[i], -1.0)
    for i in range(len(act_kernel)):
        k = act_kernel[i]
        first = act_index[i]
        a = max(0, first - _MARGIN) // _GRID * _GRID
        b = min(n, a + size)
        with_it = _cost(left, a, b, steps, values, scratch) + price[i]
        _add(left, shapes, k, lengths[k], first, n, act_amp[i], 1.0)
        if _cost(left, a, b, steps, values, scratch) <= with_it:
            keep[i] = 0
        else:
            _add(left, shapes, k, lengths[k], first, n, act_amp[i], -1.0)
