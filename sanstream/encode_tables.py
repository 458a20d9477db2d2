"""One group of one block coded by tables: quick choices, every bound checked on what the decoder will give."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sanstream._loops_group import CONSTANT, SAMPLES, Plan, synthesise
from sanstream._loops_quantise import N_BINS, analyse_quick
from sanstream._loops_rans import ENCODE
from sanstream.encode_run import Decoded, GroupCoder
from sanstream.group_tables import loop_body, loop_room, run_tables

_PREDICTED = 0.3
"""Up to this share of a channel's noise an RMSE bound is met by prediction, above by the wavelet."""
_PREDICTED_MAXIMUM = 1.0


_Scalar = TypeVar("_Scalar", bound=np.generic)


def _across(values: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
    """Return (column, sample) from (sample, column)."""
    return np.ascontiguousarray(values.T)


class TableCoder(GroupCoder):
    """Codes one group of one block by tables; parameters as for :class:`sanstream.encode_run.GroupCoder`."""

    def decide(self) -> None:
        """Choose activations, tools, steps and coefficients."""
        self._set_bounds()
        self._keep_worthy_activations()
        if self.plan.n_act[0]:
            synthesise(self.kernels, self.plan, self.place.n_known, self.san)
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
            noise = float(np.median(np.abs(np.diff(self.x[:, c], n=2)))) / 0.6745 / 6**0.5 if self.n > 3 else 1.0
            limit = np.where(kind[:, c] == 2, _PREDICTED_MAXIMUM, _PREDICTED) * noise
            within = (kind[:, c] > 0) & (self.bounds.bound[:, c] <= limit)
            kind[within, c] = 0
            self.plan.delta[within, c] = self.bounds.delta[within, c]
        kind[self.plan.tool == CONSTANT] = 0
        return kind

    def _analyse(self, kind: npt.NDArray[np.int64]) -> None:
        """Plan the windows of tools a and c."""
        body = loop_body(
            self.layout, self.coding.predictor, self._predictor(), False, _across(self.x), self._known(),
            _across(self.missing), _across(self.san),
        )  # fmt: skip
        body.y[self.place.n_known :] = body.x[self.place.n_known :]  # windows of tool b, nearly
        room = loop_room(self.layout, 2)
        window = len(room.values)
        spectrum = (np.zeros(window), np.zeros(N_BINS, np.int64), np.zeros(N_BINS))
        analyse_quick(body, self.plan, kind, self.bounds.bound, room, np.zeros(window), spectrum, self.effort.tries)

    def _known(self) -> npt.NDArray[np.int64]:
        y = np.zeros((self.n_columns, self.n), np.int64)
        if self.parent is not None:
            y[: self.place.n_known] = self.parent.samples.T
        return y

    def _code(self, plan: Plan) -> tuple[bytes, npt.NDArray[np.int64]]:
        y = self._known()
        run = run_tables(
            np.zeros(0, np.uint8), ENCODE, self.bank.models, self.layout, self.coding.predictor, self._predictor(),
            self.kernels, plan, _across(self.x), y, _across(self.missing), _across(self.san),
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
