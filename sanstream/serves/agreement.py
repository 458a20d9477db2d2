"""How two measurements of the same thing agree: mean difference and 95 % limits (Bland and Altman, Lancet 1986)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sanstream.serves.pieces import FloatArray

_Z95 = 1.96


@dataclass(frozen=True)
class Agreement:
    """Differences, decoded less original.

    Parameters
    ----------
    n : int
    mean, sd : float
    low, high : float
        95 % limits of agreement, mean ± 1.96 standard deviations.
    largest : float
        Greatest absolute difference.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float
    largest: float


def agreement_of(differences: FloatArray) -> Agreement:
    """Sum up differences, shape (n,); all zero when there are none."""
    if not len(differences):
        return Agreement(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    mean, sd = float(differences.mean()), float(differences.std())
    return Agreement(len(differences), mean, sd, mean - _Z95 * sd, mean + _Z95 * sd, float(np.abs(differences).max()))
