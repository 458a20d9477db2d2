"""A recording as the chunks and events that its device would have sent, in the order of time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from sanstream.chunk import Chunk, Event
from sanstream.feeds.descriptors import with_missing
from sanstream.signal import Annotations, Channel, Recording, Stream
from sanstream.times import parse_offset

Timed = tuple[int, Chunk | Event]
"""Nanoseconds from the recording's start at which something is due, and the thing."""

_ROWS = ("exceptions", "negative_zeros")
"""What a channel's header says of single rows of a whole file; it would be wrong of a stretch."""


def utc_start_ns(recording: Recording) -> int | None:
    """Return a recording's start in UTC; a clock of unknown zone is taken for UTC."""
    if recording.start_ns is None:
        return None
    return recording.start_ns - (parse_offset(recording.timezone) or 0) * 10**9


def timeline(
    recording: Recording,
    *,
    name: str,
    session: str,
    start_ns: int,
    chunk_s: float = 1.0,
    clock: Callable[[], int] | None = None,
) -> Iterator[Timed]:
    """Cut a recording into chunks of about ``chunk_s`` seconds and merge them with its events.

    Parameters
    ----------
    recording : Recording
    name, session : str
        Names that chunks and events carry.
    start_ns : int
        Time of the recording's first sample, UTC.
    chunk_s : float
    clock : callable, optional
        Gives the arrival time of each chunk; its device time when not given.

    Yields
    ------
    (int, Chunk or Event)
        A chunk is due at its end, an event at its time. Sample numbers are places on the stream's grid, so what is
        missing between two segments stays missing.
    """
    parts = [_chunks(stream, name, session, start_ns, chunk_s, clock) for stream in recording.streams]
    parts.append(_events(recording.annotations, name, session, start_ns))
    return heapq.merge(*parts, key=lambda timed: timed[0])


def _chunks(
    stream: Stream, name: str, session: str, start_ns: int, chunk_s: float, clock: Callable[[], int] | None
) -> Iterator[Timed]:
    step = max(1, round(chunk_s * stream.rate))
    per_sample = 10**9 / stream.rate
    for segment in stream.segments:
        channels = with_missing([_lasting(c) for c in segment.channels])
        for at in range(0, segment.n_samples, step):
            samples = segment.samples[at : at + step]
            first = segment.start_sample + at
            device_ns = start_ns + int(first * per_sample)
            arrival_ns = device_ns if clock is None else clock()
            due = int((first + len(samples)) * per_sample)
            yield (
                due,
                Chunk(name, stream.name, session, first, samples, stream.rate, channels, device_ns, arrival_ns),
            )


def _lasting(channel: Channel) -> Channel:
    header: dict[str, Any] = {k: v for k, v in channel.header.items() if k not in _ROWS}
    if isinstance(header.get("text"), dict):
        header["text"] = {k: v for k, v in header["text"].items() if k not in _ROWS}
    return replace(channel, header=header)


def _events(sets: tuple[Annotations, ...], name: str, session: str, start_ns: int) -> Iterator[Timed]:
    found = []
    for events in sets:
        durations = events.columns.get("duration_s")
        for row, time_ns in enumerate(events.columns["time_ns"].tolist()):
            seconds = 0.0 if durations is None else float(durations[row])
            duration_ns = round(seconds * 1e9) if 0 < seconds < 1e9 else 0
            found.append((time_ns, _text(events, row), duration_ns))
    found.sort(key=lambda event: event[0])
    for number, (time_ns, text, duration_ns) in enumerate(found):
        yield time_ns, Event(name, session, number, start_ns + time_ns, "annotation", text, duration_ns)


def _text(events: Annotations, row: int) -> str:
    """Return what an annotation says: EDF's text, or WFDB's symbol and its note."""
    words = [str(events.columns[key][row]) for key in ("symbol", "aux_note", "text") if key in events.columns]
    return " ".join(w for w in (word.strip(" \0") for word in words) if w)[:65536]
