"""Events of a live recording as an annotation set in parts: one set for readers, a part a day for retention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.archive_annotations import unpack_annotations
from sanstream.chunk import Event
from sanstream.signal import Annotations

EVENTS = "events"
"""Name of the set."""
MAX_PART_EVENTS = 4096
_DAY_NS = 86400 * 10**9
_TYPES: Mapping[str, Any] = {
    "time_ns": np.int64,
    "duration_s": np.float64,
    "text": object,
    "kind": object,
    "session": object,
    "number": np.int64,
}


def event_columns(events: Sequence[Event], start_ns: int) -> Annotations:
    """Turn events into the set that readers see.

    Parameters
    ----------
    events : sequence of Event
    start_ns : int
        The recording's start, from which ``time_ns`` counts.

    Returns
    -------
    Annotations
        Columns ``time_ns``, ``duration_s``, ``text`` (the kind where there is none), ``kind``, ``session`` and
        ``number``, by time: what the EDF and WFDB writers take, and what identifies the event.
    """
    values: dict[str, list[Any]] = {
        "time_ns": [e.time_ns - start_ns for e in events],
        "duration_s": [e.duration_ns / 1e9 for e in events],
        "text": [e.text or e.kind for e in events],
        "kind": [e.kind for e in events],
        "session": [e.session for e in events],
        "number": [e.number for e in events],
    }
    return Annotations(EVENTS, {k: np.array(values[k], dtype=t) for k, t in _TYPES.items()})


def join_events(sets: Sequence[Annotations]) -> Annotations:
    """Join sets of :func:`event_columns` into one, by time; of an event that stands in several the first is taken."""
    columns: dict[str, npt.NDArray[Any]] = {
        name: np.concatenate([np.asarray(s.columns[name], dtype) for s in sets] or [np.empty(0, dtype)])
        for name, dtype in _TYPES.items()
    }
    seen: dict[tuple[str, int], int] = {}
    for place, key in enumerate(zip(columns["session"].tolist(), columns["number"].tolist(), strict=True)):
        seen.setdefault(key, place)
    kept = np.array(sorted(seen.values()), dtype=np.int64)
    order = kept[np.argsort(columns["time_ns"][kept], kind="stable")]
    return Annotations(EVENTS, {name: column[order] for name, column in columns.items()})


def identities(events: Annotations) -> set[tuple[str, int]]:
    """Return session and number of every event of a set."""
    return set(zip(events.columns["session"].tolist(), events.columns["number"].tolist(), strict=True))


def part_key(number: int) -> str:
    """Name a part, below the recording's folder."""
    return f"annotations/{EVENTS}/{number:08d}.parquet"


def part_keys(objects: Iterable[str], name: str = EVENTS) -> list[str]:
    """Return the parts of a set among the keys of a recording, in order."""
    head = f"annotations/{name}/"
    return sorted(k for k in objects if k.startswith(head))


def part_number(key: str) -> int:
    """Undo :func:`part_key`."""
    return int(key.rpartition("/")[2].removesuffix(".parquet"))


def belongs(part: Annotations, new: Annotations) -> bool:
    """Tell whether new events go into a part: it has room, and its first event is of the same day."""
    if len(part) + len(new) > MAX_PART_EVENTS or not len(part):
        return False
    days = [int(s.columns["time_ns"].min()) // _DAY_NS for s in (part, new)]
    return days[0] == days[1]


def ends_before(part: Annotations, until_ns: int) -> bool:
    """Tell whether all events of a part end before a time, in nanoseconds from the recording's start."""
    ends = part.columns["time_ns"] + np.ceil(part.columns["duration_s"] * 1e9).astype(np.int64)
    return bool((ends < until_ns).all())


def read_part(data: bytes) -> Annotations:
    """Read a part's file.

    Raises
    ------
    CorruptError
        When it is none.
    """
    return unpack_annotations(data, EVENTS)
