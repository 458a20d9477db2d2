"""One sweep of Table I: every kernel size of one activation, from one seed, trained at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pipelines.paper.runs import Runs
from pipelines.paper.signals import CHECK, LEARN, TEST, Signal
from sanstream.san.flithos import FlithosMean, flithos_means
from sanstream.san.model import Decoder, San
from sanstream.san.stack import SanStack, examine
from sanstream.san.training import normalise_windows, train_sweep

N_EPOCHS, BATCH = 30, 2
Choice = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How the models of a sweep are trained.

    Parameters
    ----------
    activation : str
    decoder : str
    seed : int
    sizes : tuple of int
        Kernel sizes m, one model each.
    anneal : float
        See :func:`sanstream.san.training.train_sweep`.
    device : str
    """

    activation: str
    decoder: Decoder
    seed: int
    sizes: tuple[int, ...]
    anneal: float = 1.0
    device: str = "cpu"


def sweep(runs: Runs, signal: Signal, settings: Settings) -> dict[str, Any]:
    """Train all sizes, or read what was trained.

    Returns
    -------
    dict
        Lists in the order of ``m``: ``validation`` phi-bar and ``epoch`` of the best epoch; ``best`` and ``last``
        with cr_inverse, rl and phi on the test windows, of the best epoch and of the last one; ``kernel``: taps
        of the size that validation chooses.
    """
    sizes = settings.sizes
    key: dict[str, str | int | float | bool | None] = {
        "dataset": signal.dataset,
        "activation": settings.activation,
        "decoder": settings.decoder,
        "seed": settings.seed,
        "sizes": f"{sizes[0]}-{sizes[-1]} ({len(sizes)})",
        "anneal": settings.anneal,
        "samples": hashlib.sha256(signal.samples.tobytes()).hexdigest()[:12],
    }
    return runs.get(key, lambda: _train(signal, settings))


def _train(signal: Signal, settings: Settings) -> dict[str, Any]:
    windows = signal.windows
    trained = train_sweep(
        windows[LEARN],
        validation=windows[CHECK],
        models=[[m] for m in settings.sizes],
        activation=settings.activation,
        decoder=settings.decoder,
        seed=settings.seed,
        anneal=settings.anneal,
        n_epochs=N_EPOCHS,
        batch_size=BATCH,
        device=settings.device,
    )
    test = torch.from_numpy(normalise_windows(windows[TEST]))
    chosen = min(trained, key=lambda t: t.best.validation.phi)
    return {
        "m": list(settings.sizes),
        "validation": [t.best.validation.phi for t in trained],
        "epoch": [t.best.epoch for t in trained],
        "best": _columns([t.model for t in trained], test),
        "last": _columns([t.last for t in trained], test),
        "kernel": [round(float(v), 6) for v in chosen.kernels[0]],
    }


def _columns(models: list[San], test: torch.Tensor) -> dict[str, list[float]]:
    stack = SanStack(models)
    means: Sequence[FlithosMean] = flithos_means(examine(stack, test), stack.n_weights)
    names = ("cr_inverse", "rl", "phi", "phi_amortised")
    return {name: [round(getattr(mean, name), 5) for mean in means] for name in names}


def chosen_on_validation(run: dict[str, Any]) -> Choice:
    """Choose m by phi-bar on validation; figures are those of its best epoch on test."""
    return _choice(run, "best", run["validation"])


def chosen_on_test(run: dict[str, Any], epoch: str = "last") -> Choice:
    """Choose m by phi on test, as the published pipeline did, which kept the last epoch."""
    return _choice(run, epoch, run[epoch]["phi"])


def _choice(run: dict[str, Any], epoch: str, phi: list[float]) -> Choice:
    i = min(range(len(phi)), key=phi.__getitem__)
    return {"m": run["m"][i], **{name: values[i] for name, values in run[epoch].items()}}
