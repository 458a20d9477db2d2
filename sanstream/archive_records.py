"""The activations of a stretch of a stream as an Arrow table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sanstream.archive_layers import held_before
from sanstream.archive_manifest import RAW, Manifest, SegmentEntry
from sanstream.decode import read_records
from sanstream.errors import CorruptError

if TYPE_CHECKING:
    from sanstream.archive_read import StreamReader

SCHEMA = pa.schema(
    [
        ("recording", pa.string()),
        ("stream", pa.string()),
        ("segment", pa.string()),
        ("block", pa.int32()),
        ("window", pa.int32()),
        ("kernel", pa.int32()),
        ("kernel_uid", pa.string()),
        ("index", pa.int32()),
        ("sample", pa.int64()),
        ("fiducial_time_ns", pa.int64()),
        ("amplitude", pa.list_(pa.float64())),
    ]
)


_AT_ONCE = 60
"""Blocks fetched together."""
REACH = 1024
"""How far, in samples, a fiducial point may lie outside the segment that holds its activation: a kernel's taps."""


def read_records_table(
    reader: StreamReader, manifest: Manifest, first: int, stop: int, *, sound_only: bool = False
) -> pa.Table:
    """Read the activations whose fiducial point lies in ``[first, stop)`` of the stream's grid.

    Parameters
    ----------
    reader : StreamReader
    manifest : Manifest
    first, stop : int
    sound_only : bool
        Leave out blocks that do not decode, instead of raising :class:`~sanstream.errors.CorruptError`.

    Returns
    -------
    pyarrow.Table
        With :data:`SCHEMA`.
    """
    table = pa.Table.from_batches(
        list(record_batches(reader, manifest, first, stop, sound_only=sound_only)), schema=SCHEMA
    )
    return table.sort_by("fiducial_time_ns") if reader.layered else table


def record_batches(
    reader: StreamReader, manifest: Manifest, first: int, stop: int, *, sound_only: bool = False
) -> Iterator[pa.RecordBatch]:
    """Yield the activations of :func:`read_records_table` block by block, in the order of the segments.

    Yields
    ------
    pyarrow.RecordBatch
        With :data:`SCHEMA`.
    """
    for segment in reader.segments_between(first - REACH, stop + REACH):
        if RAW in segment.flags:
            continue
        step = segment.coding.block_samples
        # a fiducial point may lie in the block after the one that holds its activation, or before
        low = max(0, (first - segment.start_sample) // step - 1)
        high = min(segment.n_blocks, -(-(stop - segment.start_sample) // step) + 1)
        if low >= high:
            continue
        begin, end = max(first, segment.start_sample - step), min(stop, segment.stop_sample + step)
        held = held_before(reader, segment, begin, end) if reader.layered else np.zeros(0, bool)
        for at in range(low, high, _AT_ONCE):
            for number, payload in _payloads(reader, segment, at, min(high, at + _AT_ONCE), sound_only):
                try:
                    batch = _block(reader, manifest, segment, number, payload, first, stop, (begin, held))
                except CorruptError:
                    if not sound_only:
                        raise
                    continue
                if batch is not None:
                    yield batch


def _payloads(
    reader: StreamReader, segment: SegmentEntry, first: int, stop: int, sound_only: bool
) -> Iterator[tuple[int, bytes]]:
    """Yield blocks with their numbers; where some cannot be read and that is allowed, one by one."""
    try:
        yield from enumerate(reader.blocks(segment, first, stop), start=first)
    except CorruptError:
        if not sound_only:
            raise
        for number in range(first, stop):
            with suppress(CorruptError):
                yield number, reader.blocks(segment, number, number + 1)[0]


def _block(
    reader: StreamReader,
    manifest: Manifest,
    segment: SegmentEntry,
    number: int,
    payload: bytes,
    first: int,
    stop: int,
    before: tuple[int, npt.NDArray[np.bool_]],
) -> pa.RecordBatch | None:
    """Read the activations of one block, but those where the segments before it have samples already."""
    coding = reader.coding(segment)
    records = read_records(payload, number, coding, reader.bank(segment))
    origin = segment.start_sample + number * coding.block_samples
    fiducial = np.asarray(records.fiducial, dtype=np.int64) + origin
    inside = (fiducial >= first) & (fiducial < stop)
    at = fiducial - before[0]
    known = (at >= 0) & (at < len(before[1]))
    inside[known] &= ~before[1][at[known]]
    held = np.flatnonzero(inside)
    if not len(held):
        return None
    n = len(held)
    index = np.asarray(records.index, dtype=np.int64)[held]
    kernel = np.asarray(records.kernel, dtype=np.int64)[held]
    windows = np.maximum(index, 0) // coding.window_samples + number * (coding.block_samples // coding.window_samples)
    scale, divisor = 10**9 * reader.rate.denominator, reader.rate.numerator
    start = manifest.start_ns or 0
    times = [start + (int(f) * scale) // divisor for f in fiducial[held]]
    columns: list[Any] = [
        pa.array([manifest.name] * n, pa.string()),
        pa.array([reader.name] * n, pa.string()),
        pa.array([segment.name] * n, pa.string()),
        pa.array(np.full(n, number), pa.int32()),
        pa.array(windows, pa.int32()),
        pa.array(kernel, pa.int32()),
        pa.array([records.kernel_uid[k] for k in kernel], pa.string()),
        pa.array(index, pa.int32()),
        pa.array(index + origin, pa.int64()),
        pa.array(times, pa.int64()),
        pa.array(list(np.asarray(records.amplitude, dtype=np.float64)[held]), pa.list_(pa.float64())),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
