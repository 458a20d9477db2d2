"""What a run of one group starts from, the same for encoder and decoder (FORMAT.md clauses 6 and 7)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream._loops_activations import Kernels
from sanstream._loops_group import N_CROSS, Layout, Plan
from sanstream._loops_samples import MAX_REGRESSORS, new_predictor
from sanstream.bank import Bank, Kernel
from sanstream.bank_delta import Delta, read_delta
from sanstream.bank_priors import Models
from sanstream.block_coding import MAX_REFERENCES, SegmentCoding, ancestry
from sanstream.errors import CorruptError

NO_CODE = -(1 << 40)
"""Stands for "this channel has no missing code" in the loops."""
FORGET_SHIFT = 7
DEFAULT_RIDGE = 12


@dataclass(frozen=True)
class GroupPlace:
    """Where a group's columns come from.

    Parameters
    ----------
    columns : tuple of int
        Channels of the segment: ancestors' first, then the group's own in coding order.
    n_known : int
        How many of the columns are ancestors'.
    """

    columns: tuple[int, ...]
    n_known: int


@dataclass
class Decoded:
    """A coded group as its descendants need it."""

    run: bytes
    samples: npt.NDArray[np.int64]
    san: npt.NDArray[np.int64]
    base: npt.NDArray[np.int64]
    shift: npt.NDArray[np.int64]


def place_of(coding: SegmentCoding, number: int) -> GroupPlace:
    """Return the columns of group ``number``."""
    line = ancestry(coding.groups, number)
    known = tuple(c for g in line[:-1] for c in coding.groups[g].channels)
    return GroupPlace(known + coding.groups[number].channels, len(known))


@lru_cache(maxsize=64)
def delta_of(data: bytes, n_channels: int) -> Delta:
    """Parse a bank delta once."""
    return read_delta(data, n_channels)


def kernels_of(coding: SegmentCoding, bank: Bank) -> tuple[Kernel, ...]:
    """Kernels that a segment's activations name."""
    delta = delta_of(coding.bank_delta, coding.n_channels)
    return bank.kernels if delta.use_bank_kernels else delta.kernels


def kernel_shapes(coding: SegmentCoding, bank: Bank, channel: int) -> list[npt.NDArray[np.float64]]:
    """Return what each kernel adds to a channel at amplitude 1, digital steps (FORMAT.md clause 7: ``2^shift / 2048``).

    A kernel that is not the channel's group's gives zeros.

    Parameters
    ----------
    coding : SegmentCoding
    bank : Bank
    channel : int
        Place among the segment's channels.

    Returns
    -------
    list of ndarray, shape (n_taps,), float64
    """
    delta = delta_of(coding.bank_delta, coding.n_channels)
    number = next(i for i, group in enumerate(coding.groups) if channel in group.channels)
    out = []
    for kernel in kernels_of(coding, bank):
        rows = kernel.taps.shape[0]
        used = delta.shifts is not None and (rows == 1 or number == 0)
        row = coding.groups[number].channels.index(channel) if rows > 1 and used else 0
        scale = 2.0 ** float(delta.shifts[channel]) / 2048 if used and delta.shifts is not None else 0.0
        out.append(kernel.taps[row] * scale)
    return out


def loop_kernels(coding: SegmentCoding, bank: Bank, place: GroupPlace, number: int) -> Kernels:
    """Return the segment's kernels as the loops take them.

    Kernels of several rows belong to group 0 alone; kernels of one row serve every group.
    """
    kernels = kernels_of(coding, bank)
    own = place.columns[place.n_known :]
    delta = delta_of(coding.bank_delta, coding.n_channels)
    shifts = delta.shifts
    if not kernels or shifts is None or (kernels[0].taps.shape[0] > 1 and number > 0):
        return Kernels(np.zeros((0, 1, 1), np.int64), np.zeros(0, np.int64), np.zeros(len(own), np.int64), 0)
    rows = kernels[0].taps.shape[0]
    if rows not in (1, len(own)):
        raise CorruptError(f"segment {coding.segment_id}: kernels have {rows} rows for {len(own)} channels")
    lengths = np.array([k.taps.shape[1] for k in kernels], np.int64)
    taps = np.zeros((len(kernels), rows, int(lengths.max())), np.int64)
    for i, kernel in enumerate(kernels):
        taps[i, :, : kernel.taps.shape[1]] = kernel.taps
    return Kernels(taps, lengths, shifts[list(own)].astype(np.int64), delta.follow)


def loop_layout(coding: SegmentCoding, place: GroupPlace, n_samples: int) -> Layout:
    """Return sizes, digital ranges and missing codes of a group's columns."""

    def pick(values: tuple[Any, ...]) -> npt.NDArray[np.int64]:
        return np.array([NO_CODE if values[c] is None else values[c] for c in place.columns], np.int64)

    return Layout(
        n_samples,
        coding.window_samples,
        place.n_known,
        pick(coding.digital_min),
        pick(coding.digital_max),
        pick(coding.missing),
    )


def loop_predictor(coding: SegmentCoding, place: GroupPlace, number: int, with_san: bool) -> Any:
    """Return a fresh predictor for a group's columns."""
    n = len(place.columns)
    position = {channel: i for i, channel in enumerate(place.columns)}
    refs = np.zeros((n, MAX_REFERENCES), np.int64)
    n_refs = np.zeros(n, np.int64)
    group = coding.groups[number]
    for i, references in enumerate(group.references):
        column = place.n_known + i
        n_refs[column] = len(references)
        refs[column, : len(references)] = [position[r] for r in references]
    weights = np.zeros((n, MAX_REGRESSORS + 2), np.int64)
    weights[:, 0] = 1 << 16
    ridge = np.full(n, 1 << DEFAULT_RIDGE, np.int64)
    delta = delta_of(coding.bank_delta, coding.n_channels)
    if delta.weights is not None and delta.ridges is not None:
        for i, channel in enumerate(place.columns):
            weights[i] = 0
            weights[i, : delta.weights.shape[1]] = delta.weights[channel]
            ridge[i] = np.int64(1) << delta.ridges[channel]
    shape = coding.predictor
    make: Any = new_predictor
    return make(shape.own, shape.cross, shape.hop, FORGET_SHIFT, int(with_san), refs, n_refs, n, weights, ridge)


def blank_plan(n_windows: int, n_columns: int, n_own: int, n_samples: int, n_activations: int) -> Plan:
    """Return a plan of zeros: the decoder fills it, the encoder decides it."""

    def zeros(*shape: int) -> npt.NDArray[np.int64]:
        return np.zeros(shape, np.int64)

    table = (n_windows, n_columns)
    return Plan(
        zeros(*table), zeros(*table), zeros(*table), zeros(*table), zeros(*table),
        zeros(*table, N_CROSS), zeros(*table), zeros(n_columns, n_samples), zeros(n_columns, n_samples),
        zeros(1), zeros(n_activations), zeros(n_activations), zeros(n_activations, n_own),
    )  # fmt: skip


LoopModels = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
"""Contexts (probability << 8 | count) and weights, as the loops adapt them."""


def fresh_models(models: Models) -> LoopModels:
    """Return copies of priors in the loops' form, for one run to adapt."""
    prob, count, weight = models
    return (prob.astype(np.int32) << 8) | count, weight.copy()


def adapted_models(models: LoopModels) -> Models:
    """Return adapted models as probabilities, counts and weights."""
    context, weight = models
    return (context >> 8).astype(np.uint16), (context & 255).astype(np.uint8), weight.copy()


def max_activations(n_samples: int) -> int:
    """Most activations that a block may hold."""
    return n_samples // 4 + 16
