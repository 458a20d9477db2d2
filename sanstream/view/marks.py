"""What stands on the time line: events, gaps, segments, kernels that changed, alarms and retraining."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sanstream.archive_manifest import RAW
from sanstream.archive_read import StreamReader
from sanstream.archive_recording import RecordingReader
from sanstream.errors import CorruptError
from sanstream.retrain_audit import NEWER, OLDER, audit_rows

MOST = 2000
"""Marks of one kind in one answer; of more, some are left out and counted."""
_TEXT = ("symbol", "text", "aux_note", "label", "description", "kind")


def marks_of(
    reader: RecordingReader, stream: StreamReader, first: int, stop: int, state: Path | None
) -> dict[str, Any]:
    """Return the marks of a stretch of a stream.

    Parameters
    ----------
    reader : RecordingReader
    stream : StreamReader
    first, stop : int
        Samples of the stream.
    state : Path or None
        State folder of the daemon, with its decisions about kernels.

    Returns
    -------
    dict
        ``events``, ``gaps``, ``segments`` and ``decisions``, each a list of dicts with ``from_s`` (and ``to_s``),
        seconds from the recording's start, and ``left_out``: how many events are not among them.
    """
    rate = float(stream.rate)
    low_s, high_s = first / rate, stop / rate
    events, left_out, trouble = _events(reader, low_s, high_s)
    return {
        "events": events,
        "left_out": left_out,
        "gaps": [{"from_s": a / rate, "to_s": b / rate} for a, b in gaps_between(stream, first, stop)][:MOST],
        "segments": [_segment(s, rate) for s in stream.segments_between(first, stop)][:MOST],
        "decisions": list(_decisions(reader, stream, low_s, high_s, state))[-MOST:],
        "trouble": trouble,
    }


def next_mark(
    reader: RecordingReader, stream: StreamReader, at_s: float, state: Path | None, *, back: bool = False
) -> float | None:
    """Return when the next event or decision after ``at_s`` is, or the one before; None where there is none."""
    try:
        sets = reader.annotations
    except CorruptError:
        sets = ()
    times = [np.asarray(a.columns["time_ns"]) / 1e9 for a in sets]
    times.append(np.array([d["from_s"] for d in _decisions(reader, stream, -np.inf, np.inf, state)]))
    every = np.concatenate(times)
    # a millisecond: what a browser sends has been rounded
    found = every[every < at_s - 1e-3] if back else every[every > at_s + 1e-3]
    return float(found.max() if back else found.min()) if len(found) else None


def _segment(entry: Any, rate: float) -> dict[str, Any]:
    return {
        "name": entry.name,
        "from_s": entry.start_sample / rate,
        "to_s": entry.stop_sample / rate,
        "flags": list(entry.flags),
        "coded": RAW not in entry.flags,
        "bank": "" if RAW in entry.flags else entry.coding.bank_base[:12],
        "adapted": RAW not in entry.flags and bool(entry.coding.bank_delta),
        "quality": list(entry.qualities),
    }


def gaps_between(stream: StreamReader, first: int, stop: int) -> list[tuple[int, int]]:
    """Return the stretches between segments, where no channel has a sample."""
    out, at = [], first
    for start, end in sorted((s.start_sample, s.stop_sample) for s in stream.segments_between(first, stop)):
        if start > at:
            out.append((at, start))
        at = max(at, end)
    return [*out, (at, stop)] if at < stop else out


def _events(reader: RecordingReader, low_s: float, high_s: float) -> tuple[list[dict[str, Any]], int, str]:
    out: list[dict[str, Any]] = []
    left_out = 0
    try:
        sets = reader.annotations
    except CorruptError as error:
        return [], 0, str(error)
    for held in sets:
        times = np.asarray(held.columns["time_ns"]) / 1e9
        inside = np.flatnonzero((times >= low_s) & (times < high_s))
        left_out += max(0, len(inside) - MOST)
        if len(inside) > MOST:
            inside = inside[:: -(-len(inside) // MOST)]
        texts = [held.columns[name] for name in _TEXT if name in held.columns]
        durations = held.columns.get("duration_ns")
        for i in inside.tolist():
            words = (str(t[i]).replace("\0", " ").strip() for t in texts)  # WFDB notes may end with a NUL
            text = " ".join(w for w in words if w)
            row = {"from_s": float(times[i]), "text": text[:200], "set": held.name}
            if durations is not None and durations[i] > 0:
                row["to_s"] = float(times[i]) + float(durations[i]) / 1e9
            out.append(row)
    return out, left_out, ""


def _decisions(
    reader: RecordingReader, stream: StreamReader, low_s: float, high_s: float, state: Path | None
) -> Iterator[dict[str, Any]]:
    """Yield what the daemon's audit says of a stream: alarms, and kernels kept, adopted or rolled back."""
    start_ns = reader.start_ns or 0
    for row in _rows(state) if state is not None else ():
        if row.get("recording") != reader.name or row.get("stream") != stream.name:
            continue
        at_s = (int(row.get("signal_ns", 0)) - start_ns) / 1e9
        if low_s <= at_s < high_s:
            alarm = row.get("alarm")
            yield {
                "from_s": at_s,
                "decision": str(row.get("decision", "")),
                "why": str(row.get("why", "")),
                "reason": str(row.get("reason", "")),
                "alarm": dict(alarm) if isinstance(alarm, dict) else None,
                "figures": row.get("figures", {}),
            }


def _rows(state: Path) -> Sequence[dict[str, Any]]:
    """Return the audit's rows; they are read anew only when its files have changed, since every look asks for them."""
    stamps = []
    for name in (OLDER, NEWER):
        with suppress(OSError):
            found = (state / name).stat()
            stamps.append((found.st_ino, found.st_size, found.st_mtime_ns))
    return _rows_of(state, tuple(stamps))


@lru_cache(maxsize=2)
def _rows_of(state: Path, _: tuple[tuple[int, int, int], ...]) -> Sequence[dict[str, Any]]:
    return tuple(audit_rows(state))
