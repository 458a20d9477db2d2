"""Training of SAN kernels: Adam on the mean absolute error, the epoch and seed chosen by phi-bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sanstream.errors import InputError
from sanstream.san.activations import BORDER_TOLERANCE
from sanstream.san.flithos import FlithosMean, flithos_means
from sanstream.san.model import Decoder, San
from sanstream.san.stack import SanStack, examine

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Epoch:
    """One epoch of one seed.

    Parameters
    ----------
    seed, epoch : int
        Epochs count from 0.
    loss : float
        Mean training MAE over the epoch's batches.
    validation : FlithosMean
        phi-bar and its parts on the validation windows after the epoch.
    """

    seed: int
    epoch: int
    loss: float
    validation: FlithosMean


@dataclass(frozen=True)
class Trained:
    """Kernels of the best epoch of the best seed.

    Parameters
    ----------
    kernels : tuple of ndarray, shape (m,), or (m, m) of images, float32
    model : San
        On the CPU, holding the same kernels.
    best : Epoch
        The epoch that the kernels come from.
    history : tuple of Epoch
        Every epoch of every seed, in order.
    last : San
        The same seed's kernels after its last epoch: what the published pipeline kept.
    """

    kernels: tuple[FloatArray, ...]
    model: San
    best: Epoch
    history: tuple[Epoch, ...]
    last: San


def normalise_windows(windows: npt.ArrayLike) -> FloatArray:
    """Subtract each window's mean and divide by its standard deviation (n - 1), as the paper does.

    Parameters
    ----------
    windows : array-like, shape (n_windows, n)

    Returns
    -------
    ndarray, shape (n_windows, n), float32
        A constant window becomes zero.

    Raises
    ------
    InputError
        When the windows are no finite two-dimensional array of at least 2 samples each.
    """
    x = np.asarray(windows, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] < 2 or not np.isfinite(x).all():
        raise InputError(f"windows have shape {x.shape}; expected finite values of shape (n_windows, n), n >= 2")
    x = x - x.mean(axis=1, keepdims=True)
    deviation = x.std(axis=1, ddof=1, keepdims=True)
    out: FloatArray = (x / np.where(deviation > 0, deviation, 1.0)).astype(np.float32)
    return out


def evaluate(model: San, windows: Tensor, *, n_windows: int | None = None) -> FlithosMean:
    """Give phi-bar of a model on normalised windows (n_windows, n) or (n_windows, h, w), example by example."""
    examples = examine(SanStack([model]).to(windows.device), windows)
    return flithos_means(examples, [model.n_weights], n_windows=n_windows)[0]


def train(
    windows: npt.ArrayLike,
    *,
    n_kernels: int,
    kernel_samples: int | Sequence[int],
    seeds: Sequence[int] = (0, 1, 2),
    **options: Any,
) -> Trained:
    """Train a SAN from several seeds and keep the one of least phi-bar on validation.

    phi-bar decides between epochs and between seeds; test data has no part in it.

    Parameters
    ----------
    windows : array-like, shape (n_windows, n) or (n_windows, h, w)
    n_kernels : int
        q.
    kernel_samples : int or sequence of int
        Size of every kernel, or of each.
    seeds : sequence of int
        One model each.
    **options
        As in ``train_sweep``.

    Returns
    -------
    Trained
        Its history holds the epochs of all seeds.

    Raises
    ------
    InputError
        On unusable windows, an unknown activation, or numbers that do not fit together.
    """
    sizes = [kernel_samples] * n_kernels if isinstance(kernel_samples, int) else list(kernel_samples)
    if len(sizes) != n_kernels or not seeds:
        raise InputError(
            f"training of {n_kernels} kernels of {sizes} samples, {len(seeds)} seeds: "
            f"each must be at least 1, with one size per kernel"
        )
    runs = [train_sweep(windows, models=[sizes], seed=seed, **options)[0] for seed in seeds]
    best = min(runs, key=lambda run: run.best.validation.phi)
    return replace(best, history=tuple(epoch for run in runs for epoch in run.history))


def train_sweep(
    windows: npt.ArrayLike,
    *,
    models: Sequence[Sequence[int]],
    activation: str = "extrema",
    validation: npt.ArrayLike | None = None,
    decoder: Decoder = "adjoint",
    tolerance: int = BORDER_TOLERANCE,
    compete: bool = False,
    n_epochs: int = 30,
    batch_size: int = 2,
    learning_rate: float = 0.01,
    seed: int = 0,
    anneal: float = 1.0,
    normalise: bool = True,
    device: str = "cpu",
) -> tuple[Trained, ...]:
    """Train several SANs at once, each on its own mean absolute error, and keep each one's best epoch.

    Adam, beta .9/.999, no decay; kernels start from N(0, .1) (san.md section 4). The loss is the sum of the
    models' own; as Adam works number by number, that trains each as it would be trained alone.

    Parameters
    ----------
    windows : array-like, shape (n_windows, n) or (n_windows, h, w)
        Training windows or images; windows are normalised here unless ``normalise`` is off. Images never are.
    models : sequence of sequence of int
        Kernel sizes of each model; all have the same number of kernels.
    activation : str
    validation : array-like, shape of ``windows``, optional
        The last quarter of ``windows`` (at least one) is set aside when not given.
    decoder, tolerance, compete
        See :class:`San`.
    n_epochs, batch_size : int
    learning_rate : float
    seed : int
        Decides the first kernels of each model and the order of the windows.
    anneal : float
        In the first half of the epochs the minimum extrema distance goes from this multiple of its own to
        itself (the paper's future work); validation always has its own.
    normalise : bool
    device : str

    Returns
    -------
    tuple of Trained
        In the order of ``models``.

    Raises
    ------
    InputError
        On unusable windows, an unknown activation, or numbers that do not fit together.
    """
    if not models or n_epochs < 1 or batch_size < 1:
        raise InputError(
            f"training of {len(models)} models, {n_epochs} epochs, batch {batch_size}: each must be at least 1"
        )
    learn, check = _split(windows, validation, normalise=normalise)
    flat = torch.nonzero(check.flatten(1).abs().amax(dim=1) == 0).flatten().tolist()
    if flat or not bool(torch.isfinite(learn).all() & torch.isfinite(check).all()):
        raise InputError(
            f"windows to validate on are constant (numbers {flat[:5]})" if flat else "windows hold NaN or infinity",
            hint="leave such windows out: phi is not defined on them",
        )
    n_dims = learn.ndim - 1
    start = [_seeded_model(seed, sizes, activation, n_dims, decoder, tolerance, compete) for sizes in models]
    stack = SanStack(start).to(device)
    learn, check = learn.to(device), check.to(device)
    optimiser = torch.optim.Adam([stack.taps], lr=learning_rate)
    shuffle = torch.Generator().manual_seed(seed)
    history: list[tuple[Epoch, ...]] = []
    best, best_taps = [torch.inf] * len(models), stack.taps.detach().clone()
    for number in range(n_epochs):
        stack.reach = anneal + (1 - anneal) * min(1.0, number / max(1, n_epochs // 2))
        losses = _train_epoch(stack, optimiser, learn, torch.randperm(len(learn), generator=shuffle), batch_size)
        stack.reach = 1.0
        found = flithos_means(examine(stack, check, batch_size=max(batch_size, 16)), stack.n_weights)
        history.append(tuple(Epoch(seed, number, loss, mean) for loss, mean in zip(losses, found, strict=True)))
        for i, mean in enumerate(found):
            if not math.isfinite(mean.phi):
                raise InputError(f"phi of model {i} is {mean.phi} after epoch {number}", hint="lower the learning rate")
            if mean.phi < best[i]:
                # a reference would follow the optimiser and end as the last epoch
                best[i], best_taps[i] = mean.phi, stack.taps.detach()[i]
    return tuple(
        _trained(model, last, tuple(epochs))
        for model, last, epochs in zip(stack.models(best_taps), stack.models(), zip(*history, strict=True), strict=True)
    )


def _train_epoch(
    stack: SanStack, optimiser: torch.optim.Optimizer, learn: Tensor, order: Tensor, batch_size: int
) -> list[float]:
    """Take one pass; gives each model's mean MAE over the batches."""
    losses = []
    for batch in torch.split(order, batch_size):
        x = learn[batch.to(learn.device)]
        optimiser.zero_grad()
        each = (stack(x)[0] - x[:, None]).abs().flatten(2).mean(dim=(0, 2))
        each.sum().backward()
        optimiser.step()
        losses.append(each.detach())
    mean: list[float] = torch.stack(losses).mean(dim=0).tolist()
    return mean


def _trained(model: San, last: San, epochs: tuple[Epoch, ...]) -> Trained:
    best = min(epochs, key=lambda e: e.validation.phi)
    return Trained(tuple(w.detach().numpy().copy() for w in model.kernels), model, best, epochs, last)


def _split(windows: npt.ArrayLike, validation: npt.ArrayLike | None, *, normalise: bool) -> tuple[Tensor, Tensor]:
    """Give training and validation windows as float32 tensors."""

    def ready(values: npt.ArrayLike) -> Tensor:
        array = np.asarray(values)
        if normalise and array.ndim < 3:
            array = normalise_windows(array)
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))

    learn = ready(windows)
    if validation is not None:
        return learn, ready(validation)
    if len(learn) < 2:
        raise InputError(f"{len(learn)} window(s) to train and validate on", hint="give at least two windows")
    aside = max(1, len(learn) // 4)
    return learn[:-aside], learn[-aside:]


def _seeded_model(
    seed: int, sizes: Sequence[int], activation: str, n_dims: int, decoder: Decoder, tolerance: int, compete: bool
) -> San:
    """Build a model whose start depends on ``seed`` alone, leaving torch's global state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return San(sizes, activation=activation, n_dims=n_dims, decoder=decoder, tolerance=tolerance, compete=compete)
