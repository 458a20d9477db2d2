"""Windows encoded by few activations: (orthogonal) matching pursuit, refits, and sweeps that move and drop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sanstream.errors import InputError
from sanstream.san.encoders_batched import encode_batched, fit_batched
from sanstream.san.encoders_compiled import encode_compiled, fit_compiled
from sanstream.san.encoders_plan import Found, Plan, frame
from sanstream.san.flithos import Flithos

Method = Literal["mp", "omp"]
Refit = Literal["none", "squares", "absolute"]
TURNS = 12
"""Reweighted least squares of an absolute refit; 25 lower phi by less than 1e-4."""
CANDIDATES = 32
"""Places tried when an activation is moved; 256 lower phi by less than 1e-4."""


@dataclass(frozen=True)
class ByPhi:
    """Activations are added while phi falls: ``hypot((W + (D + 1) A)/n, RL)`` (san.md sections 1 and 7).

    Parameters
    ----------
    n_weights : float
        W, or W/T where T windows share the kernels. It is paid whatever is chosen, but it decides how dear one more
        activation is beside the loss.
    patience : int
        Additions in a row that may fail before the pursuit ends; the fit of least phi is kept.
    numbers : int, optional
        What an activation costs; D + 1 when not given. D + 2 counts the kernel too.
    """

    n_weights: float = 0.0
    patience: int = 8
    numbers: int | None = None


@dataclass(frozen=True)
class ByBits:
    """Activations are added while each saves more bits of the residual than it costs.

    The residual of n samples is taken to cost ``n log2(1 + 2 e E / step)`` bits, E its mean absolute value: for
    ``E >> step`` that is the entropy of a Laplace variable in steps of ``step``, and it is 0 at E = 0.

    Parameters
    ----------
    price : float
        Bits that an activation costs, position, kernel and amplitude together.
    step : float
        Quantiser step of the residual, in the units of the windows.
    patience : int
        As for :class:`ByPhi`.
    """

    price: float
    step: float
    patience: int = 8


Stop = ByPhi | ByBits | int


@dataclass(frozen=True)
class Encoded:
    """Activations of a batch of windows, those of a window together.

    Parameters
    ----------
    window, kernel : Tensor, shape (A,), int64
    index : Tensor, shape (A, D), int64
        Sample (row and column) of the kernel's first tap; may be negative.
    amplitude : Tensor, shape (A,), float64
    reconstruction : Tensor, shape (B, n) or (B, h, w), float64
    rl : Tensor, shape (B,), float64
        ``mean|x^ - x| / mean|x|`` of the windows as given; no mean is removed. 0 for a zero window.
    n_activations : Tensor, shape (B,), int64
    """

    window: Tensor
    kernel: Tensor
    index: Tensor
    amplitude: Tensor
    reconstruction: Tensor
    rl: Tensor
    n_activations: Tensor

    def flithos(self, n_weights: int, n_windows: int = 1) -> list[Flithos]:
        """Give phi and its parts, window by window; ``n_windows`` share the kernels."""
        n, dims = self.reconstruction[0].numel(), self.reconstruction.ndim - 1
        pairs = zip(self.n_activations.tolist(), self.rl.tolist(), strict=True)
        return [Flithos(n_weights, a, n, rl, n_windows, dims) for a, rl in pairs]


def pursue(
    windows: Tensor,
    kernels: Sequence[Tensor] | Tensor,
    *,
    method: Method = "omp",
    refit: Refit = "none",
    stop: Stop = ByPhi(),
    sweeps: int = 0,
    max_activations: int | None = None,
    compiled: bool | None = None,
) -> Encoded:
    """Choose activations of given kernels for each window, alone and apart from every other.

    Parameters
    ----------
    windows : Tensor, shape (B, n) or (B, h, w), float
        As they are to be represented: no mean is removed, nothing is scaled.
    kernels : sequence of Tensor, shape (m,) or (a, b), or one Tensor with q of them
        Sizes may differ. A position is one at which the middle tap lies inside the window.
    method : ``"mp"`` or ``"omp"``
        Each step takes the kernel and place that explain most energy of the residual. Matching pursuit adds to that
        amplitude alone (an atom met again costs nothing more), the orthogonal form fits all by least squares.
    refit : ``"none"``, ``"squares"`` or ``"absolute"``
        How the amplitudes of the chosen activations are fitted in the end. ``"absolute"`` leaves least absolute
        error (squares reweighted by one over the residual), which is what RL counts.
    stop : ByPhi, ByBits or int
        What decides the number of activations; a number takes that many, or fewer where nothing is left.
    sweeps : int
        Rounds in which every activation is taken out and put where it leaves least absolute error (among the
        places of most energy), after which those missed least are dropped while that lowers what ``stop`` counts.
        A round that gains nothing is undone and ends the search.
    max_activations : int, optional
        Bound per window; n when not given.
    compiled : bool, optional
        Whether the compiled loop runs (on the CPU) or batched torch (anywhere); when not given, the loop wherever
        the windows are on the CPU. They agree but for ties and rounding.

    Returns
    -------
    Encoded

    Raises
    ------
    InputError
        On shapes that do not belong together, an unknown name, or sweeps without a refit.
    """
    if method not in ("mp", "omp") or refit not in ("none", "squares", "absolute"):
        raise InputError(f"cannot pursue by {method!r} with refit {refit!r}", hint="mp or omp; none, squares, absolute")
    if sweeps and refit == "none":
        raise InputError("sweeps need a refit, found refit='none'", hint="give refit='absolute' or 'squares'")
    plan = Plan(
        orthogonal=method == "omp",
        turns={"none": -1, "squares": 0, "absolute": TURNS}[refit],
        patience=1 << 30 if isinstance(stop, int) else max(1, stop.patience),
        sweeps=sweeps,
        candidates=CANDIDATES,
    )
    taps, sizes = frame(windows, kernels)
    x = windows.reshape(windows.shape[0], -1, windows.shape[-1]).to(torch.float64)
    limit = min(x[0].numel(), max_activations if max_activations is not None else x[0].numel())
    if isinstance(stop, int):
        limit = min(limit, stop)
    run = encode_compiled if _is_compiled(windows, compiled) else encode_batched
    return _encoded(windows, taps, sizes, run(x, taps, sizes, _rules(x, windows.ndim - 1, stop), plan, limit))


def refit_amplitudes(
    windows: Tensor,
    kernels: Sequence[Tensor] | Tensor,
    window: Tensor,
    kernel: Tensor,
    index: Tensor,
    amplitude: Tensor,
    *,
    refit: Refit = "absolute",
    compiled: bool | None = None,
) -> Encoded:
    """Fit the amplitudes of activations chosen by anybody, a SAN's forward pass for one.

    Parameters
    ----------
    windows, kernels, refit, compiled
        As for :func:`pursue`; ``"none"`` keeps the amplitudes given.
    window, kernel : Tensor, shape (A,), int64
        ``window`` ascends.
    index : Tensor, shape (A, D), int64
        First taps.
    amplitude : Tensor, shape (A,)
        Where reweighting starts from.

    Returns
    -------
    Encoded

    Raises
    ------
    InputError
        On shapes that do not belong together.
    """
    taps, sizes = frame(windows, kernels)
    x = windows.reshape(windows.shape[0], -1, windows.shape[-1]).to(torch.float64)
    counts = torch.bincount(window, minlength=len(x))
    slot = torch.arange(len(window), device=window.device) - (counts.cumsum(0) - counts)[window]
    chosen = torch.zeros((len(x), int(counts.max()), 3), dtype=torch.int64, device=x.device)
    height = torch.zeros(chosen.shape[:2], dtype=torch.float64, device=x.device)
    chosen[window, slot, 0] = kernel
    chosen[window, slot, 3 - index.shape[1] :] = index
    height[window, slot] = amplitude.to(height)
    found = Found(chosen, height, counts)
    if refit != "none":
        fitted = fit_compiled if _is_compiled(windows, compiled) else fit_batched
        found = fitted(x, taps, sizes, found, 0 if refit == "squares" else TURNS)
    return _encoded(windows, taps, sizes, found)


def _is_compiled(windows: Tensor, compiled: bool | None) -> bool:
    if compiled and windows.device.type != "cpu":
        raise InputError(f"the compiled loop runs on the CPU, found windows on {windows.device}")
    return windows.device.type == "cpu" if compiled is None else compiled


def _rules(x: Tensor, dims: int, stop: Stop) -> Tensor:
    """Give each window's rule (B, 5), as ``_loops_greedy.objective`` reads it."""
    n = x[0].numel()
    rule = x.new_zeros((len(x), 5))
    rule[:, 3], rule[:, 4] = x.abs().sum(dim=(1, 2)), n
    if isinstance(stop, ByPhi):
        rule[:, 1], rule[:, 2] = dims + 1 if stop.numbers is None else stop.numbers, stop.n_weights
    elif isinstance(stop, ByBits):
        rule[:, 0], rule[:, 1], rule[:, 3] = 1, stop.price, n * stop.step
    else:
        rule[:, 0] = 2
    return rule


