"""A sparsely activated network: correlate, activate sparsely, decode with the same kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sanstream.errors import InputError
from sanstream.san.activations import BORDER_TOLERANCE, NAMES, Activation, make_activation

Decoder = Literal["adjoint", "paper"]


class San(nn.Module):
    """SAN of signals or images: ``s_i = x * w_i``, ``a_i = act(s_i)``, ``x^ = sum_i decode(a_i, w_i)``.

    Parameters
    ----------
    kernel_samples : sequence of int
        Taps m of each of the q kernels; m x m in images.
    activation : str
        ``identity``, ``relu``, ``topk_absolutes``, ``extrema_pool`` or ``extrema``.
    n_dims : 1 or 2
        D: signals or images.
    decoder : ``"adjoint"`` or ``"paper"``
        ``adjoint`` stamps the kernel itself (transposed convolution); ``paper`` correlates a second
        time with the same kernel, as the published code does, which stamps it reversed.
    tolerance : int
        Border tolerance of extrema, in samples.
    compete : bool
        Kernels compete for territory (extrema only).
    init_std : float
        Kernels start from N(0, init_std).

    Raises
    ------
    InputError
        On an unknown activation or decoder, or a kernel without taps.
    """

    def __init__(
        self,
        kernel_samples: Sequence[int],
        *,
        activation: str,
        n_dims: int = 1,
        decoder: Decoder = "adjoint",
        tolerance: int = BORDER_TOLERANCE,
        compete: bool = False,
        init_std: float = 0.1,
    ) -> None:
        super().__init__()
        if activation not in NAMES:
            raise InputError(f"unknown activation {activation!r}", hint=f"use one of {', '.join(NAMES)}")
        if decoder not in ("adjoint", "paper"):
            raise InputError(f"unknown decoder {decoder!r}", hint="use adjoint or paper")
        if n_dims not in (1, 2):
            raise InputError(f"a SAN of {n_dims} dimensions", hint="use 1 (signals) or 2 (images)")
        if not kernel_samples or min(kernel_samples) < 1:
            raise InputError(f"kernels of {list(kernel_samples)} samples; each needs at least 1")
        self.activation = activation
        self.n_dims = n_dims
        self.decoder = decoder
        self.tolerance = tolerance
        self.compete = compete
        self.kernels = nn.ParameterList([nn.Parameter(init_std * torch.randn((m,) * n_dims)) for m in kernel_samples])

    @property
    def kernel_samples(self) -> list[int]:
        """Size m of each kernel: taps, or the side of its square."""
        return [int(w.shape[0]) for w in self.kernels]

    @property
    def n_weights(self) -> int:
        """W, numbers in the kernels."""
        return sum(m**self.n_dims for m in self.kernel_samples)

    def similarity(self, x: Tensor) -> Tensor:
        """Correlate windows with each kernel, zero-padded.

        Parameters
        ----------
        x : Tensor, shape (batch, n) or (batch, h, w)

        Returns
        -------
        Tensor, shape (batch, q, n) or (batch, q, h, w)
        """
        return torch.cat([correlate_plain(x[:, None], w[None, None]) for w in self.kernels], dim=1)

    def activate(self, s: Tensor) -> Tensor:
        """Apply the sparse activation.

        Parameters
        ----------
        s : Tensor, shape (batch, q, n) or (batch, q, h, w)
            Similarities.

        Returns
        -------
        Tensor, shape of ``s``
        """
        return activation_of(self, self.kernel_samples, s)(s)

    def decode(self, activations: Tensor) -> Tensor:
        """Sum the decoded activations over kernels.

        Parameters
        ----------
        activations : Tensor, shape (batch, q, n) or (batch, q, h, w)

        Returns
        -------
        Tensor, shape (batch, n) or (batch, h, w)
        """
        stamp = _stamp if self.decoder == "adjoint" else correlate_plain
        parts = [stamp(activations[:, i : i + 1], w[None, None]) for i, w in enumerate(self.kernels)]
        return torch.stack(parts).sum(dim=0)[:, 0]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct windows.

        Parameters
        ----------
        x : Tensor, shape (batch, n) or (batch, h, w), float

        Returns
        -------
        reconstruction : Tensor, shape of ``x``
        activations : Tensor, shape (batch, q, n) or (batch, q, h, w)
            An activation at t puts tap ``floor((m - 1) / 2)`` on sample t.
        """
        activations = self.activate(self.similarity(x))
        return self.decode(activations), activations


def activation_of(
    model: San, kernel_samples: Sequence[int] | Sequence[Sequence[int]], s: Tensor, *, reach: float = 1.0
) -> Activation:
    """Build the activation of a model, or of models of its kind, for similarities like ``s``."""
    return make_activation(
        model.activation,
        n_samples=min(s.shape[-model.n_dims :]),
        kernel_samples=kernel_samples,
        n_dims=model.n_dims,
        tolerance=model.tolerance,
        compete=model.compete,
        reach=reach,
    )


def correlate_plain(x: Tensor, w: Tensor) -> Tensor:
    """Cross-correlate (batch, 1, ...) with kernels (q, 1, m[, m]), padded left ``floor((m - 1) / 2)``.

    A sum of products and nothing else: similarities of zeros are exact zeros, which A counts.
    """
    m = w.shape[-1]
    left = (m - 1) // 2
    padded = functional.pad(x, (left, m - 1 - left) * (w.ndim - 2))
    convolve = functional.conv1d if w.ndim == 3 else functional.conv2d
    # cuDNN may take Winograd or Fourier forms, of which zeros come out as rounding noise
    with torch.backends.cudnn.flags(enabled=False):
        return convolve(padded, w)


def _stamp(a: Tensor, w: Tensor) -> Tensor:
    """Adjoint of :func:`correlate_plain` for one kernel: put it on every activation."""
    left = (w.shape[-1] - 1) // 2
    if w.ndim == 3:
        return functional.conv_transpose1d(a, w)[..., left : left + a.shape[-1]]
    out = functional.conv_transpose2d(a, w)
    return out[..., left : left + a.shape[-2], left : left + a.shape[-1]]
