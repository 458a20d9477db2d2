"""Which candidate activations of a block earn their bits, and with which amplitudes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sanstream._loops_activations import LIVE_BITS, Kernels, live_taps
from sanstream._loops_choice import choose_activations, stretch_samples
from sanstream._loops_group import Plan
from sanstream._loops_pruning import steady_amplitudes
from sanstream._loops_wavelet import FRACTION

_ACTIVATION_BITS = 10.0
_AMPLITUDE_BITS = 3.0
_COMPONENT_BITS = 1.0
"""Of an activation at the index of the one before it, beside its amplitudes: gap and kernel are as always."""
_STEADY = 32.0
"""Squared error, in units of the bound's, that a bit of an amplitude must save."""
_STEP_OF_RMSE = 2.5 * 64
"""Quantiser step (FRACTION fractional bits) that usually gives an RMSE of 1."""


def worthy_activations(
    plan: Plan,
    kernels: Kernels,
    level: npt.NDArray[np.int64],
    missing: npt.NDArray[np.uint8],
    steps: npt.NDArray[np.float64],
) -> Plan:
    """Drop activations that cost more than they save, and steady the amplitudes of the others.

    Parameters
    ----------
    plan : Plan
    kernels : Kernels
    level : ndarray, shape (n_samples, n_own)
        Own columns with their bases removed.
    missing : ndarray, same shape
    steps : ndarray, shape (n_own,)
        Quantiser step that each column's quality suggests, FRACTION fractional bits; 0 for none.

    Returns
    -------
    Plan
    """
    keep = np.zeros(len(plan.act_kernel), np.uint8)
    n_own = level.shape[1]
    shapes = live_taps(kernels, n_own) * 2.0 ** (kernels.shift[None, :, None] - 11 - LIVE_BITS)
    price = np.full(len(keep), _ACTIVATION_BITS + _AMPLITUDE_BITS * n_own)
    follows = np.diff(plan.act_index, prepend=plan.act_index[:1] - 1) == 0
    price[follows] = _COMPONENT_BITS + _AMPLITUDE_BITS * n_own
    inverse = np.divide(1 << FRACTION, steps, out=np.zeros(n_own), where=steps > 0).astype(np.float32)
    room = np.zeros((4, stretch_samples(int(kernels.length.max()))), np.float32)
    choose_activations(
        _bridged(level, missing), shapes.astype(np.float32), kernels.length, plan.act_kernel, plan.act_index,
        plan.act_amp / 32.0, inverse, price, room, keep,
    )  # fmt: skip
    leads = np.maximum.accumulate(np.where(follows, 0, np.arange(len(keep))))
    kept = keep.astype(bool) & keep[leads].astype(bool)
    chosen = plan._replace(
        n_act=np.array([kept.sum()], np.int64),
        act_kernel=plan.act_kernel[kept],
        act_index=plan.act_index[kept],
        act_amp=plan.act_amp[kept],
    )
    steady_amplitudes(kernels, chosen, _STEADY * (steps / _STEP_OF_RMSE) ** 2)
    return chosen


def _bridged(level: npt.NDArray[np.int64], missing: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return columns as rows, missing samples on their neighbours' line, (n_own, n)."""
    out = np.ascontiguousarray(level.T.astype(np.float32))
    for row, gone in zip(out, missing.T.astype(bool), strict=True):
        if gone.any():
            at = np.flatnonzero(~gone)
            row[gone] = np.interp(np.flatnonzero(gone), at, row[at]) if len(at) else 0.0
    return out
