"""How well detected beats agree with annotated ones: counts, sensitivity, positive predictivity, F1."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TOLERANCE_S = 0.15
"""ANSI/AAMI EC57: a detection counts when it lies this near to its beat."""
SYMBOLS = tuple("NLRBAaJSVrFejnE/fQ?")
"""WFDB mnemonics that annotate beats (ecgcodes.h, ``isqrs``); flutter waves ``!`` and noise marks are none."""


@dataclass(frozen=True)
class Counts:
    """Beats found, beats missed, and detections without a beat.

    Parameters
    ----------
    found, missed, extra : int
        True positives, false negatives, false positives.
    """

    found: int
    missed: int
    extra: int

    @property
    def sensitivity(self) -> float:
        """``TP / (TP + FN)``; 1 where there is no beat."""
        return _share(self.found, self.missed)

    @property
    def predictivity(self) -> float:
        """``TP / (TP + FP)``; 1 where nothing was detected."""
        return _share(self.found, self.extra)

    @property
    def f1(self) -> float:
        """``2 TP / (2 TP + FN + FP)``, of the pooled counts: the gross F1 when these are sums over records."""
        return _share(2 * self.found, self.missed + self.extra)


def _share(part: int, rest: int) -> float:
    return part / (part + rest) if part + rest else 1.0


def gross(counts: Iterable[Counts]) -> Counts:
    """Add counts of records."""
    own = list(counts)
    return Counts(sum(c.found for c in own), sum(c.missed for c in own), sum(c.extra for c in own))


def paired(
    detected: npt.NDArray[np.int64], annotated: npt.NDArray[np.int64], tolerance: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Match detections with beats, one to one.

    Parameters
    ----------
    detected, annotated : ndarray, int64, ascending
        Samples.
    tolerance : int
        Samples; a distance of exactly so many still counts.

    Returns
    -------
    good : ndarray, shape (n_detected,), bool
    found : ndarray, shape (n_annotated,), bool
        The first possible partner in time is taken, which finds as many pairs as any matching can: all reach equally.
    """
    good, found = np.zeros(len(detected), np.bool_), np.zeros(len(annotated), np.bool_)
    i = j = 0
    while i < len(detected) and j < len(annotated):
        distance = int(detected[i]) - int(annotated[j])
        if abs(distance) <= tolerance:
            good[i] = found[j] = True
            i, j = i + 1, j + 1
        elif distance < 0:
            i += 1
        else:
            j += 1
    return good, found


def counts_of(good: npt.NDArray[np.bool_], found: npt.NDArray[np.bool_]) -> Counts:
    """Count what :func:`paired` gave."""
    return Counts(int(found.sum()), int((~found).sum()), int((~good).sum()))
