"""One group of one block coded by tables: quick choices, every bound checked on what the decoder will give."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sanstream._loops_group import CONSTANT, SAMPLES, Plan
from sanstream._loops_quantise import N_BINS, analyse_quick
from sanstream._loops_rans import ENCODE
from sanstream._loops_survey import COUNT, HIGH, LOW, MEAN, N_FIGURES, survey
from sanstream.encode_run import GroupCoder, leaning_room
from sanstream.group_run import Synthesis
from sanstream.group_state import Decoded
from sanstream.group_tables import loop_body, loop_room, run_tables

_PREDICTED = 0.3
"""Up to this share of a channel's noise an RMSE bound is met by prediction, above by the wavelet."""
_PREDICTED_MAXIMUM = 1.0
_LOOK_SAMPLES = 4096


_Scalar = TypeVar("_Scalar", bound=np.generic)


def _across(values: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
    """Return (column, sample) from (sample, column)."""
    return np.ascontiguousarray(values.T)


class TableCoder(GroupCoder):
    """Codes one group of one block by tables; parameters as for :class:`sanstream.encode_run.GroupCoder`."""

    def _offsets(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Survey the windows; choose each column's base (about its mean) and input shift."""
        self.across, self.gone = _across(self.x), _across(self.missing)
        self.figures = np.zeros((self.n_windows, self.n_columns, N_FIGURES))
        survey(self.across, self.gone, self.coding.window_samples, self.place.n_known, self.figures)
        base, shift = np.zeros(self.n_columns, np.int64), np.zeros(self.n_columns, np.int64)
        if self.parent is not None:
            base[: self.place.n_known] = self.parent.base
            shift[: self.place.n_known] = self.parent.shift
        for c in self.own:
            lower, upper = int(self.layout.lower[c]), int(self.layout.upper[c])
            held = self.figures[self.figures[:, c, COUNT] > 0, c]
            if len(held) == 0:
                base[c] = lower
                continue
            low, high = int(held[:, LOW].min()), int(held[:, HIGH].max())
            grain = 8 if high - low > 64 else 1
            mean = float((held[:, COUNT] * held[:, MEAN]).sum() / held[:, COUNT].sum())
            base[c] = min(max(int(np.round(mean / grain)) * grain, lower), upper)
            shift[c] = min(16, max(0, max(high - int(base[c]), int(base[c]) - low).bit_length() - 16))
        return base, shift

    def _set_bounds(self) -> None:
        figures = self.figures
        for w in range(self.n_windows):
            for c in self.own:
                count, low, high, _, deviation = figures[w, c]
                self._set_window(
                    w, c, None if count and low < high else int(low) if count else int(self.base[c]), deviation
                )

    def _noise(self, c: int) -> float:
        """Return the noise of column ``c`` about its middle, from second differences."""
        start = max(0, self.n // 2 - _LOOK_SAMPLES // 2)
        values = self.across[c, start : start + _LOOK_SAMPLES]
        return float(np.median(np.abs(np.diff(values, n=2)))) / 0.6745 / 6**0.5 if len(values) > 3 else 1.0

    def decide(self) -> None:
        """Choose activations, tools, steps and coefficients."""
        self._set_bounds()
        self._keep_worthy_activations()
        self.san[:, self.place.n_known :] = 0
        Synthesis(self.kernels, self.plan, self.layout, self._predictor()).render(0, self.n, self.san)
        self._set_sparse_levels()
        kind = self._wavelet_kinds()
        if kind.any():
            self._analyse(kind)
        for _ in range(4):
            if not self._settle_figures():
                break

    def _wavelet_kinds(self) -> npt.NDArray[np.int64]:
        """Leave windows whose bound lies within the noise to prediction; the others' kind says how to analyse them."""
        kind = self.bounds.kind.copy()
        for c in self.own:
            if not kind[:, c].any():
                continue
            noise = self._noise(c)
            limit = np.where(kind[:, c] == 2, _PREDICTED_MAXIMUM, _PREDICTED) * noise
            within = (kind[:, c] > 0) & (self.bounds.bound[:, c] <= limit)
            kind[within, c] = 0
            self.plan.delta[within, c] = self.bounds.delta[within, c]
        kind[self.plan.tool == CONSTANT] = 0
        return kind

    def _analyse(self, kind: npt.NDArray[np.int64]) -> None:
        """Plan the windows of tools a and c."""
        body = loop_body(
            self.layout, self.coding.predictor, self._predictor(), False, self.across, self._known(),
            self.gone, _across(self.san),
        )  # fmt: skip
        body.y[self.place.n_known :] = body.x[self.place.n_known :]  # windows of tool b, nearly
        room = loop_room(self.layout, 2)
        window = len(room.values)
        spectrum = (np.zeros(window), np.zeros(N_BINS, np.int64), np.zeros(N_BINS))
        leaning = leaning_room(self.n_columns, window)
        analyse_quick(body, self.plan, kind, self.bounds.bound, room, leaning, spectrum, self.effort.tries)

    def _known(self) -> npt.NDArray[np.int64]:
        y = np.zeros((self.n_columns, self.n), np.int64)
        if self.parent is not None:
            y[: self.place.n_known] = self.parent.samples.T
        return y

    def _code(self, plan: Plan) -> tuple[bytes, npt.NDArray[np.int64]]:
        y = self._known()
        run = run_tables(
            np.zeros(0, np.uint8), ENCODE, self.bank.models, self.layout, self.coding.predictor, self._predictor(),
            self.kernels, plan, self.across, y, self.gone, _across(self.san),
        )  # fmt: skip
        return run, y.T

    def _estimate(self, plan: Plan) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        _, y = self._code(plan)
        return np.zeros(plan.tool.shape, np.int64), y

    def _encode(self) -> Decoded:
        plan = self.plan
        unsettled = (plan.tool == SAMPLES) & (plan.delta > 0) & (self.bounds.kind > 0)
        if unsettled.any() and self._settle_figures():
            plan.delta[unsettled] = 0
        run, y = self._code(plan)
        self._check(y)
        return Decoded(run, y, self.san, self.base, self.shift)
