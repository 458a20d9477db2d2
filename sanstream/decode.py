"""Blocks to samples, figures and records: numpy and compiled integer loops, never torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream._loops_coder import CODER_SIZE, DECODE, END, POS
from sanstream._loops_group import CONSTANT, SAMPLES
from sanstream._loops_samples import BASE, SHIFT
from sanstream.bank import Bank
from sanstream.block import BlockParts, name_block, read_block
from sanstream.block_coding import TABLES, SegmentCoding
from sanstream.block_lattice import values_at
from sanstream.errors import CorruptError
from sanstream.group_run import AFTER_ACTIVATIONS, WHOLE, run_group
from sanstream.group_state import (
    blank_plan,
    fresh_models,
    kernels_of,
    loop_kernels,
    loop_layout,
    loop_predictor,
    max_activations,
    place_of,
)
from sanstream.group_tables import run_tables
from sanstream.signal import IntSamples

AMPLITUDE_UNIT = 1 / 32


@dataclass(frozen=True)
class BlockFigures:
    """What the windows of a block reached.

    Parameters
    ----------
    n_samples : int
        Samples per channel in the block.
    rmse_adu, max_error_adu : ndarray, shape (n_windows, n_channels), float64
        Root mean square and largest error in digital steps, rounded up; missing samples left out.
    lossless : ndarray, shape (n_windows, n_channels), bool
    constant : ndarray, shape (n_windows, n_channels), bool
        All samples of the source had one value.
    n_activations : ndarray, shape (n_windows,), int64
        Activations by the window of their first tap (the first window for a negative index).
    """

    n_samples: int
    rmse_adu: npt.NDArray[np.float64]
    max_error_adu: npt.NDArray[np.float64]
    lossless: npt.NDArray[np.bool_]
    constant: npt.NDArray[np.bool_]
    n_activations: npt.NDArray[np.int64]


@dataclass(frozen=True)
class BlockRecords:
    """The activations of a block, by time.

    Parameters
    ----------
    kernel : ndarray, shape (n,), int64
    kernel_uid : list of str
        Lineage id of each kernel that ``kernel`` may name.
    index : ndarray, shape (n,), int64
        Sample of the kernel's first tap, counted from the block's start; may be negative.
    fiducial : ndarray, shape (n,), int64
        Sample of the event that the kernel marks, counted from the block's start.
    amplitude : ndarray, shape (n, n_channels), float64
        Amplitude per channel of the segment; 0 in channels outside the activation's group.
    """

    kernel: npt.NDArray[np.int64]
    kernel_uid: list[str]
    index: npt.NDArray[np.int64]
    fiducial: npt.NDArray[np.int64]
    amplitude: npt.NDArray[np.float64]


@dataclass
class _Run:
    """One decoded group: its plan, offsets (base and shift by column), samples and SAN reconstruction by column."""

    plan: Any
    offsets: npt.NDArray[np.int64]
    samples: npt.NDArray[np.int64]
    san: npt.NDArray[np.int64]


def _missing_mask(parts: BlockParts, columns: Sequence[int]) -> npt.NDArray[np.uint8]:
    mask = np.zeros((parts.n_samples, len(columns)), np.uint8)
    if parts.gaps:
        for i, channel in enumerate(columns):
            for start, length in parts.gaps[channel]:
                mask[start : start + length, i] = 1
    return mask


def _run(
    payload: bytes, parts: BlockParts, coding: SegmentCoding, bank: Bank, number: int, stop: int, done: dict[int, _Run]
) -> _Run:
    """Decode group ``number`` of a block whose ancestors are in ``done``."""
    place = place_of(coding, number)
    n, n_columns = parts.n_samples, len(place.columns)
    layout = loop_layout(coding, place, n)
    kernels = loop_kernels(coding, bank, place, number)
    predictor = loop_predictor(coding, place, number, len(kernels.length) > 0)
    n_windows = -(-n // coding.window_samples)
    n_activations = max_activations(n) if len(kernels.length) else 0
    plan = blank_plan(n_windows, n_columns, n_columns - place.n_known, n, n_activations)
    tables = coding.coder == TABLES
    samples = np.zeros((n_columns, n), np.int64).T if tables else np.zeros((n, n_columns), np.int64)
    san = np.zeros_like(samples)
    parent = coding.groups[number].parent
    if parent >= 0:
        before = done[parent]
        samples[:, : place.n_known] = before.samples
        san[:, : place.n_known] = before.san
        predictor.columns[: place.n_known, [BASE, SHIFT]] = before.offsets
    start, end = parts.runs[number]
    missing = _missing_mask(parts, place.columns)
    if tables:
        data = np.frombuffer(bytearray(payload[start:end]), np.uint8)
        run_tables(
            data, DECODE, bank.models, layout, coding.predictor, predictor, kernels, plan,
            samples.T, samples.T, np.ascontiguousarray(missing.T), san.T, stop,
        )  # fmt: skip
        return _Run(plan, predictor.columns[:, [BASE, SHIFT]], samples, san)
    coder = np.zeros(CODER_SIZE, np.int64)
    buffer = np.frombuffer(bytearray(payload), dtype=np.uint8)
    run_group(
        coder, buffer, (start, end), DECODE, fresh_models(bank.models), layout, predictor, kernels, plan,
        samples, samples, missing, san, stop,
    )  # fmt: skip
    if coder[POS] > coder[END] + 4:
        raise CorruptError(f"group {number} needs bytes past its end")
    if stop == WHOLE and coder[POS] < coder[END]:
        raise CorruptError(f"group {number} leaves {coder[END] - coder[POS]} of its bytes unread")
    return _Run(plan, predictor.columns[:, [BASE, SHIFT]], samples, san)


def _named_run(
    payload: bytes, at: int, parts: BlockParts, coding: SegmentCoding, bank: Bank, group: int, stop: int,
    done: dict[int, _Run],
) -> _Run:  # fmt: skip
    """Decode group ``group`` of block ``at``; errors name segment and block."""
    try:
        return _run(bytes(payload), parts, coding, bank, group, stop, done)
    except CorruptError as error:
        raise CorruptError(f"{name_block(at, coding)}: {error}") from None


def groups_for(coding: SegmentCoding, channels: Sequence[int]) -> list[int]:
    """List the groups to decode for some channels, ancestors first."""
    if len(channels) == 1:
        return coding.lines[channels[0]]
    return sorted({group for channel in channels for group in coding.lines[channel]})


def decode_block(
    payload: bytes, number: int, coding: SegmentCoding, bank: Bank, channels: Sequence[int] | None = None
) -> IntSamples:
    """Decode the samples of a block.

    Parameters
    ----------
    payload : bytes
    number : int
        Position of the block in its segment.
    coding : SegmentCoding
    bank : Bank
        The bank that ``coding`` names.
    channels : sequence of int, optional
        Channels wanted, in this order; default all. Only their groups and ancestors are decoded.

    Returns
    -------
    ndarray, shape (n_samples, n_channels wanted), int32
        Digital samples; missing ones hold their channel's missing code.

    Raises
    ------
    CorruptError
        Naming segment and block, when the bytes are not what was written.
    """
    parts = read_block(payload, number, coding)
    wanted = list(range(coding.n_channels)) if channels is None else list(channels)
    out = np.empty((parts.n_samples, len(wanted)), np.int32)
    done: dict[int, _Run] = {}
    for group in groups_for(coding, wanted):
        run = done[group] = _named_run(payload, number, parts, coding, bank, group, WHOLE, done)
        run.plan = None  # descendants do not need it, and it is as large as the samples
        columns = place_of(coding, group).columns
        for i, channel in enumerate(wanted):
            if channel in coding.groups[group].channels:
                out[:, i] = run.samples[:, columns.index(channel)]
    for i, channel in enumerate(wanted):
        lattice = coding.lattices[channel] if coding.lattices else None
        if lattice is not None:
            out[:, i] = values_at(out[:, i], lattice)
        for start, length in parts.gaps[channel] if parts.gaps else ():
            out[start : start + length, i] = coding.missing[channel] or 0
    return out


def rmse_of_code(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """RMSE figure of each code: 0 is exact, 255 only bounded by 2^32, else 2^((code - 1) / 8) / 16 digital steps."""
    figures = np.where(codes == 0, 0.0, 2.0 ** ((codes - 1) / 8) / 16)
    return np.where(codes == 255, 2.0**32, figures)


def maximum_of_code(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Maximum-error figure of each code: exact up to 32, then eighths of an octave."""
    return np.where(codes <= 32, codes.astype(np.float64), np.floor(2.0 ** (5 + (codes - 32) / 8)))


