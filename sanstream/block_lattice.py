"""Channels that use few of their integers, as after a change of scale, are coded by the values' places (clause 3.4)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from sanstream._loops_delta import code_sequence
from sanstream.errors import InputError
from sanstream.signal import IntSamples

Lattice = tuple[int, int] | str
"""Step and offset, Q32: place k stands for ``(k * step + offset) >> 32``; or a list of values as text."""
STEP_BITS = 32
_MOST_LISTED = 1 << 14
_MOST_BYTES = 1 << 13
_MOST_VALUES = 1 << 16
_LEAST_VALUES = 2
_LEAST_BITS = 512
"""Bits that a lattice must promise to save before it is named."""
_REACH = (1 << 31) - (1 << 17)
"""Values beyond are left alone: places and sums stay within 64 bits."""
_LOOK_SAMPLES = 4096
_MOSTLY = 0.5
"""Where more than this share of the values in a short look have a neighbour, there is no lattice."""
_MOST_DISTANCES = 400
_MOST_PARTS = 16
"""Simple steps tried have denominators up to this."""


def find_lattice(x: npt.NDArray[np.integer], n_samples: int | None = None) -> Lattice | None:
    """Find the coarsest lattice, of step 2 or more, on which all values lie, or list them where they are few.

    Parameters
    ----------
    x : ndarray, shape (n,), integers
        Samples that are present.
    n_samples : int, optional
        How many they are, when ``x`` holds each value once.

    Returns
    -------
    (int, int), str or None
        Least place 0. None where most integers occur, or too few or too many to tell.
    """
    if len(x) > 2 * _LOOK_SAMPLES:
        look = np.diff(np.unique(x[len(x) // 2 : len(x) // 2 + _LOOK_SAMPLES]))
        if len(look) and (look == 1).mean() > _MOSTLY:
            return None
    values = np.unique(x).astype(np.int64)
    if not _LEAST_VALUES <= len(values) <= _MOST_VALUES:
        return None
    n = len(x) if n_samples is None else n_samples
    saved = n * float(np.log2((values[-1] - values[0] + 1) / len(values)))
    if values[0] < -_REACH or values[-1] >= _REACH or saved < _LEAST_BITS:
        return None
    gaps = np.diff(values)
    common = int(np.gcd.reduce(gaps))
    if common > 1:
        return common << STEP_BITS, int(values[0]) << STEP_BITS
    for step in _steps(values - values[0], np.unique(gaps)) if gaps.min() >= 2 else ():
        if _placed(values[:64], step) is not None:
            placed = _placed(values, step)
            if placed is not None:
                return placed
    return _listed(values, n)


def _listed(values: npt.NDArray[np.int64], n_samples: int) -> str | None:
    """List the values where that repays the list's own bytes several times over."""
    saved = np.log2((values[-1] - values[0] + 1) / len(values))
    if len(values) > _MOST_LISTED or saved < 1:
        return None
    gaps = np.diff(values)
    usual = int(np.median(gaps))
    numbers = np.concatenate([[len(values), values[0], usual], gaps - usual]).astype(np.int64)
    buffer = np.zeros(8 * len(numbers) + 64, np.uint8)
    n = code_sequence(buffer, len(buffer), True, numbers, _list_models(len(values)))
    return base64.b64encode(buffer[:n].tobytes()).decode() if n <= _MOST_BYTES and 32 * n < saved * n_samples else None


def _list_models(n: int) -> npt.NDArray[np.int64]:
    return np.concatenate([[0, 0, 0], np.ones(n - 1)]).astype(np.int64)


@lru_cache(maxsize=256)
def listed_values(text: str) -> npt.NDArray[np.int64]:
    """Read a list of values.

    Raises
    ------
    InputError
        When the text is no list of ascending int32 values.
    """
    try:
        data = np.frombuffer(bytearray(base64.b64decode(text, validate=True)), np.uint8)
    except ValueError:
        raise InputError("a list of values is not base64", hint="see FORMAT.md, clause 3.4") from None
    head = np.zeros(3, np.int64)
    code_sequence(data, len(data), False, head, np.zeros(3, np.int64))
    if len(data) > _MOST_BYTES or not 2 <= head[0] <= _MOST_LISTED:
        raise InputError(f"a list of {head[0]} values, allowed 2 to {_MOST_LISTED}", hint="see FORMAT.md, clause 3.4")
    numbers = np.zeros(2 + head[0], np.int64)
    code_sequence(data, len(data), False, numbers, _list_models(int(head[0])))
    gaps = np.clip(numbers[3:] + numbers[2], 1, 1 << 32)
    values = numbers[1] + np.concatenate([[0], np.cumsum(gaps)])
    if values[0] < -(1 << 31) or values[-1] >= 1 << 31:
        raise InputError(
            f"a list of values {values[0]} ... {values[-1]}, outside int32", hint="see FORMAT.md, clause 3.4"
        )
    return np.asarray(values, np.int64)


