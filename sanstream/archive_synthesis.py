"""What a stream's activations say by themselves: the sum of their kernels, without the residual."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sanstream.archive_manifest import RAW, SegmentEntry
from sanstream.archive_read import StreamReader
from sanstream.decode import read_records
from sanstream.group_state import kernel_shapes

FloatArray = npt.NDArray[np.float64]


def synthesis(reader: StreamReader, entry: SegmentEntry, channel: int, first: int, stop: int) -> FloatArray:
    """Sum amplitude times kernel (FORMAT.md clause 7) over a stretch of a segment; a tail ends where its block ends.

    Parameters
    ----------
    reader : StreamReader
    entry : SegmentEntry
    channel : int
        Its place in the segment.
    first, stop : int
        Samples of the segment.

    Returns
    -------
    ndarray, shape (stop - first,), float64
        Digital steps about 0; zeros where nothing is coded yet.

    Raises
    ------
    CorruptError
        When a block has changed.
    """
    out = np.zeros(max(0, stop - first))
    if RAW in entry.flags or not len(out):
        return out
    coding, bank = reader.coding(entry), reader.bank(entry)
    kernels = kernel_shapes(coding, bank, channel)
    step = coding.block_samples
    low = first // step
    for number, payload in enumerate(reader.blocks(entry, low, -(-stop // step)), start=low):
        records = read_records(payload, number, coding, bank)
        origin, end = number * step, min((number + 1) * step, entry.n_samples)
        for kernel, index, amplitude in zip(records.kernel, records.index, records.amplitude[:, channel], strict=True):
            taps, start = kernels[int(kernel)], origin + int(index)
            a, b = max(start, first, origin), min(start + len(taps), stop, end)
            if a < b and amplitude:
                out[a - first : b - first] += amplitude * taps[a - start : b - start]
    return out
