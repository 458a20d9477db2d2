"""Training of SAN kernels: Adam on the mean absolute error, the epoch and seed chosen by phi-bar."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sanstream.errors import InputError
from sanstream.san.activations import BORDER_TOLERANCE
from sanstream.san.flithos import FlithosMean, flithos, flithos_mean
from sanstream.san.model import Decoder, San

FloatArray = npt.NDArray[np.float32]
State = dict[str, Tensor]


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
    kernels : tuple of ndarray, shape (m,), float32
    model : San
        On the CPU, holding the same kernels.
    best : Epoch
        The epoch that the kernels come from.
    history : tuple of Epoch
        Every epoch of every seed, in order.
    """

    kernels: tuple[FloatArray, ...]
    model: San
    best: Epoch
    history: tuple[Epoch, ...]


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
    """Give phi-bar of a model on normalised windows (n_windows, n), example by example."""
    with torch.no_grad():
        reconstruction, activations = model(windows)
    return flithos_mean(flithos(windows, reconstruction, activations, model.n_weights, n_windows=n_windows))


def train(
    windows: npt.ArrayLike,
    *,
    n_kernels: int,
    kernel_samples: int | Sequence[int],
    activation: str = "extrema",
    validation: npt.ArrayLike | None = None,
    decoder: Decoder = "adjoint",
    tolerance: int = BORDER_TOLERANCE,
    compete: bool = False,
    n_epochs: int = 30,
    batch_size: int = 2,
    learning_rate: float = 0.01,
    seeds: Sequence[int] = (0, 1, 2),
    normalise: bool = True,
    device: str = "cpu",
) -> Trained:
    """Train SANs on the mean absolute error and keep the epoch of least phi-bar on validation.

    Adam, beta .9/.999, no decay; kernels start from N(0, .1) (san.md section 4). phi-bar decides
    between epochs and between seeds; test data has no part in it.

    Parameters
    ----------
    windows : array-like, shape (n_windows, n)
        Training windows; normalised here unless ``normalise`` is off.
    n_kernels : int
        q.
    kernel_samples : int or sequence of int
        Taps of every kernel, or of each.
    activation : str
    validation : array-like, shape (n_validation, n), optional
        The last quarter of ``windows`` (at least one) is set aside when not given.
    decoder, tolerance, compete
        See :class:`San`.
    n_epochs, batch_size : int
    learning_rate : float
    seeds : sequence of int
        One model each.
    normalise : bool
    device : str

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        On unusable windows, an unknown activation, or numbers that do not fit together.
    """
    sizes = [kernel_samples] * n_kernels if isinstance(kernel_samples, int) else list(kernel_samples)
    if len(sizes) != n_kernels or not seeds or n_epochs < 1 or batch_size < 1:
        raise InputError(
            f"training of {n_kernels} kernels of {sizes} samples, {len(seeds)} seeds, {n_epochs} epochs, "
            f"batch {batch_size}: each must be at least 1, with one size per kernel"
        )
    learn, check = _split(windows, validation, normalise=normalise)
    history: list[Epoch] = []
    best: tuple[Epoch, State] | None = None
    for seed in seeds:
        epochs, (epoch, state) = _train_seed(
            learn.to(device),
            check.to(device),
            _seeded_model(seed, sizes, activation, decoder, tolerance, compete).to(device),
            seed=seed,
            n_epochs=n_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
        )
        history += epochs
        if best is None or epoch.validation.phi < best[0].validation.phi:
            best = (epoch, state)
    assert best is not None
    model = _seeded_model(0, sizes, activation, decoder, tolerance, compete)
    model.load_state_dict(best[1])
    kernels = tuple(w.detach().numpy().copy() for w in model.kernels)
    return Trained(kernels, model, best[0], tuple(history))


def _split(windows: npt.ArrayLike, validation: npt.ArrayLike | None, *, normalise: bool) -> tuple[Tensor, Tensor]:
    """Give training and validation windows as float32 tensors."""

    def ready(values: npt.ArrayLike) -> Tensor:
        array = normalise_windows(values) if normalise else np.asarray(values, dtype=np.float32)
        return torch.from_numpy(array)

    learn = ready(windows)
    if validation is not None:
        return learn, ready(validation)
    if len(learn) < 2:
        raise InputError(f"{len(learn)} window(s) to train and validate on", hint="give at least two windows")
    aside = max(1, len(learn) // 4)
    return learn[:-aside], learn[-aside:]


def _seeded_model(
    seed: int, sizes: Sequence[int], activation: str, decoder: Decoder, tolerance: int, compete: bool
) -> San:
    """Build a model whose start depends on ``seed`` alone, leaving torch's global state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return San(sizes, activation=activation, decoder=decoder, tolerance=tolerance, compete=compete)


def _train_seed(
    learn: Tensor,
    check: Tensor,
    model: San,
    *,
    seed: int,
    n_epochs: int,
    batch_size: int,
    learning_rate: float,
) -> tuple[list[Epoch], tuple[Epoch, State]]:
    """Train one model; returns its epochs and the best one with a copy of its weights."""
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate)
    shuffle = torch.Generator().manual_seed(seed)
    epochs: list[Epoch] = []
    best: tuple[Epoch, State] | None = None
    for number in range(n_epochs):
        losses = []
        for batch in torch.split(torch.randperm(len(learn), generator=shuffle), batch_size):
            x = learn[batch.to(learn.device)]
            optimiser.zero_grad()
            loss = (model(x)[0] - x).abs().mean()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        epoch = Epoch(seed, number, sum(losses) / len(losses), evaluate(model, check))
        epochs.append(epoch)
        if best is None or epoch.validation.phi < best[0].validation.phi:
            # a reference would follow the optimiser and end as the last epoch
            best = (epoch, {k: v.cpu() for k, v in copy.deepcopy(model.state_dict()).items()})
    assert best is not None
    return epochs, best
