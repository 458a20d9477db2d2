"""One run of Table II: a SAN learned from segments, its phi, and a classifier of what it reconstructs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipelines.paper.bonn import Part, Split
from pipelines.paper.bonn_classifier import BATCH, LEARNING_RATE, Labelled, classify, published_cnn
from sanstream.san.model import San

N_KERNELS, TOLERANCE, N_EPOCHS = 2, 2, 5


@dataclass(frozen=True)
class Task:
    """What is run.

    Parameters
    ----------
    split : str
        ``"segments"`` as published or ``"recordings"``.
    activation : str
        ``"raw"`` for the baseline.
    m : int
        Samples of each of the two kernels; 0 for the baseline.
    seed : int
        Start of kernels and classifier, and order of batches; with ``"recordings"`` of the split too, because 60
        test recordings differ more than starts do.
    """

    split: str
    activation: str
    m: int
    seed: int


def train_san(x: Tensor, activation: str, m: int, *, seed: int, n_epochs: int = N_EPOCHS) -> San:
    """Train two kernels on the mean absolute error; the last epoch's are used, as published.

    Parameters
    ----------
    x : Tensor, shape (n_segments, n), float32
    activation : str
    m : int
    seed : int
    n_epochs : int

    Returns
    -------
    San
        On the device of ``x``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = San([m] * N_KERNELS, activation=activation, decoder="paper", tolerance=TOLERANCE).to(x.device)
        optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        for _ in range(n_epochs):
            for batch in torch.split(torch.randperm(len(x)), BATCH):
                segments = x[batch.to(x.device)]
                optimiser.zero_grad()
                (model(segments)[0] - segments).abs().mean().backward()
                optimiser.step()
    return model


def reconstruct(model: San, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return reconstructions (n_segments, n) and the number of activations of each (n_segments,), int64."""
    outs, counts = [], []
    with torch.no_grad():
        for part in torch.split(x, 1024):
            out, activations = model(part)
            outs.append(out)
            counts.append((activations != 0).flatten(1).sum(dim=1))
    return torch.cat(outs), torch.cat(counts)


def published_phi(x: Tensor, reconstruction: Tensor, counts: Tensor, n_weights: int) -> dict[str, float]:
    """Means over examples of CR^-1, RL and phi, as the authors' code takes them (san.md section 1).

    RL is against ``mean|x|``, not against the deviation from the mean as :mod:`sanstream.san.flithos` has it: segments
    are scaled by the range of the whole set, so that most of ``mean|x|`` of a quiet segment is where its zero has gone
    (-0.04), and a kernel that stamps this constant explains it.

    Parameters
    ----------
    x, reconstruction : Tensor, shape (n_segments, n)
    counts : Tensor, shape (n_segments,)
        Activations.
    n_weights : int
        W.
    """
    n = x.shape[1]
    cr = (n_weights + 2 * counts.double()) / n
    rl = (reconstruction - x).double().abs().mean(dim=1) / x.double().abs().mean(dim=1)
    own = (reconstruction - x).double().abs().mean(dim=1) / (x - x.mean(dim=1, keepdim=True)).double().abs().mean(dim=1)
    return {
        "cr_inverse": float(cr.mean()),
        "rl": float(rl.mean()),
        "phi": float(torch.hypot(cr, rl).mean()),
        "rl_about_mean": float(own.mean()),
        "activations": float(counts.double().mean()),
    }


def run(task: Task, parts: Split, *, n_epochs: int = N_EPOCHS) -> dict[str, Any]:
    """Do one run.

    Returns
    -------
    dict
        phi and its parts on the test segments, accuracies, and the kernels; for the baseline accuracies alone.
    """
    sides = (parts.train, parts.validation, parts.test)
    if task.activation == "raw":
        found = classify(published_cnn, *(_raw(p) for p in sides), seed=task.seed, n_epochs=n_epochs)
        return {"accuracy": found.test, "accuracy_validation": found.validation}
    model = train_san(parts.train.x, task.activation, task.m, seed=task.seed, n_epochs=n_epochs)
    made = [reconstruct(model, p.x) for p in sides]
    read = [Labelled(out, p.y) for (out, _), p in zip(made, sides, strict=True)]
    found = classify(published_cnn, *read, seed=task.seed, n_epochs=n_epochs)
    out, counts = made[-1]
    return {
        **published_phi(parts.test.x, out, counts, model.n_weights),
        "accuracy": found.test,
        "accuracy_validation": found.validation,
        "kernels": [w.detach().cpu().tolist() for w in model.kernels],
    }


def _raw(part: Part) -> Labelled:
    return Labelled(part.x, part.y)
