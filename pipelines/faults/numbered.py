"""Samples whose values say which they are, so that order and number of copies show in the archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import sanstream
from sanstream.journal import read_journal
from sanstream.journal_records import ChunkEntry
from sanstream.signal import Channel, IntSamples

MISSING = -32768
CHANNELS = tuple(Channel(label, "mV", 200.0, 0, -32767, 32767, missing=MISSING) for label in ("I", "II"))
_PRIME, _STEP = 30011, 7919
_BACK = pow(_STEP, -1, _PRIME)

Numbers = npt.NDArray[np.int64]


def samples(first: int, n: int) -> IntSamples:
    """Return samples ``first`` to ``first + n``, shape (n, 2), int32; no two are the same below 900 million."""
    k = np.arange(first, first + n, dtype=np.int64)
    return np.stack([k * _STEP % _PRIME, k // _PRIME], axis=1).astype(np.int32)


def numbers(found: npt.NDArray[Any]) -> Numbers:
    """Return which samples these are; -1 for what is none."""
    low, high = found[:, 0].astype(np.int64), found[:, 1].astype(np.int64)
    k = high * _PRIME + low * _BACK % _PRIME
    return np.where((low >= 0) & (low < _PRIME) & (high >= 0), k, -1)


@dataclass
class Verdict:
    """What a comparison of an archive with what was sent found.

    Parameters
    ----------
    compared : int
        Samples (all channels at one moment) that had to be there.
    lost, doubled, changed, misplaced : int
    """

    compared: int = 0
    lost: int = 0
    doubled: int = 0
    changed: int = 0
    misplaced: int = 0

    def __iadd__(self, other: Verdict) -> Verdict:
        for key, value in vars(other).items():
            setattr(self, key, getattr(self, key) + value)
        return self

    @property
    def good(self) -> bool:
        """Whether all was there, once and equal, in its place."""
        return not (self.lost or self.doubled or self.changed or self.misplaced)


def journalled(state: Path, recording: str) -> Numbers:
    """Return the samples of a recording that the journal holds."""
    parts = [
        numbers(entry.chunk.samples)
        for _, entry in read_journal(state / "journal")
        if isinstance(entry, ChunkEntry) and entry.definition.recording == recording
    ]
    return np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int64)


def compare(archive: Path, recording: str, expected: Numbers, sent: int, *, placed: bool) -> Verdict:
    """Compare a recording with what had to be kept of it.

    Parameters
    ----------
    archive : Path
    recording : str
    expected : ndarray of int64
        Numbers of samples that must be there; sorted, each once.
    sent : int
        How many there ever were: what is there beyond ``expected`` must be one of these, and also once.
    placed : bool
        Whether one clock places all samples: then the distance between place and number never changes.
    """
    verdict = Verdict(len(expected))
    with sanstream.open(archive) as opened:
        if recording not in opened.recordings:
            verdict.lost = len(expected)
            return verdict
        places, found = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for stream in opened.recordings[recording].streams.values():
            for entry in stream.entry.segments:
                x = stream.read_segment(entry, 0, entry.n_samples)
                codes = [MISSING if c.missing is None else c.missing for c in entry.channels]
                rows = np.flatnonzero((x != codes).any(axis=1))
                places.append(entry.start_sample + rows.astype(np.int64))
                found.append(numbers(x[rows]))
    place, k = np.concatenate(places), np.concatenate(found)
    verdict.changed = int(((k < 0) | (k >= sent)).sum())
    unique = np.unique(k)
    verdict.doubled = len(k) - len(unique)
    verdict.lost = int((~np.isin(expected, unique)).sum())
    k = k[np.argsort(place, kind="stable")]
    verdict.misplaced = int((np.diff(k) < 0).sum())
    if placed and len(k):
        verdict.misplaced += int((np.sort(place) - k != place.min() - k.min()).sum())
    return verdict
