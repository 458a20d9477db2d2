"""The UCI epilepsy set made anew: the Bonn recordings cut into 11 500 segments of 178 samples, three classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sanstream.errors import InputError

SEGMENT, PER_RECORDING = 178, 23
SETS = "ABCDE"
CLASS = {"E": 0, "C": 1, "D": 1, "A": 2, "B": 2}
"""Seizure; between seizures; healthy: UCI's labels 1, {2, 3} and {4, 5}."""
N_CLASSES = 3
SHUFFLE_SEED = 20261120
"""UCI's rows are shuffled in an order that is not published; this seed stands for it, fixed before any result."""
SIZES = (8740, 1380, 1380)
"""Training, validation, test (san.md section 4); also 380, 60 and 60 whole recordings."""


@dataclass(frozen=True)
class Part:
    """Segments of one part of a split.

    Parameters
    ----------
    x : Tensor, shape (n_segments, 178), float32
        Scaled to [-1, 1] by the range of the whole set.
    y : Tensor, shape (n_segments,), int64
        Class: 0 seizure, 1 between seizures, 2 healthy.
    recording : ndarray, shape (n_segments,), int64
        Recording of each segment, 0 to 499.
    """

    x: Tensor
    y: Tensor
    recording: npt.NDArray[np.int64]

    def to(self, device: str) -> Part:
        """Return the part with its tensors on a device."""
        return Part(self.x.to(device), self.y.to(device), self.recording)


@dataclass(frozen=True)
class Split:
    """Training, validation and test segments.

    Parameters
    ----------
    train, validation, test : Part
    """

    train: Part
    validation: Part
    test: Part

    def to(self, device: str) -> Split:
        """Return the split with its tensors on a device."""
        return Split(self.train.to(device), self.validation.to(device), self.test.to(device))


def cut(sets: dict[str, npt.NDArray[np.int16]]) -> Part:
    """Cut recordings into segments, in the order of sets, recordings and time.

    Parameters
    ----------
    sets : dict of ndarray, shape (n_recordings, n_samples), int16
        By the letters A to E; of each recording the first 23 x 178 samples are used.

    Returns
    -------
    Part

    Raises
    ------
    InputError
        On a missing set or recordings that are too short.
    """
    if sorted(sets) != list(SETS):
        raise InputError(f"the Bonn set has parts {sorted(sets)}", hint=f"expected {', '.join(SETS)}")
    short = {k: v.shape for k, v in sets.items() if v.ndim != 2 or v.shape[1] < SEGMENT * PER_RECORDING}
    if short:
        raise InputError(f"Bonn recordings of shapes {short}; each needs {SEGMENT * PER_RECORDING} samples")
    used = np.concatenate([sets[k][:, : SEGMENT * PER_RECORDING] for k in SETS]).astype(np.float64)
    low, high = used.min(), used.max()
    x = (2 * (used - low) / (high - low) - 1).astype(np.float32).reshape(-1, SEGMENT)
    of_recording = np.concatenate([np.full(len(sets[k]), CLASS[k]) for k in SETS])
    recording = np.repeat(np.arange(len(used)), PER_RECORDING)
    return Part(torch.from_numpy(x), torch.from_numpy(of_recording[recording]).long(), recording)


def split(whole: Part, *, by_recording: bool = False, seed: int = SHUFFLE_SEED) -> Split:
    """Shuffle segments, or whole recordings, and part them 76 : 12 : 12 as published.

    Parameters
    ----------
    whole : Part
    by_recording : bool
        No recording stands on two sides. The published split shuffles segments, so that neighbours of a test
        segment are trained on.
    seed : int

    Returns
    -------
    Split
        8740, 1380 and 1380 segments of the whole set either way; the same shares of another.
    """
    rng = np.random.default_rng(seed)
    if by_recording:
        place = rng.permutation(int(whole.recording.max()) + 1)[whole.recording]
        order = np.argsort(place, kind="stable")
    else:
        order = rng.permutation(len(whole.x))
    shares = np.cumsum(SIZES)[:-1] / sum(SIZES)
    unit = PER_RECORDING if by_recording else 1
    stops = [unit * round(float(s) * len(order) / unit) for s in shares]
    return Split(*(_take(whole, part) for part in np.split(order, stops)))


def every(whole: Part, step: int) -> Part:
    """Keep every so-manieth recording, numbered anew: a smaller set of the same kind."""
    rows = np.flatnonzero(whole.recording % step == 0)
    kept = _take(whole, rows)
    return Part(kept.x, kept.y, kept.recording // step)


def _take(whole: Part, rows: npt.NDArray[np.intp]) -> Part:
    index = torch.from_numpy(rows)
    return Part(whole.x[index], whole.y[index], whole.recording[rows])


def load(data: Path) -> Part:
    """Read the Bonn set from the folder of databases.

    Raises
    ------
    InputError
        When it is not there.
    """
    file = data / "bonn" / "bonn-eeg.npz"
    if not file.is_file():
        raise InputError(f"{file} is not there", hint="give the folder that holds bonn/ with --data")
    with np.load(file) as sets:
        return cut({name: sets[name] for name in sets.files})
