"""One group of one block coded by tables: quick choices, every bound checked on what the decoder will give."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sanstream._loops_analysis import analyse_wavelets
from sanstream._loops_group import SAMPLES, Plan, synthesise
from sanstream._loops_rans import ENCODE
from sanstream.encode_run import Decoded, GroupCoder
from sanstream.group_tables import run_tables


class TableCoder(GroupCoder):
    """Codes one group of one block by tables; parameters as for :class:`sanstream.encode_run.GroupCoder`."""

    def decide(self) -> None:
        """Choose activations, tools, steps and coefficients."""
        self._set_bounds()
        self._keep_worthy_activations()
        if self.plan.n_act[0]:
            synthesise(self.kernels, self.plan, self.place.n_known, self.san)
        self._set_sparse_levels()
        if self.bounds.kind.any():
            analyse_wavelets(
                self.layout, self._predictor(), self.plan, self.x, self._canvas(), self.missing, self.san,
                self.bounds.kind, self.bounds.bound, self.effort.tries,
            )  # fmt: skip
        for _ in range(4):
            if not self._settle_figures():
                break

    def _code(self, plan: Plan) -> tuple[bytes, npt.NDArray[np.int64]]:
        predictor = self._predictor()
        y = np.zeros((self.n_columns, self.n), np.int64)
        san = np.ascontiguousarray(self.san.T)
        if self.parent is not None:
            y[: self.place.n_known] = self.parent.samples.T
        run = run_tables(
            np.zeros(0, np.uint8), ENCODE, self.bank.models, self.layout, self.coding.predictor, predictor, self.kernels,
            plan, np.ascontiguousarray(self.x.T), y, np.ascontiguousarray(self.missing.T), san,
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
