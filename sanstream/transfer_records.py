"""Export the activations of an archive as one Parquet file."""

from __future__ import annotations

import io
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq

from sanstream.archive import RecordingReader
from sanstream.archive import open as open_archive
from sanstream.archive_objects import local_path
from sanstream.archive_read import When
from sanstream.archive_records import SCHEMA
from sanstream.errors import InputError

STDOUT = "-"


def export_records(
    archive: str | os.PathLike[str],
    *,
    to: str | os.PathLike[str],
    recording: str | None = None,
    t0: When = None,
    t1: When = None,
) -> int:
    """Write the activations of an archive, row group by row group.

    Parameters
    ----------
    archive : path
    to : path
        A new file, or ``"-"`` for standard output. It appears whole, or not at all.
    recording : str, optional
        One of the archive's recordings; default: all.
    t0, t1 : float, Fraction, int, str or Time, optional
        Only activations whose fiducial point lies in ``[t0, t1)``.

    Returns
    -------
    int
        Activations written.

    Raises
    ------
    InputError
        On an unknown recording, a time that is not there, a target that exists, or whose folder does not.
    CorruptError
        When the archive has changed.
    """
    with open_archive(archive) as held:
        names = list(held.recordings) if recording is None else [recording]
        if recording is not None and recording not in held.recordings:
            raise InputError(
                f"{archive}: holds no recording {recording!r}", hint=f"it holds {', '.join(held.recordings)}"
            )
        if str(to) == STDOUT:
            buffer = io.BytesIO()
            count = _write(buffer, [held.recordings[n] for n in names], t0, t1)
            sys.stdout.buffer.write(buffer.getvalue())
            return count
        target = local_path(to)
        if target.exists():
            raise InputError(f"{target} exists already", hint="choose another name")
        if not target.parent.is_dir():
            raise InputError(f"{target.parent}: no such folder", hint="make it first")
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with draft.open("xb") as file:
                count = _write(file, [held.recordings[n] for n in names], t0, t1)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
        return count


def _write(file: object, readers: list[RecordingReader], t0: When, t1: When) -> int:
    count = 0
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for reader in readers:
            for stream in reader.streams.values():
                table: pa.Table = stream.records(t0, t1)
                writer.write_table(table)
                count += table.num_rows
    return count
