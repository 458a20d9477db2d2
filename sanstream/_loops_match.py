"""Compiled loops of the encoder: kernels matched with a block directly, for runs coded by tables. Not normative.

Signals are float32 (channel, sample) with ``m`` zeros on both sides, ``m`` being the longest kernel's taps, so that
sample t stands at t + m.
"""

from __future__ import annotations

import numpy as np

from sanstream._jit import lean, lean_entry, lean_float

_AT_ONCE = 8
_CHUNK = 2048
_SWEEPS = 2


@lean
def _correlate(x, taps, out):
    """Add the inner products of ``taps`` with every stretch of ``x`` to ``out``; the taps are a multiple of 8."""
    n = out.shape[0]
    for first in range(0, n, _CHUNK):
        size = min(_CHUNK, n - first)
        total = out[first : first + size]
        for j in range(0, taps.shape[0], _AT_ONCE):
            part = x[first + j : first + j + size + _AT_ONCE]
            a, b, c, d = taps[j], taps[j + 1], taps[j + 2], taps[j + 3]
            e, f, g, h = taps[j + 4], taps[j + 5], taps[j + 6], taps[j + 7]
            for i in range(size):
                total[i] += (
                    (a * part[i] + b * part[i + 1])
                    + (c * part[i + 2] + d * part[i + 3])
                    + ((e * part[i + 4] + f * part[i + 5]) + (g * part[i + 6] + h * part[i + 7]))
                )


@lean
def _local_energy(x, m, out):
    """Add the energy of every stretch of ``m`` samples around its own mean to ``out``."""
    total = 0.0
    square = 0.0
    for t in range(m):
        total += x[t]
        square += x[t] * x[t]
    for i in range(out.shape[0]):
        out[i] += max(square - total * total / m, 0.0)
        total += x[i + m] - x[i]
        square += x[i + m] * x[i + m] - x[i] * x[i]


@lean_entry
def score(x, level, norm, length, least, inner, gain, energy, strength, kernel):
    """Find what the best kernel explains at every place, where it is at least the share ``least`` of the energy there.

    ``level`` (kernel, channel, taps) are kernels without their means, ``norm`` (kernel, channel) their energies;
    ``strength`` and ``kernel`` receive the result by index + m.
    """
    m = level.shape[2]
    strength[:] = 0.0
    for k in range(level.shape[0]):
        gain[:] = 0.0
        energy[:] = 0.0
        for c in range(level.shape[1]):
            inner[:] = 0.0
            _correlate(x[c], level[k, c], inner)
            if norm[k, c] > 0:
                for i in range(inner.shape[0]):
                    gain[i] += inner[i] * inner[i] / norm[k, c]
            _local_energy(x[c], length[k], energy)
        for i in range(inner.shape[0] - m):
            if gain[i] > strength[i] and gain[i] >= least * energy[i]:
                strength[i] = gain[i]
                kernel[i] = k


@lean_entry
def choose(order, distance, taken, chosen):
    """Take places in the order given, none within ``distance`` of one taken before; returns how many."""
    count = 0
    for i in range(order.shape[0]):
        place = order[i]
        if taken[place]:
            continue
        chosen[count] = place
        count += 1
        for t in range(max(0, place - distance), min(taken.shape[0], place + distance + 1)):
            taken[t] = 1
    return count


@lean_float
def _inner(part, taps):
    total = np.float32(0.0)
    for j in range(taps.shape[0]):
        total += part[j] * taps[j]
    return total


@lean_float
def _take(part, share, taps):
    for j in range(taps.shape[0]):
        part[j] -= share * taps[j]


@lean_entry
def fit(x, taps, level, norm, which, place, amplitude):
    """Fit amplitudes (activation, channel) in turn to what the others leave; ``x`` becomes what all leave."""
    m = taps.shape[2]
    for _ in range(_SWEEPS):
        for a in range(place.shape[0]):
            k = which[a]
            for c in range(taps.shape[1]):
                if norm[k, c] <= 0:
                    continue
                part = x[c, place[a] : place[a] + m]
                step = np.float32(_inner(part, level[k, c]) / norm[k, c])
                amplitude[a, c] += step
                _take(part, step, taps[k, c])


@lean_entry
def stack(x, n, taps, level, norm, first, activated, amplitude, out_kernel, out_place, out_amplitude):
    """Follow every activation by components (kernels from ``first`` on), fitted one by one to what is left in ``x``.

    ``activated`` (activation, 2) are kernels and places, ``amplitude`` what was taken from ``x``; ``n`` are the block's
    samples. Amplitudes come out as whole 1/32. Events that reach beyond the block, and components that would say
    nothing, are left out. Returns how many activations there are.
    """
    m = taps.shape[2]
    count = 0
    for a in range(activated.shape[0]):
        place = activated[a, 1]
        whole = place >= m and place <= n
        for k in range(taps.shape[0]):
            leads = k == activated[a, 0]
            if not leads and not (k >= first and whole):
                continue
            used = leads
            for c in range(taps.shape[1]):
                part = x[c, place : place + m]
                share = amplitude[a, c]
                if not leads:
                    share = np.float32(0.0)
                    if norm[k, c] > 0:
                        share = np.float32(_inner(part, level[k, c]) / norm[k, c])
                size = np.int64(min(max(round(32 * share), -32768), 32768))
                out_amplitude[count, c] = size
                used = used or size != 0
                _take(part, np.float32(size / 32 - (share if leads else np.float32(0.0))), taps[k, c])
            if used:
                out_kernel[count] = k
                out_place[count] = place
                count += 1
    return count
