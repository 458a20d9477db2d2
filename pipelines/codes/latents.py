"""A small convolutional autoencoder whose latents are rounded: the learned rival of sparse activations."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 32
"""Samples that a step of latents stands for."""
BATCH = 16
FINENESS = 4.0
"""Latents at the start, per deviation of the signal."""

Ints = npt.NDArray[np.int64]


class Autoencoder(nn.Module):
    """Three convolutions down, three transposed ones up, each beside a linear path; rounding decides what is kept.

    There are as many latents as samples. The linear paths start as a lapped cosine transform (MDCT, sine window), the
    others at zero: training starts from a transform codec, and in minutes gets further than from noise.

    Parameters
    ----------
    width : int
        Channels in the middle; half of them after the first layer.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        half = width // 2
        self.encoder = nn.Sequential(
            *(nn.Conv1d(1, half, 9, 4, padding=4), nn.GELU()),
            *(nn.Conv1d(half, width, 9, 4, padding=4), nn.GELU()),
            nn.Conv1d(width, STRIDE, 5, 2, padding=2),
        )
        self.decoder = nn.Sequential(
            *(nn.ConvTranspose1d(STRIDE, width, 6, 2, padding=2), nn.GELU()),
            *(nn.ConvTranspose1d(width, half, 12, 4, padding=4), nn.GELU()),
            nn.ConvTranspose1d(half, 1, 20, 4, padding=8),
        )
        self.analysis = nn.Conv1d(1, STRIDE, 2 * STRIDE, STRIDE, padding=STRIDE // 2, bias=False)
        self.synthesis = nn.ConvTranspose1d(STRIDE, 1, 2 * STRIDE, STRIDE, padding=STRIDE // 2, bias=False)
        with torch.no_grad():
            for linear in (self.analysis, self.synthesis):
                linear.weight.copy_(lapped_cosines()[:, None])
            for last in (self.encoder[-1], self.decoder[-1]):
                for parameter in last.parameters():
                    parameter.zero_()
        start = torch.tensor([math.log(0.3), 0.5, 0.5])
        self.scale = nn.Parameter(start[:, None, None].repeat(1, STRIDE, 1))

    def bits(self, noisy: Tensor) -> Tensor:
        """Ideal bits of latents (batch, STRIDE, steps), for training alone.

        A Laplace density, its scale a channel's own and by what the coder looks at too: the channel's last magnitude
        and the mean of all.
        """
        last = functional.pad(noisy.detach().abs(), (1, -1))
        log_scale = self.scale[0] + self.scale[1] * last.log1p() + self.scale[2] * last.mean(1, keepdim=True).log1p()
        scale = log_scale.exp().clamp_min(0.02)

        def below(v: Tensor) -> Tensor:
            return torch.where(v < 0, 0.5 * (v.clamp(max=0) / scale).exp(), 1 - 0.5 * (-v.clamp(min=0) / scale).exp())

        # symmetric: the lower side keeps precision
        away = -noisy.abs()
        share = below(away + 0.5) - below(away - 0.5)
        return -share.clamp_min(1e-9).log2()

    def encode(self, x: Tensor) -> Tensor:
        """Latents (batch, STRIDE, n / STRIDE) of signals (batch, n), n a multiple of STRIDE."""
        latents: Tensor = FINENESS * (self.analysis(x[:, None]) + self.encoder(x[:, None]))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Signals (batch, n) of latents."""
        scaled = latents / FINENESS
        signals: Tensor = (self.synthesis(scaled) + self.decoder(scaled))[:, 0]
        return signals


def lapped_cosines() -> Tensor:
    """Orthogonal lapped cosines, (STRIDE, 2 STRIDE): sine-windowed MDCT (Princen, Johnson & Bradley, 1987)."""
    t, k = torch.arange(2 * STRIDE) + 0.5, torch.arange(STRIDE)[:, None] + 0.5
    window = torch.sin(math.pi / (2 * STRIDE) * t)
    return math.sqrt(2 / STRIDE) * window * torch.cos(math.pi / STRIDE * (t + STRIDE / 2) * k)


@dataclass(frozen=True)
class Trained:
    """An autoencoder as the decoder holds it.

    Parameters
    ----------
    model : Autoencoder
        Weights of the decoder rounded to float16.
    n_bytes : int
        Of the decoder's weights, two a number.
    bits_per_sample, prdn : float
        Of the last steps of training, noise for rounding, ideal code length.
    """

    model: Autoencoder
    n_bytes: int
    bits_per_sample: float
    prdn: float


def train(
    signals: list[Tensor],
    *,
    prdn: float,
    n_samples: int = 2048,
    n_steps: int = 3000,
    seed: int = 0,
    device: str = "cpu",
) -> Trained:
    """Learn to reach a PRDN in few bits.

    The loss is bits + lambda * squared error; lambda follows the error, so that the mean of PRDN^2 over training
    windows settles at the value asked for.

    Parameters
    ----------
    signals : list of Tensor, shape (n_i,), float32
        Of mean 0 and deviation 1 each; windows are drawn from all samples alike.
    prdn : float
        Per cent.
    n_samples : int
        Of a window, a multiple of STRIDE.
    n_steps : int
    seed : int
    device : str

    Returns
    -------
    Trained
    """
    goal, rng = (prdn / 100) ** 2, np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Autoencoder().to(device)
        groups = [{"params": [w for name, w in model.named_parameters() if name != "scale"]}, {"params": [model.scale]}]
        optimiser = torch.optim.Adam(groups)
        log_lambda, rates, errors = math.log(0.2 / goal), [], []
        for step in range(n_steps):
            done = step / n_steps
            for group, most in zip(optimiser.param_groups, (3e-3, 3e-2), strict=True):
                group["lr"] = most * min(1.0, 20 * done + 0.02) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
            x = _draw(signals, n_samples, rng).to(device)
            latents = model.encode(x)
            noisy = latents + torch.rand_like(latents) - 0.5
            rate = model.bits(noisy).sum() / x.numel()
            error = (model.decode(noisy) - x).pow(2).mean()
            optimiser.zero_grad()
            loss: Any = rate + math.exp(log_lambda) * error
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            rates.append(float(rate.detach()))
            errors.append(float(error.detach()))
            if done > 0.4:
                log_lambda += 0.005 * max(-1.0, min(1.0, (errors[-1] - goal) / goal))
    last = slice(-max(1, n_steps // 10), None)
    return _as_held(model, float(np.mean(rates[last])), 100 * math.sqrt(float(np.mean(errors[last]))))


def _draw(signals: list[Tensor], n_samples: int, rng: np.random.Generator) -> Tensor:
    lengths = np.array([len(s) - n_samples for s in signals], dtype=np.float64) + 1
    picks = rng.choice(len(signals), BATCH, p=lengths / lengths.sum())
    starts = [int(rng.integers(0, len(signals[i]) - n_samples + 1)) for i in picks]
    return torch.stack([signals[i][s : s + n_samples] for i, s in zip(picks, starts, strict=True)])


def _as_held(model: Autoencoder, rate: float, prdn: float) -> Trained:
    held = copy.deepcopy(model).eval()
    with torch.no_grad():
        kept = [*held.synthesis.parameters(), *held.decoder.parameters()]
        for weights in kept:
            weights.copy_(weights.half().float())
    count = sum(w.numel() for w in kept)
    return Trained(held, 2 * count, rate, prdn)


def quantised(model: Autoencoder, x: Tensor, gain: float) -> Tensor:
    """Round latents of signals (batch, n) in steps of 1/gain: (batch, STRIDE, ceil(n / STRIDE)), whole numbers."""
    with torch.no_grad():
        whole = functional.pad(x[:, None], (0, -x.shape[1] % STRIDE), mode="replicate")[:, 0]
        return torch.round(gain * model.encode(whole))


def reconstructed(model: Autoencoder, latents: Tensor, n_samples: int, gain: float) -> Tensor:
    """Decode rounded latents: (batch, n_samples)."""
    with torch.no_grad():
        return model.decode(latents / gain)[:, :n_samples]
