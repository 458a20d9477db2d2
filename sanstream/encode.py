"""Windows to blocks: a segment is planned once, then encoded block by block (never normative)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from sanstream.bank import Bank, blank_bank, named_banks
from sanstream.block_coding import (
    MAX_BLOCK_SAMPLES,
    MAX_BLOCK_VALUES,
    MAX_WINDOW_SAMPLES,
    TABLES,
    PredictorShape,
    SegmentCoding,
)
from sanstream.block_lattice import find_lattices, on_lattices
from sanstream.encode_effort import Effort, effort_named
from sanstream.encode_groups import choose_groups
from sanstream.encode_plan import Plan, encode_numbers
from sanstream.encode_quick import quick_start
from sanstream.encode_trial import Trial
from sanstream.quality import BITS, LOSSLESS, Quality, parse_quality
from sanstream.signal import Channel, IntSamples

WINDOW_S = 10
_RATE_BLOCKS = 12
"""Blocks that stand for a segment when a rate is asked."""


def plan_segment(
    samples: IntSamples,
    channels: Sequence[Channel],
    qualities: Sequence[Quality],
    rate: Fraction,
    *,
    segment_id: str,
    effort: str | Effort = "default",
    bank: Bank | None = None,
    device: str | None = None,
) -> Plan:
    """Choose sizes, channel groups, bank, kernels and predictor starts for a segment.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels), int32
    channels : sequence of Channel
    qualities : sequence of Quality
        One per channel.
    rate : Fraction
        Samples per second.
    segment_id : str
        16 hex digits.
    effort : str or Effort
        ``"fast"``, ``"default"`` or ``"thorough"``.
    bank : Bank, optional
        Default: the shipped bank that makes trial blocks smallest.
    device : str, optional
        Torch device for matching; default CUDA where there is one.

    Returns
    -------
    Plan
    """
    spend = effort_named(effort)
    missing = tuple(c.missing for c in channels)
    lattices = find_lattices(samples, missing, [q.kind == LOSSLESS for q in qualities])
    samples = on_lattices(samples, lattices, missing)
    window, block = _sizes(rate, qualities, spend)
    banks = [bank] if bank is not None else list(named_banks().values()) or [blank_bank()]
    own, cross, n_references = spend.shapes[0]
    groups, cross = choose_groups(samples, own, cross, n_references, only_earlier=spend.coder == TABLES)
    coding = SegmentCoding(
        segment_id,
        rate,
        *_ranges(samples, channels),
        missing,
        window,
        block,
        groups,
        banks[0].id,
        b"",
        PredictorShape(own, cross, spend.hop, spend.ahead, spend.filter),
        spend.coder,
        lattices,
    )
    plan = Plan(coding, banks[0], spend, tuple(qualities), None, device)
    if spend.coder == TABLES:
        return quick_start(samples, plan)
    trial = Trial(samples, plan)
    plan = trial.best_bank(plan, banks)
    if len(channels) > n_references:
        others = [_with_shape(samples, plan, shape) for shape in spend.shapes[1:]]
        plan = min([plan, *others], key=trial.cost)
    return trial.best_start(plan)


def _with_shape(samples: IntSamples, plan: Plan, shape: tuple[int, int, int]) -> Plan:
    """Return the plan with another sample predictor and the references that it wants."""
    own, cross, n_references = shape
    groups, cross = choose_groups(samples, own, cross, n_references)
    predictor = PredictorShape(own, cross, plan.effort.hop)
    return replace(plan, coding=replace(plan.coding, groups=groups, predictor=predictor))


def resolve_bits(
    samples: IntSamples,
    channels: Sequence[Channel],
    qualities: Sequence[Quality],
    rate: Fraction,
    *,
    effort: str = "default",
    bank: Bank | None = None,
) -> tuple[Quality, ...]:
    """Turn ``bits=`` qualities into the one error level whose mean rate is what was asked.

    The level is the same share of every channel's standard deviation, found by bisection on trial
    blocks; each window keeps it as an RMSE bound, so bits go to the windows that need them.

    Parameters
    ----------
    samples, channels, qualities, rate, effort, bank
        As for :func:`plan_segment`.

    Returns
    -------
    tuple of Quality
        Without any ``bits``.
    """
    asked = [q.value for q in qualities if q.kind == BITS]
    if not asked:
        return tuple(qualities)
    deviation = [_deviation(samples[:, c], channels[c].missing) for c in range(len(channels))]

    def at(level: float) -> tuple[Quality, ...]:
        out = []
        for quality, channel, sigma in zip(qualities, channels, deviation, strict=True):
            text = f"rmse={max(level * sigma, 0.0):.6g}adu"
            out.append(parse_quality(text, channel) if quality.kind == BITS else quality)
        return tuple(out)

    plan = plan_segment(samples, channels, at(0.1), rate, segment_id="0" * 16, effort=effort, bank=bank)
    samples = on_lattices(samples, plan.coding.lattices, plan.coding.missing)
    n_blocks = plan.coding.n_blocks(len(samples))
    numbers = sorted(set(np.linspace(0, n_blocks - 1, min(n_blocks, _RATE_BLOCKS)).round().astype(int).tolist()))
    size = plan.coding.block_samples
    n_values = sum(min(size, len(samples) - n * size) for n in numbers) * samples.shape[1]
    low, high = -14.0, 1.0  # log2 of the level
    for _ in range(9):
        middle = (low + high) / 2
        trial = replace(plan, qualities=at(2.0**middle))
        total = sum(len(p) + 2 for p in encode_numbers(samples, trial, numbers))
        low, high = (middle, high) if 8 * total / n_values > asked[0] else (low, middle)
    return at(2.0**high)


def _deviation(x: npt.NDArray[np.int32], missing: int | None) -> float:
    present = x if missing is None else x[x != missing]
    return float(present.std()) if len(present) else 0.0


def _ranges(samples: IntSamples, channels: Sequence[Channel]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Least and largest sample of each channel: a signal that rests at its rails is then predicted there."""
    low, high = [], []
    for c, channel in enumerate(channels):
        present = samples[:, c] if channel.missing is None else samples[samples[:, c] != channel.missing, c]
        low.append(int(present.min()) if len(present) else channel.digital_min)
        high.append(int(present.max()) if len(present) else channel.digital_max)
    return tuple(low), tuple(high)


def _sizes(rate: Fraction, qualities: Sequence[Quality], effort: Effort) -> tuple[int, int]:
    """Window and block length in samples."""
    most = min(MAX_BLOCK_SAMPLES, MAX_BLOCK_VALUES // len(qualities))
    window = min(MAX_WINDOW_SAMPLES, most, max(1, math.floor(rate * WINDOW_S)))
    exact = any(q.kind == LOSSLESS for q in qualities)
    seconds = effort.exact_block_s if exact else effort.lossy_block_s
    n_windows = max(1, round(seconds / WINDOW_S))
    while n_windows > 1 and n_windows * window > most:
        n_windows -= 1
    if exact and window * len(qualities) < 8 * WINDOW_S:
        n_windows = 6  # a slow stream's block would be mostly overhead
    return window, n_windows * window


def encode_blocks(samples: IntSamples, plan: Plan) -> Iterator[bytes]:
    """Encode a planned segment.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels), int32
        The samples that the plan was made for.
    plan : Plan

    Yields
    ------
    bytes
        One payload per block, in order.
    """
    samples = on_lattices(samples, plan.coding.lattices, plan.coding.missing)
    yield from encode_numbers(samples, plan, range(plan.coding.n_blocks(len(samples))))