def _encoded(windows: Tensor, taps: Tensor, sizes: Tensor, found: Found) -> Encoded:
    """Read activations from their table and draw what they represent."""
    limit = found.amplitude.shape[1]
    present = torch.arange(limit, device=windows.device) < found.counts[:, None]
    window, slot = torch.nonzero(present, as_tuple=True)
    atom, amplitude = found.chosen[window, slot], found.amplitude[window, slot]
    drawn = draw(window, atom[:, 0], atom[:, 1:], amplitude, taps, len(windows), _plane(windows))
    x = windows.to(torch.float64)
    error = (drawn.reshape(x.shape) - x).abs().flatten(1).sum(dim=1)
    size = x.abs().flatten(1).sum(dim=1)
    rl = torch.where(size > 0, error / torch.where(size > 0, size, 1.0), 0.0)
    dims = windows.ndim - 1
    return Encoded(window, atom[:, 0], atom[:, 3 - dims :], amplitude, drawn.reshape(x.shape), rl, found.counts)


def _plane(windows: Tensor) -> tuple[int, int]:
    return (1 if windows.ndim == 2 else int(windows.shape[1])), int(windows.shape[-1])


def draw(
    window: Tensor,
    kernel: Tensor,
    first: Tensor,
    amplitude: Tensor,
    taps: Tensor,
    n_windows: int,
    plane: tuple[int, int],
) -> Tensor:
    """Sum activated kernels; gradients flow to ``amplitude`` and ``taps``.

    Parameters
    ----------
    window, kernel : Tensor, shape (A,), int64
    first : Tensor, shape (A, 2), int64
        Row and column of the first tap; row 0 for a signal.
    amplitude : Tensor, shape (A,)
    taps : Tensor, shape (q, a, b)
        Kernels at the first corner of a common frame, zero beyond their size.
    n_windows : int
    plane : tuple of int
        (h, w); h = 1 for a signal.

    Returns
    -------
    Tensor, shape (n_windows, h, w)
    """
    (h, w), (a, b) = plane, taps.shape[1:]
    wide, long = h + 2 * (a - 1), w + 2 * (b - 1)
    row = first[:, 0, None, None] + (a - 1) + torch.arange(a, device=taps.device)[:, None]
    column = first[:, 1, None, None] + (b - 1) + torch.arange(b, device=taps.device)
    place = (window[:, None, None] * wide + row) * long + column
    flat = taps.new_zeros(n_windows * wide * long)
    flat = flat.index_add(0, place.reshape(-1), (taps[kernel] * amplitude[:, None, None].to(taps)).reshape(-1))
    return flat.reshape(n_windows, wide, long)[:, a - 1 : a - 1 + h, b - 1 : b - 1 + w]
