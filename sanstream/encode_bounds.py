"""What a window may lose: a bound on its error in digital steps, from the quality asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sanstream.quality import MAX_ERROR, PRDN, Quality

_SLACK = 1e-9
_LARGEST = 2.0**33  # beyond any int32 error
_LEAST_RMSE = 0.29
"""Below the rounding noise of an integer (1/sqrt(12)) an RMSE bound leaves nothing to lose."""


@dataclass
class Bounds:
    """Per window and column: analysis kind, bound, and the tool b step that also keeps the bound."""

    kind: npt.NDArray[np.int64]
    bound: npt.NDArray[np.float64]
    delta: npt.NDArray[np.int64]


def window_bound(quality: Quality, deviation: float, most: float) -> tuple[int, float, int]:
    """Return a window's kind (0 exact, 1 RMSE, 2 largest error), bound and tool b step.

    Parameters
    ----------
    quality : Quality
        Not lossless or sparse.
    deviation : float
        Standard deviation of the window's samples.
    most : float
        What the bound may be at most, whatever the quality.
    """
    most = min(most, _LARGEST)
    if quality.kind == MAX_ERROR:
        value = math.floor(min(quality.value, most))
        return (2, float(value), value) if value >= 1 else (0, 0.0, 0)
    bound = min(most, quality.value * (deviation / 100.0 if quality.kind == PRDN else 1.0) * (1 - _SLACK))
    if bound < _LEAST_RMSE:
        return 0, 0.0, 0
    # uniform integer errors up to delta have a variance of ((2 delta + 1)^2 - 1) / 12
    return 1, bound, int((math.sqrt(12 * bound * bound + 1) - 1) / 2)
