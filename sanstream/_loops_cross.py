"""Compiled loops of the encoder: which channels a wavelet window leans on, and how much. Not normative.

Weights are chosen in the wavelet domain, where bits arise: about log2 of what is left of a coefficient, nothing of one
that stays below the step. Plain least squares look at energy, most of which is wander and costs almost nothing.
"""

from __future__ import annotations

import math
from collections import namedtuple

import numpy as np

from sanstream._jit import lean, lean_apart, lean_entry, lean_float
from sanstream._loops_group import CROSS_BITS, N_CROSS
from sanstream._loops_wavelet import FRACTION

_PRICE = 8.0
"""Bits that a reference must save in a window."""
_TURNS = 4
_STILL = 0.03 / (1 << CROSS_BITS)
"""Weights that move by less are found."""
_MOST = 2048
_BITS = 0.72
"""Bits that a doubling of ``1 + (coefficient / floor)^2`` costs, per unit of its natural logarithm: 1 / (2 ln 2)."""
_FLOOR = 0.4
"""Share of a step from which on a coefficient's size costs bits."""
_LEAST_STEP = 0.5 * (1 << FRACTION)
"""Smaller steps are treated alike: samples are integers."""

Leaning = namedtuple("Leaning", "own bands refs left scale work chosen weights place window")
"""Room for one window: coefficients of the column, of every column decoded so far (``window`` says of which window) and
of the references, what is left, matrices (``WORK``), and the references' places among the column's."""
WORK = (2 * N_CROSS + 3, N_CROSS + 1)


@lean
def asked_step(kind, bound):
    """Return the quantiser step that a window's bound usually gives, FRACTION fractional bits."""
    return (2.5 * bound if kind == 1 else 1.3 * (2.0 * bound + 1.0)) * (1 << FRACTION)


@lean_float
def _bits(left, n, floor):
    """Estimate what coefficients cost."""
    total = 0.0
    inverse = 1.0 / floor
    whole = n // 8 * 8
    for i in range(0, whole, 8):
        product = 1.0
        for k in range(8):
            product *= 1.0 + left[i + k] * left[i + k] * inverse
        total += math.log(product)
    for i in range(whole, n):
        total += math.log(1.0 + left[i] * left[i] * inverse)
    return _BITS * total


@lean_float
def _product(a, b, scale, n):
    total = 0.0
    for i in range(n):
        total += a[i] * b[i] * scale[i]
    return total


@lean_float
def _take(left, ref, share, n):
    for i in range(n):
        left[i] -= share * ref[i]


@lean_apart
def _solve(work, count, chosen, share):
    """Solve the normal equations of the ``count`` chosen references (Gaussian elimination)."""
    right = N_CROSS
    low = N_CROSS
    for i in range(count):
        for j in range(count):
            work[low + i, j] = work[chosen[i], chosen[j]]
        work[low + i, i] *= 1.0 + 1e-9
        work[low + i, count] = work[chosen[i], right]
    for i in range(count):
        for k in range(i + 1, count):
            f = work[low + k, i] / work[low + i, i] if work[low + i, i] > 0.0 else 0.0
            for j in range(i, count + 1):
                work[low + k, j] -= f * work[low + i, j]
    for i in range(count - 1, -1, -1):
        v = work[low + i, count]
        for j in range(i + 1, count):
            v -= work[low + i, j] * share[j]
        share[i] = v / work[low + i, i] if work[low + i, i] > 0.0 else 0.0


@lean_apart
def _equations(own, refs, count, n, scale, work):
    """Set up the normal equations of all references, coefficients weighted by ``scale``."""
    for j in range(count):
        for k in range(j + 1):
            v = _product(refs[j], refs[k], scale, n)
            work[j, k] = v
            work[k, j] = v
        work[j, N_CROSS] = _product(refs[j], own, scale, n)


@lean_apart
def _left(own, refs, count, share, n, left):
    for i in range(n):
        left[i] = own[i]
    for j in range(count):
        if share[j] != 0.0:
            _take(left, refs[j], share[j], n)


@lean
def _reweigh(left, n, floor, scale):
    for i in range(n):
        scale[i] = 1.0 / (floor + left[i] * left[i])


@lean_entry
def weigh(room, count, n, step):
    """Choose how much of each reference to take from a window's coefficients, so that the rest costs few bits.

    Iteratively reweighted least squares on ``log(1 + (coefficient / floor)^2)``, from plain least squares and from
    nothing; then references are added while they save more than they cost, and weights rounded one after the other.

    Parameters
    ----------
    room : Leaning
        ``own`` holds the coefficients of the window's residual without references, ``refs`` those of the references;
        ``weights`` receives 2^CROSS_BITS times the weights.
    count : int
        References, at most ``N_CROSS``.
    n : int
        Coefficients.
    step : float
        Quantiser step to come, in the coefficients' unit.
    """
    own, refs, left, scale, work = room.own, room.refs, room.left, room.scale, room.work
    chosen, weights = room.chosen, room.weights
    floor = (_FLOOR * max(step, _LEAST_STEP)) ** 2
    share, kept, before = work[2 * N_CROSS], work[2 * N_CROSS + 1], work[2 * N_CROSS + 2]
    least = _bits(own, n, floor)
    for j in range(count):
        kept[j] = 0.0
    for start in range(2):
        for j in range(count):
            share[j] = 0.0
            chosen[j] = j
        _left(own, refs, count, share, n, left)
        for turn in range(_TURNS):
            if start == 0 and turn == 0:
                for i in range(n):
                    scale[i] = 1.0
            else:
                _reweigh(left, n, floor, scale)
            _equations(own, refs, count, n, scale, work)
            for j in range(count):
                before[j] = share[j]
            _solve(work, count, chosen, share)
            _left(own, refs, count, share, n, left)
            moved = 0.0
            for j in range(count):
                moved = max(moved, abs(share[j] - before[j]))
            if moved < _STILL:
                break
        bits = _bits(left, n, floor)
        if bits < least:
            least = bits
            for j in range(count):
                kept[j] = share[j]
    _left(own, refs, count, kept, n, left)
    _reweigh(left, n, floor, scale)
    _equations(own, refs, count, n, scale, work)
    added = _choose(work, count, chosen, share)
    for j in range(N_CROSS):
        weights[j] = 0
    for i in range(added):
        weights[chosen[i]] = _rounded(share[i])
    for _ in range(2):
        for i in range(added):
            j = chosen[i]
            v = work[j, N_CROSS]
            for k in range(added):
                if k != i:
                    v -= work[j, chosen[k]] * weights[chosen[k]] / (1 << CROSS_BITS)
            weights[j] = _rounded(v / work[j, j])


@lean
def _rounded(share):
    return np.int64(min(max(round(share * (1 << CROSS_BITS)), -_MOST), _MOST))


@lean_apart
def _choose(work, count, chosen, share):
    """Add references, the one that saves most first, while they save more bits than they cost; returns how many."""
    trial, saves = work[2 * N_CROSS + 2], 0.0
    added = 0
    while added < count:
        best = -1
        most = saves + _PRICE / _BITS
        for j in range(count):
            known = work[j, j] <= 0.0
            for i in range(added):
                known = known or chosen[i] == j
            if known:
                continue
            chosen[added] = j
            _solve(work, added + 1, chosen, trial)
            v = 0.0
            for i in range(added + 1):
                v += trial[i] * work[chosen[i], N_CROSS]
            if v > most:
                most = v
                best = j
        if best < 0:
            break
        chosen[added] = best
        added += 1
        saves = most
    _solve(work, added, chosen, share)
    return added
