"""One run: kernels learned on training windows, chosen on validation windows, and every encoder on the test windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.paper.encoder_data import Split
from pipelines.paper.encoder_fixed import by_coefficients
from pipelines.paper.encoder_kernels import N_VALIDATION, Kernels, course_of
from sanstream.san.dictionary import Course, Learned, grow, learn, phi_bar
from sanstream.san.encoders import ByPhi, Encoded, pursue, refit_amplitudes
from sanstream.san.training import evaluate, train

Row = dict[str, Any]
SWEEPS = 4
ENCODERS: dict[str, dict[str, Any]] = {
    "MP": {"method": "mp"},
    "MP + absolute": {"method": "mp", "refit": "absolute"},
    "OMP": {},
    "OMP + absolute": {"refit": "absolute"},
    "OMP + sweeps": {"refit": "absolute", "sweeps": SWEEPS},
}
BEST = "OMP + sweeps"


def kernels_run(database: str, split: Split, kernels: Kernels, seed: int, *, quick: bool) -> Row:
    """Learn kernels (unless they are fixed) and encode the test windows."""
    course = course_of(database, share=split.share if kernels.shared else 1, seed=seed, quick=quick)
    start = kernels.start(split.test.ndim - 1, seed)
    validation = split.validation[:N_VALIDATION]
    if not kernels.learned:
        stop = ByPhi(0)
        found = pursue(validation, start.kernels(), refit="absolute", stop=stop, sweeps=1)
        learned = Learned(start, phi_bar(found, stop))
    elif kernels.births:
        learned = grow(split.training, validation, start, course, births=kernels.births)
    else:
        learned = learn(split.training, validation, start, course)
    row: Row = {"W": learned.dictionary.n_weights if kernels.learned else 0, "T": course.share}
    row |= {"kernels": len(learned.dictionary.members), "validation": learned.phi}
    row["taps"] = [int(k.shape[-1]) for k in learned.dictionary.kernels()]
    test = split.test[:8] if quick else split.test
    taps = learned.dictionary.kernels()
    row["encoders"] = {name: _figures(test, taps, row["W"], course.share, None, how) for name, how in ENCODERS.items()}
    if any(m.samples is not None for m in learned.dictionary.members):
        strict = _figures(test, taps, row["W"], course.share, test.ndim + 1, ENCODERS[BEST])
        row["strict"] = strict["phi"]
    return row


def _figures(test: Tensor, taps: list[Tensor], weights: int, share: int, numbers: int | None, how: Row) -> Row:
    """Means over test windows of one encoder; ``numbers`` an activation costs when not D + 1."""
    stop = ByPhi(n_weights=weights / share, numbers=numbers)
    return _means(pursue(test, taps, stop=stop, **how), stop)


def _means(found: Encoded, stop: ByPhi) -> Row:
    n, dims = found.reconstruction[0].numel(), found.reconstruction.ndim - 1
    count = float(found.n_activations.double().mean())
    numbers = dims + 1 if stop.numbers is None else stop.numbers
    cost = (stop.n_weights + numbers * count) / n
    return {"phi": phi_bar(found, stop), "A": count, "cost": cost, "rl": float(found.rl.mean())}


def fixed_run(split: Split, name: str, *, quick: bool) -> Row:
    """Keep the largest coefficients of a transform."""
    test = (split.test[:8] if quick else split.test).numpy()
    counts, losses = by_coefficients(test, name)
    cost = test.ndim * counts / test[0].size
    best = {"phi": float(np.hypot(cost, losses).mean()), "A": float(counts.mean())}
    best |= {"cost": float(cost.mean()), "rl": float(losses.mean())}
    return {"W": 0, "T": 1, "kernels": None, "validation": None, "encoders": {name: best}}


SAN_KERNELS = {
    "SAN extrema, m = 9": ("extrema", 9),
    "SAN extrema pool, m = 10": ("extrema_pool", 10),
    "learned for OMP, m = 40": ("extrema", 40),
}
SAN_ENCODERS = ("SAN", "SAN + absolute", *ENCODERS)


def same_kernel_run(split: Split, name: str, seed: int, *, quick: bool) -> Row:
    """Give all encoders the same kernel: that of a trained SAN, or one learned for pursuit (san.md section 7)."""
    activation, m = SAN_KERNELS[name]
    kernels = Kernels(name, free=(m,))
    model = train(
        split.training.numpy(), n_kernels=1, kernel_samples=m, activation=activation, normalise=False,
        validation=split.validation.numpy(), n_epochs=1 if quick else 30, seeds=(3 * seed, 3 * seed + 1, 3 * seed + 2),
    ).model  # fmt: skip
    if "OMP" in name:
        course = Course(n_rounds=1 if quick else 20, n_steps=100, seed=seed)
        learned = learn(split.training, split.validation, kernels.start(1, seed), course)
        with torch.no_grad():
            model.kernels[0].copy_(learned.dictionary.prototypes[0])
    taps = [model.kernels[0].detach().double()]
    stop = ByPhi(n_weights=m)
    test = split.test
    mean = evaluate(model, test.float())
    forward = {"phi": mean.phi, "A": mean.n_activations, "cost": mean.cr_inverse, "rl": mean.rl}
    with torch.no_grad():
        _, activations = model(test.float())
    window, kernel, place = torch.nonzero(activations, as_tuple=True)
    index = (place - (m - 1) // 2)[:, None]
    refitted = refit_amplitudes(test, taps, window, kernel, index, activations[window, kernel, place])
    row: Row = {"W": m, "T": 1, "kernels": 1}
    row["encoders"] = {"SAN": forward, "SAN + absolute": _means(refitted, stop)}
    row["encoders"] |= {key: _means(pursue(test, taps, stop=stop, **how), stop) for key, how in ENCODERS.items()}
    return row
