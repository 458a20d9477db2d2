"""One run of one group coded by tables: an arithmetic-coded front, then words (FORMAT.md clauses 16 to 18)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream._loops_activations import Kernels
from sanstream._loops_body import N_TRACKS, Body, Filters, Room, code_body, code_levels, code_waveless
from sanstream._loops_coder import CODER_SIZE, DECODE, ENCODE, END, POS
from sanstream._loops_group import CONSTANT, CORRECTED, SPARSE, WAVELET, Layout, Plan, code_front
from sanstream._loops_linear import LIMIT, N_TERMS, N_WEIGHTS, PAD, RIDGE_LIMIT, TERMS
from sanstream._loops_models import SIMPLE_END
from sanstream._loops_rans import LEAST, end_front, new_rows, write_words
from sanstream._loops_samples import BASE, N_REFS, REFS, SAN_REACH, SHIFT, START
from sanstream._loops_tables import first_counts
from sanstream._loops_wavelet import MAX_LEVELS
from sanstream.bank_priors import Models
from sanstream.block_coding import PredictorShape
from sanstream.errors import CorruptError
from sanstream.group_run import Synthesis

Integers = npt.NDArray[np.int64]
_SIZE, _COUNT = first_counts()
_FIRST_MEAN = 512
"""Prediction errors and corrections are expected to be 4 at first (Q7)."""
MOST_WORDS = 8
"""Words that one sample or coefficient may need, and places in the encoder's stream."""


def run_tables(
    data: npt.NDArray[np.uint8],
    mode: int,
    models: Models,
    layout: Layout,
    shape: PredictorShape,
    predictor: Any,
    kernels: Kernels,
    plan: Plan,
    x: Integers,
    y: Integers,
    missing: npt.NDArray[np.uint8],
    san: Integers,
    stop_after: int = 0,
) -> bytes:
    """Encode or decode a group; one source for both.

    Parameters
    ----------
    data : ndarray, shape (n_bytes,), uint8
        The run, when decoding.
    mode : int
        ``DECODE`` or ``ENCODE``.
    models : tuple of ndarray
        Priors of the bank; only those of the front are used.
    layout, predictor, kernels, plan
        As :mod:`sanstream.group_state` makes them.
    shape : PredictorShape
    x, y : ndarray, shape (n_columns, n_samples), int64
        As for :func:`sanstream.group_run.run_group`, transposed.
    missing : ndarray, same shape, uint8
    san : ndarray, same shape, int64
    stop_after : int
        As for :func:`sanstream.group_run.run_group`.

    Returns
    -------
    bytes
        The run, when encoding.

    Raises
    ------
    CorruptError
        When the run is no such run.
    """
    buffer = data if mode == DECODE else np.zeros(4096 + 8 * plan.tool.size + 4 * plan.act_amp.size, np.uint8)
    coder = _front(buffer, mode, models, layout, predictor, kernels, plan, stop_after)
    if mode == ENCODE and coder[POS] > len(buffer) - 4:  # what did not fit was counted, not written
        buffer = np.zeros(coder[POS] + 4, np.uint8)
        coder = _front(buffer, mode, models, layout, predictor, kernels, plan, stop_after)
    if mode == DECODE and coder[POS] > coder[END] + 4:
        raise CorruptError(f"the front needs {coder[POS] - coder[END]} bytes past the end")
    if stop_after:
        return b""
    begin = int(end_front(coder, buffer))
    Synthesis(kernels, plan, layout, predictor).render(0, layout.n, san.T)
    own = slice(layout.n_known, None)
    words = bool(((plan.tool[:, own] != CONSTANT) & (plan.tool[:, own] != SPARSE)).any())
    stream, state = _words(data, begin, words) if mode == DECODE else (_blank_stream(y, layout), 0)
    use_san = len(kernels.length) > 0
    body = loop_body(layout, shape, predictor, use_san, x, y, missing, san)
    filters = fresh_filters(y.shape[1], layout, shape, predictor, use_san)
    room = loop_room(layout, filters.cov.shape[1] + 2)
    first = 2 if mode == DECODE else 0
    wavelets = bool(((plan.tool[:, own] == WAVELET) | (plan.tool[:, own] == CORRECTED)).any())
    code = code_body if wavelets else code_waveless
    state, at = code(mode, state, first, stream, *new_rows(_SIZE, _COUNT), body, filters, plan, room)
    if mode == ENCODE:
        front = buffer[:begin].tobytes()
        if not words:
            return front
        out = np.empty(2 * at + 2, np.uint16)
        return front + out[write_words(stream, at, out) :].astype("<u2").tobytes()
    if words and (at != len(stream) or state != LEAST):
        raise CorruptError(f"{len(stream)} words do not end where {at} were read")
    return b""


