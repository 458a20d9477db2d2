"""Windows to blocks: a segment is planned once, then encoded block by block (never normative)."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from sanstream.bank import Bank, blank_bank, named_banks
from sanstream.bank_delta import Delta, read_delta, write_delta
from sanstream.block import MAX_BLOCK_SAMPLES, MAX_DELTA_BYTES, MAX_WINDOW_SAMPLES, PredictorShape, SegmentCoding
from sanstream.encode_block import encode_block
from sanstream.encode_effort import Effort, effort_named
from sanstream.encode_groups import choose_groups
from sanstream.encode_kernels import Activated, KernelChoice, adapt, from_bank, match
from sanstream.encode_weights import start_weights
from sanstream.quality import BITS, LOSSLESS, MAX_ERROR, SPARSE, Quality, parse_quality
from sanstream.signal import Channel, IntSamples

WINDOW_S = 10
_BATCH_BLOCKS = 16
_RATE_BLOCKS = 12
"""Blocks that stand for a segment when a rate is asked."""


@dataclass(frozen=True)
class Plan:
    """How a segment will be encoded.

    Parameters
    ----------
    coding : SegmentCoding
    bank : Bank
    effort : Effort
    qualities : tuple of Quality
    kernels : KernelChoice or None
    device : str or None
    """

    coding: SegmentCoding
    bank: Bank
    effort: Effort
    qualities: tuple[Quality, ...]
    kernels: KernelChoice | None = None
    device: str | None = None


def plan_segment(
    samples: IntSamples,
    channels: Sequence[Channel],
    qualities: Sequence[Quality],
    rate: Fraction,
    *,
    segment_id: str,
    effort: str = "default",
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
    effort : str
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
    groups, cross = choose_groups(samples, spend)
    window, block = _sizes(rate, qualities, spend)
    banks = [bank] if bank is not None else list(named_banks().values()) or [blank_bank()]
    coding = SegmentCoding(
        segment_id,
        rate,
        tuple(c.digital_min for c in channels),
        tuple(c.digital_max for c in channels),
        tuple(c.missing for c in channels),
        window,
        block,
        groups,
        banks[0].id,
        b"",
        PredictorShape(spend.own, cross, spend.hop),
    )
    plan = Plan(coding, banks[0], spend, tuple(qualities), None, device)
    trial = _Trial(samples, plan)
    return trial.best_start(trial.best_bank(plan, banks))


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
    n_blocks = plan.coding.n_blocks(len(samples))
    numbers = sorted(set(np.linspace(0, n_blocks - 1, min(n_blocks, _RATE_BLOCKS)).round().astype(int).tolist()))
    size = plan.coding.block_samples
    n_values = sum(min(size, len(samples) - n * size) for n in numbers) * samples.shape[1]
    low, high = -14.0, 1.0  # log2 of the level
    for _ in range(9):
        middle = (low + high) / 2
        trial = replace(plan, qualities=at(2.0**middle))
        total = sum(len(p) + 2 for p in _encode_numbers(samples, trial, numbers))
        low, high = (middle, high) if 8 * total / n_values > asked[0] else (low, middle)
    return at(2.0**high)


def _deviation(x: npt.NDArray[np.int32], missing: int | None) -> float:
    present = x if missing is None else x[x != missing]
    return float(present.std()) if len(present) else 0.0


def _sizes(rate: Fraction, qualities: Sequence[Quality], effort: Effort) -> tuple[int, int]:
    """Window and block length in samples."""
    window = min(MAX_WINDOW_SAMPLES, max(1, math.floor(rate * WINDOW_S)))
    exact = any(q.kind == LOSSLESS for q in qualities)
    seconds = effort.exact_block_s if exact else effort.lossy_block_s
    n_windows = max(1, round(seconds / WINDOW_S))
    while n_windows > 1 and n_windows * window > MAX_BLOCK_SAMPLES:
        n_windows -= 1
    if exact and window * len(qualities) < 8 * WINDOW_S:
        n_windows = 6  # a slow stream's block would be mostly overhead
    return window, n_windows * window


class _Trial:
    """Compares ways to start by encoding a few blocks."""

    def __init__(self, samples: IntSamples, plan: Plan) -> None:
        self.samples = samples
        size = plan.coding.block_samples
        self.n_blocks = plan.coding.n_blocks(len(samples))
        whole = max(1, len(samples) // size)
        self.numbers = sorted(set(np.linspace(0, whole - 1, plan.effort.n_trial_blocks + 2).round().astype(int)[1:-1]))
        self._size: dict[tuple[str, bytes], float] = {}

    def cost(self, plan: Plan) -> float:
        """Return the segment's size in bytes, extrapolated from the trial blocks."""
        key = (plan.bank.id, plan.coding.bank_delta)
        if key not in self._size:
            total = sum(len(p) for p in _encode_numbers(self.samples, plan, self.numbers))
            self._size[key] = total * self.n_blocks / max(1, len(self.numbers)) + 4 / 3 * len(plan.coding.bank_delta)
        return self._size[key]

    def best_bank(self, plan: Plan, banks: Sequence[Bank]) -> Plan:
        """Return the plan with the bank that makes the trial blocks smallest."""
        plans = [replace(plan, bank=b, coding=replace(plan.coding, bank_base=b.id)) for b in banks]
        return plans[0] if len(plans) == 1 else min(plans, key=self.cost)

    def best_start(self, plan: Plan) -> Plan:
        """Return the plan with start weights and kernels, as far as they repay their own bytes."""
        best = plan
        if any(q.kind in (LOSSLESS, MAX_ERROR) for q in plan.qualities):
            best = self._better(best, _with_weights(self.samples, best))
        sparse = any(q.kind == SPARSE for q in plan.qualities)
        start = best
        others = [_with_bank_kernels(self.samples, start)]
        others += [_with_kernels(self.samples, start, s) for s in plan.effort.kernel_seconds]
        if sparse and not any(others):
            others.append(_with_kernels(self.samples, start, 0.65))
        for other in others:
            if sparse and best.kernels is None and other is not None:
                best = other  # records were asked for, whatever they cost
            best = self._better(best, other)
        return best

    def _better(self, best: Plan, other: Plan | None) -> Plan:
        return other if other is not None and self.cost(other) < self.cost(best) else best


