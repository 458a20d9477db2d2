"""Windows of Tables I, II and III as the networks were fed them, split as the paper splits them (san.md section 4)."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import wfdb
from torch import Tensor

Floats = npt.NDArray[np.float64]

PHYSIONET = {
    "mitdb": "paper/mitdb_100",
    "bidmc": "paper/bidmc01_RESP.csv",
    "emgdb": "emgdb/emg_healthy",
    "ctu-uhb-ctgdb": "ctu-uhb-ctgdb/1001",
}
DATABASES = (*PHYSIONET, "bonn", "mnist")
LOWEST = {"mitdb": 0.45, "bidmc": 0.32, "emgdb": 0.53, "ctu-uhb-ctgdb": 0.49, "bonn": 0.54, "mnist": 0.51}
"""Lowest published phi of any activation and size (Tables I to III)."""
N_IMAGES = 100
"""Test images encoded: a random subset of the 10 000, the same for every run."""


@dataclass(frozen=True)
class Split:
    """Windows of one experiment.

    Parameters
    ----------
    training, validation, test : Tensor, shape (B, n) or (B, h, w), float64
    share : int
        T, windows of the whole test set: they share the kernels, encoded or not.
    """

    training: Tensor
    validation: Tensor
    test: Tensor
    share: int


def load(database: str, data: Path) -> Split:
    """Read one of :data:`DATABASES` from the shared data folder."""
    if database == "bonn":
        return _bonn(data)
    if database == "mnist":
        return _mnist(data)
    windows = torch.from_numpy(_record(data / PHYSIONET[database]))
    return Split(windows[:6], windows[6:8], windows[8:], 4)


def _record(path: Path) -> Floats:
    """First 12 000 samples of channel 0 as 12 windows, each of mean 0 and deviation 1 (n - 1)."""
    if path.suffix == ".csv":
        x = np.loadtxt(path, skiprows=1)[:12000]
    else:
        x = wfdb.rdrecord(str(path), sampto=12000, channels=[0]).p_signal[:, 0]
    windows = np.asarray(x, dtype=np.float64).reshape(12, 1000)
    centred = windows - windows.mean(axis=1, keepdims=True)
    return np.asarray(centred / windows.std(axis=1, ddof=1, keepdims=True))


def _bonn(data: Path) -> Split:
    """Bonn's 500 recordings in the 23 segments of 178 samples that UCI makes of each, over all in [-1, 1]."""
    with np.load(data / "bonn" / "bonn-eeg.npz") as sets:
        x = np.concatenate([sets[name] for name in sorted(sets)]).astype(np.float64)
    x = x[:, : 23 * 178].reshape(-1, 178)
    x = 2 * (x - x.min()) / (x.max() - x.min()) - 1
    windows = torch.from_numpy(x[np.random.default_rng(0).permutation(len(x))])
    return Split(windows[:8740], windows[8740:10120], windows[10120:], 1380)


def _mnist(data: Path) -> Split:
    def images(name: str) -> Tensor:
        with gzip.open(data / "mnist" / name) as file:
            pixels = np.frombuffer(file.read()[16:], np.uint8)
        return torch.from_numpy(pixels.reshape(-1, 28, 28) / 255.0)

    training, test = images("train-images-idx3-ubyte.gz"), images("t10k-images-idx3-ubyte.gz")
    picks = np.sort(np.random.default_rng(0).permutation(len(test))[:N_IMAGES])
    return Split(training[:50000], training[50000:], test[torch.from_numpy(picks)], len(test))
