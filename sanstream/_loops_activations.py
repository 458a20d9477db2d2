"""Compiled loops: activations, their sum window by window, and kernels that follow (FORMAT.md clauses 7.2, 7.4)."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np

from sanstream._jit import entry, jit
from sanstream._loops_coder import INT_SLOTS, code_int, code_simple
from sanstream._loops_models import CLASSES, INT_AMPLITUDE, INT_FIRST, INT_GAP, INT_TOTAL, SIMPLE_KERNEL, octave

SYNTHESIS_BITS = 16
INDEX_LEAD = 1 << 12
"""An index is at least -INDEX_LEAD; no kernel is longer."""
LIVE_BITS = 8
"""Fractional bits of the taps that follow."""
_RAMP = 8
"""Taps at each end of a kernel that follow less and less."""
_LEAST_SQUARE = 512
"""Square of the amplitude (1/32) from which a kernel follows fully."""
_E_LIMIT = 1 << 22
_TAP_LIMIT = 32767 << LIVE_BITS

Kernels = namedtuple("Kernels", "taps length shift follow")
"""taps int64 (n_kernels, n_own or 1, longest), length (n_kernels,), amplitude shift per own column, and follow:
0, or how slowly taps follow what was decoded (2^-follow an activation)."""


@jit
def swing(v):
    """Class of how far a value lay from where it was expected."""
    n = octave(abs(v)) - 1
    return min(max(n, 0), CLASSES - 1)


@jit
def code_activations(coder, buf, model, n_samples, n_kernels, n_act, act_kernel, act_index, act_amp):
    """Code the block's activations: number, then kernel, gap and amplitudes of each."""
    if n_kernels == 0:
        n_act[0] = 0
        return
    n_own = act_amp.shape[1]
    total = code_int(coder, buf, model, INT_TOTAL * INT_SLOTS, n_act[0])
    total = min(max(total, 0), act_index.shape[0])
    n_act[0] = total
    # expected values carry 4 fractional bits
    gap_of = np.zeros((n_kernels, n_kernels), np.int64)
    seen = np.zeros((n_kernels, n_kernels), np.int64)
    amp_of = np.full((n_kernels, n_own), 32 << 4, np.int64)
    amp_class = np.full((n_kernels, n_own), 2, np.int64)
    any_gap = np.int64(0)
    gap_class = np.int64(3)
    index = np.int64(-INDEX_LEAD)
    kernel = np.int64(0)
    for a in range(total):
        u = 0
        while u < n_kernels - 1:
            bit = code_simple(coder, buf, model, SIMPLE_KERNEL + kernel * 16 + u, 1 if act_kernel[a] > u else 0)
            if bit == 0:
                break
            u += 1
        act_kernel[a] = u
        if a == 0:
            gap = INDEX_LEAD + code_int(coder, buf, model, INT_FIRST * INT_SLOTS, act_index[a] - index - INDEX_LEAD)
        else:
            known = seen[kernel, u]
            expected = ((gap_of[kernel, u] if known else any_gap) + 8) >> 4
            slot = (INT_GAP + gap_class) * INT_SLOTS
            d = code_int(coder, buf, model, slot, act_index[a] - index - expected)
            gap = expected + d
            gap_class = (gap_class + (swing(d) if known else gap_class) + 1) >> 1
            if known == 0:
                gap_of[kernel, u] = gap << 4
            else:
                gap_of[kernel, u] += ((gap << 4) - gap_of[kernel, u]) >> (1 if known == 1 else 2)
            seen[kernel, u] = min(known + 1, 2)
            any_gap = gap << 4 if a == 1 else any_gap + (((gap << 4) - any_gap) >> 2)
        index = min(max(index + gap, -INDEX_LEAD), n_samples - 1)
        act_index[a] = index
        kernel = np.int64(u)
        for c in range(n_own):
            expected = (amp_of[u, c] + 8) >> 4
            slot = (INT_AMPLITUDE + amp_class[u, c]) * INT_SLOTS
            d = code_int(coder, buf, model, slot, act_amp[a, c] - expected)
            v = min(max(expected + d, -(1 << 15)), 1 << 15)
            act_amp[a, c] = v
            amp_class[u, c] = (amp_class[u, c] + swing(2 * d) + 1) >> 1
            amp_of[u, c] += ((v << 4) - amp_of[u, c]) >> 2


