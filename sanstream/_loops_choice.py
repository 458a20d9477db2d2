"""Compiled loops of the encoder: activations chosen one by one, by bits and error together. Not normative.

Each activation is weighed on the stretch that it touches: without it, with another kernel, a little earlier or
later. What a stretch costs is estimated from the wavelet coefficients of what the activations leave over.
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
_EMPHASIS = 0.9


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
def _fit(left, shapes, k, length, i0, n, c):
    """Least-squares amplitude of kernel ``k`` at ``i0`` after pre-emphasis."""
    inner = 0.0
    energy = 0.0
    last_v = 0.0
    last_s = 0.0
    for j in range(max(0, -i0), min(length, n - i0)):
        s = shapes[k, c, j] - _EMPHASIS * last_s
        v = left[c, i0 + j] - _EMPHASIS * last_v
        last_s = shapes[k, c, j]
        last_v = left[c, i0 + j]
        inner += s * v
        energy += s * s
    return inner / energy if energy > 1e-9 else 0.0


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
def choose_activations(left, shapes, lengths, act_kernel, act_index, act_amp, steps, price, reach, n_passes, keep):
    """Keep, move, reshape or drop activations so that bits and error together are least.

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
    price : float
        Bits of an activation.
    reach : int
        Samples that an activation may move.
    n_passes : int
    keep : ndarray, shape (n,), uint8
        Receives 1 for every activation that stays.
    """
    n_channels, n = left.shape
    size = min(n, lengths.max() + 2 * _MARGIN + 2 * reach + _GRID)
    values = np.zeros(size + 2, np.int64)
    scratch = np.zeros(size + 2, np.int64)
    best_amp = np.zeros(n_channels)
    amp = np.zeros(n_channels)
    for i in range(len(act_kernel)):
        keep[i] = 1
        _add(left, shapes, act_kernel[i], lengths[act_kernel[i]], act_index[i], n, act_amp[i], -1.0)
    for turn in range(n_passes):
        for i in range(len(act_kernel)):
            if not keep[i]:
                continue
            k0 = act_kernel[i]
            i0 = act_index[i]
            a = max(0, i0 - _MARGIN - reach) // _GRID * _GRID
            b = min(n, a + size)
            best = _cost(left, a, b, steps, values, scratch) + price
            _add(left, shapes, k0, lengths[k0], i0, n, act_amp[i], 1.0)
            best_k = k0
            best_i = i0
            best_amp[:] = act_amp[i]
            without = _cost(left, a, b, steps, values, scratch)
            if without <= best:
                best = without
                best_k = np.int64(-1)
            for k in range(shapes.shape[0] if turn > 0 else 0):
                offset = 0 if k == k0 else (lengths[k0] - lengths[k]) // 2
                for d in range(-reach, reach + 1):
                    i1 = i0 + offset + d
                    if i1 <= -lengths[k] or i1 >= n:
                        continue
                    for c in range(n_channels):
                        amp[c] = round(_fit(left, shapes, k, lengths[k], i1, n, c) * 32) / 32
                    _add(left, shapes, k, lengths[k], i1, n, amp, -1.0)
                    cost = _cost(left, a, b, steps, values, scratch) + price
                    _add(left, shapes, k, lengths[k], i1, n, amp, 1.0)
                    if cost < best - 0.5:
                        best = cost
                        best_k = np.int64(k)
                        best_i = np.int64(i1)
                        best_amp[:] = amp
            if best_k < 0:
                keep[i] = 0
                continue
            act_kernel[i] = best_k
            act_index[i] = best_i
            act_amp[i] = best_amp
            _add(left, shapes, best_k, lengths[best_k], best_i, n, best_amp, -1.0)
