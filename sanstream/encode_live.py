"""Blocks of segments that still grow: planned from what is there, encoded for many streams at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from sanstream.bank import Bank, named_banks
from sanstream.bank_delta import read_delta, write_delta
from sanstream.block_coding import MAX_DELTA_BYTES, MAX_GROUP_CHANNELS, TABLES, PredictorShape, SegmentCoding
from sanstream.encode import segment_sizes
from sanstream.encode_block import encode_block
from sanstream.encode_effort import Effort, effort_named
from sanstream.encode_groups import choose_groups
from sanstream.encode_kernels import KernelChoice
from sanstream.encode_plan import Plan, activations_of
from sanstream.encode_quick import with_weights
from sanstream.errors import UnsupportedError
from sanstream.modality import modality_of_all
from sanstream.quality import Quality
from sanstream.signal import Channel, IntSamples

LIVE_EFFORTS = ("fast", "default")


@dataclass(frozen=True)
class LiveStart:
    """What a live segment starts from.

    Parameters
    ----------
    bank : Bank
        Its priors, and the lineage of its kernels.
    kernels : KernelChoice or None
        Kernels adapted for the stream, with shifts for the channels of its first group; None for none.
    """

    bank: Bank
    kernels: KernelChoice | None = None


def shipped_start(channels: Sequence[Channel]) -> LiveStart:
    """Return what a new stream starts from: the shipped bank of its modality, without kernels."""
    banks = named_banks()
    return LiveStart(banks.get(modality_of_all(channels), banks["general"]))


def first_group(channels: Sequence[Channel]) -> bool:
    """Tell whether a stream's channels make one group, so that kernels of several rows stay fitting."""
    return len(channels) <= MAX_GROUP_CHANNELS


def plan_live(
    samples: IntSamples,
    channels: Sequence[Channel],
    qualities: Sequence[Quality],
    rate: Fraction,
    *,
    segment_id: str,
    start: LiveStart,
    effort: str | Effort = "default",
) -> Plan:
    """Plan a segment of which only the beginning is there.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels), int32
        What is there: its first block, or recent samples of the same stream. Predictor starts are fitted to it.
    channels : sequence of Channel
        Their declared digital ranges hold for all that comes.
    qualities : sequence of Quality
        One per channel; no ``bits``.
    rate : Fraction
        Samples per second.
    segment_id : str
        16 hex digits.
    start : LiveStart
    effort : str or Effort
        Of coder tables: ``"fast"`` or ``"default"``.

    Returns
    -------
    Plan

    Raises
    ------
    UnsupportedError
        On an effort that is not for live streams.
    """
    spend = effort_named(effort)
    if spend.coder != TABLES:
        raise UnsupportedError(f"effort {effort!r} is not for live streams", hint=f"use {' or '.join(LIVE_EFFORTS)}")
    window, block = segment_sizes(rate, qualities, spend)
    own, cross, n_references = spend.shapes[0]
    groups, cross = choose_groups(samples, own, cross, n_references, only_earlier=True)
    coding = SegmentCoding(
        segment_id, rate,
        tuple(c.digital_min for c in channels), tuple(c.digital_max for c in channels),
        tuple(c.missing for c in channels),
        window, block, groups, start.bank.id,
        predictor=PredictorShape(own, cross, spend.hop, spend.ahead, spend.filter), coder=spend.coder,
    )  # fmt: skip
    plan = with_weights(samples, Plan(coding, start.bank, spend, tuple(qualities), None, "cpu"))
    return plan if start.kernels is None else _with_kernels(plan, start.kernels)


def _with_kernels(plan: Plan, kernels: KernelChoice) -> Plan:
    """Put kernels into the plan's delta; one that has no room for both goes without start weights."""
    coding = plan.coding
    members = list(coding.groups[0].channels)
    rows = kernels.kernels[0].taps.shape[0]
    if len(kernels.shifts) != len(members) or rows not in (1, len(members)):
        return plan
    shifts = np.zeros(coding.n_channels, np.int64)
    shifts[members] = kernels.shifts
    before = read_delta(coding.bank_delta, coding.n_channels)
    for weights, ridges in ((before.weights, before.ridges), (None, None)):
        delta = replace(before, kernels=kernels.kernels, shifts=shifts, weights=weights, ridges=ridges)
        data = write_delta(delta, coding.n_channels)
        if len(data) <= MAX_DELTA_BYTES:
            return replace(plan, kernels=kernels, coding=replace(coding, bank_delta=data))
    return plan


@dataclass(frozen=True, eq=False)
class Part:
    """One block to encode.

    Parameters
    ----------
    plan : Plan
    number : int
        The block's number in its segment.
    samples : ndarray, shape (n_samples, n_channels), int32
        At most a full block.
    """

    plan: Plan
    number: int
    samples: IntSamples


def encode_part(part: Part) -> bytes:
    """Encode one block of a live segment."""
    (activated,) = activations_of(part.samples, part.plan, [0])
    plan = part.plan
    return encode_block(part.samples, part.number, plan.coding, plan.bank, plan.effort, plan.qualities, activated)


def encode_parts(parts: Sequence[Part], pool: Executor | None = None) -> Iterable[bytes]:
    """Encode blocks of any segments, several at a time where there is a pool; payloads come in order."""
    return map(encode_part, parts) if pool is None else pool.map(encode_part, parts)