def _steps(far: npt.NDArray[np.int64], gaps: npt.NDArray[np.int64]) -> list[Fraction]:
    """List steps worth trying, coarsest first: neighbours on a lattice are floor(step) or one more apart."""
    least = int(gaps[0])
    simple = {least + Fraction(n, d) for d in range(1, _MOST_PARTS + 1) for n in range(d)}
    found = _step_between(far, gaps)
    return sorted(simple | ({found} if found is not None else set()), reverse=True)


def _step_between(far: npt.NDArray[np.int64], gaps: npt.NDArray[np.int64]) -> Fraction | None:
    """Simplest step that explains all gaps: a distance of k steps differs from k times the step by less than 1."""
    low, high = Fraction(int(gaps[0])), Fraction(int(gaps[0]) + 1)
    for distance in (*gaps[:_MOST_DISTANCES].tolist(), *far[1 : _MOST_DISTANCES + 1].tolist()):
        first, last = int((distance - 1) / high) + 1, -int(-(distance + 1) // low) - 1
        if last < first:
            return None
        if first == last:
            low, high = max(low, Fraction(distance - 1, first)), min(high, Fraction(distance + 1, first))
            if low >= high:
                return None
    return _simplest(low, high)


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """Fraction of least denominator strictly between both (Stern-Brocot)."""
    whole = low.numerator // low.denominator
    if whole + 1 < high:
        return Fraction(whole + 1)
    if low == whole:
        return whole + Fraction(1, int(1 / (high - whole)) + 1)
    return whole + 1 / _simplest(1 / (high - whole), 1 / (low - whole))


def _placed(values: npt.NDArray[np.int64], step: Fraction) -> Lattice | None:
    """Give the lattice of this step an offset at which it yields every value; None where there is none."""
    q = round(step * (1 << STEP_BITS))
    k = np.rint((values - values[0]) / float(step)).astype(np.int64)
    ends = k * q
    low, high = int(((values << STEP_BITS) - ends).max()), int((((values + 1) << STEP_BITS) - 1 - ends).min())
    return (q, (low + high) >> 1) if low <= high and step >= 2 else None


def find_lattices(
    samples: IntSamples, missing: Sequence[int | None], wanted: Sequence[bool]
) -> tuple[Lattice | None, ...]:
    """Find each wanted channel's lattice; ``()`` when no channel has one.

    A lattice one of whose places is the channel's missing code is left unused.
    """
    out: list[Lattice | None] = []
    for c, code in enumerate(missing):
        present = samples[:, c] if code is None else samples[samples[:, c] != code, c]
        lattice = find_lattice(present) if wanted[c] and len(present) else None
        if lattice is not None and code is not None and 0 <= code <= int(places(present, lattice).max()):
            lattice = None
        out.append(lattice)
    return tuple(out) if any(out) else ()


def places(x: npt.NDArray[np.integer], lattice: Lattice) -> npt.NDArray[np.int64]:
    """Places of values on their lattice: the least k with a value of at least x."""
    if isinstance(lattice, str):
        return np.asarray(np.searchsorted(listed_values(lattice), x), np.int64)
    step, offset = lattice
    wide = x.astype(np.int64)
    guess = np.floor((wide - offset / (1 << STEP_BITS)) / (step / (1 << STEP_BITS))).astype(np.int64) - 1
    guess = np.maximum(guess, 0)
    for _ in range(3):
        guess += (values_at(guess, lattice) < wide).astype(np.int64)
    return np.asarray(guess, np.int64)


def values_at(k: npt.NDArray[np.integer], lattice: Lattice) -> npt.NDArray[np.int64]:
    """Values at places of a lattice."""
    if isinstance(lattice, str):
        table = listed_values(lattice)
        return np.asarray(table[np.clip(k, 0, len(table) - 1)], np.int64)
    step, offset = lattice
    return np.asarray((k.astype(np.int64) * step + offset) >> STEP_BITS, np.int64)


def on_lattices(samples: IntSamples, lattices: Sequence[Lattice | None], missing: Sequence[int | None]) -> IntSamples:
    """Replace the samples of channels on a lattice by their places; missing samples stay."""
    if not any(lattices):
        return samples
    out = samples.copy()
    for c, (lattice, code) in enumerate(zip(lattices, missing, strict=True)):
        if lattice is not None:
            present = slice(None) if code is None else samples[:, c] != code
            out[present, c] = places(samples[present, c], lattice)
    return out
