"""Many SANs of one kind as one batch: kernel sizes and seeds side by side on the same input."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn

from sanstream.errors import InputError
from sanstream.san.flithos import Examples, relative_losses
from sanstream.san.model import San, activation_of, correlate_plain


class SanStack(nn.Module):
    """Models that agree in all but their kernels, which are padded to the largest one and masked.

    Kernels are padded so that tap ``floor((m - 1) / 2)`` of each stays on the sample it belongs to. Models do not
    see each other: outputs and gradients are each model's own, to rounding.

    Parameters
    ----------
    models : sequence of San
        Of the same number of kernels, activation, decoder, tolerance, competition and dimensions.

    Raises
    ------
    InputError
        When there is none, or they differ in more than their kernels.
    """

    def __init__(self, models: Sequence[San]) -> None:
        super().__init__()
        kinds = {(len(m.kernels), m.activation, m.n_dims, m.decoder, m.tolerance, m.compete) for m in models}
        if len(kinds) != 1:
            raise InputError(
                f"a stack of {len(models)} models of {len(kinds)} kinds",
                hint="models may differ in their kernels alone",
            )
        # in a tuple they are no part of this module
        self._given = tuple(models)
        self.sizes = [m.kernel_samples for m in models]
        largest = max(max(own) for own in self.sizes)
        shape = (len(models), len(self.sizes[0]), *((largest,) * models[0].n_dims))
        taps, mask = torch.zeros(shape), torch.zeros(shape)
        for i, model in enumerate(models):
            for k, w in enumerate(model.kernels):
                place: tuple[Any, ...] = (i, k, *_inside(largest, w.shape[0], w.ndim))
                taps[place], mask[place] = w.detach().cpu(), 1.0
        self.taps = nn.Parameter(taps)
        self.mask: Tensor
        self.register_buffer("mask", mask)
        self.reach = 1.0
        """Multiple of the minimum extrema distance, while training anneals it."""

    @property
    def n_weights(self) -> list[int]:
        """W of each model."""
        return [sum(m ** self._given[0].n_dims for m in own) for own in self.sizes]

    def models(self, taps: Tensor | None = None) -> list[San]:
        """Give the models one by one, on the CPU, with kernels cut from ``taps`` or from the stack's own."""
        source = (self.taps if taps is None else taps).detach().cpu()
        out = copy.deepcopy(self._given)
        for i, model in enumerate(out):
            for k, w in enumerate(model.kernels):
                place: tuple[Any, ...] = (i, k, *_inside(source.shape[-1], w.shape[0], w.ndim))
                w.data = source[place].clone()
        return list(out)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct windows by every model.

        Parameters
        ----------
        x : Tensor, shape (batch, n) or (batch, h, w), float

        Returns
        -------
        reconstruction : Tensor, shape (batch, models, n) or (batch, models, h, w)
        activations : Tensor, shape (batch, models, q, n) or (batch, models, q, h, w)
        """
        kernels = self.taps * self.mask
        s = correlate_plain(x[:, None], kernels.flatten(0, 1)[:, None])
        s = s.reshape(len(x), *kernels.shape[:2], *x.shape[1:])
        activations = activation_of(self._given[0], self.sizes, s, reach=self.reach)(s)
        return self._decode(activations, kernels), activations

    def _decode(self, activations: Tensor, kernels: Tensor) -> Tensor:
        """Sum kernels put on activations, over q, by Fourier transforms."""
        axes = tuple(range(-self._given[0].n_dims, 0))
        longest, left = kernels.shape[-1], (kernels.shape[-1] - 1) // 2
        if self._given[0].decoder == "paper":
            kernels, left = kernels.flip(axes), longest - 1 - left
        shape = activations.shape[-self._given[0].n_dims :]
        # what wraps around stays outside the part that is cut out
        sizes = [next_fast_len(max(n + left, n + longest - 1 - left, longest), real=True) for n in shape]
        spectrum = torch.fft.rfftn(activations, s=sizes, dim=axes) * torch.fft.rfftn(kernels, s=sizes, dim=axes)
        whole: Tensor = torch.fft.irfftn(spectrum.sum(dim=2), s=sizes, dim=axes)
        for axis, n in zip(axes, shape, strict=True):
            whole = whole.narrow(axis, left, n)
        return whole


def _inside(largest: int, m: int, n_dims: int) -> tuple[slice, ...]:
    """Where a kernel of ``m`` stands in one of ``largest``."""
    first = (largest - 1) // 2 - (m - 1) // 2
    return (slice(first, first + m),) * n_dims


def examine(stack: SanStack, windows: Tensor, *, batch_size: int = 64) -> Examples:
    """Count activations and measure RL of every window by every model.

    Parameters
    ----------
    stack : SanStack
    windows : Tensor, shape (n_windows, n) or (n_windows, h, w)
        Normalised, on the stack's device.
    batch_size : int
        Windows at a time.
    """
    counts, losses = [], []
    n_dims = windows.ndim - 1
    with torch.no_grad():
        for x in torch.split(windows, batch_size):
            reconstruction, activations = stack(x)
            counts.append((activations != 0).flatten(2).sum(dim=2).double())
            losses.append(relative_losses(x[:, None], reconstruction, n_dims=n_dims))
    return Examples(torch.cat(counts).cpu(), torch.cat(losses).cpu(), windows[0].numel(), n_dims)
