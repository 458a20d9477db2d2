"""What every peer gives: bytes, and the samples that come back from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.signal import IntSamples

HINT = "pip install 'sanstream[bench]'"


class CannotHold(Exception):
    """The codec has no place for these samples: too many bits, too many channels."""


@dataclass(frozen=True)
class Packed:
    """Encoded samples.

    Parameters
    ----------
    payload : object
        What the codec's decoder takes.
    coded_bytes : int
        The bare stream, containers and headers left out.
    stored_bytes : int
        The same with the codec's own headers.
    """

    payload: Any
    coded_bytes: int
    stored_bytes: int


@dataclass(frozen=True)
class Lossless:
    """A lossless peer.

    Parameters
    ----------
    name : str
    variants : tuple of str
        Ways to lay out the channels; the smallest counts.
    encode : callable
        Takes samples, shape (n_samples, n_channels), int32, and a variant.
    decode : callable
        Takes a payload; gives the samples back, shape (n_samples, n_channels), int32.
    around : callable
        Takes a payload; bytes of the file or folder around it that ``encode`` does not make.
    """

    name: str
    variants: tuple[str, ...]
    encode: Callable[[IntSamples, str], Packed]
    decode: Callable[[Any], IntSamples]
    around: Callable[[Any], int] = lambda payload: 0

    def best(self, samples: IntSamples) -> tuple[Packed, str]:
        """Encode in every layout, check that the samples come back, and return the smallest with its layout.

        Raises
        ------
        CannotHold
            When no layout can hold the samples.
        ImportError
            When the codec is not installed.
        RuntimeError
            When other samples come back.
        """
        found: list[tuple[Packed, str]] = []
        for variant in self.variants[: 1 if samples.shape[1] == 1 else None]:
            packed = self.encode(samples, variant)
            if not np.array_equal(self.decode(packed.payload), samples):
                raise RuntimeError(f"{self.name} ({variant}) gave other samples back")
            whole = replace(packed, stored_bytes=packed.stored_bytes + self.around(packed.payload))
            found.append((whole, variant))
        return min(found, key=lambda pair: pair[0].coded_bytes)


def narrow(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give integers the narrowest type of 8, 16 or 32 bits that holds them."""
    low, high = (int(samples.min()), int(samples.max())) if samples.size else (0, 0)
    for kind in (np.int8, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.ascontiguousarray(samples, dtype=kind)
    raise CannotHold("more than 32 bits")


def channel_groups(n_channels: int, size: int) -> list[slice]:
    """Split channels into consecutive groups."""
    return [slice(first, min(first + size, n_channels)) for first in range(0, n_channels, size)]
