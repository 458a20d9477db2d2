"""Banks, predictor starts and kernels compared by the bytes of a few trial blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sanstream.bank import Bank
from sanstream.bank_delta import Delta, read_delta, write_delta
from sanstream.block_coding import MAX_DELTA_BYTES, Group, PredictorShape
from sanstream.decode import read_figures
from sanstream.encode_kernels import KernelChoice, adapt, from_bank
from sanstream.encode_plan import Plan, encode_numbers
from sanstream.encode_weights import start_weights
from sanstream.quality import LOSSLESS, MAX_ERROR, SPARSE
from sanstream.signal import IntSamples

_DROPS = (6, 10, 12)
"""Precisions of start weights tried: steps of 2^drop / 2^16."""
_FOLLOW = (5, 4, 6, 3)
"""Rates tried, as powers of one half."""


class Trial:
    """Compares ways to start by encoding a few blocks."""

    def __init__(self, samples: IntSamples, plan: Plan) -> None:
        self.samples = samples
        size = plan.coding.block_samples
        self.n_blocks = plan.coding.n_blocks(len(samples))
        whole = max(1, len(samples) // size)
        self.numbers = sorted(set(np.linspace(0, whole - 1, plan.effort.n_trial_blocks + 2).round().astype(int)[1:-1]))
        self._size: dict[tuple[str, bytes, PredictorShape, tuple[Group, ...]], float] = {}

    def rival_cost(self, plan: Plan) -> float:
        """Return :meth:`cost` of the plan as it will be encoded, so that plans of different coders may be compared."""
        return self._extrapolated(plan, sum(map(len, encode_numbers(self.samples, plan, self.numbers))))

    def _extrapolated(self, plan: Plan, total: float) -> float:
        return total * self.n_blocks / max(1, len(self.numbers)) + 4 / 3 * len(plan.coding.bank_delta)

    def cost(self, plan: Plan) -> float:
        """Return the segment's size in bytes, extrapolated from the trial blocks, coded less carefully than in earnest.

        Where a channel is ``sparse``, bytes say little: there it is the mean phi of the trial windows.
        """
        key = (plan.bank.id, plan.coding.bank_delta, plan.coding.predictor, plan.coding.groups)
        if key not in self._size:
            rough = replace(plan, effort=replace(plan.effort, frugal=False))
            payloads = list(encode_numbers(self.samples, rough, self.numbers))
            if any(q.kind == SPARSE for q in plan.qualities):
                self._size[key] = self._phi(plan, payloads)
                return self._size[key]
            self._size[key] = self._extrapolated(plan, sum(map(len, payloads)))
        return self._size[key]

    def _phi(self, plan: Plan, payloads: Sequence[bytes]) -> float:
        """Mean over sparse channels and windows of hypot(2 A / n, RMSE / deviation)."""
        coding = plan.coding
        sparse = [i for i, q in enumerate(plan.qualities) if q.kind == SPARSE]
        values = []
        for number, payload in zip(self.numbers, payloads, strict=True):
            figures = read_figures(payload, int(number), coding, plan.bank)
            block = self.samples[number * coding.block_samples : (number + 1) * coding.block_samples, sparse]
            deviation = np.maximum(block.astype(np.float64).std(axis=0), 1e-9)
            activations = 2 * figures.n_activations[:, None] / coding.window_samples
            values.append(np.hypot(activations, figures.rmse_adu[:, sparse] / deviation).mean())
        return float(np.mean(values))

    def best_bank(self, plan: Plan, banks: Sequence[Bank]) -> Plan:
        """Return the plan with the bank that makes the trial blocks smallest."""
        plans = [replace(plan, bank=b, coding=replace(plan.coding, bank_base=b.id)) for b in banks]
        return plans[0] if len(plans) == 1 else min(plans, key=self.cost)

    def best_start(self, plan: Plan, banks: Sequence[Bank] = ()) -> Plan:
        """Return the plan with start weights and kernels, as far as they repay their own bytes.

        Kernels of the length that pays are adapted from the other banks' too, or where none pays, of every length: the
        search is local (the pleth of mimic4wdb at PRDN 9 % takes a quarter fewer bytes from kernels that were beats).
        """
        best = plan
        if any(q.kind in (LOSSLESS, MAX_ERROR) for q in plan.qualities):
            for drop in _DROPS:
                best = self._better(best, _with_weights(self.samples, plan, drop))
        sparse = any(q.kind == SPARSE for q in plan.qualities)
        start = best
        others = [_with_bank_kernels(self.samples, start)]
        lengths = plan.effort.kernel_seconds
        own = [_with_kernels(self.samples, start, s, plan.bank) for s in lengths]
        others += own
        if sparse and not any(others):
            others.append(_with_kernels(self.samples, start, 0.65, plan.bank))
        for other in others:
            if sparse and best.kernels is None and other is not None:
                best = other  # records were asked for, whatever they cost
            best = self._better(best, other)
        chosen = [s for s, adapted in zip(lengths, own, strict=True) if adapted is not None and adapted is best]
        for bank in (b for b in banks if b.id != plan.bank.id):
            for seconds in chosen or lengths:
                best = self._better(best, _with_kernels(self.samples, start, seconds, bank))
        return self._followed(best)

    def _followed(self, plan: Plan) -> Plan:
        """Return the plan with kernels that follow what was decoded, at the rate that pays most."""
        if plan.kernels is None or all(q.kind in (LOSSLESS, SPARSE) for q in plan.qualities):
            return plan
        best = plan
        before = read_delta(plan.coding.bank_delta, plan.coding.n_channels)
        for rate in _FOLLOW:
            other = self._better(best, _with_delta(plan, replace(before, follow=rate), plan.kernels))
            if other is best and best is not plan:
                break
            best = other
        return best

    def _better(self, best: Plan, other: Plan | None) -> Plan:
        return other if other is not None and self.cost(other) < self.cost(best) else best


def _with_delta(plan: Plan, delta: Delta, kernels: KernelChoice | None) -> Plan | None:
    data = write_delta(delta, plan.coding.n_channels)
    if len(data) > MAX_DELTA_BYTES:
        return None
    return replace(plan, kernels=kernels, coding=replace(plan.coding, bank_delta=data))


def _with_weights(samples: IntSamples, plan: Plan, drop: int) -> Plan | None:
    """Return the plan with predictor weights fitted to the segment, when they fit into the delta."""
    fitted = start_weights(samples, plan.coding)
    if fitted is None:
        return None
    return _with_delta(plan, Delta(weights=fitted[0] + (1 << drop >> 1), ridges=fitted[1], drop=drop), None)


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


def _with_kernels(samples: IntSamples, plan: Plan, seconds: float, start: Bank) -> Plan | None:
    """Return the plan with kernels adapted to the segment, starting from a bank's."""
    channels = list(plan.coding.groups[0].channels)
    spend = plan.effort
    part = samples[:, channels]
    choice = adapt(
        part, ~_gone(part, plan, channels), plan.coding.rate, start,
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
