"""The samples that a segment is planned from: all of a short one, evenly spaced runs of a long one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sanstream.archive_read import StreamReader
from sanstream.block_lattice import Lattice, find_lattice, find_lattices, places
from sanstream.encode import Extent, segment_sizes
from sanstream.encode_effort import effort_named
from sanstream.quality import BITS, SPARSE, Quality
from sanstream.reencode_request import is_lossy
from sanstream.reencode_targets import Target
from sanstream.signal import IntSamples

MOST_VALUES = 1 << 22
"""Samples, all channels, that a plan looks at: what a worker holds does not grow with the segment."""
_LEAST_RUNS = 4
_MOST_LISTED = 1 << 16


def excerpt(
    reader: StreamReader, target: Target, wanted: Sequence[Quality], effort: str, *, most: int = MOST_VALUES
) -> tuple[IntSamples, Extent | None]:
    """Read what a segment is planned from.

    Returns
    -------
    samples : ndarray, shape (n_samples, n_channels), int32
    extent : Extent or None
        Of the whole segment; None when the samples are the whole segment.
    """
    if target.n_values <= most:
        return target.read(reader, 0, target.n_samples), None
    _, block = segment_sizes(target.rate, wanted, effort_named(effort))
    runs = max(_LEAST_RUNS, most // (block * len(target.channels)))
    whole = target.n_samples // block
    numbers = sorted(set(np.linspace(0, whole - 1, min(runs, whole)).round().astype(int).tolist()))
    samples = np.concatenate([target.read(reader, n * block, (n + 1) * block) for n in numbers])
    return samples, _extent(reader, target, wanted, samples, block)


def _extent(reader: StreamReader, target: Target, wanted: Sequence[Quality], samples: IntSamples, block: int) -> Extent:
    """Tell each channel's range and lattice; where the runs promise a lattice, all samples are looked at."""
    codings = [reader.coding(p.entry) for p in target.pieces]
    ranges = [[c.sample_range(i) for c in codings] for i in range(len(target.channels))]
    low, high = tuple(min(a for a, _ in r) for r in ranges), tuple(max(b for _, b in r) for r in ranges)
    if is_lossy(target.pieces[0].entry):
        return Extent(low, high)
    missing = tuple(c.missing for c in target.channels)
    hopes = find_lattices(samples, missing, [q.kind not in (SPARSE, BITS) for q in wanted])
    if not any(hopes):
        return Extent(low, high)
    values: list[set[int] | None] = [set() if h is not None else None for h in hopes]
    for first in range(0, target.n_samples, block):
        part = target.read(reader, first, min(target.n_samples, first + block))
        for c, held in enumerate(values):
            if held is not None:
                held.update(np.unique(part[part[:, c] != _code(missing[c]), c]).tolist())
                if len(held) > _MOST_LISTED:
                    values[c] = None
    found = tuple(_lattice(v, target.n_samples, m) for v, m in zip(values, missing, strict=True))
    low = tuple(min(v) if v and f is not None else a for v, f, a in zip(values, found, low, strict=True))
    high = tuple(max(v) if v and f is not None else a for v, f, a in zip(values, found, high, strict=True))
    return Extent(low, high, found if any(found) else ())


def _code(missing: int | None) -> int:
    return 1 << 40 if missing is None else missing


def _lattice(values: set[int] | None, n: int, missing: int | None) -> Lattice | None:
    if not values:
        return None
    x = np.array(sorted(values), np.int32)
    found = find_lattice(x, n)
    if found is not None and missing is not None and 0 <= missing <= int(places(x, found).max()):
        return None
    return found
