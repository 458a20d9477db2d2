"""The three tables of a dataset, read from coded blocks; no sample is decoded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.codes.beat_candidates import steep_places
from sanstream.archive_manifest import RAW, Manifest, SegmentEntry
from sanstream.archive_read import StreamReader
from sanstream.archive_records import SCHEMA
from sanstream.block import read_block
from sanstream.block_coding import SegmentCoding
from sanstream.decode import BlockFigures, read_figures
from sanstream.group_state import kernel_shapes, kernels_of
from sanstream.modality import modality_of

ACTIVATIONS = pa.schema([f for f in SCHEMA if f.name != "stream"])
"""As :mod:`sanstream.archive_records` has it; the stream stands in the path."""
WINDOWS = pa.schema(
    [
        ("recording", pa.string()),
        ("segment", pa.string()),
        ("block", pa.int32()),
        ("window", pa.int32()),
        ("start_time_ns", pa.int64()),
        ("n_samples", pa.int32()),
        ("late", pa.bool_()),
        ("channel", pa.string()),
        ("modality", pa.string()),
        ("unit", pa.string()),
        ("quality", pa.string()),
        ("rmse", pa.float32()),
        ("max_error", pa.float32()),
        ("lossless", pa.bool_()),
        ("constant", pa.bool_()),
        ("missing", pa.int32()),
        ("n_activations", pa.int32()),
        ("bits_per_sample", pa.float32()),
        ("segment_phi", pa.float32()),
    ]
)
KERNELS = pa.schema(
    [
        ("recording", pa.string()),
        ("segment", pa.string()),
        ("kernel", pa.int32()),
        ("kernel_uid", pa.string()),
        ("bank", pa.string()),
        ("place", pa.int32()),
        ("offset_ns", pa.int64()),
        ("channel", pa.list_(pa.string())),
        ("modality", pa.list_(pa.string())),
        ("sharp", pa.list_(pa.float32())),
        ("slow", pa.list_(pa.float32())),
    ]
)
_LEAST_HZ = 50.0
"""At less, no kernel shows how steep a QRS complex is."""
_AT_ONCE = 60


def time_ns(manifest: Manifest, reader: StreamReader, sample: int) -> int:
    """Return a sample's time: since 1970 where the recording has a start, else from its first sample."""
    return (manifest.start_ns or 0) + sample * 10**9 * reader.rate.denominator // reader.rate.numerator


