"""The step of an ADC found in the floats that it became."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.errors import UnsupportedError
from sanstream.formats.lattice import BITS, Lattice, find_lattice, restore_floats

Floats = npt.NDArray[np.floating[Any]]

_FEW = 16
_DIGITS = range(3, 16)


def gives(whole: npt.NDArray[np.float64], lattice: Lattice, values: Floats, present: npt.NDArray[np.bool_]) -> bool:
    """Tell whether integers on a lattice give back the values that are present, bit for bit."""
    back = restore_floats(whole.astype(np.int32), lattice, values.dtype)
    return bool(np.array_equal(back[present], values[present]))


def find_step(values: Floats, limit: int) -> Lattice | None:
    """Find a step whose multiples the values are.

    Parameters
    ----------
    values : ndarray, shape (n,), float32 or float64
        Finite, no negative zeros.
    limit : int
        Largest integer allowed.

    Returns
    -------
    Lattice or None
        Decimal, binary, or ``product`` (integer times step, as drivers scale an ADC's integers).
    """
    few = len(np.unique(values)) < _FEW
    tried: list[Lattice] = []
    try:
        _, lattice = find_lattice(values, "")
        # too few values share more divisors than their ADC
        tried = [replace(lattice, multiple=1)] if few else [lattice, replace(lattice, multiple=1)]
    except UnsupportedError:
        pass
    tried = [one for one in tried if one.kind != BITS]
    if not few:
        tried += _by_differences(values)
    everywhere = np.ones(len(values), dtype=np.bool_)
    for lattice in tried:
        whole = np.rint(values.astype(np.float64) * lattice.gain)
        if np.abs(whole).max() <= limit and gives(whole, lattice, values, everywhere):
            return lattice
    return None


def _by_differences(values: Floats) -> list[Lattice]:
    """Return steps that the distances between values suggest, the roundest first."""
    levels = np.unique(values.astype(np.float64))
    smallest = float(np.diff(levels).min())
    if not smallest > 0 or (levels[-1] - levels[0]) / smallest > 2**26:
        return []
    out = []
    for parts in (1, 2, 3):
        step = _centred(levels, _refined(levels, smallest / parts), values.dtype)
        place = int(np.floor(np.log10(step)))
        for digits in _DIGITS:
            shift = digits - 1 - place
            if 0 <= shift <= 22:
                out.append(Lattice("product", shift, round(step * 10.0**shift)))
    return out


def _refined(levels: npt.NDArray[np.float64], step: float) -> float:
    """Fit a step to sorted levels, from near ones to far ones, so that each count of steps is sure."""
    away = levels - levels[0]
    for reach in 4.0 ** np.arange(2, 15):
        near = away[away <= reach * step]
        count = np.rint(near / step)
        if count.any():
            step = float(near @ count / (count @ count))
    count = np.rint(levels / step)
    return float(levels @ count / (count @ count)) if count.any() else step


def _centred(levels: npt.NDArray[np.float64], step: float, dtype: np.dtype[Any]) -> float:
    """Return the middle of the steps that all levels allow, each within half a unit of its last place."""
    count = np.rint(levels / step)
    used = count != 0
    if not used.any():
        return step
    half = 0.5 * np.spacing(np.abs(levels[used]).astype(dtype)).astype(np.float64)
    size, count = np.abs(levels[used]), np.abs(count[used])
    return float((((size - half) / count).max() + ((size + half) / count).min()) / 2)
