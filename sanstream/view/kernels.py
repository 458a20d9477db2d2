"""Activations of a stretch, and the kernels that they name."""

from __future__ import annotations

from typing import Any

import numpy as np

from sanstream.archive_manifest import RAW
from sanstream.archive_read import StreamReader
from sanstream.group_state import kernel_shapes, kernels_of

MOST = 5000
"""Activations in one answer; where there are more, the page says so and asks for a shorter stretch."""
_LONGEST_S = 7200
_MOST_TAPS = 400


def activations_of(reader: StreamReader, first: int, stop: int) -> dict[str, Any]:
    """Return the activations whose fiducial point lies in ``[first, stop)``.

    Returns
    -------
    dict
        ``sample`` (of the fiducial point), ``kernel`` (lineage id) and ``amplitude`` (largest of all channels), lists
        of equal length; ``too_many`` where the stretch is too long.
    """
    rate = float(reader.rate)
    if stop - first > _LONGEST_S * rate:
        return {"sample": [], "kernel": [], "amplitude": [], "too_many": True}
    table = reader.records(first, stop)
    if table.num_rows > MOST:
        return {"sample": [], "kernel": [], "amplitude": [], "too_many": True}
    fiducials = {}
    for entry in reader.segments_between(first - 4096, stop + 4096):
        if RAW not in entry.flags:
            fiducials[entry.name] = [k.fiducial for k in kernels_of(reader.coding(entry), reader.bank(entry))]
    columns = (table[name].to_pylist() for name in ("segment", "kernel", "sample"))
    sample = [at + fiducials[segment][kernel] for segment, kernel, at in zip(*columns, strict=True)]
    peak = [max(row, key=abs, default=0.0) for row in table["amplitude"].to_pylist()]
    return {
        "sample": sample,
        "kernel": table["kernel_uid"].to_pylist(),
        "amplitude": [round(a, 3) for a in peak],
        "too_many": False,
    }


def gallery(reader: StreamReader, first: int, stop: int) -> dict[str, Any]:
    """Return the kernels of the segments in a stretch.

    Returns
    -------
    dict
        ``kernels``: per kernel its lineage id ``uid``, the ``segment`` it is of, ``fiducial`` and ``taps``: per channel
        of the stream a list in physical units at amplitude 1, or None where it does not serve the channel.
    """
    out: dict[str, dict[str, Any]] = {}
    for entry in reader.segments_between(first, stop):
        if RAW in entry.flags:
            continue
        coding, bank = reader.coding(entry), reader.bank(entry)
        shapes = {c.label: kernel_shapes(coding, bank, i) for i, c in enumerate(entry.channels)}
        gains = {c.label: c.gain for c in entry.channels}
        for number, kernel in enumerate(kernels_of(coding, bank)):
            taps: list[Any] = []
            for channel in reader.channels:
                row = shapes[channel.label][number] if channel.label in shapes else np.zeros(0)
                taps.append(_short(row / gains[channel.label]) if row.any() else None)
            if any(taps):
                # the latest shape of a lineage
                out[kernel.uid] = {
                    "uid": kernel.uid, "segment": entry.name, "fiducial": int(kernel.fiducial), "taps": taps,
                    "n_taps": int(kernel.taps.shape[-1]),
                }  # fmt: skip
    return {"kernels": list(out.values())}


def _short(row: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    step = -(-len(row) // _MOST_TAPS)
    return [float(f"{v:.4g}") for v in row[::step].tolist()]
