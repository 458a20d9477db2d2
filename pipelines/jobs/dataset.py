"""A dataset of one archive: three tables, partitioned by date and stream, brought up to date part by part.

``TABLE/date=YYYY-MM-DD/stream=NAME/RECORDING.parquet``; a part is what one recording's stream has of one day (UTC).
What a part was made from stands in ``_parts/RECORDING.json``, which is written after the files it names: a run that was
cut off writes again what that does not name, and the next run only what has changed.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date as Date
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.jobs.place import Place
from pipelines.jobs.tables import ACTIVATIONS, KERNELS, WINDOWS, kernels_table, windows_of
from sanstream.archive import RecordingReader
from sanstream.archive_manifest import Manifest, SegmentEntry
from sanstream.archive_read import StreamReader
from sanstream.archive_records import REACH, record_batches
from sanstream.archive_sealed import compact_json

TABLES = {"activations": ACTIVATIONS, "windows": WINDOWS, "kernels": KERNELS}
PARTS = "_parts"
UNKNOWN = "__HIVE_DEFAULT_PARTITION__"
"""How readers of such datasets write a date that is not known: the recording has no start."""
NO_ACTIVATIONS = (
    "no activations: the archive was made at effort fast, or its signals have nothing that repeats; "
    "sanstream reencode it at effort default or thorough, or sparse, and export that"
)
_VERSION = 1
"""Of the tables; with another, every part is written anew."""
_GROUP_ROWS = 1 << 16
_DAY_NS = 86_400 * 10**9
_EPOCH = Date(1970, 1, 1)


@dataclass(frozen=True)
class Part:
    """What one stream has of one day.

    Parameters
    ----------
    date : str
        ``"2024-05-01"``, or :data:`UNKNOWN`.
    first, stop : int
        On the stream's grid.
    digest : str
        Of all that its tables are made from.
    """

    date: str
    first: int
    stop: int
    digest: str


@dataclass
class Written:
    """What was done for one recording."""

    recording: str
    parts: int = 0
    skipped: int = 0
    removed: int = 0
    rows: int = 0
    n_bytes: int = 0
    with_activations: int = 0
    """Parts, also those that were there before."""


def parts_of(reader: StreamReader, manifest: Manifest) -> list[Part]:
    """Cut a stream at every 00:00 UTC, and name what each piece is made from."""
    objects = _objects_of(manifest, reader.name)
    held: dict[str, list[str]] = defaultdict(list)
    spans: dict[str, tuple[int, int]] = {}
    for segment in reader.entry.segments:
        whole = _digest([json.dumps(segment.to_dict()), *objects[segment.name]])
        for date, first, stop in _days(reader, manifest, segment):
            own = segment.start_sample < stop and first < segment.stop_sample
            # of a neighbour, only an activation at its edge may lie here: as it grows on, this day stays as it is
            held[date].append(whole if own else f"{segment.coding.segment_id} {min(segment.n_samples, REACH)}")
            spans[date] = (max(0, first), min(stop, reader.n_samples))
    kept = (date for date in sorted(held) if spans[date][0] < spans[date][1])
    return [Part(date, *spans[date], _digest(held[date])) for date in kept]


def _days(reader: StreamReader, manifest: Manifest, segment: SegmentEntry) -> Iterator[tuple[str, int, int]]:
    """Yield the days that a segment's activations may lie in, each with its first sample and that of the next."""
    low, high = segment.start_sample - REACH, segment.stop_sample + REACH
    if manifest.start_ns is None:
        yield UNKNOWN, 0, reader.n_samples
        return
    day = (manifest.start_ns + math.floor(low * 10**9 / reader.rate)) // _DAY_NS
    while True:
        first, stop = (math.ceil((d * _DAY_NS - manifest.start_ns) * reader.rate / 10**9) for d in (day, day + 1))
        if first >= high:
            return
        yield (_EPOCH + timedelta(days=day)).isoformat(), first, stop
        day += 1


def _objects_of(manifest: Manifest, stream: str) -> dict[str, list[str]]:
    """Return the hashes of each segment's objects."""
    out: dict[str, list[str]] = defaultdict(list)
    for key, (_, digest) in sorted(manifest.objects.items()):
        if key.startswith(f"{stream}/") and key.count("/") >= 2:
            out[key.split("/")[1]].append(digest)
    return out


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join((str(_VERSION), *parts)).encode()).hexdigest()


