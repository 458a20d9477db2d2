"""One run of one group: windows in turn, each channel with its tool (FORMAT.md clause 7).

Each tool is a compiled loop of its own, so that a process compiles only what it meets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream._loops_activations import Kernels, follow, live_taps, render
from sanstream._loops_coder import COST, DECODE, END, ESTIMATE, POS, finish
from sanstream._loops_group import (
    CORRECTED,
    SAMPLES,
    WAVELET,
    Layout,
    Plan,
    code_front,
    code_level,
    code_wavelet,
)
from sanstream._loops_samples import BASE, code_samples

Integers = npt.NDArray[np.int64]
AFTER_PLAN, AFTER_ACTIVATIONS, WHOLE = 1, 2, 0


class Synthesis:
    """The sum of a group's activations, window by window, by kernels that may follow what was decoded.

    Parameters
    ----------
    kernels, plan, layout, predictor
        As :func:`run_group` takes them.
    """

    def __init__(self, kernels: Kernels, plan: Plan, layout: Layout, predictor: Any) -> None:
        self.kernels, self.plan, self.layout, self.columns = kernels, plan, layout, predictor.columns
        self.active = bool(plan.n_act[0])
        if self.active:
            n_own = plan.tool.shape[1] - layout.n_known
            self.live = live_taps(kernels, n_own)
            self.total = np.zeros((layout.n, n_own), np.int64)
            self.rendered = self.taught = 0

    def render(self, a: int, b: int, san: Integers) -> None:
        """Add what begins before ``b`` and put the sum from ``a`` on into ``san``."""
        if self.active:
            self.rendered = render(
                self.kernels, self.live, self.plan, self.rendered, a, b, self.total, self.layout.n_known, san
            )

    def follow(self, b: int, y: Integers, missing: npt.NDArray[np.uint8], san: Integers) -> None:
        """Let kernels learn from the activations that end by ``b``."""
        if self.active and self.kernels.follow:
            self.taught = follow(
                self.kernels, self.live, self.plan, self.taught, b, self.layout.window, self.layout.n_known,
                self.columns[:, BASE].copy(), y, missing, san,
            )  # fmt: skip


def run_group(
    coder: Integers,
    buf: npt.NDArray[np.uint8],
    place: tuple[int, int],
    mode: int,
    models: tuple[Any, Any],
    layout: Layout,
    predictor: Any,
    kernels: Kernels,
    plan: Plan,
    x: Integers,
    y: Integers,
    missing: npt.NDArray[np.uint8],
    san: Integers,
    stop_after: int = WHOLE,
    costs: Integers | None = None,
) -> None:
    """Encode, estimate or decode a group; one source for all three.

    Parameters
    ----------
    coder : ndarray, shape (CODER_SIZE,), int64
        State of the arithmetic coder.
    buf : ndarray, uint8
    place : (int, int)
        First byte and end of the run in ``buf``.
    mode : int
        ``DECODE``, ``ENCODE`` or ``ESTIMATE``.
    models : tuple of ndarray
        Contexts (probability << 8 | count, int32) and weights, which adapt.
    layout, predictor, kernels, plan
        As :mod:`sanstream.group_state` makes them.
    x : ndarray, shape (n_samples, n_columns), int64
        Read when encoding.
    y : ndarray, same shape
        Holds the known columns and receives the rest; missing samples stay as the coder saw them.
    missing : ndarray, same shape, uint8
    san : ndarray, same shape, int64
        Holds the known columns' SAN reconstruction and receives the rest.
    stop_after : int
        ``AFTER_PLAN``, ``AFTER_ACTIVATIONS`` or ``WHOLE``.
    costs : ndarray, shape (n_windows, n_columns), int64, optional
        When estimating, receives each window's and channel's share in 1/65536 bit.
    """
    model, weight = models
    n_windows, n_columns = plan.tool.shape
    code_front(coder, buf, *place, mode, model, layout, predictor, kernels, plan, stop_after)
    if stop_after != WHOLE:
        return
    san[:, layout.n_known :] = 0
    synthesis = Synthesis(kernels, plan, layout, predictor)
    if costs is None:
        costs = np.zeros((n_windows, n_columns), np.int64)
    work = np.zeros((4, layout.window + 2), np.int64)
    own = range(layout.n_known, n_columns)
    for w in range(n_windows):
        if mode == DECODE and coder[POS] > coder[END] + 4:
            return  # corrupt: what is left would be made up from zeros
        a, b = w * layout.window, min(layout.n, (w + 1) * layout.window)
        synthesis.render(a, b, san)
        tools = plan.tool[w]
        previous = -1
        for c in own:
            before = coder[COST]
            if tools[c] in (WAVELET, CORRECTED):
                code_wavelet(
                    coder, buf, model, weight, layout, predictor, plan, w, a, b, c, previous, y, san, work,
                )  # fmt: skip
                previous = c
            else:
                plan.cross[w, c, :] = 0
                if tools[c] != SAMPLES:
                    code_level(coder, buf, model, layout, predictor, plan, w, a, b, c, y, san)
            if mode == ESTIMATE:
                costs[w, c] = coder[COST] - before
        active = (tools == SAMPLES).astype(np.uint8)
        active[: layout.n_known] = 0
        if active.any():
            code_samples(
                coder, buf, model, weight, predictor, x, y, missing, san, a, b, active, plan.delta[w],
                layout.lower, layout.upper, layout.absent, costs[w],
            )  # fmt: skip
        synthesis.follow(b, y, missing, san)
    finish(coder, buf)
