"""Kernels as numbers that are counted: some stand as they are, some are one prototype seen at several scales."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sanstream.errors import InputError


@dataclass(frozen=True)
class Member:
    """One kernel of a dictionary.

    Parameters
    ----------
    prototype : int
        Which prototype it is made of.
    samples : int, optional
        Taps (along each axis) that the prototype is stretched to; None leaves it as it stands, number for tap.
    """

    prototype: int
    samples: int | None = None


@dataclass(frozen=True)
class Dictionary:
    """Kernels of a bank, by the numbers that describe them.

    Parameters
    ----------
    prototypes : tuple of Tensor, shape (P,) or (P, P), float64
    members : tuple of Member
        The kernels, in the order in which activations count them.

    Raises
    ------
    InputError
        When there is no member, or one names a prototype that is not there.
    """

    prototypes: tuple[Tensor, ...]
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        if not self.members or any(not 0 <= m.prototype < len(self.prototypes) for m in self.members):
            raise InputError(f"members {self.members} do not fit {len(self.prototypes)} prototypes")

    @property
    def n_weights(self) -> int:
        """W: the numbers of all prototypes, each once, and one number for every scale."""
        return sum(p.numel() for p in self.prototypes) + sum(m.samples is not None for m in self.members)

    def kernels(self) -> list[Tensor]:
        """Kernels (m,) or (m, m); gradients flow to the prototypes."""
        return [stretched(self.prototypes[m.prototype], m.samples) for m in self.members]

    def without(self, member: int) -> Dictionary:
        """Leave one member out, and its prototype where no other member uses it."""
        kept = [m for place, m in enumerate(self.members) if place != member]
        used = sorted({m.prototype for m in kept})
        return Dictionary(
            tuple(self.prototypes[p] for p in used), tuple(replace(m, prototype=used.index(m.prototype)) for m in kept)
        )

    def joined(self, prototype: Tensor, samples: tuple[int | None, ...]) -> Dictionary:
        """Add a prototype, seen at each of ``samples``."""
        place = len(self.prototypes)
        return Dictionary((*self.prototypes, prototype), (*self.members, *(Member(place, m) for m in samples)))

    def with_prototypes(self, prototypes: tuple[Tensor, ...]) -> Dictionary:
        """Return the same members of other numbers."""
        return Dictionary(prototypes, self.members)


def spline_basis(numbers: int, samples: int) -> Tensor:
    """Cubic B-splines over P equal knots, sampled so that a kernel falls smoothly to zero at both ends.

    Parameters
    ----------
    numbers : int
        P.
    samples : int
        m.

    Returns
    -------
    Tensor, shape (m, P), float64
        Unit knot spacing; taps are spread evenly over the support of all P splines.
    """
    at = (torch.arange(samples, dtype=torch.float64) + 0.5) / samples * (numbers + 3) - 2
    u = (at[:, None] - torch.arange(numbers, dtype=torch.float64)).abs()
    inner, outer = 2 / 3 - u**2 + u**3 / 2, (2 - u) ** 3 / 6
    return torch.where(u < 1, inner, torch.where(u < 2, outer, 0.0))


def stretched(prototype: Tensor, samples: int | None) -> Tensor:
    """Interpolate a prototype (P,) or (P, P) to ``samples`` taps an axis; None returns it as it is."""
    if samples is None:
        return prototype
    basis = spline_basis(prototype.shape[0], samples).to(prototype)
    return basis @ prototype if prototype.ndim == 1 else basis @ prototype @ basis.T


def fitted(kernel: Tensor, numbers: int) -> Tensor:
    """Give the prototype whose stretched form is nearest (in squares) to a kernel (m,) or (m, m), at norm 1."""
    inverse = torch.linalg.pinv(spline_basis(numbers, kernel.shape[-1])).to(kernel)
    prototype: Tensor = inverse @ kernel if kernel.ndim == 1 else inverse @ kernel @ inverse.T
    prototype /= prototype.norm().clamp_min(1e-12)
    return prototype


def bump(numbers: int, dims: int = 1, *, centre: float = 0.5, width: float = 0.15) -> Tensor:
    """Make a Gaussian as prototype (P,) or (P, P), ``centre`` and ``width`` in parts of its length."""
    at = (torch.arange(numbers, dtype=torch.float64) + 0.5) / numbers
    shape = torch.exp(-(((at - centre) / width) ** 2) / 2)
    prototype: Tensor = shape if dims == 1 else torch.outer(shape, shape)
    prototype /= prototype.norm()
    return prototype
