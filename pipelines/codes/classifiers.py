"""One small network for signals and sparse maps alike, one for features, and one recipe for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from pipelines.paper.bonn import N_CLASSES
from pipelines.paper.bonn_classifier import Accuracy, Labelled, classify

N_EPOCHS, LEARNING_RATE, DECAY = 10, 0.004, 0.01


class _Pooled(nn.Module):
    """Mean and largest over time: (batch, channels, n) to (batch, 2 channels)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1)


def small_cnn(channels: int, *, width: int = 16) -> nn.Module:
    """Build three convolutions and a linear layer for (batch, channels, n); n at least 48."""
    layers: list[nn.Module] = [nn.BatchNorm1d(channels)]
    for before, after, taps in ((channels, width, 9), (width, width, 7), (width, width, 7)):
        layers += [nn.Conv1d(before, after, taps, padding=taps // 2), nn.BatchNorm1d(after), nn.ReLU(), nn.MaxPool1d(2)]
    return nn.Sequential(*layers, _Pooled(), nn.Dropout(0.2), nn.Linear(2 * width, N_CLASSES))


def small_mlp(features: int, *, width: int = 64) -> nn.Module:
    """Build two hidden layers for (batch, features)."""
    return nn.Sequential(
        nn.BatchNorm1d(features),
        *(nn.Linear(features, width), nn.ReLU(), nn.Dropout(0.2)),
        *(nn.Linear(width, width), nn.ReLU()),
        nn.Linear(width, N_CLASSES),
    )


def compressed(x: Tensor) -> Tensor:
    """Even out amplitudes, sign kept: ``asinh``; seizures are five times as large as the rest."""
    return torch.asinh(x)


def judged(
    inputs: Sequence[Tensor],
    labels: Sequence[Tensor],
    *,
    seed: int,
    n_epochs: int = N_EPOCHS,
    make: Callable[[], nn.Module] | None = None,
) -> Accuracy:
    """Train a network, the epoch chosen on validation.

    Parameters
    ----------
    inputs, labels : three Tensors each
        Training, validation, test; inputs (n, channels, n_samples) or (n, features).
    seed : int
    n_epochs : int
    make : callable, optional
        Builds the network; when not given, the one above that fits the inputs' shape.
    """
    if make is None:
        make = partial(small_cnn if inputs[0].ndim == 3 else small_mlp, inputs[0].shape[1])
    sides = [Labelled(x, y) for x, y in zip(inputs, labels, strict=True)]
    return classify(make, *sides, seed=seed, n_epochs=n_epochs, learning_rate=LEARNING_RATE, decay=DECAY, choose=True)
