"""Layers of a stream that can be drawn: decoded, original, their difference, activations alone, what they leave."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sanstream.archive_manifest import RAW
from sanstream.archive_read import StreamReader
from sanstream.archive_synthesis import synthesis
from sanstream.errors import InputError
from sanstream.signal import Channel, Stream

FloatArray = npt.NDArray[np.float64]
DECODED, ORIGINAL, ERROR, KERNELS, RESIDUAL = "decoded", "original", "error", "kernels", "residual"
LAYERS = (DECODED, ORIGINAL, ERROR, KERNELS, RESIDUAL)
_NO_BLOCKS = 4096


class Source(Protocol):
    """What is drawn."""

    @property
    def n_samples(self) -> int:
        """Length of the stream's grid."""

    @property
    def n_channels(self) -> int:
        """Channels of the stream."""

    @property
    def block_samples(self) -> int:
        """Samples that are decoded together."""

    def state(self, first: int, stop: int) -> Hashable:
        """Return what is another when the values of a stretch may be others."""

    def read(self, first: int, stop: int, channels: Sequence[int]) -> FloatArray:
        """Return physical values, shape (stop - first, n_channels asked); NaN where there is none."""


@dataclass(frozen=True)
class Decoded:
    """What the archive gives back."""

    reader: StreamReader

    @property
    def n_samples(self) -> int:
        """Length of the stream's grid."""
        return self.reader.n_samples

    @property
    def n_channels(self) -> int:
        """Channels of the stream."""
        return len(self.reader.channels)

    @property
    def block_samples(self) -> int:
        """Samples of the longest block; raw stretches have none."""
        coded = (s.coding.block_samples for s in self.reader.entry.segments if RAW not in s.flags)
        return max(coded, default=_NO_BLOCKS)

    def state(self, first: int, stop: int) -> Hashable:
        """Return what tells the samples of a stretch from others."""
        return self.reader.state(first, stop)

    def read(self, first: int, stop: int, channels: Sequence[int]) -> FloatArray:
        """Decode."""
        return self.reader.read(first, stop, list(channels), physical=True)


@dataclass(frozen=True)
class Kernels(Decoded):
    """The sum of the activations' kernels, in physical units about 0."""

    def read(self, first: int, stop: int, channels: Sequence[int]) -> FloatArray:
        """Sum kernels."""
        out = np.zeros((stop - first, len(channels)))
        for entry in self.reader.segments_between(first, stop):
            own = {c.label: i for i, c in enumerate(entry.channels)}
            low, high = max(first, entry.start_sample), min(stop, entry.stop_sample)
            for column, channel in enumerate(channels):
                place = own.get(self.reader.channels[channel].label)
                if place is None or entry.late:
                    continue
                told = synthesis(self.reader, entry, place, low - entry.start_sample, high - entry.start_sample)
                out[low - first : high - first, column] = told / entry.channels[place].gain
        return out


@dataclass(frozen=True)
class Residual(Decoded):
    """What is decoded less the activations' kernels."""

    def read(self, first: int, stop: int, channels: Sequence[int]) -> FloatArray:
        """Decode and subtract."""
        return super().read(first, stop, channels) - Kernels(self.reader).read(first, stop, channels)


@dataclass(frozen=True)
class Original:
    """What was archived, on the grid and with the channels of its archive.

    Parameters
    ----------
    stream : Stream
    channels : tuple of Channel
        Of the archive's stream; one that the original lacks has no values.
    """

    stream: Stream
    channels: tuple[Channel, ...]
    block_samples: int = _NO_BLOCKS

    @property
    def n_samples(self) -> int:
        """Length of the original's grid."""
        return self.stream.n_samples

    @property
    def n_channels(self) -> int:
        """Channels of the archive's stream."""
        return len(self.channels)

    def state(self, first: int, stop: int) -> Hashable:
        """Return nothing: it stays as it was given."""
        return ()

    def read(self, first: int, stop: int, channels: Sequence[int]) -> FloatArray:
        """Cut out."""
        out = np.full((stop - first, len(channels)), np.nan)
        for segment in self.stream.segments:
            low, high = max(first, segment.start_sample), min(stop, segment.start_sample + segment.n_samples)
            own = {c.label: i for i, c in enumerate(segment.channels)}
            for column, channel in enumerate(channels):
                place = own.get(self.channels[channel].label)
                if place is not None and low < high:
                    x = segment.samples[low - segment.start_sample : high - segment.start_sample, place]
                    out[low - first : high - first, column] = segment.channels[place].physical(x)
        return out


@dataclass(frozen=True)
class Difference:
    """The original less what is decoded."""

    original: Original
    decoded: Decoded

    @property
    def n_samples(self) -> int:
        """Length of both."""
        return min(self.original.n_samples, self.decoded.n_samples)

    @property
    def n_channels(self) -> int:
        """Channels of the archive's stream."""
        return self.decoded.n_channels

    @property
    def block_samples(self) -> int:
        """As of what is decoded."""
        return self.decoded.block_samples

    def state(self, first: int, stop: int) -> Hashable:
        """As of what is decoded."""
        return self.decoded.state(first, stop)

    def read(self, first: int, stop: int, channels: Sequence[int]) -> FloatArray:
        """Subtract."""
        return self.original.read(first, stop, channels) - self.decoded.read(first, stop, channels)


def layer_of(layer: str, reader: StreamReader, original: Stream | None) -> Source:
    """Return a layer of a stream.

    Raises
    ------
    InputError
        When the layer is unknown, or needs an original and none was given.
    """
    if layer in (ORIGINAL, ERROR):
        if original is None:
            raise InputError("no original was given", hint="start with: sanstream view ARCHIVE --original RECORDING")
        own = Original(original, reader.channels)
        return own if layer == ORIGINAL else Difference(own, Decoded(reader))
    found = {DECODED: Decoded, KERNELS: Kernels, RESIDUAL: Residual}.get(layer)
    if found is None:
        raise InputError(f"layer {layer!r:.40} is unknown", hint=f"ask for {', '.join(LAYERS)}")
    return found(reader)
