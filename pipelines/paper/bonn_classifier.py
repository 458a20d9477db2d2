"""The published classifier of Table II, and how classifiers of segments or codes are trained."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.paper.bonn import N_CLASSES

BATCH, LEARNING_RATE = 64, 0.01


@dataclass(frozen=True)
class Labelled:
    """What a classifier reads, and what it should say.

    Parameters
    ----------
    x : Tensor, shape (n_examples, ...)
    y : Tensor, shape (n_examples,), int64
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Accuracy:
    """Shares of examples classified right, 0 to 1.

    Parameters
    ----------
    validation, test : float
    epoch : int
        Whose weights were used, from 1.
    """

    validation: float
    test: float
    epoch: int


def published_cnn() -> nn.Module:
    """Build the classifier of the authors' code for segments (batch, 178) (san.md section 4)."""
    return nn.Sequential(
        nn.Unflatten(1, (1, -1)),
        *(nn.Conv1d(1, 3, 5), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Conv1d(3, 16, 5), nn.ReLU(), nn.MaxPool1d(2)),
        nn.Flatten(),
        *(nn.Linear(656, 120), nn.ReLU()),
        *(nn.Linear(120, 84), nn.ReLU()),
        nn.Linear(84, N_CLASSES),
    )


def accuracy(model: nn.Module, data: Labelled) -> float:
    """Share of examples whose most likely class is theirs."""
    model.eval()
    with torch.no_grad():
        right = sum(
            int((model(x).argmax(dim=1) == y).sum())
            for x, y in zip(torch.split(data.x, 1024), torch.split(data.y, 1024), strict=True)
        )
    return right / len(data.y)


def classify(
    make: Callable[[], nn.Module],
    train: Labelled,
    validation: Labelled,
    test: Labelled,
    *,
    seed: int,
    n_epochs: int = 5,
    learning_rate: float = LEARNING_RATE,
    decay: float = 0.0,
    choose: bool = False,
) -> Accuracy:
    """Train a classifier by Adam on cross-entropy, batches of 64, and count what it gets right.

    Parameters
    ----------
    make : callable
        Builds the model; its start and the order of batches depend on ``seed`` alone.
    train, validation, test : Labelled
    seed : int
    n_epochs : int
    learning_rate : float
        Constant, as published; with ``choose`` it falls to 0 along a half cosine.
    decay : float
        Weight decay, decoupled.
    choose : bool
        Take the epoch that is best on validation (the first of equals), not the last one.

    Returns
    -------
    Accuracy
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make().to(train.x.device)
        optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=decay)
        best, best_state, best_epoch = -1.0, model.state_dict(), 0
        for number in range(1, n_epochs + 1):
            if choose:
                _set_rate(optimiser, learning_rate, (number - 1) / n_epochs)
            _epoch(model, optimiser, train)
            checked = accuracy(model, validation) if choose or number == n_epochs else -1.0
            if checked > best or not choose:
                best, best_epoch = checked, number
                best_state = copy.deepcopy(model.state_dict())
        model.load_state_dict(best_state)
        return Accuracy(best, accuracy(model, test), best_epoch)


def _set_rate(optimiser: torch.optim.Optimizer, first: float, done: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = first * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * done))))


def _epoch(model: nn.Module, optimiser: torch.optim.Optimizer, data: Labelled) -> None:
    model.train()
    for batch in torch.split(torch.randperm(len(data.y)), BATCH):
        rows = batch.to(data.x.device)
        optimiser.zero_grad()
        loss: Any = functional.cross_entropy(model(data.x[rows]), data.y[rows])
        loss.backward()
        optimiser.step()
