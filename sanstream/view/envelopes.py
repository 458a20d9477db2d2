"""Samples drawn on few pixels: smallest and largest value per pixel, made of tiles that are kept."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.errors import CorruptError
from sanstream.view.sources import Source

FloatArray = npt.NDArray[np.float32]
FINE, COARSE = 64, 1024
"""Samples of one value of a tile's two grids; what is closer is decoded anew."""
_TILE_VALUES = 1 << 21
_TILE_BLOCKS = 16
_BYTES = 256 << 20
_BUDGET_S = 0.3
_FINEST = 1024
"""Edges of a block that does not decode are found to this part of it."""
MOST_PIXELS = 4000


@dataclass(frozen=True)
class Envelope:
    """A stretch of channels, drawn.

    Parameters
    ----------
    first : int
        Sample of the first value, on the stream's grid.
    step : int
        Samples of one value; 1: the samples themselves, ``low`` and ``high`` are the same.
    low, high : ndarray, shape (n_channels, n), float32
        Physical units; NaN where there is no sample, or where it is not decoded yet.
    complete : bool
        Whether all is decoded; if not, asking again brings more.
    bad : list of (int, int, str)
        Stretches that do not decode, and why.
    """

    first: int
    step: int
    low: FloatArray
    high: FloatArray
    complete: bool = True
    bad: list[tuple[int, int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Tile:
    """Two grids of a stretch: low and high, each (2, n_channels, n)."""

    fine: FloatArray
    coarse: FloatArray
    bad: tuple[tuple[int, int, str], ...]

    @property
    def n_bytes(self) -> int:
        return self.fine.nbytes + self.coarse.nbytes


class Kept:
    """Results by key, the least used go first when there are too many bytes."""

    def __init__(self, n_bytes: int = _BYTES) -> None:
        self._most, self._held = n_bytes, 0
        self._of: OrderedDict[Hashable, tuple[int, Any]] = OrderedDict()

    def get(self, key: Hashable) -> Any:
        """Return what is kept, None if nothing is."""
        if key not in self._of:
            return None
        self._of.move_to_end(key)
        return self._of[key][1]

    def put(self, key: Hashable, value: Any, n_bytes: int) -> None:
        """Keep a result."""
        self._of[key] = (n_bytes, value)
        self._held += n_bytes
        while self._held > self._most and len(self._of) > 1:
            _, (size, _) = self._of.popitem(last=False)
            self._held -= size


def extremes(x: npt.NDArray[np.floating[Any]], step: int) -> tuple[FloatArray, FloatArray]:
    """Return smallest and largest of every ``step`` samples, NaN where all are missing.

    Parameters
    ----------
    x : ndarray, shape (n, n_channels)
    step : int

    Returns
    -------
    tuple of ndarray, shape (n_channels, ceil(n / step)), float32
    """
    n, width = x.shape
    if not n:
        empty = np.zeros((width, 0), np.float32)
        return empty, empty
    at = np.arange(0, n, step)
    low, high = (f.reduceat(x, at, axis=0).T.astype(np.float32) for f in (np.fmin, np.fmax))
    return low, high


def grid_of(first: int, stop: int, width: int) -> tuple[int, int]:
    """Return first sample and step of a drawing, whatever the layer: what is drawn over another has its places.

    Parameters
    ----------
    first, stop : int
    width : int
        Pixels.
    """
    first = max(0, first)
    step = -(-max(0, stop - first) // max(1, min(width, MOST_PIXELS)))
    if step < FINE:
        return first, step if step > 2 else 1
    grid = COARSE if step >= COARSE else FINE
    step = step // grid * grid
    return first // step * step, step


def tile_samples(source: Source) -> int:
    """Return how many samples of a stream are decoded together: whole blocks as far as that goes."""
    block = source.block_samples
    n = max(1, min(_TILE_BLOCKS, _TILE_VALUES // (block * max(1, source.n_channels))))
    return -(-block * n // COARSE) * COARSE


class Envelopes:
    """Draws stretches of streams; tiles are kept, so that the next look at them decodes nothing.

    Parameters
    ----------
    n_bytes : int
        Of tiles that are kept.
    clock : callable
        Seconds; tests inject one.
    """

    def __init__(self, n_bytes: int = _BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept, self._clock = Kept(n_bytes), clock

    def draw(
        self, key: Hashable, source: Source, first: int, stop: int, width: int, channels: Sequence[int]
    ) -> Envelope:
        """Draw ``[first, stop)`` on at most ``width`` pixels, within a part of a second.

        Parameters
        ----------
        key : hashable
            What the stream is, for what is kept.
        source : Source
        first, stop : int
        width : int
        channels : sequence of int
            Places in the stream's channels.
        """
        first, step = grid_of(first, stop, width)
        stop = max(first, min(stop, source.n_samples))
        if step < FINE:
            return self._near(source, first, stop, step, channels)
        grid = COARSE if step >= COARSE else FINE
        return self._far(key, source, first, stop, step, grid, list(channels))

    def anew(self, source: Source, first: int, stop: int, width: int, channels: Sequence[int]) -> Envelope:
        """Draw a stretch on the same grid as :meth:`draw`, all of it, and keep nothing."""
        first, step = grid_of(first, stop, width)
        return self._near(source, first, max(first, min(stop, source.n_samples)), step, channels)

    def _near(self, source: Source, first: int, stop: int, step: int, channels: Sequence[int]) -> Envelope:
        x, bad = readable(source, first, stop, channels)
        low, high = extremes(x, step)
        return Envelope(first, step, low, high, True, bad)

    def _far(
        self, key: Hashable, source: Source, first: int, stop: int, step: int, grid: int, channels: list[int]
    ) -> Envelope:
        if stop <= first:
            return Envelope(first, step, *extremes(np.zeros((0, len(channels))), step))
        size = tile_samples(source)
        until = self._clock() + _BUDGET_S
        n = -(-(stop - first) // grid)
        both = np.full((2, len(channels), n), np.nan, np.float32)
        bad: list[tuple[int, int, str]] = []
        complete, n_decoded = True, 0
        for number in scattered(first // size, -(-stop // size)):
            tile = self._held(key, source, number, size)
            if tile is None and (not n_decoded or self._clock() < until):  # one at least: asking again always helps
                tile = self._decoded(key, source, number, size)
                n_decoded += 1
            if tile is None:
                complete = False
                continue
            part = tile.coarse if grid == COARSE else tile.fine
            offset = (number * size - first) // grid
            a, b = max(0, offset), min(n, offset + part.shape[2])
            if a < b:
                both[:, :, a:b] = part[:, channels, a - offset : b - offset]
            bad += [(x, y, why) for x, y, why in tile.bad if x < stop and y > first]
        group = step // grid
        at = np.arange(0, n, group)
        low, high = np.fmin.reduceat(both[0], at, axis=1), np.fmax.reduceat(both[1], at, axis=1)
        return Envelope(first, step, low, high, complete, sorted(bad))

    def _name(self, key: Hashable, source: Source, number: int, size: int) -> Hashable:
        first, stop = number * size, min((number + 1) * size, source.n_samples)
        # another recording may take the name, later samples fill what was missing
        return key, size, number, stop, source.state(first, stop)

    def _held(self, key: Hashable, source: Source, number: int, size: int) -> _Tile | None:
        tile: _Tile | None = self._kept.get(self._name(key, source, number, size))
        return tile

    def _decoded(self, key: Hashable, source: Source, number: int, size: int) -> _Tile:
        first, stop = number * size, min((number + 1) * size, source.n_samples)
        x, bad = readable(source, first, stop, range(source.n_channels))
        fine = np.stack(extremes(x, FINE))
        at = np.arange(0, fine.shape[2], COARSE // FINE)
        coarse = np.stack([np.fmin.reduceat(fine[0], at, axis=1), np.fmax.reduceat(fine[1], at, axis=1)])
        tile = _Tile(fine, coarse, tuple(bad))
        self._kept.put(self._name(key, source, number, size), tile, tile.n_bytes)
        return tile


def scattered(first: int, stop: int) -> list[int]:
    """Return numbers so that the first few are spread over all: what is drawn early shows the whole stretch."""
    n = max(0, stop - first)
    bits = max(1, (n - 1).bit_length())
    order = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(1 << bits)]
    return [first + i for i in order if i < n]


def readable(
    source: Source, first: int, stop: int, channels: Sequence[int]
) -> tuple[npt.NDArray[np.float64], list[tuple[int, int, str]]]:
    """Read physical values; blocks that do not decode are NaN, and named.

    Returns
    -------
    values : ndarray, shape (stop - first, n_channels), float64
    bad : list of (int, int, str)
        Samples from and to, and what is wrong.
    """
    try:
        return source.read(first, stop, channels), []
    except CorruptError as error:
        if stop - first <= max(1, source.block_samples // _FINEST):
            return np.full((stop - first, len(channels)), np.nan), [(first, stop, str(error))]
    middle = (first + stop) // 2
    (a, bad_a), (b, bad_b) = (readable(source, x, y, channels) for x, y in ((first, middle), (middle, stop)))
    return np.concatenate([a, b]), joined([*bad_a, *bad_b])


def joined(bad: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Join stretches that touch and have one cause."""
    out: list[tuple[int, int, str]] = []
    for first, stop, why in bad:
        if out and out[-1][1] == first and out[-1][2] == why:
            out[-1] = (out[-1][0], stop, why)
        else:
            out.append((first, stop, why))
    return out
