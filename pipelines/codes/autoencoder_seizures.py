"""Seizures classified from the rounded latents of an autoencoder, beside those from sparse records."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.codes import coder, latents
from pipelines.codes.classifiers import judged
from pipelines.codes.segments import Segments, load
from pipelines.paper.bonn import N_CLASSES
from pipelines.paper.report import Row, mean_sd
from pipelines.paper.runs import Runs

PRDN = 20.0
"""What the autoencoder is trained for, each segment against its own deviation."""
_CHANNELS = latents.STRIDE + 2


def latent_cnn(width: int = 48) -> nn.Module:
    """Build two convolutions over steps of latents (batch, 34, 6), mean and largest, and a linear layer."""
    return nn.Sequential(
        *(nn.BatchNorm1d(_CHANNELS), nn.Conv1d(_CHANNELS, width, 3, padding=1), nn.BatchNorm1d(width), nn.ReLU()),
        *(nn.Conv1d(width, width, 3, padding=1), nn.BatchNorm1d(width), nn.ReLU()),
        *(nn.Flatten(), nn.Dropout(0.2), nn.Linear(6 * width, 48), nn.ReLU(), nn.Linear(48, N_CLASSES)),
    )


def seizure_rows(options: argparse.Namespace, runs: Runs) -> list[Row]:
    """Return one row: accuracy over seeds and what a segment's latents take."""
    data = load(options.data, quick=options.quick)
    found = []
    for seed in range(options.seeds):
        key = {"bonn": len(data.x[0]), "prdn": PRDN, "steps": options.steps, "seed": seed}
        found.append(runs.get(key, partial(_run, data, options.steps, seed, options.device)))
    mean, deviation = mean_sd([100 * r["accuracy"] for r in found])
    return [
        {
            "classified": f"latents of an autoencoder, PRDN {mean_sd([r['prdn'] for r in found])[0]:.0f} %",
            "accuracy %": mean,
            "± sd": deviation,
            "numbers a segment": mean_sd([r["numbers"] for r in found])[0],
            "bits a segment": mean_sd([r["bits"] for r in found])[0],
            "seeds": len(found),
        }
    ]


def _run(data: Segments, n_steps: int, seed: int, device: str) -> dict[str, Any]:
    """Train one autoencoder on the training segments, code the test segments, classify latents."""
    scaled, scale = zip(*(_scaled(x) for x in data.x), strict=True)
    whole = [
        torch.nn.functional.pad(x[:, None], (0, -x.shape[1] % latents.STRIDE), mode="replicate")[:, 0] for x in scaled
    ]
    n = whole[0].shape[1]
    own = latents.train(list(whole[0]), prdn=PRDN, n_samples=n, n_steps=n_steps, seed=seed, device=device)
    rounded = [latents.quantised(own.model, x.to(device), 1.0) for x in whole]
    inputs = [
        torch.cat([r, s.to(device)[..., None].expand(-1, -1, r.shape[2])], dim=1)
        for r, s in zip(rounded, scale, strict=True)
    ]
    labels = [y.to(device) for y in data.y]
    judge = judged(inputs, labels, seed=seed, make=latent_cnn)
    values = [r.transpose(1, 2).reshape(-1, latents.STRIDE).cpu().long().numpy() for r in rounded]
    prior = coder.fit([values[0]])
    stream = coder.encode(values[2], prior)
    left = latents.reconstructed(own.model, rounded[2], scaled[2].shape[1], 1.0).cpu() - scaled[2]
    count = len(rounded[2])
    return {
        "accuracy": judge.test,
        "accuracy_validation": judge.validation,
        "numbers": 2 * float((rounded[2] != 0).sum()) / count + 2,
        # mean and deviation of a segment as two numbers of 16 bits
        "bits": 8 * len(stream) / count + 32,
        "prdn": 100 * float(left.pow(2).mean().sqrt()),
        "bank_bytes": own.n_bytes + prior.n_bytes,
    }


def _scaled(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return segments of mean 0 and deviation 1, and (n, 2): mean and log deviation."""
    mean, deviation = x.mean(dim=1, keepdim=True), x.std(dim=1, keepdim=True).clamp_min(1e-3)
    return (x - mean) / deviation, torch.cat([torch.asinh(mean), deviation.log()], dim=1)
