"""Windows to blocks: a segment is planned once, then encoded block by block (never normative)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import repeat

import numpy as np
import numpy.typing as npt

from sanstream.bank import Bank, blank_bank, named_banks
from sanstream.block_coding import (
    MAX_BLOCK_SAMPLES,
    MAX_BLOCK_VALUES,
    MAX_GROUP_CHANNELS,
    MAX_WINDOW_SAMPLES,
    TABLES,
    Group,
    PredictorShape,
    SegmentCoding,
)
from sanstream.block_lattice import Lattice, find_lattices, on_lattices, places
from sanstream.encode_effort import Effort, effort_named
from sanstream.encode_groups import choose_groups
from sanstream.encode_plan import Plan, encode_numbers
from sanstream.encode_quick import quick_start
from sanstream.encode_trial import Trial
from sanstream.quality import BITS, LOSSLESS, MAX_ERROR, PRDN, SPARSE, Quality, parse_quality
from sanstream.signal import Channel, IntSamples

WINDOW_S = 10
_RATE_BLOCKS = 12
"""Blocks that stand for a segment when a rate is asked."""


@dataclass(frozen=True)
class Extent:
    """What is known of all samples of a segment that is planned from some of them.

    Parameters
    ----------
    low, high : tuple of int
        Per channel, no sample is less or more.
    lattices : tuple of Lattice or None
        Per channel, the lattice that all samples lie on; empty when no channel has one.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    lattices: tuple[Lattice | None, ...] = ()


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
    banks: Sequence[Bank] = (),
    extent: Extent | None = None,
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
    banks : sequence of Bank
        More banks to choose from than those shipped.
    extent : Extent, optional
        When the samples are a part of the segment: evenly spaced runs of whole blocks.

    Returns
    -------
    Plan
    """
    spend = effort_named(effort)
    missing = tuple(c.missing for c in channels)
    if extent is None:
        lattices = find_lattices(samples, missing, [q.kind not in (SPARSE, BITS) for q in qualities])
        extent = Extent(*_ranges(samples, channels), lattices)
    lattices = extent.lattices
    qualities, lattices = _worth_loss(samples, channels, qualities, lattices)
    samples = on_lattices(samples, lattices, missing)
    low, high = zip(*map(_placed, extent.low, extent.high, lattices or repeat(None)), strict=True)
    own = {b.id: b for b in (*banks, *named_banks().values())}
    banks = [bank] if bank is not None else list(own.values()) or [blank_bank()]
    window, block = segment_sizes(rate, qualities, spend)
    coding = SegmentCoding(
        segment_id,
        rate,
        low,
        high,
        missing,
        window,
        block,
        tuple(Group((c,)) for c in range(len(channels))),
        banks[0].id,
        lattices=lattices,
    )
    plan = Plan(coding, banks[0], spend, tuple(qualities), None, device)
    if spend.coder == TABLES:
        return quick_start(samples, _shaped(samples, plan, spend))
    first = _shaped(samples, plan, spend)
    trial = Trial(samples, first)
    best = trial.best_bank(first, banks)
    others = []
    if len(channels) > spend.shapes[0][2]:
        others += [_shaped(samples, best, spend, i) for i in range(1, len(spend.shapes))]
    if 2 < len(channels) <= MAX_GROUP_CHANNELS:
        others += [_shaped(samples, best, spend, i, reorder=True) for i in range(1 + len(others))]
    best = min([best, *others], key=trial.cost)
    best = trial.best_start(best, banks)
    if not spend.rival or any(q.kind == SPARSE for q in qualities):
        return best
    rival = replace(
        effort_named(spend.rival),
        exact_block_s=spend.exact_block_s,
        lossy_block_s=spend.lossy_block_s,
        apart=spend.apart,
    )
    window, block = segment_sizes(rate, qualities, rival)
    coding = replace(plan.coding, window_samples=window, block_samples=block)
    other = quick_start(samples, _shaped(samples, replace(plan, coding=coding, effort=rival), rival))
    same = other.coding.block_samples == best.coding.block_samples  # then both are weighed on the same blocks
    return other if (trial if same else Trial(samples, other)).rival_cost(other) < trial.rival_cost(best) else best


def _placed(low: int, high: int, lattice: Lattice | None) -> tuple[int, int]:
    """Return a range as places on its lattice."""
    if lattice is None:
        return low, high
    first, last = places(np.array([low, high]), lattice).tolist()
    return first, last


def _worth_loss(
    samples: IntSamples, channels: Sequence[Channel], qualities: Sequence[Quality], lattices: tuple[Lattice | None, ...]
) -> tuple[tuple[Quality, ...], tuple[Lattice | None, ...]]:
    """Code a channel on a lattice without loss where its bound allows less than about a step; else drop the lattice."""
    out: list[Quality] = list(qualities)
    kept: list[Lattice | None] = list(lattices)
    for c, lattice in enumerate(lattices):
        if lattice is None or qualities[c].kind == LOSSLESS:
            continue
        present = samples[:, c] if channels[c].missing is None else samples[samples[:, c] != channels[c].missing, c]
        step = float(np.median(np.diff(np.unique(present))))
        kind, value = qualities[c].kind, qualities[c].value
        error = value if kind == MAX_ERROR else 2 * value * (present.std() / 100 if kind == PRDN else 1)
        if error < step:
            out[c] = parse_quality("lossless", channels[c])
        else:
            kept[c] = None
    return tuple(out), tuple(kept) if any(kept) else ()


def _shaped(samples: IntSamples, plan: Plan, effort: Effort, number: int = 0, *, reorder: bool = False) -> Plan:
    """Return the plan with an effort's coder, its sample predictor and the references that this wants."""
    own, cross, n_references = effort.shapes[number]
    tables = effort.coder == TABLES
    if effort.apart:
        groups, cross = tuple(Group((c,)) for c in range(samples.shape[1])), 0
    else:
        groups, cross = choose_groups(samples, own, cross, n_references, only_earlier=tables, reorder=reorder)
    shape = PredictorShape(own, cross, effort.hop, effort.ahead, effort.filter)
    return replace(plan, coding=replace(plan.coding, groups=groups, predictor=shape, coder=effort.coder))


def resolve_bits(
    samples: IntSamples,
    channels: Sequence[Channel],
    qualities: Sequence[Quality],
    rate: Fraction,
    *,
    effort: str | Effort = "default",
    bank: Bank | None = None,
    banks: Sequence[Bank] = (),
    extent: Extent | None = None,
) -> tuple[Quality, ...]:
    """Turn ``bits=`` qualities into the one error level whose mean rate is what was asked.

    The level is the same share of every channel's standard deviation, found by bisection on trial
    blocks; each window keeps it as an RMSE bound, so bits go to the windows that need them.

    Parameters
    ----------
    samples, channels, qualities, rate, effort, bank, banks, extent
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

    plan = plan_segment(
        samples, channels, at(0.1), rate, segment_id="0" * 16, effort=effort, bank=bank, banks=banks, extent=extent
    )
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


def segment_sizes(rate: Fraction, qualities: Sequence[Quality], effort: Effort) -> tuple[int, int]:
    """Return window and block length in samples."""
    most = min(MAX_BLOCK_SAMPLES, MAX_BLOCK_VALUES // len(qualities))
    exact = any(q.kind == LOSSLESS for q in qualities)
    seconds = effort.exact_block_s if exact else effort.lossy_block_s
    window_s = Fraction(min(WINDOW_S, seconds))
    window = min(MAX_WINDOW_SAMPLES, most, max(1, math.floor(rate * window_s)))
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
