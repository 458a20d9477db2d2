"""Compiled loops of the encoder: level, reach and deviation of every window and channel. Not normative."""

from __future__ import annotations

import math

from sanstream._jit import lean_entry

COUNT, LOW, HIGH, MEAN, DEVIATION, N_FIGURES = 0, 1, 2, 3, 4, 5
"""Samples that are not missing, least and largest, mean, standard deviation."""


@lean_entry
def survey(x, missing, window, first_column, figures):
    """Fill in ``figures`` (window, column, N_FIGURES) of ``x`` (column, sample) from ``first_column`` on."""
    for c in range(first_column, x.shape[0]):
        for w in range(figures.shape[0]):
            part = x[c, w * window : min(x.shape[1], (w + 1) * window)]
            gone = missing[c, w * window : min(x.shape[1], (w + 1) * window)]
            count = 0
            total = 0.0
            low = 1 << 40
            high = -(1 << 40)
            for t in range(part.shape[0]):
                if not gone[t]:
                    count += 1
                    total += part[t]
                    low = min(low, part[t])
                    high = max(high, part[t])
            mean = total / max(count, 1)
            square = 0.0
            for t in range(part.shape[0]):
                if not gone[t]:
                    square += (part[t] - mean) * (part[t] - mean)
            line = figures[w, c]
            line[COUNT] = count
            line[LOW] = low
            line[HIGH] = high
            line[MEAN] = mean
            line[DEVIATION] = math.sqrt(square / max(count, 1))