def windows_of(
    reader: StreamReader, manifest: Manifest, segment: SegmentEntry, first: int, stop: int
) -> Iterator[pa.RecordBatch]:
    """Yield what each window and channel reached, for windows that begin in ``[first, stop)`` of the stream's grid.

    Yields
    ------
    pyarrow.RecordBatch
        With :data:`WINDOWS`; one a block.
    """
    if RAW in segment.flags:
        return
    coding, bank = reader.coding(segment), reader.bank(segment)
    step = coding.block_samples
    low = max(0, (first - segment.start_sample) // step)
    high = min(segment.n_blocks, -(-(stop - segment.start_sample) // step))
    for at in range(low, high, _AT_ONCE):
        for number, payload in enumerate(reader.blocks(segment, at, min(high, at + _AT_ONCE)), start=at):
            figures = read_figures(payload, number, coding, bank)
            missing = _missing(payload, number, coding)
            origin = segment.start_sample + number * step
            starts = origin + np.arange(len(figures.rmse_adu)) * coding.window_samples
            inside = np.flatnonzero((starts >= first) & (starts < stop))
            if len(inside):
                bits = 8 * len(payload) / (figures.n_samples * coding.n_channels)
                yield _window_rows(reader, manifest, segment, number, starts, inside, figures, missing, bits)


def _window_rows(
    reader: StreamReader, manifest: Manifest, segment: SegmentEntry, number: int, starts: npt.NDArray[np.int64],
    inside: npt.NDArray[np.int64], figures: BlockFigures, missing: npt.NDArray[np.int32], bits: float,
) -> pa.RecordBatch:  # fmt: skip
    channels, n_channels, n = segment.channels, len(segment.channels), len(inside)
    size = segment.coding.window_samples
    first_window = number * (segment.coding.block_samples // size)
    end = starts[0] + figures.n_samples
    step = np.array([1 / c.gain for c in channels])
    # a code that says nothing of the error, as quality sparse writes it
    rmse = np.where(figures.rmse_adu >= 2.0**32, np.nan, figures.rmse_adu * step)
    worst = np.where(figures.rmse_adu >= 2.0**32, np.nan, figures.max_error_adu * step)

    def each(values: object) -> npt.NDArray[np.generic]:
        """Repeat one value a window for its channels."""
        return np.repeat(np.asarray(values), n_channels)

    columns = {
        "recording": [manifest.name] * (n * n_channels),
        "segment": [segment.name] * (n * n_channels),
        "block": np.full(n * n_channels, number, np.int32),
        "window": each(first_window + inside).astype(np.int32),
        "start_time_ns": each([time_ns(manifest, reader, int(s)) for s in starts[inside]]),
        "n_samples": each(np.minimum(end - starts[inside], size)).astype(np.int32),
        "late": np.full(n * n_channels, segment.late),
        "channel": [c.label for c in channels] * n,
        "modality": [modality_of(c) for c in channels] * n,
        "unit": [c.unit for c in channels] * n,
        "quality": list(segment.qualities) * n,
        "rmse": rmse[inside].ravel(),
        "max_error": worst[inside].ravel(),
        "lossless": figures.lossless[inside].ravel(),
        "constant": figures.constant[inside].ravel(),
        "missing": missing[inside].ravel(),
        "n_activations": each(figures.n_activations[inside]).astype(np.int32),
        "bits_per_sample": np.full(n * n_channels, bits, np.float32),
        "segment_phi": np.tile(np.array([r[-1] for r in segment.reached] or [np.nan] * n_channels, np.float32), n),
    }
    arrays = [pa.array(columns[f.name], f.type, from_pandas=True) for f in WINDOWS]
    return pa.RecordBatch.from_arrays(arrays, schema=WINDOWS)


def _missing(payload: bytes, number: int, coding: SegmentCoding) -> npt.NDArray[np.int32]:
    """Count missing samples by window and channel, from the runs in the block's header."""
    parts = read_block(payload, number, coding)
    size = coding.window_samples
    out = np.zeros((-(-parts.n_samples // size), coding.n_channels), np.int32)
    for channel, gaps in enumerate(parts.gaps):
        for start, length in gaps:
            for window in range(start // size, -(-(start + length) // size)):
                out[window, channel] += min(start + length, (window + 1) * size) - max(start, window * size)
    return out


def kernels_table(reader: StreamReader, manifest: Manifest, segment: SegmentEntry) -> pa.Table:
    """Say where each of a segment's kernels is as steep as a QRS complex.

    Returns
    -------
    pyarrow.Table
        With :data:`KERNELS`, one row for each kernel and place: ``offset_ns`` from the fiducial point, and per channel
        the root mean square slope about it in units a second at amplitude 1, at the width of a QRS complex (``sharp``)
        and of a T wave (``slow``). A kernel without such a place has none.
    """
    coding, bank, rate_hz = reader.coding(segment), reader.bank(segment), float(reader.rate)
    kernels = kernels_of(coding, bank)
    if not kernels or rate_hz < _LEAST_HZ:
        return KERNELS.empty_table()
    shapes = [kernel_shapes(coding, bank, c) for c in range(coding.n_channels)]
    longest = max(len(taps) for own in shapes for taps in own)
    taps = np.zeros((len(kernels), coding.n_channels, longest))
    for c, own in enumerate(shapes):
        for k, shape in enumerate(own):
            taps[k, c, : len(shape)] = shape
    scale = rate_hz / np.array([ch.gain for ch in segment.channels])
    labels, kinds = [c.label for c in segment.channels], [modality_of(c) for c in segment.channels]
    rows = [
        {
            "recording": manifest.name, "segment": segment.name, "kernel": k, "kernel_uid": kernels[k].uid,
            "bank": coding.bank_base, "place": number,
            "offset_ns": round((offset - kernels[k].fiducial) * 10**9 / rate_hz),
            "channel": labels, "modality": kinds, "sharp": np.abs(sharp * scale), "slow": np.abs(slow * scale),
        }
        for k, places in enumerate(steep_places(taps, rate_hz))
        for number, (offset, sharp, slow) in enumerate(places)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=KERNELS)
