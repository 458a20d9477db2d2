"""What a recording gains in one commit of an archive that grows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from sanstream.archive_manifest import SegmentEntry
from sanstream.bank import Bank
from sanstream.chunk import Event


@dataclass(frozen=True)
class GrownSegment:
    """What a segment gains.

    Parameters
    ----------
    stream : str
    rate : Fraction
        Samples per second.
    entry : SegmentEntry
        As it is after this growth; ``coded_bytes`` and ``has_delta`` are set by the commit, and so is a
        ``committed_ns`` of 0.
    bank : Bank
    first_block : int
        Number of the first of ``blocks``: a multiple of the blocks of a shard.
    blocks : tuple of bytes
        Whole shards; the last may be short only when the segment is finished.
    """

    stream: str
    rate: Fraction
    entry: SegmentEntry
    bank: Bank
    first_block: int
    blocks: tuple[bytes, ...]


@dataclass(frozen=True)
class Growth:
    """What one recording gains in one commit.

    Parameters
    ----------
    recording : str
    start_ns : int
        Time of the recording's sample 0, nanoseconds since 1970 (UTC); the same at every commit.
    timezone : str
    attributes : mapping
        JSON values, added to what the recording has.
    segments : tuple of GrownSegment
    events : tuple of Event
        New ones.
    source_format : str
        What ``restore`` writes when it is not told otherwise.
    """

    recording: str
    start_ns: int
    timezone: str = "utc"
    attributes: Mapping[str, Any] = field(default_factory=dict)
    segments: tuple[GrownSegment, ...] = ()
    events: tuple[Event, ...] = ()
    source_format: str = "wfdb"
