"""The signals of Table I: the first 12 000 samples of channel 0 of one record of each database."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
N_SAMPLES, N_WINDOW = 12_000, 1_000
LEARN, CHECK = slice(0, 6), slice(6, 8)
TEST = slice(8, 12)
"""Windows to train on, to select on and to report, in time order (san.md section 4)."""
RECORDS: dict[str, str | None] = {
    "apnea-ecg": "a01",
    "bidmc": "bidmc01",
    "bpssrat": None,
    "cebsdb": "b001",
    "ctu-uhb-ctgdb": "1001",
    "drivedb": "drive01",
    "emgdb": "emg_healthy",
    "mitdb": "100",
    "noneeg": None,
    "prcp": "12726",
    "shhpsgdb": None,
    "slpdb": "slp01a",
    "sufhsdb": None,
    "voiced": "voice001",
    "wrist": "s1_high_resistance_bike",
}
"""The record of each database; None: the first that its RECORDS file names."""
_AT_HAND = {
    "mitdb": "paper/mitdb_100",
    "bidmc": "paper/bidmc01_RESP.csv",
    "emgdb": "emgdb/emg_healthy",
    "ctu-uhb-ctgdb": "ctu-uhb-ctgdb/1001",
}


@dataclass(frozen=True)
class Signal:
    """One row of Table I before any training.

    Parameters
    ----------
    dataset : str
    samples : ndarray, shape (12000,), float64, physical units
    """

    dataset: str
    samples: Floats

    @property
    def windows(self) -> Floats:
        """Shape (12, 1000), not normalised."""
        return self.samples.reshape(-1, N_WINDOW)


def load_signal(dataset: str, data: Path, work: Path, *, fetch: bool = False) -> Signal | None:
    """Read a signal from the folder of data, from what was fetched before, or from PhysioNet.

    Missing samples are interpolated linearly.

    Parameters
    ----------
    dataset : str
        A key of :data:`RECORDS`.
    data, work : Path
        Data at hand; where fetched signals are kept.
    fetch : bool
        Ask PhysioNet for what is not at hand.

    Returns
    -------
    Signal or None
        None, said on stderr, when it is neither at hand nor to be had.
    """
    kept = work / "physionet" / f"{dataset}.npy"
    try:
        if dataset in _AT_HAND and _exists(data / _AT_HAND[dataset]):
            samples = _read(data / _AT_HAND[dataset])
        elif kept.is_file():
            samples = np.load(kept)
        elif fetch:
            samples = _fetch(dataset)
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept, samples)
        else:
            print(f"{dataset}: not in {data}, left out (--fetch asks PhysioNet)", file=sys.stderr)
            return None
    # whatever stands between here and PhysioNet, the other rows go on
    except Exception as error:
        print(f"{dataset}: left out, {type(error).__name__}: {error}", file=sys.stderr)
        return None
    if len(samples) < N_SAMPLES:
        print(f"{dataset}: left out, {len(samples)} samples of {N_SAMPLES}", file=sys.stderr)
        return None
    return Signal(dataset, _whole(samples[:N_SAMPLES]))


def _exists(path: Path) -> bool:
    return path.is_file() or path.with_name(path.name + ".hea").is_file()


def _read(path: Path) -> Floats:
    if path.suffix == ".csv":
        return np.loadtxt(path, skiprows=1)
    return _first_channel(str(path))


def _fetch(dataset: str) -> Floats:
    import wfdb

    record = RECORDS[dataset] or wfdb.get_record_list(dataset)[0]
    folder, _, name = record.rpartition("/")
    return _first_channel(name, pn_dir=f"{dataset}/{folder}".rstrip("/"))


def _first_channel(name: str, **place: Any) -> Floats:
    import wfdb

    record = wfdb.rdrecord(name, sampto=N_SAMPLES, channels=[0], **place)
    return np.asarray(record.p_signal[:, 0], dtype=np.float64)


def _whole(samples: Floats) -> Floats:
    there = np.isfinite(samples)
    if there.all() or not there.any():
        return np.nan_to_num(samples)
    at = np.arange(len(samples))
    return np.interp(at, at[there], samples[there])
