"""One group of one block: tools chosen per window by bits, every bound checked on what the decoder will give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream._loops_analysis import analyse_window, maximum_code, rmse_code
from sanstream._loops_coder import CODER_SIZE, COST, ENCODE, ESTIMATE, MODE, POS
from sanstream._loops_cross import WORK, Leaning
from sanstream._loops_group import CONSTANT, N_CROSS, SAMPLES, SPARSE, Plan
from sanstream._loops_pruning import window_errors
from sanstream._loops_samples import BASE, REFS, SHIFT
from sanstream.bank import Bank
from sanstream.block_coding import SegmentCoding
from sanstream.encode_activations import worthy_activations
from sanstream.encode_bounds import Bounds, window_bound
from sanstream.encode_effort import Effort
from sanstream.encode_kernels import Activated
from sanstream.errors import BoundError
from sanstream.group_run import WHOLE, Synthesis, run_group
from sanstream.group_state import (
    Decoded,
    LoopModels,
    blank_plan,
    fresh_models,
    loop_kernels,
    loop_layout,
    loop_predictor,
    max_activations,
    place_of,
)
from sanstream.quality import LOSSLESS, MAX_ERROR, Quality
from sanstream.quality import SPARSE as SPARSE_QUALITY

_PREDICTABLE_RMSE = 4.0
"""Up to this RMSE bound closed-loop prediction is tried beside the wavelet."""


def leaning_room(n_columns: int, window: int) -> Leaning:
    """Return room for choosing the cross weights of a block's windows."""
    ints, coefficients = np.zeros((3, N_CROSS), np.int64), np.zeros((3, window))
    bands, refs = np.zeros((n_columns, window)), np.zeros((N_CROSS, window))
    seen = np.full(n_columns, -1, np.int64)
    own, left, scale = coefficients
    return Leaning(own, bands, refs, left, scale, np.zeros(WORK), ints[0], ints[1], ints[2], seen)


