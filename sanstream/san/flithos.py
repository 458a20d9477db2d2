"""Flithos, phi: how few numbers describe a window, and how badly. It counts numbers, never bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sanstream.errors import InputError


@dataclass(frozen=True)
class Flithos:
    """Phi of one example and its parts (Bizopoulos & Koutsouris, eq. for CR and phi; san.md section 1).

    Parameters
    ----------
    n_weights : int
        W, numbers in the kernels.
    n_activations : float
        A, exact non-zero activations.
    n_samples : int
        n.
    rl : float
        Relative loss, ``mean|x^ - x| / mean|x|`` after normalisation; 1 predicts zero.
    n_windows : int
        T, windows that share the kernels; W counts once for all of them.
    n_dims : int
        D: an activation is D numbers of position and one of amplitude.
    """

    n_weights: int
    n_activations: float
    n_samples: int
    rl: float
    n_windows: int = 1
    n_dims: int = 1

    @property
    def cr_inverse(self) -> float:
        """``(W + (D + 1) A) / n``, the published form: W is paid by every window."""
        return (self.n_weights + (self.n_dims + 1) * self.n_activations) / self.n_samples

    @property
    def phi(self) -> float:
        """``sqrt(cr_inverse^2 + rl^2)``."""
        return math.hypot(self.cr_inverse, self.rl)

    @property
    def cr_inverse_amortised(self) -> float:
        """``(W/T + (D + 1) A) / n``: a stream pays W once for its T windows."""
        return (self.n_weights / self.n_windows + (self.n_dims + 1) * self.n_activations) / self.n_samples

    @property
    def phi_amortised(self) -> float:
        """Phi with W shared by the T windows."""
        return math.hypot(self.cr_inverse_amortised, self.rl)


@dataclass(frozen=True)
class FlithosMean:
    """Means over examples, each column on its own (so phi is at least the hypotenuse of the others).

    Parameters
    ----------
    cr_inverse, rl, phi, phi_amortised, n_activations : float
    n_examples : int
    """

    cr_inverse: float
    rl: float
    phi: float
    phi_amortised: float
    n_activations: float
    n_examples: int


def relative_losses(x: Tensor, reconstruction: Tensor) -> Tensor:
    """RL of each window, ``mean|x^ - x| / mean|x - mean x|``; 0 for an exact window.

    Parameters
    ----------
    x, reconstruction : Tensor, shape (batch, n)

    Returns
    -------
    Tensor, shape (batch,), float64
        Agrees with :func:`sanstream.quality.relative_loss`; infinite where a constant window is missed.
    """
    a, b = x.to(torch.float64), reconstruction.to(torch.float64)
    error = (b - a).abs().mean(dim=-1)
    size = (a - a.mean(dim=-1, keepdim=True)).abs().mean(dim=-1)
    return torch.where(error == 0, torch.zeros_like(error), error / size)


def flithos(
    x: Tensor, reconstruction: Tensor, activations: Tensor, n_weights: int, *, n_windows: int | None = None
) -> list[Flithos]:
    """Give phi of each example of a batch.

    Parameters
    ----------
    x, reconstruction : Tensor, shape (batch, n)
        Normalised windows.
    activations : Tensor, shape (batch, kernels, n)
        Non-zeros are counted exactly.
    n_weights : int
        W.
    n_windows : int, optional
        T, windows that share the kernels; the batch when not given.

    Returns
    -------
    list of Flithos, one per example
    """
    counts = (activations != 0).flatten(1).sum(dim=1).tolist()
    losses = relative_losses(x, reconstruction).tolist()
    share = len(counts) if n_windows is None else n_windows
    return [Flithos(n_weights, a, x.shape[-1], rl, share) for a, rl in zip(counts, losses, strict=True)]


def flithos_mean(examples: Sequence[Flithos]) -> FlithosMean:
    """Average examples column by column; ``phi`` is the paper's phi-bar.

    Raises
    ------
    InputError
        When there is no example.
    """
    count = len(examples)
    if count == 0:
        raise InputError("mean phi of no examples", hint="give at least one window")
    return FlithosMean(
        cr_inverse=sum(e.cr_inverse for e in examples) / count,
        rl=sum(e.rl for e in examples) / count,
        phi=sum(e.phi for e in examples) / count,
        phi_amortised=sum(e.phi_amortised for e in examples) / count,
        n_activations=sum(e.n_activations for e in examples) / count,
        n_examples=count,
    )
