"""What a segment coded by tables starts from: predictor weights by least squares over stretches (never normative)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sanstream._loops_body import gather
from sanstream._loops_linear import PAD, TERMS
from sanstream.bank_delta import Delta, read_delta, write_delta
from sanstream.block_coding import MAX_DELTA_BYTES, MAX_REFERENCES, SegmentCoding
from sanstream.encode_components import errors_anyway, with_components
from sanstream.encode_kernels import KernelChoice, adapt
from sanstream.encode_plan import Plan, encode_numbers
from sanstream.group_state import loop_layout, loop_predictor, place_of
from sanstream.group_tables import fresh_filters
from sanstream.quality import SPARSE
from sanstream.signal import IntSamples

_STRETCHES, _STRETCH_SAMPLES = 6, 4096
_LEAST_SAMPLES = 20_000
"""Shorter segments cannot repay the bytes of their weights."""
_PRIOR_SAMPLES = 300
_LIMIT = (1 << 21) - 64
_LEAST_SHARE = 0.01
_LEARN_WINDOWS = 8
_ROUNDS, _THINNED = 6, 3
_COMPONENTS = (2, 4)
_HELD = 2.0**34
"""Start of a covariance whose weights stay as they are."""


def quick_start(samples: IntSamples, plan: Plan) -> Plan:
    """Return the plan with start weights and kernels, as far as they repay their own bytes.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels), int32
    plan : Plan

    Returns
    -------
    Plan
    """
    start = with_weights(samples, plan)
    return _with_kernels(samples, start)


def _with_kernels(samples: IntSamples, plan: Plan) -> Plan:
    """Return the plan with kernels learned from a few windows, when trial blocks shrink by more than they cost."""
    sparse = any(q.kind == SPARSE for q in plan.qualities)
    seconds = plan.effort.kernel_seconds or ((0.65,) if sparse else ())
    best, size = plan, _trial_size(samples, plan) if seconds else 0.0
    for length in seconds:
        part, present = _part(samples, plan)
        choice = adapt(
            part, present, plan.coding.rate, plan.bank, seconds=length, n_kernels=max(2, plan.effort.n_kernels),
            n_rounds=max(2, plan.effort.n_rounds), device="cpu",
        )  # fmt: skip
        if choice is None:
            continue
        other = _with_choice(plan, choice)
        if other is None:
            continue
        other_size = _trial_size(samples, other)
        if other_size < size or (sparse and best.kernels is None):
            best, size = other, other_size
    return best if best.kernels is None or sparse else _with_components(samples, best, size)


def _with_components(samples: IntSamples, plan: Plan, size: float) -> Plan:
    """Return the plan with components of its kernels, while trial blocks shrink by more than they cost."""
    assert plan.kernels is not None
    part, present = _part(samples, plan)
    qualities = [plan.qualities[c] for c in plan.coding.groups[0].channels]
    errors = errors_anyway(part, present, qualities, plan.coding.rate)
    for n in _COMPONENTS:
        choice = with_components(part, present, plan.kernels, errors, n)
        other = _with_choice(plan, choice) if choice is not None else None
        other_size = _trial_size(samples, other) if other is not None else math.inf
        if other is None or other_size >= size:
            break
        plan, size = other, other_size
    return plan


def _with_choice(plan: Plan, choice: KernelChoice) -> Plan | None:
    """Put kernels into the plan's delta; None where they do not fit."""
    shifts = np.zeros(plan.coding.n_channels, np.int64)
    shifts[list(plan.coding.groups[0].channels)] = choice.shifts
    before = read_delta(plan.coding.bank_delta, plan.coding.n_channels)
    data = write_delta(replace(before, kernels=choice.kernels, shifts=shifts), plan.coding.n_channels)
    if len(data) > MAX_DELTA_BYTES:
        return None
    return replace(plan, kernels=choice, coding=replace(plan.coding, bank_delta=data))


def _part(samples: IntSamples, plan: Plan) -> tuple[IntSamples, npt.NDArray[np.bool_]]:
    """Return the first group's samples to learn from, and where none of its channels is missing."""
    channels = list(plan.coding.groups[0].channels)
    part = _windows(samples, plan)[:, channels]
    gone = np.zeros(len(part), np.bool_)
    for i, c in enumerate(channels):
        if plan.coding.missing[c] is not None:
            gone |= part[:, i] == plan.coding.missing[c]
    return part, ~gone


def _windows(samples: IntSamples, plan: Plan) -> IntSamples:
    """Evenly spaced windows of ten seconds, one after the other."""
    size = min(max(32, round(float(plan.coding.rate) * 10)), 16384)
    count = len(samples) // size
    if count <= _LEARN_WINDOWS:
        return samples
    starts = np.linspace(0, count - 1, _LEARN_WINDOWS).round().astype(int) * size
    return np.concatenate([samples[a : a + size] for a in starts])


