"""Activations of a stretch, and the kernels that they name."""

from __future__ import annotations

from typing import Any

import numpy as np

from sanstream.archive_manifest import RAW
from sanstream.archive_read import StreamReader
from sanstream.bank import COMPONENT, MAX_KERNELS
from sanstream.group_state import kernel_shapes, kernels_of

MOST = 5000
"""Activations in one answer; where there are more, the page says so and asks for a shorter stretch."""
_LONGEST_S = 7200
_MOST_TAPS = 400
_COLUMNS = ["segment", "kernel", "sample", "kernel_uid", "amplitude"]


def activations_of(reader: StreamReader, first: int, stop: int) -> dict[str, Any]:
    """Return the activations whose fiducial point lies in ``[first, stop)``, but those of blocks that do not decode.

    Components, which refine the activation before them, are left out.

    Returns
    -------
    dict
        ``sample`` (of the fiducial point), ``kernel`` (lineage id) and ``amplitude`` (largest of all channels), lists
        of equal length; ``too_many`` where the stretch is too long.
    """
    rate = float(reader.rate)
    if stop - first > _LONGEST_S * rate:
        return {"sample": [], "kernel": [], "amplitude": [], "too_many": True}
    table = reader.records(first, stop, sound_only=True)
    rows = table.select(_COLUMNS).to_pylist() if table.num_rows <= MAX_KERNELS * MOST else []
    rows = [  # the first may refine an activation before the stretch
        row
        for before, row in zip([None, *rows], rows, strict=False)
        if not row["kernel_uid"].startswith(COMPONENT) or (before and row["sample"] != before["sample"])
    ]
    if len(rows) > MOST or table.num_rows > MAX_KERNELS * MOST:
        return {"sample": [], "kernel": [], "amplitude": [], "too_many": True}
    fiducials = {}
    for entry in reader.segments_between(first - 4096, stop + 4096):
        if RAW not in entry.flags:
            fiducials[entry.name] = [k.fiducial for k in kernels_of(reader.coding(entry), reader.bank(entry))]
    peak = [max(row["amplitude"], key=abs, default=0.0) for row in rows]
    return {
        "sample": [row["sample"] + fiducials[row["segment"]][row["kernel"]] for row in rows],
        "kernel": [row["kernel_uid"] for row in rows],
        "amplitude": [round(a, 3) for a in peak],
        "too_many": False,
    }


def has_kernels(reader: StreamReader) -> bool:
    """Tell whether the newest encoded segment has kernels that activations could name."""
    coded = [s for s in reader.entry.segments if RAW not in s.flags]
    if not coded:
        return False
    newest = max(coded, key=lambda s: s.stop_sample)
    return bool(kernels_of(reader.coding(newest), reader.bank(newest)))


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
