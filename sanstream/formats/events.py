"""Recordings that hold events and no channel: a CSV file of each set, whatever format was asked for."""

from __future__ import annotations

from pathlib import Path

from sanstream.formats.labels import safe_name
from sanstream.signal import Recording


def write_events(recording: Recording, folder: Path, format: str) -> list[Path]:
    """Write every annotation set as ``NAME_SET.csv``, a column each; times are nanoseconds from the recording's start.

    Parameters
    ----------
    recording : Recording
        Without streams: no format of signals holds it.
    folder : Path
    format : str
        Of no matter.

    Returns
    -------
    list of Path
    """
    import pyarrow as pa
    from pyarrow import csv

    files = []
    for events in recording.annotations:
        path = folder / f"{safe_name(recording.name)}_{safe_name(events.name)}.csv"
        csv.write_csv(pa.table({name: pa.array(column.tolist()) for name, column in events.columns.items()}), path)
        files.append(path)
    return files