def _trial_size(samples: IntSamples, plan: Plan) -> float:
    """Return the segment's size in bytes, extrapolated from trial blocks."""
    coding = plan.coding
    n_blocks = coding.n_blocks(len(samples))
    whole = max(1, len(samples) // coding.block_samples)
    numbers = sorted(set(np.linspace(0, whole - 1, max(1, plan.effort.n_trial_blocks) + 2).round().astype(int)[1:-1]))
    total = sum(map(len, encode_numbers(samples, plan, numbers)))
    return total * n_blocks / len(numbers) + 4 / 3 * len(coding.bank_delta)


def with_weights(samples: IntSamples, plan: Plan) -> Plan:
    """Return the plan with start weights, when the segment is long enough for them."""
    if len(samples) < _LEAST_SAMPLES:
        return plan
    coding = plan.coding
    stretches = _stretches(samples, coding)
    n_weights = coding.predictor.own + coding.predictor.cross * max(
        (len(r) for g in coding.groups for r in g.references), default=0
    )
    weights = np.zeros((coding.n_channels, n_weights), np.int64)
    ridges = np.zeros(coding.n_channels, np.int64)
    for number, group in enumerate(coding.groups):
        place = place_of(coding, number)
        fit = _fit_robust if plan.effort.robust else _fit
        own, errors = fit(stretches[:, list(place.columns)], coding, number)
        for i, channel in enumerate(group.channels):
            weights[channel] = np.clip(np.round(own[i, :n_weights] * 65536), -_LIMIT, _LIMIT)
            ridges[channel] = int(np.clip(np.round(np.log2(max(errors[i], 0.25) * _PRIOR_SAMPLES)), 0, 34))
    delta = write_delta(Delta(weights=weights, ridges=ridges), coding.n_channels)
    if len(delta) > min(MAX_DELTA_BYTES, _LEAST_SHARE * samples.size):
        return plan
    return replace(plan, coding=replace(coding, bank_delta=delta))


def _stretches(samples: IntSamples, coding: SegmentCoding) -> npt.NDArray[np.int64]:
    """Evenly spaced stretches without their means, (n_stretches, n_channels, n), missing samples held at 0."""
    starts = np.linspace(0, len(samples) - _STRETCH_SAMPLES, _STRETCHES).astype(int)
    out = np.stack([samples[a : a + _STRETCH_SAMPLES].T.astype(np.int64) for a in starts])
    for c, code in enumerate(coding.missing):
        gone = out[:, c] == code if code is not None else np.zeros(out[:, c].shape, np.bool_)
        level = int(np.round(out[:, c][~gone].mean())) if not gone.all() else 0
        out[:, c] -= level
        out[:, c][gone] = 0
        reach = int(np.abs(out[:, c]).max(initial=0))
        out[:, c] >>= min(16, max(0, reach.bit_length() - 16))
    return out


def _fit(
    stretches: npt.NDArray[np.int64], coding: SegmentCoding, number: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return weights (own channel, regressor) and mean squared errors (own channel,) of a group."""
    place = place_of(coding, number)
    n = stretches.shape[2]
    layout = loop_layout(coding, place, n)
    filters = fresh_filters(n, layout, coding.predictor, loop_predictor(coding, place, number, False), False)
    shape = filters.shape[place.n_known :]
    size = filters.cov.shape[1] + 2
    weights, errors = np.zeros((len(shape), size)), np.zeros(len(shape))
    piece = np.zeros((size, size), np.int64)
    padded = np.zeros((*stretches.shape[:2], n + 2 * PAD), np.int32)
    padded[:, :, PAD : PAD + n] = stretches
    for i, line in enumerate(shape):
        total = np.zeros((size, size))
        for z in padded:
            gather(z, line, PAD, n - PAD, piece)
            total += piece
        m = int(line[TERMS - 2])
        lower = np.tril(total)[: m + 1, : m + 1]
        square = lower + np.tril(lower, -1).T
        known = square[:m, :m] + np.diag(1e-5 * np.diag(square[:m, :m]) + 1)
        weights[i, :m] = np.linalg.solve(known, square[m, :m])
        errors[i] = max(0.0, square[m, m] - weights[i, :m] @ square[m, :m]) / (len(stretches) * (n - 2 * PAD))
    return weights, errors


def _fit_robust(
    stretches: npt.NDArray[np.int64], coding: SegmentCoding, number: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return weights that keep the sum of the square roots of errors small, and a prior that holds them.

    Bits follow the logarithm of errors, where squares follow the few largest. Found by iteratively reweighted least
    squares (Holland and Welsch, Communications in Statistics 6(9):813, 1977).
    """
    place = place_of(coding, number)
    position = {channel: i for i, channel in enumerate(place.columns)}
    shape = coding.predictor
    group = coding.groups[number]
    n = stretches.shape[2]
    weights = np.zeros((len(group.channels), shape.own + shape.cross * MAX_REFERENCES))
    errors = np.zeros(len(group.channels))
    for i in range(len(group.channels)):
        lags = [(place.n_known + i, k) for k in range(1, shape.own + 1)]
        for reference in group.references[i] if group.references else ():
            lags += [(position[reference], k - shape.ahead) for k in range(shape.cross)]
        rows = [stretches[:, c, PAD - k : n - PAD - k : _THINNED].ravel() for c, k in lags]
        known = np.stack(rows).astype(np.float64)
        target = stretches[:, place.n_known + i, PAD : n - PAD : _THINNED].ravel()
        step = np.ones(len(target))
        for _ in range(_ROUNDS):
            weighted = known * step
            square = weighted @ known.T
            square[np.diag_indices(len(lags))] *= 1 + 1e-6
            square[np.diag_indices(len(lags))] += 1
            found = np.linalg.solve(square, weighted @ target)
            left = np.abs(target - found @ known)
            step = np.maximum(left, 0.5) ** -1.5
        weights[i, : len(lags)] = found
        errors[i] = _HELD / _PRIOR_SAMPLES
    return weights, errors