def read_figures(payload: bytes, number: int, coding: SegmentCoding, bank: Bank) -> BlockFigures:
    """Read what each window reached, without decoding samples.

    Raises
    ------
    CorruptError
        Naming segment and block.
    """
    parts = read_block(payload, number, coding)
    shape = (-(-parts.n_samples // coding.window_samples), coding.n_channels)
    rmse, maximum = np.zeros(shape), np.zeros(shape)
    lossless, constant = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    n_activations = np.zeros(shape[0], np.int64)
    for group, run in _fronts(payload, number, parts, coding, bank):
        place = place_of(coding, group)
        own = list(place.columns[place.n_known :])
        columns = slice(place.n_known, None)
        rmse[:, own] = rmse_of_code(run.plan.rmse[:, columns])
        maximum[:, own] = maximum_of_code(run.plan.maximum[:, columns])
        tool = run.plan.tool[:, columns]
        constant[:, own] = tool == CONSTANT
        exact = constant[:, own] | ((tool == SAMPLES) & (run.plan.delta[:, columns] == 0))
        lossless[:, own] = exact | (run.plan.maximum[:, columns] == 0)
        index = run.plan.act_index[: run.plan.n_act[0]]
        np.add.at(n_activations, np.maximum(index, 0) // coding.window_samples, 1)
    return BlockFigures(parts.n_samples, rmse, maximum, lossless, constant, n_activations)


def _fronts(
    payload: bytes, number: int, parts: BlockParts, coding: SegmentCoding, bank: Bank
) -> list[tuple[int, _Run]]:
    """Decode plan and activations of every group (they stand before the samples)."""
    fronts = []
    for group in range(len(coding.groups)):
        place = place_of(coding, group)
        parentless = {coding.groups[group].parent: _blank_run(parts.n_samples, place.n_known)}
        fronts.append((group, _named_run(payload, number, parts, coding, bank, group, AFTER_ACTIVATIONS, parentless)))
    return fronts


def _blank_run(n_samples: int, n_columns: int) -> _Run:
    zeros = np.zeros((n_samples, n_columns), np.int64)
    return _Run(None, np.zeros((n_columns, 2), np.int64), zeros, zeros)


def read_records(payload: bytes, number: int, coding: SegmentCoding, bank: Bank) -> BlockRecords:
    """Read the activations of a block, without decoding samples.

    Raises
    ------
    CorruptError
        Naming segment and block.
    """
    parts = read_block(payload, number, coding)
    fronts = _fronts(payload, number, parts, coding, bank)
    kernels = kernels_of(coding, bank)
    fiducials = np.array([k.fiducial for k in kernels], np.int64)
    kernel, index, amplitude = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros((0, coding.n_channels))]
    for group, run in fronts:
        n = int(run.plan.n_act[0])
        kernel.append(run.plan.act_kernel[:n])
        index.append(run.plan.act_index[:n])
        spread = np.zeros((n, coding.n_channels))
        spread[:, list(coding.groups[group].channels)] = run.plan.act_amp[:n] * AMPLITUDE_UNIT
        amplitude.append(spread)
    order = np.argsort(np.concatenate(index), kind="stable")
    which, first = np.concatenate(kernel)[order], np.concatenate(index)[order]
    fiducial = first + (fiducials[which] if len(which) else 0)
    return BlockRecords(which, [k.uid for k in kernels], first, fiducial, np.concatenate(amplitude)[order])
