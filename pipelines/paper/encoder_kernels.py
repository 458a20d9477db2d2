"""What the encoders are tried with: kernels as they start, and how they are learned."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from sanstream.san.dictionary import Course
from sanstream.san.prototypes import Dictionary, Member, bump

Births = tuple[tuple[int | None, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Kernels:
    """One way to make a dictionary.

    Parameters
    ----------
    name : str
    free : tuple of int
        Kernels that stand as they are, by their taps.
    numbers : tuple of int
        Prototypes by their numbers; each is seen at every one of ``scales``.
    scales : tuple of int
    births : tuple
        What may be born (:func:`sanstream.san.dictionary.grow`).
    shared : bool
        W is shared by all test windows; otherwise each window pays it, as the paper counts.
    learned : bool
        Otherwise the kernels are Gaussians that no window was ever asked about, and W = 0.
    """

    name: str
    free: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    scales: tuple[int, ...] = ()
    births: Births = ()
    shared: bool = False
    learned: bool = True

    def start(self, dims: int, seed: int) -> Dictionary:
        """Bumps spread over their length, with a little noise of the seed."""
        generator = torch.Generator().manual_seed(seed)
        sizes = self.free + self.numbers
        prototypes = []
        for place, size in enumerate(sizes):
            whole = bump(size, dims, centre=0.5 + 0.2 * (place / max(1, len(sizes) - 1) - 0.5) * (len(sizes) > 1))
            noise = torch.randn(whole.shape, generator=generator, dtype=whole.dtype)
            prototypes.append(whole + (0.1 * whole.abs().max() * noise if self.learned else 0.0))
        members = [Member(k) for k in range(len(self.free))]
        members += [Member(len(self.free) + k, m) for k in range(len(self.numbers)) for m in self.scales]
        return Dictionary(tuple(p / p.norm() for p in prototypes), tuple(members))


def geometric(first: int, last: int, ratio: float) -> tuple[int, ...]:
    """Whole numbers from ``first`` to at most ``last``, each ``ratio`` times the one before."""
    count = int(math.log(last / first) / math.log(ratio) + 1e-9) + 1
    return tuple(sorted({round(first * ratio**k) for k in range(count)}))


_SCALES = geometric(5, 600, 1.5)
_SHORT = geometric(5, 260, 1.6)

SIGNALS = (
    Kernels("one of 20", free=(20,)),
    Kernels("two of 8 and 24", free=(8, 24)),
    Kernels("prototype of 3 at scales", numbers=(3,), scales=_SCALES),
    Kernels("prototype of 6 at scales", numbers=(6,), scales=_SCALES),
    Kernels("grown from a prototype of 4", numbers=(4,), scales=_SCALES, births=((5, (12, 48, 192)),)),
    Kernels("four of 8, 16, 32, 64", free=(8, 16, 32, 64), shared=True),
    Kernels("prototype of 6 at scales", numbers=(6,), scales=_SCALES, shared=True),
    Kernels(
        "grown from two prototypes of 6",
        numbers=(6, 6),
        scales=geometric(6, 600, 2),
        births=((None, (24,)), (12, (60, 120))),
        shared=True,
    ),
    Kernels("Gaussian at scales", numbers=(6,), scales=_SCALES, learned=False),
)
SEGMENTS = (
    Kernels("one of 12", free=(12,)),
    Kernels("prototype of 3 at scales", numbers=(3,), scales=_SHORT),
    Kernels("four prototypes of 8 at scales", numbers=(8,) * 4, scales=geometric(8, 256, 2), shared=True),
    Kernels("Gaussian at scales", numbers=(4,), scales=_SHORT, learned=False),
)
IMAGES = (
    Kernels("one of 3 × 3", free=(3,)),
    Kernels("prototype of 3 × 3 at scales", numbers=(3,), scales=(5, 7, 9)),
    Kernels("six of 3 × 3 to 5 × 5", free=(3, 4, 5) * 2, shared=True),
    Kernels("Gaussian at scales", numbers=(3,), scales=(5, 7, 9), learned=False),
)


def kernels_of(database: str) -> tuple[Kernels, ...]:
    """Give all that is tried on a database; those that take longest on record 100 alone."""
    if database in ("bonn", "mnist"):
        return SEGMENTS if database == "bonn" else IMAGES
    return tuple(k for k in SIGNALS if database == "mitdb" or not (k.births and k.shared))


def course_of(database: str, *, share: int, seed: int, quick: bool) -> Course:
    """Say how kernels are learned: on all windows of a record, on some at a time of thousands."""
    course = Course(n_rounds=4, n_steps=60, share=share, seed=seed)
    if database in ("bonn", "mnist"):
        course = replace(course, max_windows=32 if database == "mnist" else 64)
    return replace(course, n_rounds=1, n_steps=20, max_windows=16) if quick else course


N_VALIDATION = 40
"""Validation windows that choose a round, of the thousands of Bonn and MNIST."""
