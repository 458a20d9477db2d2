"""What the ledger says of recordings, streams, sessions, segments and events: one function per record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sanstream.archive_manifest import SegmentEntry
from sanstream.chunk import Event
from sanstream.daemon.lanes import Lane
from sanstream.daemon.sessions import Session
from sanstream.daemon.streams import RecordingState, StreamState

Row = tuple[str, dict[str, Any], bytes]
"""Kind, head and body of a ledger's record."""


def opening_entry(lane: Lane) -> SegmentEntry:
    """Return a planned lane's entry before its first block.

    Parameters
    ----------
    lane : Lane

    Returns
    -------
    SegmentEntry
    """
    plan = lane.plan
    if plan is None:
        raise AssertionError("a lane is planned before it has an entry")
    coding = plan.coding
    return SegmentEntry(
        lane.name,
        lane.start,
        0,
        lane.shard_samples,
        lane.channels,
        coding,
        tuple(str(q) for q in lane.qualities),
        flags=tuple(lane.flags),
    )


def recording_row(recording: RecordingState) -> Row:
    """Return the record that introduces a recording."""
    head = {"recording": recording.name, "start_ns": recording.start_ns, "timezone": "utc", "feed": recording.feed}
    return "recording", head, b""


def stream_row(stream: StreamState, *, with_coverage: bool = False) -> Row:
    """Return the record that introduces a stream."""
    head: dict[str, Any] = {
        "recording": stream.recording.name,
        "stream": stream.name,
        "rate": str(stream.rate),
        "feed": stream.feed,
        "modality": stream.modality,
    }
    if with_coverage:
        head["coverage"] = stream.committed.to_list()
        head |= {"last_arrival_ns": stream.last_arrival_ns, "n_channels": stream.n_channels}
        head["figures"] = {k: float(f"{v:.9g}") for k, v in stream.figures.items()}
    return "stream", head, b""


def session_row(stream: StreamState, session: Session) -> Row:
    """Return the record of a session as it stands."""
    head = {"recording": stream.recording.name, "stream": stream.name, **session.to_dict()}
    return "session", head, b""


def event_row(event: Event) -> Row:
    """Return the record of an event."""
    return "event", dict(event.__dict__), b""


def segment_row(stream: StreamState, lane: Lane, entry: SegmentEntry) -> Row:
    """Return the record that opens a segment."""
    head = {
        "recording": stream.recording.name,
        "stream": stream.name,
        "rate": str(stream.rate),
        "segment": lane.name,
        "lane": lane.kind,
        "entry": entry.to_dict(),
        "flags": lane.flags,
        "bank": entry.coding.bank_base,
    }
    return "segment", head, b""


def place_of_lane(stream: StreamState, lane: Lane) -> dict[str, Any]:
    """Return the head that names a lane."""
    return {"recording": stream.recording.name, "stream": stream.name, "segment": lane.name}


def lane_rows(stream: StreamState, lane: Lane, read_body: Any) -> Iterator[Row]:
    """Yield the records of a segment and of its blocks that are not in the archive."""
    yield segment_row(stream, lane, opening_entry(lane))
    if lane.n_sealed:
        before = lane.n_sealed
        head = {
            **place_of_lane(stream, lane),
            "n_blocks": before,
            "n_samples": before * lane.block_samples,
            "figures": lane.sealed_figures,
            "anchors": [a for a in lane.anchors if a[0] < before * lane.block_samples],
        }
        yield "sealed", head, b""
    for place, head in lane.places:
        yield "block", dict(head), read_body(place)
    if lane.closed:
        yield "closed", place_of_lane(stream, lane), b""


def numbers_without(low: int, high: int, numbers: set[int]) -> Iterator[tuple[int, int]]:
    """Yield ``low`` to ``high`` as half-open stretches that leave some numbers out."""
    at = low
    for n in sorted(x for x in numbers if low <= x < high):
        if n > at:
            yield at, n
        at = n + 1
    if at < high:
        yield at, high
