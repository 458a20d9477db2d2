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


def relative_losses(x: Tensor, reconstruction: Tensor, *, n_dims: int = 1) -> Tensor:
    """RL of each example, ``mean|x^ - x| / mean|x|`` of normalised x; 0 for an exact one, 1 for predicting zero.

    Parameters
    ----------
    x, reconstruction : Tensor, shape (..., n) or (..., h, w)
        Leading axes broadcast.
    n_dims : 1 or 2

    Returns
    -------
    Tensor, shape (...), float64
        Infinite where an example of zeros is missed.
    """
    axes = tuple(range(-n_dims, 0))
    error = (reconstruction - x).abs().mean(dim=axes, dtype=torch.float64)
    size = x.abs().mean(dim=axes, dtype=torch.float64).expand(error.shape)
    return torch.where(error == 0, torch.zeros_like(error), error / size)


def flithos(
    x: Tensor, reconstruction: Tensor, activations: Tensor, n_weights: int, *, n_windows: int | None = None
) -> list[Flithos]:
    """Give phi of each example of a batch.

    Parameters
    ----------
    x, reconstruction : Tensor, shape (batch, n) or (batch, h, w)
        Normalised windows; their axes decide D.
    activations : Tensor, shape (batch, kernels, n) or (batch, kernels, h, w)
        Non-zeros are counted exactly.
    n_weights : int
        W.
    n_windows : int, optional
        T, windows that share the kernels; the batch when not given.

    Returns
    -------
    list of Flithos, one per example
    """
    n_dims = x.ndim - 1
    counts = (activations != 0).flatten(1).sum(dim=1).tolist()
    losses = relative_losses(x, reconstruction, n_dims=n_dims).tolist()
    share = len(counts) if n_windows is None else n_windows
    return [Flithos(n_weights, a, x[0].numel(), rl, share, n_dims) for a, rl in zip(counts, losses, strict=True)]


@dataclass(frozen=True)
class Examples:
    """What several models did with several examples, before W is counted.

    Parameters
    ----------
    counts : Tensor, shape (n_examples, n_models), float64
        A, exact non-zero activations.
    losses : Tensor, shape (n_examples, n_models), float64
        RL.
    n_samples, n_dims : int
        n and D.
    """

    counts: Tensor
    losses: Tensor
    n_samples: int
    n_dims: int = 1


def flithos_means(
    examples: Examples, n_weights: Sequence[int], *, n_windows: int | None = None
) -> tuple[FlithosMean, ...]:
    """Average over examples, model by model; the same as :func:`flithos_mean` of each model's examples.

    Parameters
    ----------
    examples : Examples
    n_weights : sequence of int
        W of each model. The published code counts q m instead of q m^2 numbers in kernels of images; give that
        to compare with Table III.
    n_windows : int, optional
        T, windows that share the kernels; the number of examples when not given.
    """
    numbers, n = (examples.n_dims + 1) * examples.counts, examples.n_samples
    weights = torch.tensor(n_weights, dtype=torch.float64)
    share = len(numbers) if n_windows is None else n_windows
    ratio = (weights + numbers) / n
    columns = {
        "cr_inverse": ratio,
        "rl": examples.losses,
        "phi": torch.hypot(ratio, examples.losses),
        "phi_amortised": torch.hypot((weights / share + numbers) / n, examples.losses),
        "n_activations": examples.counts,
    }
    means = {name: column.mean(dim=0).tolist() for name, column in columns.items()}
    return tuple(
        FlithosMean(**{name: values[i] for name, values in means.items()}, n_examples=len(numbers))
        for i in range(len(n_weights))
    )


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
