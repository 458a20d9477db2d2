"""Trained priors as a bank keeps them: rounded, and in an order that packs well (FORMAT.md clause 6.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream._loops_coder import INT_SLOTS, SQUASH, STRETCH, STRETCH_MAX
from sanstream._loops_models import (
    COEF_BASE,
    COEF_NODES,
    COEF_SIZES,
    CORR_BASE,
    CORR_SIZES,
    N_INT,
    N_SLOTS,
    N_WEIGHTS,
    SAMPLE_BASE,
    SAMPLE_NODES,
    SAMPLE_SIZES,
    SIMPLE_BAND,
    SIMPLE_KERNEL,
    SIMPLE_TOOL,
    blank_models,
)

Models = tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8], npt.NDArray[np.int32]]
_MOST = 127


@dataclass(frozen=True)
class Rounding:
    """How finely priors are kept.

    Parameters
    ----------
    step : int
        Of log-odds, in 1/256 nat.
    counts : tuple of int
        The counts that a slot may start with, ascending; a slot seen less often than the first starts untrained.
    weight_shift : int
        Mixing weights (16.16) are kept without their lowest bits.
    """

    step: int = 132
    counts: tuple[int, ...] = (4, 8, 14, 30)
    weight_shift: int = 8

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.counts, self.counts[1:], strict=False))
        if not (
            1 <= self.step <= STRETCH_MAX
            and 1 <= len(self.counts) <= 16
            and rising
            and self.counts[0] >= 1
            and self.counts[-1] <= 60
            and 0 <= self.weight_shift <= 16
        ):
            raise ValueError(f"priors rounded to {self}")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"step": self.step, "counts": list(self.counts), "weight_shift": self.weight_shift}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Rounding:
        """Read :meth:`to_dict`; a value out of its limits is a ValueError."""
        numbers = [data["step"], *data["counts"], data["weight_shift"]]
        if any(type(n) is not int for n in numbers):
            raise ValueError(f"priors rounded by {numbers}")
        return cls(numbers[0], tuple(numbers[1:-1]), numbers[-1])


def _tables() -> Iterator[tuple[int, int, int]]:
    """First slot, contexts and nodes of every table of slots, in order."""
    yield 0, N_INT, INT_SLOTS
    yield SIMPLE_TOOL, 8, 8
    yield SIMPLE_BAND, 16, 8
    yield SIMPLE_KERNEL, 16, 16
    yield from ((int(b), s, COEF_NODES) for b, s in zip(COEF_BASE, COEF_SIZES, strict=True))
    yield from ((int(b), s, COEF_NODES) for b, s in zip(CORR_BASE, CORR_SIZES, strict=True))
    yield from ((int(b), s, SAMPLE_NODES) for b, s in zip(SAMPLE_BASE, SAMPLE_SIZES, strict=True))


def _order() -> npt.NDArray[np.int64]:
    """Slots table by table, in each node by node: neighbours in this order are alike."""
    return np.concatenate([np.arange(a, a + n * k).reshape(n, k).T.ravel() for a, n, k in _tables()])


def pack_models(models: Models, rounding: Rounding) -> bytes:
    """Round trained models: a level per slot, log-odds of the slots that have one, moves of the weights."""
    prob, count, weight = models
    order = _order()
    level = np.searchsorted(rounding.counts, count[order], side="right").astype(np.uint8)
    odds = np.clip(np.round(STRETCH[prob[order] >> 4] / rounding.step), -_MOST, _MOST).astype(np.int8)
    moved = weight.astype(np.int64) - blank_models()[2]
    half = 1 << rounding.weight_shift >> 1
    moved = np.clip((moved + half) >> rounding.weight_shift, -(1 << 15), (1 << 15) - 1).astype("<i2")
    return bytes(level.tobytes() + odds[level > 0].tobytes() + moved.tobytes())


def unpack_models(data: bytes, rounding: Rounding) -> Models:
    """Read :func:`pack_models`.

    Raises
    ------
    ValueError
        When the bytes are too few or too many, or a level is too high.
    """
    prob, count, weight = blank_models()
    order = _order()
    level = np.frombuffer(data, np.uint8, N_SLOTS)
    used = order[level > 0]
    if level.max(initial=0) > len(rounding.counts) or len(data) != N_SLOTS + len(used) + 2 * N_WEIGHTS:
        raise ValueError(f"{len(data)} bytes of priors with levels up to {level.max(initial=0)}")
    odds = np.frombuffer(data, np.int8, len(used), N_SLOTS).astype(np.int64) * rounding.step
    prob[used] = SQUASH[np.clip(odds, -STRETCH_MAX, STRETCH_MAX) + STRETCH_MAX].astype(np.uint16)
    count[used] = np.array(rounding.counts, np.uint8)[level[level > 0] - 1]
    moved = np.frombuffer(data, "<i2", N_WEIGHTS, N_SLOTS + len(used)).astype(np.int32)
    return prob, count, weight + (moved << rounding.weight_shift)
