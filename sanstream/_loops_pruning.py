"""Compiled loops of the encoder: amplitudes kept steady, and what windows reached. Not normative."""

from __future__ import annotations

import math

import numpy as np

from sanstream._jit import entry


@entry
def steady_amplitudes(kernels, plan, price):
    """Bring amplitudes nearer to what the decoder expects where the bits saved outweigh the error.

    ``price`` (float64 per own column) is the squared error, digital steps squared, that one bit must save.
    """
    n_own = plan.act_amp.shape[1]
    n_kernels = kernels.taps.shape[0]
    shared = kernels.taps.shape[1] == 1
    energy = np.zeros((n_kernels, n_own))
    for k in range(n_kernels):
        for c in range(n_own):
            for j in range(kernels.length[k]):
                v = kernels.taps[k, 0 if shared else c, j] * 2.0 ** (kernels.shift[c] - 11)
                energy[k, c] += v * v
    expected = np.full((n_kernels, n_own), 32 << 4, np.int64)
    for a in range(plan.n_act[0]):
        k = plan.act_kernel[a]
        for c in range(n_own):
            wanted = plan.act_amp[a, c]
            guess = (expected[k, c] + 8) >> 4
            if price[c] > 0.0 and wanted != guess:
                best = wanted
                best_cost = 2.5 + 1.7 * math.log2(abs(wanted - guess))
                toward = 1 if guess > wanted else -1
                for d in range(1, abs(wanted - guess) + 1):
                    error = (d / 32.0) ** 2 * energy[k, c] / price[c]
                    if error >= best_cost:
                        break
                    left = abs(wanted - guess) - d
                    cost = error + (2.5 + 1.7 * math.log2(left) if left > 0 else 0.7)
                    if cost < best_cost:
                        best_cost = cost
                        best = wanted + d * toward
                plan.act_amp[a, c] = best
            expected[k, c] += ((plan.act_amp[a, c] << 4) - expected[k, c]) >> 2


@entry
def window_errors(layout, x, y, missing, squares, worst):
    """Squared error sum and largest error per window and column, missing samples left out."""
    for t in range(layout.n):
        w = t // layout.window
        for c in range(layout.n_known, y.shape[1]):
            if missing[t, c]:
                continue
            d = abs(x[t, c] - y[t, c])
            squares[w, c] += float(d) * float(d)
            worst[w, c] = max(worst[w, c], d)
