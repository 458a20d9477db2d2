"""NumPy ``.npy`` files: 1-D, or 2-D with time first."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sanstream.errors import InputError, UnsupportedError
from sanstream.formats.columns import need_rate, one_stream, read_column, tables, write_column
from sanstream.signal import Recording

_MAX_CHANNELS = 4096


def read(source: Path, *, rate: Fraction | None = None, unit: str | None = None) -> Recording:
    """Read a file.

    Parameters
    ----------
    source : Path
    rate : Fraction
        Samples per second.
    unit : str, optional
        Physical unit of all channels.

    Raises
    ------
    InputError
        When the file is no sound ``.npy`` file, is empty, or no rate is given.
    UnsupportedError
        When it holds no numbers that can be kept exactly.
    """
    try:
        data = np.load(source, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{source}: not a sound .npy file: {error}", hint="write it with np.save") from error
    if not isinstance(data, np.ndarray) or data.ndim not in (1, 2):
        found = f"{data.ndim} dimensions" if isinstance(data, np.ndarray) else "several arrays"
        raise UnsupportedError(f"{source}: {found}; a recording is (n,) or (n, channels)", hint="reshape it first")
    if data.size == 0:
        raise InputError(f"{source}: the array of shape {data.shape} is empty", hint="name a file with samples")
    if data.ndim == 2 and data.shape[1] > _MAX_CHANNELS:
        raise InputError(
            f"{source}: shape {data.shape} would be {data.shape[1]} channels, at most {_MAX_CHANNELS}",
            hint="time comes first: transpose the array",
        )
    rate = need_rate(rate, source)
    table = data.reshape(len(data), -1)
    columns = [
        read_column(np.asarray(table[:, i]), f"ch{i}", unit or "", {"position": i}) for i in range(table.shape[1])
    ]
    attributes: dict[str, Any] = {"ndim": data.ndim, "fortran_order": not data.flags.c_contiguous}
    return one_stream(source.stem, rate, columns, "npy", {"npy": attributes})


def write(recording: Recording, folder: Path, format: str) -> list[Path]:
    """Write one file per rate: source dtype for ``.npy`` sources, else digital samples as integers."""
    saved = recording.attributes.get("npy", {})
    files = []
    for stem, _, channels, samples in tables(recording, "npy"):
        columns = [write_column(channel, samples[:, i]) for i, channel in enumerate(channels)]
        if len({c.dtype.str for c in columns}) > 1:
            columns = [samples[:, i] for i in range(len(channels))]
        data = np.stack(columns, axis=1).astype(columns[0].dtype)
        data = data[:, 0] if saved.get("ndim") == 1 and len(columns) == 1 else data
        data = np.asfortranarray(data) if saved.get("fortran_order") else np.ascontiguousarray(data)
        buffer = io.BytesIO()  # to a file, NumPy writes through C's stdio, which keeps a full disk to itself
        np.save(buffer, data)
        (folder / f"{stem}.npy").write_bytes(buffer.getbuffer())
        files.append(folder / f"{stem}.npy")
    return files
