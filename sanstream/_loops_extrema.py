"""Compiled loops: which similarities of each row fire, row by row, in one dimension or two.

Every loop takes rows of shape (n_rows, h, w), a parameter per row and a boolean mask of the rows' shape, false
everywhere, that it marks. Signals have h = 1; ``across`` says that rows are images.
"""

from __future__ import annotations

import numpy as np

from sanstream._jit import entry, lean


@lean
def _find_extrema(rows, r, y, across, strength, place, count):
    """Add the extrema of line ``y`` to the list and return its length: negated magnitudes and places.

    Valleys not above zero and peaks above zero, along x and, in images, along y too. Without branches, which noise
    would have the processor guess wrong: every place is written, and the list grows where it was an extremum.
    """
    h, w = rows.shape[1], rows.shape[2]
    left = v = rows[r, y, 0]
    for x in range(w):
        right = rows[r, y, x + 1] if x + 1 < w else v
        valley = (v <= 0) & (right > v) & (v <= left)
        peak = (v > 0) & (right <= v) & (v > left)
        if across:
            below = rows[r, y + 1, x] if y + 1 < h else v
            above = rows[r, y - 1, x] if y > 0 else v
            valley &= (below > v) & (v <= above)
            peak &= (below <= v) & (v > above)
        strength[count] = -abs(v)
        place[count] = y * w + x
        count += 1 if valley | peak else 0
        left, v = v, right
    return count


@lean
def _keep_greedily(order, place, distance, across, r, taken, mask):
    """Keep places in the given order, each dropping others within ``distance``."""
    h, w = mask.shape[1], mask.shape[2]
    for y in range(h):
        for x in range(w):
            taken[y, x] = 0
    reach = distance if across else 0
    for i in order:
        y, x = place[i] // w, place[i] % w
        if taken[y, x] == 0:
            mask[r, y, x] = True
            for j in range(max(0, y - reach), min(h, y + reach + 1)):
                for k in range(max(0, x - distance), min(w, x + distance + 1)):
                    taken[j, k] = 1


@entry
def mark_extrema(rows, distance, across, mask):
    """Mark extrema in falling order of magnitude, each dropping others within the row's ``distance``."""
    n_rows, h, w = rows.shape
    # one more than there are places, because every place is written before it is known to count
    strength = np.empty(h * w + 1, rows.dtype)
    place = np.empty(h * w + 1, np.int64)
    taken = np.empty((h, w), np.uint8)
    for r in range(n_rows):
        count = 0
        for y in range(h if w > 0 else 0):
            count = _find_extrema(rows, r, y, across, strength, place, count)
        # a stable sort: equal strengths stay in the order of their places
        order = np.argsort(strength[:count], kind="mergesort")
        _keep_greedily(order, place, distance[r], across, r, taken, mask)


@entry
def mark_strongest(rows, candidates, distance, across, mask):
    """Mark candidates in falling order of ``rows``, each dropping others within the row's ``distance``."""
    n_rows, h, w = rows.shape
    strength = np.empty(h * w, rows.dtype)
    place = np.empty(h * w, np.int64)
    taken = np.empty((h, w), np.uint8)
    for r in range(n_rows):
        count = 0
        for y in range(h):
            for x in range(w):
                # neither NaN nor the least value can be told apart from "decided" in parallel rounds
                if candidates[r, y, x] and rows[r, y, x] > -np.inf:
                    strength[count] = -rows[r, y, x]
                    place[count] = y * w + x
                    count += 1
        order = np.argsort(strength[:count], kind="mergesort")
        _keep_greedily(order, place, distance[r], across, r, taken, mask)


@entry
def mark_largest(rows, counts, mask):
    """Mark the ``counts[r]`` values of largest magnitude of each row; the lower place wins among equals."""
    n_rows, h, w = rows.shape
    for r in range(n_rows):
        count = min(counts[r], h * w)
        if count <= 0:
            continue
        magnitude = np.abs(rows[r]).ravel()
        least = np.partition(magnitude, h * w - count)[h * w - count]
        left = count
        for i in range(h * w):
            if magnitude[i] > least:
                left -= 1
        for i in range(h * w):
            equal = magnitude[i] == least
            if magnitude[i] > least or (equal and left > 0):
                mask[r, i // w, i % w] = True
                left -= equal


@entry
def mark_pools(rows, size, across, mask):
    """Mark the value of largest magnitude of each pool of the row's ``size`` samples, the first among equals."""
    n_rows, h, w = rows.shape
    for r in range(n_rows):
        tall = size[r] if across else 1
        for top in range(0, h - tall + 1, tall):
            for left in range(0, w - size[r] + 1, size[r]):
                best_y, best_x = top, left
                for y in range(top, top + tall):
                    for x in range(left, left + size[r]):
                        if abs(rows[r, y, x]) > abs(rows[r, best_y, best_x]):
                            best_y, best_x = y, x
                mask[r, best_y, best_x] = True
