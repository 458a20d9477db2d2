"""A sparsely activated network: correlate, activate sparsely, decode with the same kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sanstream.errors import InputError
from sanstream.san.activations import BORDER_TOLERANCE, NAMES, make_activation

Decoder = Literal["adjoint", "paper"]


class San(nn.Module):
    """SAN in one dimension: ``s_i = x * w_i``, ``a_i = act(s_i)``, ``x^ = sum_i decode(a_i, w_i)``.

    Parameters
    ----------
    kernel_samples : sequence of int
        Taps m of each of the q kernels.
    activation : str
        ``identity``, ``relu``, ``topk_absolutes``, ``extrema_pool`` or ``extrema``.
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
        if not kernel_samples or min(kernel_samples) < 1:
            raise InputError(f"kernels of {list(kernel_samples)} samples; each needs at least 1")
        self.activation = activation
        self.decoder = decoder
        self.tolerance = tolerance
        self.compete = compete
        self.kernels = nn.ParameterList([nn.Parameter(init_std * torch.randn(m)) for m in kernel_samples])

    @property
    def kernel_samples(self) -> list[int]:
        """Taps of each kernel."""
        return [int(w.shape[0]) for w in self.kernels]

    @property
    def n_weights(self) -> int:
        """W, numbers in the kernels."""
        return sum(self.kernel_samples)

    def similarity(self, x: Tensor) -> Tensor:
        """Correlate windows (batch, n) with each kernel, zero-padded to n: (batch, q, n)."""
        return torch.cat([_correlate(x[:, None], w) for w in self.kernels], dim=1)

    def activate(self, s: Tensor) -> Tensor:
        """Apply the sparse activation to similarities (batch, q, n)."""
        function = make_activation(
            self.activation,
            n_samples=s.shape[-1],
            kernel_samples=self.kernel_samples,
            tolerance=self.tolerance,
            compete=self.compete,
        )
        return function(s)

    def decode(self, activations: Tensor) -> Tensor:
        """Sum the decoded activations (batch, q, n): (batch, n)."""
        stamp = _stamp if self.decoder == "adjoint" else _correlate
        parts = [stamp(activations[:, i : i + 1], w) for i, w in enumerate(self.kernels)]
        return torch.stack(parts).sum(dim=0)[:, 0]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct windows.

        Parameters
        ----------
        x : Tensor, shape (batch, n), float

        Returns
        -------
        reconstruction : Tensor, shape (batch, n)
        activations : Tensor, shape (batch, q, n)
            An activation at t puts tap ``floor((m - 1) / 2)`` on sample t.
        """
        activations = self.activate(self.similarity(x))
        return self.decode(activations), activations


def _correlate(x: Tensor, w: Tensor) -> Tensor:
    """Cross-correlation (batch, 1, n) with taps (m,), padded left ``floor((m - 1) / 2)``."""
    m = w.shape[0]
    left = (m - 1) // 2
    return functional.conv1d(functional.pad(x, (left, m - 1 - left)), w.reshape(1, 1, m))


def _stamp(a: Tensor, w: Tensor) -> Tensor:
    """Adjoint of :func:`_correlate`: put the kernel on every activation."""
    m, n = w.shape[0], a.shape[-1]
    left = (m - 1) // 2
    return functional.conv_transpose1d(a, w.reshape(1, 1, m))[..., left : left + n]
