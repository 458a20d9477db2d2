"""Taking a recording from one archive to another, in either container: blocks are copied, never decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sanstream.archive_folder import RecordingFolder
from sanstream.archive_manifest import Manifest, SegmentEntry, StreamEntry
from sanstream.archive_read import StreamReader
from sanstream.archive_recording import RecordingReader

_BLOCKS_AT_ONCE = 64


def copy_recording(folder: RecordingFolder, reader: RecordingReader) -> Manifest:
    """Copy a recording into a new folder.

    Returns
    -------
    Manifest
    """
    streams = tuple(
        StreamEntry(
            stream.name,
            stream.rate,
            stream.n_samples,
            tuple(_copy_segment(folder, stream, s) for s in stream.entry.segments),
        )
        for stream in reader.streams.values()
    )
    return folder.finish(streams, reader.annotations)


def _copy_segment(folder: RecordingFolder, stream: StreamReader, segment: SegmentEntry) -> SegmentEntry:
    entry = replace(segment, coding=stream.coding(segment), has_delta=False)
    return folder.add_segment(stream.name, stream.rate, entry, stream.bank(segment), _blocks(stream, segment))


def _blocks(stream: StreamReader, segment: SegmentEntry) -> Iterator[bytes]:
    for first in range(0, segment.n_blocks, _BLOCKS_AT_ONCE):
        yield from stream.blocks(segment, first, min(first + _BLOCKS_AT_ONCE, segment.n_blocks))