@entry
def render(kernels, live, plan, number, a, b, total, n_known, san):
    """Add to ``total`` the activations from ``number`` on that begin before ``b``; returns the first that does not.

    ``live`` (int64, n_kernels x n_own x longest, LIVE_BITS fractional bits) are the taps as they stand, ``total``
    (n, n_own) the sum so far; ``san`` receives own columns from sample ``a`` on as far as anything reaches.
    """
    n, n_own = total.shape
    reach = b
    while number < plan.n_act[0] and plan.act_index[number] < b:
        k = plan.act_kernel[number]
        i0 = plan.act_index[number]
        first = max(0, -i0)
        stop = min(kernels.length[k], n - i0)
        for c in range(n_own):
            amp = plan.act_amp[number, c] << kernels.shift[c]
            if amp == 0:
                continue
            for j in range(first, stop):
                total[i0 + j, c] += amp * (live[k, c, j] >> LIVE_BITS)
        reach = max(reach, i0 + stop)
        number += 1
    reach = min(n, reach + live.shape[2])
    for t in range(a, reach):
        for c in range(n_own):
            san[t, n_known + c] = (total[t, c] + (1 << (SYNTHESIS_BITS - 1))) >> SYNTHESIS_BITS
    return number


@entry
def follow(kernels, live, plan, number, b, window, n_known, bases, y, missing, san):
    """Move the taps of every activation from ``number`` on that ends by ``b``; returns the first that does not.

    Only windows of tools a and c teach. ``bases`` are the columns' bases; ``y`` the decoded samples.
    """
    n_own = live.shape[1]
    while number < plan.n_act[0]:
        k = plan.act_kernel[number]
        i0 = plan.act_index[number]
        length = kernels.length[k]
        if i0 + length > b:
            break
        for c in range(n_own if i0 >= 0 else 0):
            taught = True
            for w in range(i0 // window, (i0 + length - 1) // window + 1):
                tool = plan.tool[w, n_known + c]
                if tool != 0 and tool != 2:
                    taught = False
            amp = plan.act_amp[number, c]
            if taught and amp != 0:
                _teach(
                    live[k, c], length, kernels.follow + kernels.shift[c], amp, i0, n_known + c,
                    bases[n_known + c], y, missing, san,
                )  # fmt: skip
        number += 1
    return number


@jit
def _teach(taps, length, slowness, amp, i0, c, base, y, missing, san):
    """Add to ``taps`` a share of what the sum of kernels left over in one activation's span."""
    mean = np.int64(0)
    for j in range(length):
        if not missing[i0 + j, c]:
            mean += y[i0 + j, c] - base - san[i0 + j, c]
    mean = mean // length
    gain = (np.int64(amp) << 24) // max(amp * amp, _LEAST_SQUARE)
    for j in range(length):
        if missing[i0 + j, c]:
            continue
        e = y[i0 + j, c] - base - san[i0 + j, c] - mean
        e = min(max(e, -_E_LIMIT), _E_LIMIT)
        edge = min(j, length - 1 - j)
        if edge < _RAMP:
            e = e * (2 * edge + 1)
        else:
            e = e * (2 * _RAMP)
        # taps are 2^-(11 + LIVE_BITS) 2^shift digital steps, amplitudes 1/32, gain Q24, e Q4
        v = taps[j] + ((e * gain) >> (4 + slowness))
        taps[j] = min(max(v, -_TAP_LIMIT), _TAP_LIMIT)


def live_taps(kernels: Any, n_own: int) -> Any:
    """Taps as a run begins with them, one row per own column."""
    rows = np.broadcast_to(kernels.taps, (kernels.taps.shape[0], n_own, kernels.taps.shape[2]))
    return np.ascontiguousarray(rows) << LIVE_BITS
