"""Taking a recording from one archive to another, in either container: blocks are copied, never decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sanstream.archive_folder import RecordingFolder
from sanstream.archive_manifest import Manifest, SegmentEntry, StreamEntry
from sanstream.archive_read import StreamReader
from sanstream.archive_recording import RecordingReader
from sanstream.block import read_block

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
    return folder.add_segment(stream.name, stream.rate, entry, stream.bank(segment), sound_blocks(stream, segment))


def sound_blocks(stream: StreamReader, segment: SegmentEntry) -> Iterator[bytes]:
    """Yield a segment's blocks as they are, each with its checksum looked at.

    A changed bit must not get a new, valid checksum from whoever carries it on.

    Raises
    ------
    CorruptError
        Names segment and block.
    """
    coding = stream.coding(segment)
    for first in range(0, segment.n_blocks, _BLOCKS_AT_ONCE):
        payloads = stream.blocks(segment, first, min(first + _BLOCKS_AT_ONCE, segment.n_blocks))
        for number, payload in enumerate(payloads, start=first):
            read_block(payload, number, coding)
            yield payload