def _with_delta(plan: Plan, delta: Delta, kernels: KernelChoice | None) -> Plan | None:
    data = write_delta(delta, plan.coding.n_channels)
    if len(data) > MAX_DELTA_BYTES:
        return None
    return replace(plan, kernels=kernels, coding=replace(plan.coding, bank_delta=data))


def _with_weights(samples: IntSamples, plan: Plan) -> Plan | None:
    """Return the plan with predictor weights fitted to the segment, when they fit into the delta."""
    fitted = start_weights(samples, plan.coding)
    if fitted is None:
        return None
    return _with_delta(plan, Delta(weights=fitted[0], ridges=fitted[1]), None)


def _with_bank_kernels(samples: IntSamples, plan: Plan) -> Plan | None:
    """Return the plan with the bank's kernels as they are."""
    channels = list(plan.coding.groups[0].channels)
    found = from_bank(_present(samples[:, channels], plan, channels), plan.coding.rate, plan.bank)
    if found is None:
        return None
    choice, same = found
    shifts = np.zeros(plan.coding.n_channels, np.int64)
    shifts[channels] = choice.shifts
    before = read_delta(plan.coding.bank_delta, plan.coding.n_channels)
    delta = replace(before, use_bank_kernels=same, kernels=() if same else choice.kernels, shifts=shifts)
    return _with_delta(plan, delta, choice)


def _present(part: IntSamples, plan: Plan, channels: Sequence[int]) -> IntSamples:
    """Rows where no channel is missing."""
    return part[~_gone(part, plan, channels)]


def _gone(part: IntSamples, plan: Plan, channels: Sequence[int]) -> npt.NDArray[np.bool_]:
    gone = np.zeros(len(part), np.bool_)
    for i, c in enumerate(channels):
        if plan.coding.missing[c] is not None:
            gone |= part[:, i] == plan.coding.missing[c]
    return gone


def _with_kernels(samples: IntSamples, plan: Plan, seconds: float) -> Plan | None:
    """Return the plan with kernels adapted to the segment."""
    channels = list(plan.coding.groups[0].channels)
    spend = plan.effort
    part = samples[:, channels]
    choice = adapt(
        part, ~_gone(part, plan, channels), plan.coding.rate, plan.bank,
        seconds=seconds, n_kernels=max(2, spend.n_kernels), n_rounds=max(3, spend.n_rounds), device=plan.device,
    )  # fmt: skip
    while choice is not None and choice.kernels:
        shifts = np.zeros(plan.coding.n_channels, np.int64)
        shifts[channels] = choice.shifts
        before = read_delta(plan.coding.bank_delta, plan.coding.n_channels)
        delta = replace(before, use_bank_kernels=False, kernels=choice.kernels, shifts=shifts)
        adapted = _with_delta(plan, delta, choice)
        if adapted is not None:
            return adapted
        choice = replace(choice, kernels=choice.kernels[:-1])  # the least used goes first
    return None


def _encode_numbers(samples: IntSamples, plan: Plan, numbers: Sequence[int]) -> Iterator[bytes]:
    """Encode chosen blocks, several at a time, in order."""
    workers = max(1, min(os.cpu_count() or 1, 16))
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[bytes]] = deque()
        for first in range(0, len(numbers), _BATCH_BLOCKS):
            batch = numbers[first : first + _BATCH_BLOCKS]
            for number, activated in zip(batch, _activations(samples, plan, batch), strict=True):
                pending.append(pool.submit(_one, samples, plan, int(number), activated))
            while len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _one(samples: IntSamples, plan: Plan, number: int, activated: Activated | None) -> bytes:
    size = plan.coding.block_samples
    part = samples[number * size : (number + 1) * size]
    return encode_block(part, number, plan.coding, plan.bank, plan.effort, plan.qualities, activated)


def _bridged(part: IntSamples, plan: Plan, channels: Sequence[int]) -> npt.NDArray[np.float32]:
    """Samples of a block for matching, (n_channels, n), missing ones replaced by their neighbours' line."""
    out = part[:, channels].T.astype(np.float32)
    for i, c in enumerate(channels):
        code = plan.coding.missing[c]
        gone = part[:, c] == code if code is not None else None
        if gone is not None and gone.any():
            at = np.flatnonzero(~gone)
            out[i] = np.interp(np.arange(len(part)), at, out[i, at]) if len(at) else 0.0
    return out


def _activations(samples: IntSamples, plan: Plan, numbers: Sequence[int]) -> list[Activated | None]:
    """Match kernels in a batch of blocks; equally long blocks go through torch together."""
    if plan.kernels is None:
        return [None] * len(numbers)
    size = plan.coding.block_samples
    channels = list(plan.coding.groups[0].channels)
    parts = [_bridged(samples[n * size : (n + 1) * size], plan, channels) for n in numbers]
    out: list[Activated | None] = [None] * len(numbers)
    for length in {p.shape[1] for p in parts}:
        chosen = [i for i, p in enumerate(parts) if p.shape[1] == length]
        for i, found in zip(chosen, match(np.stack([parts[i] for i in chosen]), plan.kernels, plan.device), strict=True):
            out[i] = found
    return out


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
    yield from _encode_numbers(samples, plan, range(plan.coding.n_blocks(len(samples))))