def _front(
    buffer: npt.NDArray[np.uint8], mode: int, models: Models, layout: Layout, predictor: Any, kernels: Kernels,
    plan: Plan, stop_after: int,
) -> Integers:  # fmt: skip
    """Code what stands before the words; returns the arithmetic coder."""
    coder = np.zeros(CODER_SIZE, np.int64)
    model = (models[0][:SIMPLE_END].astype(np.int32) << 8) | models[1][:SIMPLE_END]
    code_front(coder, buffer, 0, len(buffer), mode, model, layout, predictor, kernels, plan, stop_after)
    if stop_after == 0:
        code_levels(coder, buffer, model, layout, predictor, plan)
    return coder


def _words(data: npt.NDArray[np.uint8], begin: int, words: bool) -> tuple[npt.NDArray[np.uint32], int]:
    """Return the words of a run and the decoder's first state."""
    left = len(data) - begin
    if left < 0 or left % 2 or (left < 4 if words else left):
        raise CorruptError(f"{left} bytes stand where the words should")
    stream = data[begin:].copy().view("<u2").astype(np.uint32)
    if not words:
        stream = np.zeros(1, np.uint32)
    return stream, (int(stream[0]) | int(stream[1]) << 16) if words else 0


def _blank_stream(y: Integers, layout: Layout) -> npt.NDArray[np.uint32]:
    n_own = len(y) - layout.n_known
    return np.empty(MOST_WORDS * y.shape[1] * n_own + 16 * n_own * (y.shape[1] // layout.window + 1), np.uint32)


def loop_body(
    layout: Layout, shape: PredictorShape, predictor: Any, use_san: bool, x: Integers, y: Integers,
    missing: npt.NDArray[np.uint8], san: Integers,
) -> Body:  # fmt: skip
    """Return a group's signals as the loops take them; parameters as for :func:`run_tables`."""
    n_columns, n = y.shape
    columns = predictor.columns
    z = np.zeros((n_columns * (2 if use_san else 1), n + 2 * PAD), np.int32)
    for c in range(n_columns):
        if c < layout.n_known:
            z[c, PAD : PAD + n] = np.clip((y[c] - columns[c, BASE]) >> columns[c, SHIFT], -LIMIT, LIMIT)
        elif use_san:
            z[n_columns + c, PAD : PAD + n] = np.clip(san[c] >> columns[c, SHIFT], -LIMIT, LIMIT)
    limits = np.stack([layout.lower, layout.upper, layout.absent], axis=1)
    track = np.full((n_columns, N_TRACKS), _FIRST_MEAN, np.int64)
    track[:, 2] = 0
    return Body(columns, limits, missing, x, y, z, san, track, layout.window, layout.n_known, shape.hop)


def loop_room(layout: Layout, size: int) -> Room:
    """Return scratch for one window and matrices of ``size``."""
    window = min(layout.window, layout.n) + 2

    def zeros(*dimensions: int) -> Integers:
        return np.zeros(dimensions, np.int64)

    return Room(
        zeros(window), zeros(window), zeros(size), zeros(window), zeros(window), zeros(window), zeros(size, size),
        zeros(size, size), zeros(MAX_LEVELS + 3),
    )  # fmt: skip


def fresh_filters(n: int, layout: Layout, shape: PredictorShape, predictor: Any, use_san: bool) -> Filters:
    """Return fresh predictors: covariances that know nothing but the start weights."""
    columns, n_columns = predictor.columns, len(predictor.columns)
    most = shape.own + shape.cross * int(columns[:, N_REFS].max(initial=0)) + 2 * SAN_REACH + 1
    terms = np.zeros((n_columns, TERMS + 3 * (2 + columns.shape[1] - REFS)), np.int64)
    cov = np.zeros((n_columns, most + 1, most + 1), np.int64)
    weights = np.zeros((n_columns, most + 1), np.int64)
    for c in range(layout.n_known, n_columns):
        own = [(c, 1, shape.own)]
        if shape.cross:
            own += [(r, -shape.ahead, shape.cross) for r in columns[c, REFS : REFS + columns[c, N_REFS]] if r < c]
        if use_san:
            own.append((n_columns + c, -SAN_REACH, 2 * SAN_REACH + 1))
        size = sum(count for _, _, count in own)
        terms[c, N_TERMS], terms[c, N_WEIGHTS] = len(own), size
        terms[c, TERMS : TERMS + 3 * len(own)] = np.array(own).ravel()
        first, ridge = predictor.weights[c, START:], min(int(predictor.cov[c, 0, 0]), RIDGE_LIMIT)
        weights[c, :size] = first[:size]
        cov[c, range(size), range(size)] = ridge
        cov[c, size, :size] = (ridge * weights[c, :size]) >> 16
        cov[c, size, size] = 1024 + int((((ridge * weights[c, :size]) >> 16) * weights[c, :size] >> 16).sum())
    taps = np.zeros((n_columns, shape.filter), np.int64)
    errors = np.zeros((n_columns, (n + 2 * PAD) if shape.filter else 0), np.int32)
    return Filters(terms, weights, cov, taps, errors)