def export_recording(reader: RecordingReader, place: Place) -> Written:
    """Write what has changed of a recording, and remove what is no longer there.

    Parameters
    ----------
    reader : RecordingReader
    place : Place
        Of the dataset.

    Returns
    -------
    Written
    """
    done = Written(reader.name)
    before = read_state(place, reader.name)
    state: dict[str, dict[str, object]] = {}
    for name, stream in reader.streams.items():
        for part in parts_of(stream, reader.manifest):
            where = f"date={part.date}/stream={quote(name, safe='')}"
            if before.get(where, {}).get("digest") == part.digest:
                state[where] = before[where]
                done.skipped += 1
                continue
            rows: dict[str, tuple[int, int]] = {}
            for table in TABLES:
                empty = table == "kernels" and not rows["activations"][0]
                own = iter(()) if empty else _rows(stream, reader.manifest, part, table)
                rows[table] = _write(own, table, key_of(table, where, reader.name), place)
            state[where] = {"digest": part.digest, "tables": [t for t, (n, _) in rows.items() if n]}
            done.parts += 1
            done.rows += sum(n for n, _ in rows.values())
            done.n_bytes += sum(size for _, size in rows.values())
    done.with_activations = sum("activations" in own["tables"] for own in state.values())  # type: ignore[operator]
    gone = files_of(before, reader.name) - files_of(state, reader.name)
    place.remove(sorted(gone))
    done.removed = len(gone)
    if state != before:
        place.put(state_key(reader.name), compact_json({"version": _VERSION, "recording": reader.name, "parts": state}))
    return done


State = dict[str, dict[str, object]]
"""By ``date=/stream=``: the digest, and the tables that have rows."""


def state_key(recording: str) -> str:
    """Return the key of what was written for a recording."""
    return f"{PARTS}/{quote(recording, safe='')}.json"


def key_of(table: str, where: str, recording: str) -> str:
    """Return the key of a part's file."""
    return f"{table}/{where}/{quote(recording, safe='')}.parquet"


def read_state(place: Place, recording: str) -> State:
    """Return what was written for a recording; nothing when that cannot be read: all is written again then."""
    data = place.read(state_key(recording))
    try:
        state: State = json.loads(data)["parts"] if data else {}
    except (ValueError, LookupError, TypeError):
        return {}
    return state


def files_of(state: State, recording: str) -> set[str]:
    """Return the keys of all files that a state names."""
    return {key_of(table, where, recording) for where, own in state.items() for table in own["tables"]}  # type: ignore[attr-defined]


def _write(rows: Iterator[pa.Table], table: str, key: str, place: Place) -> tuple[int, int]:
    """Write one file; returns its rows and bytes. Without rows there is none."""
    with tempfile.TemporaryDirectory(prefix="sanstream-records-") as folder:
        draft, n = Path(folder) / "part.parquet", 0
        with pq.ParquetWriter(draft, TABLES[table], compression="zstd") as writer:
            for group in _groups(rows, TABLES[table]):
                writer.write_table(group)
                n += group.num_rows
        if n:
            place.put(key, draft)
        else:
            place.remove([key])
        return n, draft.stat().st_size if n else 0


def _rows(reader: StreamReader, manifest: Manifest, part: Part, table: str) -> Iterator[pa.Table]:
    if table == "activations":
        batches = record_batches(reader, manifest, part.first, part.stop)
        found = (pa.Table.from_batches([b]).drop_columns("stream") for b in batches)
        # segments that came late stand last: a day of them is put in order in memory
        yield from (
            [pa.concat_tables([ACTIVATIONS.empty_table(), *found]).sort_by("fiducial_time_ns")]
            if (reader.layered)
            else found
        )
        return
    reach = 0 if table == "windows" else REACH
    for segment in reader.segments_between(part.first - reach, part.stop + reach):
        if table == "windows":
            yield from (
                pa.Table.from_batches([b]) for b in windows_of(reader, manifest, segment, part.first, part.stop)
            )
        else:
            yield kernels_table(reader, manifest, segment)


def _groups(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Join small tables into row groups."""
    held: list[pa.Table] = []
    n = 0
    for table in tables:
        held.append(table)
        n += table.num_rows
        if n >= _GROUP_ROWS:
            yield pa.concat_tables(held)
            held, n = [], 0
    if n:
        yield pa.concat_tables([schema.empty_table(), *held])
