"""The stretch of an archive that the demo draws: the window that its activations tell most about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sanstream.archive import Archive, StreamReader
from sanstream.archive_manifest import SegmentEntry
from sanstream.archive_synthesis import synthesis
from sanstream.bank import COMPONENT
from sanstream.group_state import kernel_shapes
from sanstream.plot import Explained
from sanstream.quality import PRDN, RMSE, Quality, parse_quality
from sanstream.signal import Recording

FloatArray = npt.NDArray[np.float64]


def explain(archive: Archive, original: Recording, *, channel: int = 0) -> Explained:
    """Choose a window of the archive's first recording and lay out what the archive says of it.

    Parameters
    ----------
    archive : Archive
    original : Recording
        What was archived.
    channel : int
        Place of the channel in its stream.

    Returns
    -------
    Explained
    """
    reader = next(iter(next(iter(archive.recordings.values())).streams.values()))
    entry = reader.entry.segments[0]
    first, stop = _telling_window(reader, entry)
    segment = original.streams[0].segments[0]
    seen = segment.channels[channel]
    x = segment.samples[first:stop, channel]
    table = reader.records(entry.start_sample + first, entry.start_sample + stop)
    amplitude = _amplitudes(table, len(segment.channels))[:, channel]
    held = amplitude != 0
    start_ns = archive.recordings[original.name].start_ns or 0
    kernels = _kernels(reader, entry, channel)
    decoded = reader.read_segment(entry, first, stop, [channel])[:, 0]
    told = synthesis(reader, entry, channel, first, stop)
    seconds = (stop - first) / float(reader.rate)
    return Explained(
        title=f"{original.name}, {seen.label}: {seconds:.3g} s at {entry.qualities[channel]}",
        unit=seen.unit,
        rate_hz=float(reader.rate),
        signal=seen.physical(x),
        decoded=seen.physical(decoded),
        residual=seen.physical(decoded) - told / seen.gain,
        index=_fiducials(table, reader, start_ns)[held] - entry.start_sample - first,
        kernel=np.asarray(table["kernel"].to_numpy(), dtype=np.int64)[held],
        amplitude=amplitude[held],
        kernels=kernels,
        bound=_bound(parse_quality(entry.qualities[channel], seen), x, seen.gain),
    )


def _telling_window(reader: StreamReader, entry: SegmentEntry) -> tuple[int, int]:
    """Return the full window with the most kinds of kernel, components aside, then the most activations."""
    step = entry.coding.window_samples
    n_windows = max(1, entry.n_samples // step)
    table = reader.records()
    window = np.asarray(table["window"].to_numpy(), dtype=np.int64)
    kernel = np.asarray(table["kernel"].to_numpy(), dtype=np.int64)
    kernel[[uid.startswith(COMPONENT) for uid in table["kernel_uid"].to_pylist()]] = 0
    score = [(len(np.unique(kernel[window == w])), int((window == w).sum())) for w in range(n_windows)]
    best = max(range(n_windows), key=score.__getitem__)
    return best * step, min(entry.n_samples, (best + 1) * step)


def _amplitudes(table: pa.Table, n_channels: int) -> FloatArray:
    return np.array(table["amplitude"].to_pylist(), dtype=np.float64).reshape(-1, n_channels)


def _fiducials(table: pa.Table, reader: StreamReader, start_ns: int) -> npt.NDArray[np.int64]:
    """Turn fiducial times back into samples of the stream."""
    times = np.asarray(table["fiducial_time_ns"].to_numpy(), dtype=np.int64) - start_ns
    return np.round(times * (float(reader.rate) / 1e9)).astype(np.int64)


def _bound(quality: Quality, x: npt.NDArray[np.int32], gain: float) -> float | None:
    """RMSE, in physical units, that the quality allows in this window; None where it names no RMSE."""
    adu = {PRDN: quality.value / 100 * float(np.std(x)), RMSE: quality.value}.get(quality.kind)
    return None if adu is None else adu / abs(gain)


def _kernels(reader: StreamReader, entry: SegmentEntry, channel: int) -> Sequence[FloatArray]:
    """Shapes, on this channel, of the kernels in use, digital steps at amplitude 1."""
    return kernel_shapes(reader.coding(entry), reader.bank(entry), channel)
