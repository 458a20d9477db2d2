"""Stretches of signal drawn from archives, by modality: places first, from manifests alone, then only these decoded."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

import numpy as np

from sanstream.archive import Archive
from sanstream.archive_manifest import SegmentEntry
from sanstream.archive_read import StreamReader
from sanstream.modality import modality_of
from sanstream.signal import SIGNAL
from sanstream.train import Example

LEAST_S = 30.0
"""Shorter pieces say little of what an archive would save."""
_PER_RECORDING = 4
"""Stretches of one recording at most: a long one is not all there is to learn."""


@dataclass(frozen=True)
class Stretch:
    """Where samples stand.

    Parameters
    ----------
    archive, recording, stream, segment : str
    first, stop : int
        Of the segment.
    channels : tuple of int
        Those of the modality.
    """

    archive: str
    recording: str
    stream: str
    segment: str
    first: int
    stop: int
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Drawn:
    """Stretches of one modality, of recordings that are learned from, and of others."""

    taught: tuple[Stretch, ...]
    held: tuple[Stretch, ...]

    @property
    def digest(self) -> str:
        """Names the choice."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


class Reservoir:
    """Keeps so many of all that pass, each with the same chance.

    Parameters
    ----------
    size : int
    random : Random
    """

    def __init__(self, size: int, random: Random) -> None:
        self.held: list[Stretch] = []
        self._size, self._random, self._seen = size, random, 0

    def offer(self, stretch: Stretch) -> None:
        """Take it, or not."""
        self._seen += 1
        if len(self.held) < self._size:
            self.held.append(stretch)
        elif (place := self._random.randrange(self._seen)) < self._size:
            self.held[place] = stretch


def is_held_out(recording: str, seed: int) -> bool:
    """Tell whether nothing is learned from a recording: one of four, by its name."""
    return hashlib.sha256(f"{seed} {recording}".encode()).digest()[0] % 4 == 0


def draw(
    archives: Iterable[tuple[str, Archive]], *, n_taught: int, n_held: int, seconds: float, n_recordings: int, seed: int
) -> dict[str, Drawn]:
    """Draw stretches of every modality; nothing is decoded.

    Parameters
    ----------
    archives : iterable of (str, Archive)
        With their addresses.
    n_taught, n_held : int
        Stretches at most of each modality, to learn from and to compare on.
    seconds : float
        Length of a stretch.
    n_recordings : int
        Recordings of an archive whose manifests are read, at most; drawn among its names.
    seed : int

    Returns
    -------
    dict of str to Drawn
    """
    random = Random(seed)
    pools: dict[tuple[str, bool], Reservoir] = defaultdict(lambda: Reservoir(0, random))
    for url, archive in archives:
        names = list(archive.recordings)
        for name in names if len(names) <= n_recordings else random.sample(names, n_recordings):
            held = is_held_out(name, seed)
            own: dict[str, Reservoir] = {}
            for modality, stretch in _places(url, archive, name, seconds):
                own.setdefault(modality, Reservoir(_PER_RECORDING, random)).offer(stretch)
            for modality, few in own.items():
                pool = pools.setdefault((modality, held), Reservoir(n_held if held else n_taught, random))
                for stretch in few.held:
                    pool.offer(stretch)
    return {
        modality: Drawn(tuple(pools[modality, False].held), tuple(pools[modality, True].held))
        for modality in sorted({m for m, _ in pools})
    }


def _places(url: str, archive: Archive, name: str, seconds: float) -> Iterator[tuple[str, Stretch]]:
    for stream_name, stream in archive.recordings[name].streams.items():
        for segment in stream.entry.segments:
            kinds: dict[str, list[int]] = defaultdict(list)
            for place, channel in enumerate(segment.channels):
                if channel.kind == SIGNAL:
                    kinds[modality_of(channel)].append(place)
            size, least = round(seconds * float(stream.rate)), round(LEAST_S * float(stream.rate))
            for first in range(0, segment.n_samples, max(1, size)):
                stop = min(first + size, segment.n_samples)
                if stop - first >= max(1, least):
                    for modality, places in kinds.items():
                        yield modality, Stretch(url, name, stream_name, segment.name, first, stop, tuple(places))


def examples(stretches: Iterable[Stretch], archives: dict[str, Archive]) -> list[Example]:
    """Decode stretches; one of which a sample is missing is left out."""
    found = []
    for s in stretches:
        stream: StreamReader = archives[s.archive].recordings[s.recording].streams[s.stream]
        segment: SegmentEntry = next(g for g in stream.entry.segments if g.name == s.segment)
        samples = stream.read_segment(segment, s.first, s.stop, list(s.channels))
        channels = tuple(segment.channels[c] for c in s.channels)
        if not any(c.missing is not None and np.any(samples[:, i] == c.missing) for i, c in enumerate(channels)):
            found.append(Example(f"{s.recording}/{s.stream}", np.ascontiguousarray(samples), channels, stream.rate))
    return found