class GroupCoder:
    """Codes one group of one block.

    Parameters
    ----------
    coding, bank, effort
        As planned for the segment.
    qualities : sequence of Quality
        One per channel of the segment.
    number : int
        Group.
    x : ndarray, shape (n_samples, n_columns), int64
        Samples of the group's columns; missing ones hold any value.
    missing : ndarray, same shape, uint8
    parent : Decoded or None
    activated : Activated or None
    allowed : ndarray, shape (n_windows, n_columns), float64, optional
        As for :func:`sanstream.encode_block.encode_block`.
    """

    def __init__(
        self,
        coding: SegmentCoding,
        bank: Bank,
        effort: Effort,
        qualities: Sequence[Quality],
        number: int,
        x: npt.NDArray[np.int64],
        missing: npt.NDArray[np.uint8],
        parent: Decoded | None,
        activated: Activated | None,
        allowed: npt.NDArray[np.float64] | None = None,
    ) -> None:
        self.allowed = allowed
        self.coding, self.bank, self.effort, self.number = coding, bank, effort, number
        self.place = place_of(coding, number)
        self.qualities = [qualities[c] for c in self.place.columns]
        self.x, self.missing, self.parent = x, missing, parent
        self.n, self.n_columns = x.shape
        self.n_windows = -(-self.n // coding.window_samples)
        self.layout = loop_layout(coding, self.place, self.n)
        self.kernels = loop_kernels(coding, bank, self.place, number)
        self.own = range(self.place.n_known, self.n_columns)
        self.base, self.shift = self._offsets()
        self.san = np.zeros_like(x)
        if parent is not None:
            self.san[:, : self.place.n_known] = parent.san
        table = (self.n_windows, self.n_columns)
        self.bounds = Bounds(np.zeros(table, np.int64), np.zeros(table), np.zeros(table, np.int64))
        self.plan = self._first_plan(activated)

    def _offsets(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Choose each column's base (about its mean) and input shift."""
        base, shift = np.zeros(self.n_columns, np.int64), np.zeros(self.n_columns, np.int64)
        if self.parent is not None:
            base[: self.place.n_known] = self.parent.base
            shift[: self.place.n_known] = self.parent.shift
        for c in self.own:
            values = self.x[self.missing[:, c] == 0, c]
            if len(values) == 0:
                values = np.array([self.layout.lower[c]])
            grain = 8 if values.max() - values.min() > 64 else 1
            centre = int(np.round(values.mean() / grain)) * grain
            base[c] = min(max(centre, int(self.layout.lower[c])), int(self.layout.upper[c]))
            reach = int(np.abs(values - base[c]).max())
            shift[c] = min(16, max(0, reach.bit_length() - 16))
        return base, shift

    def _first_plan(self, activated: Activated | None) -> Plan:
        n_own = self.n_columns - self.place.n_known
        if activated is None or len(self.kernels.length) == 0:
            activated = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, n_own), np.int64))
        kernel, index, amplitude = (a[: max_activations(self.n)] for a in activated)
        plan = blank_plan(self.n_windows, self.n_columns, n_own, self.n, 0)
        return plan._replace(
            n_act=np.array([len(kernel)], np.int64), act_kernel=kernel, act_index=index, act_amp=amplitude
        )

    def code(self) -> Decoded:
        """Choose tools and encode."""
        self.decide()
        return self._encode()

    def decide(self) -> None:
        """Choose activations, tools, steps and coefficients."""
        self._set_bounds()
        self._keep_worthy_activations()
        self._analyse(self.bounds.kind)
        self._set_sparse_levels()
        if self.effort.both_tools:
            self._prefer_prediction()
        for _ in range(4):
            if not self._settle_figures():
                break

    def train(self, models: LoopModels) -> float:
        """Let ``models`` adapt to what was decided; returns bits."""
        coder, _, _ = self._run(self.plan, ESTIMATE, np.zeros(8, np.uint8), models)
        return float(coder[COST]) / 65536

    # -- what is asked

    def _set_bounds(self) -> None:
        size = self.coding.window_samples
        for w in range(self.n_windows):
            rows = slice(w * size, min(self.n, (w + 1) * size))
            for c in self.own:
                self._set_bound(w, c, self.x[rows, c][self.missing[rows, c] == 0])

    def _set_bound(self, w: int, c: int, values: npt.NDArray[np.int64]) -> None:
        constant = None
        if len(values) == 0 or bool((values == values[0]).all()):
            constant = int(values[0] if len(values) else self.base[c])
        self._set_window(w, c, constant, float(values.std()) if constant is None else 0.0)

    def _set_window(self, w: int, c: int, constant: int | None, deviation: float) -> None:
        """Set a window's bound from its only value, if it has but one, and its standard deviation."""
        quality, plan, bounds = self.qualities[c], self.plan, self.bounds
        most = math.inf if self.allowed is None else float(self.allowed[w, c])
        if constant is not None:
            plan.tool[w, c] = CONSTANT
            plan.constant[w, c] = constant
            return
        plan.tool[w, c] = SAMPLES
        if quality.kind == LOSSLESS:
            return
        if quality.kind == SPARSE_QUALITY:
            plan.tool[w, c] = SPARSE
            return
        bounds.kind[w, c], bounds.bound[w, c], bounds.delta[w, c] = window_bound(quality, deviation, most)

    def _analyse(self, kind: npt.NDArray[np.int64]) -> None:
        """Plan tools a and c window by window, kernels following as they will in the decoder."""
        predictor, y = self._predictor(), self._canvas()
        self.san[:, self.place.n_known :] = 0
        synthesis = Synthesis(self.kernels, self.plan, self.layout, predictor)
        coder = np.zeros(CODER_SIZE, np.int64)
        coder[MODE] = ESTIMATE
        model, weight = fresh_models(self.bank.models)
        leaning = leaning_room(self.n_columns, self.layout.window)
        for w in range(self.n_windows):
            a, b = w * self.layout.window, min(self.n, (w + 1) * self.layout.window)
            synthesis.render(a, b, self.san)
            analyse_window(
                self.layout, predictor, self.plan, w, self.x, y, self.missing, self.san, kind, self.bounds.bound,
                leaning, self.effort.tries, int(self.effort.frugal), coder, model, weight,
            )  # fmt: skip
            synthesis.follow(b, y, self.missing, self.san)

    def _set_sparse_levels(self) -> None:
        """Give each sparse window the level that its activations leave."""
        size = self.coding.window_samples
        for w, c in np.argwhere(self.plan.tool == SPARSE):
            rows = slice(w * size, (w + 1) * size)
            present = self.missing[rows, c] == 0
            level = (self.x[rows, c] - self.san[rows, c])[present].mean()
            self.plan.constant[w, c] = int(np.clip(np.round(level), self.layout.lower[c], self.layout.upper[c]))

    def _suggested_step(self, c: int) -> float:
        """Quantiser step that column ``c``'s quality suggests, FRACTION fractional bits."""
        asked = self.bounds.bound[:, c][self.bounds.kind[:, c] > 0]
        if len(asked):
            value = float(np.median(asked))
            return 64.0 * (2.5 * value if self.qualities[c].kind != MAX_ERROR else 1.3 * (2 * value + 1))
        if (self.plan.tool[:, c] == CONSTANT).all() or self.n < 8:
            return 0.0
        return 64.0 * 2.5 * max(self._noise(c), 0.5)

    def _noise(self, c: int) -> float:
        """Return the noise of column ``c``, from second differences."""
        return float(np.median(np.abs(np.diff(self.x[:, c], n=2)))) / 0.6745 / math.sqrt(6)

    def _keep_worthy_activations(self) -> None:
        if self.plan.n_act[0] and not any(self.qualities[c].kind == SPARSE_QUALITY for c in self.own):
            steps = np.array([self._suggested_step(c) for c in self.own])
            level, missing = (self.x - self.base)[:, self.place.n_known :], self.missing[:, self.place.n_known :]
            self.plan = worthy_activations(self.plan, self.kernels, level, missing, steps)

    # -- runs

    def _predictor(self) -> Any:
        predictor = loop_predictor(self.coding, self.place, self.number, len(self.kernels.length) > 0)
        predictor.columns[:, BASE] = self.base
        predictor.columns[:, SHIFT] = self.shift
        return predictor

    def _canvas(self) -> npt.NDArray[np.int64]:
        y = np.zeros_like(self.x)
        if self.parent is not None:
            y[:, : self.place.n_known] = self.parent.samples
        return y

    def _run(
        self, plan: Plan, mode: int, buffer: npt.NDArray[np.uint8], models: LoopModels | None = None
    ) -> tuple[Any, Any, Any]:
        coder, y = np.zeros(CODER_SIZE, np.int64), self._canvas()
        costs = np.zeros((self.n_windows, self.n_columns), np.int64)
        models = models or fresh_models(self.bank.models)
        run_group(
            coder, buffer, (0, len(buffer)), mode, models, self.layout, self._predictor(), self.kernels,
            plan, self.x, y, self.missing, self.san, WHOLE, costs,
        )  # fmt: skip
        return coder, costs, y

    def _estimate(self, plan: Plan) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        _, costs, y = self._run(plan, ESTIMATE, np.zeros(8, np.uint8))
        return costs, y

    def _prefer_prediction(self) -> None:
        """Give windows to tool b where it costs fewer bits; all channels of a window decide together."""
        kind, bound = self.bounds.kind, self.bounds.bound
        open_choice = (self.plan.tool != SAMPLES) & ((kind == 2) | ((kind == 1) & (bound <= _PREDICTABLE_RMSE)))
        if not open_choice.any():
            return
        other = Plan(*(a.copy() for a in self.plan))
        other.tool[open_choice] = SAMPLES
        other.delta[open_choice] = self.bounds.delta[open_choice]
        mine, _ = self._estimate(Plan(*(a.copy() for a in self.plan)))
        theirs, _ = self._estimate(other)
        wins = theirs.sum(axis=1) < mine.sum(axis=1)
        chosen = open_choice & wins[:, None] & ~self._leaned_on(open_choice)[:, None]
        self.plan.tool[chosen] = SAMPLES
        self.plan.delta[chosen] = self.bounds.delta[chosen]
        if self.kernels.follow and chosen.any():  # kernels now learn from fewer windows
            self._analyse(np.where(chosen, 0, kind))

    def _leaned_on(self, leaving: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Windows where a channel that stays with the wavelet is predicted from one that would leave it."""
        refs, cross = self._predictor().columns[:, REFS:], self.plan.cross
        out = np.zeros(self.n_windows, np.bool_)
        for w, c in np.argwhere(~leaving):
            out[w] |= bool((leaving[w, refs[c, : cross.shape[2]]] & (cross[w, c] != 0)).any())
        return out

    def _settle_figures(self) -> bool:
        """Fill in what windows of tools b and sparse reach; True when a window had to change."""
        plan = self.plan
        lossy = (plan.tool == SAMPLES) & (plan.delta > 0) | (plan.tool == SPARSE)
        if not lossy.any():
            return False
        _, y = self._estimate(Plan(*(a.copy() for a in plan)))
        squares = np.zeros((self.n_windows, self.n_columns))
        worst = np.zeros((self.n_windows, self.n_columns), np.int64)
        window_errors(self.layout, self.x, y, self.missing, squares, worst)
        changed = False
        for w, c in np.argwhere(lossy):
            rows = slice(w * self.coding.window_samples, (w + 1) * self.coding.window_samples)
            rmse = math.sqrt(squares[w, c] / max(1, int((self.missing[rows, c] == 0).sum())))
            kind, bound = self.bounds.kind[w, c], self.bounds.bound[w, c]
            if (kind == 1 and rmse > bound) or (kind == 2 and worst[w, c] > bound):
                plan.delta[w, c] = plan.delta[w, c] - 1 if kind == 1 else 0
                changed = True
            plan.rmse[w, c] = rmse_code(rmse)
            plan.maximum[w, c] = maximum_code(worst[w, c])
        return changed

    def _encode(self) -> Decoded:
        plan = self.plan
        unsettled = (plan.tool == SAMPLES) & (plan.delta > 0) & (self.bounds.kind > 0)
        if unsettled.any() and self._settle_figures():
            plan.delta[unsettled] = 0
        buffer = np.zeros(self.n * (self.n_columns - self.place.n_known) * 12 + 4096, np.uint8)
        coder, _, y = self._run(plan, ENCODE, buffer)
        if coder[POS] > len(buffer):  # a hostile signal; what did not fit was counted, not written
            buffer = np.zeros(coder[POS], np.uint8)
            coder, _, y = self._run(plan, ENCODE, buffer)
        self._check(y)
        return Decoded(buffer[: coder[POS]].tobytes(), y, self.san, self.base, self.shift)

    def _check(self, y: npt.NDArray[np.int64]) -> None:
        """Stop on an encoder that broke its own promise rather than store it.

        Raises
        ------
        BoundError
            Naming the segment and the windows; a defect of the encoder, never of the input.
        """
        squares = np.zeros((self.n_windows, self.n_columns))
        worst = np.zeros((self.n_windows, self.n_columns), np.int64)
        window_errors(self.layout, self.x, y, self.missing, squares, worst)
        kind, bound, plan = self.bounds.kind, self.bounds.bound, self.plan
        size = self.coding.window_samples
        count = np.add.reduceat((self.missing == 0).astype(np.int64), np.arange(0, self.n, size), axis=0)
        rmse = np.sqrt(squares / np.maximum(count, 1))
        exact = (plan.tool == CONSTANT) | ((plan.tool == SAMPLES) & (plan.delta == 0))
        wrong = ((kind == 1) & (rmse > bound)) | ((kind == 2) & (worst > bound)) | (exact & (worst > 0))
        wrong[:, : self.place.n_known] = False
        if wrong.any():
            raise BoundError(
                f"segment {self.coding.segment_id}: the encoder missed a bound in (window, column) "
                f"{np.argwhere(wrong)[:4].tolist()}",
                hint="store the recording with --quality lossless, and report this",
            )
