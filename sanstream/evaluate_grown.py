"""A source cut as a daemon cut it: one segment for each of the archive's, the late ones too."""

from __future__ import annotations

import numpy as np

from sanstream.archive import StreamReader
from sanstream.archive_layers import present
from sanstream.archive_manifest import SegmentEntry
from sanstream.errors import InputError
from sanstream.signal import Segment, Stream


def cut_like(stream: Stream, reader: StreamReader) -> tuple[Segment, ...]:
    """Cut a source's stream into the segments that the archive has of it.

    A sample that a segment lacks is missing in its cut, too, where another segment holds it.

    Parameters
    ----------
    stream : Stream
        The source's, from the sample with which the recording of the archive begins.
    reader : StreamReader

    Returns
    -------
    tuple of Segment

    Raises
    ------
    InputError
        When samples of the source are in no segment of the archive.
    """
    free = np.zeros(stream.n_samples, bool)
    for segment in stream.segments:
        free[segment.start_sample : segment.stop_sample] = True
    for entry in reader.entry.segments:
        free[entry.start_sample : entry.stop_sample] = False
    if free.any():
        raise InputError(
            f"stream {stream.name!r}: {int(free.sum())} samples of the source are not in the archive, "
            f"the first is {int(np.argmax(free))}",
            hint="let sanstream ingest finish first; or they are past retention, or of another recording",
        )
    return tuple(_cut(stream, reader, entry) for entry in reader.entry.segments)


def _cut(stream: Stream, reader: StreamReader, entry: SegmentEntry) -> Segment:
    first, stop = entry.start_sample, entry.stop_sample
    codes = [0 if c.missing is None else c.missing for c in entry.channels]
    out = np.tile(np.array(codes, np.int32), (entry.n_samples, 1))
    for segment in stream.segments:
        low, high = max(first, segment.start_sample), min(stop, segment.stop_sample)
        places = {c.label: i for i, c in enumerate(segment.channels)}
        for i, channel in enumerate(entry.channels):
            if low >= high or channel.label not in places:
                continue
            place = places[channel.label]
            column = segment.samples[low - segment.start_sample : high - segment.start_sample, place]
            has = present(column, segment.channels[place].missing)
            out[low - first : high - first, i][has] = column[has]
    if reader.layered:
        own = reader.read_segment(entry, 0, entry.n_samples)
        whole = reader.read(first, stop, [c.label for c in entry.channels], physical=True)
        for i, channel in enumerate(entry.channels):
            out[~present(own[:, i], channel.missing) & ~np.isnan(whole[:, i]), i] = codes[i]
    return Segment(first, entry.channels, out)
