"""Recordings and archives that the archive tests share."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from sanstream.archive import ArchiveWriter
from sanstream.signal import TRIGGER, Annotations, Channel, Recording, Segment, Stream

CONTAINERS = ("zarr", "parquet")
LEADS = (
    Channel("MLII", "mV", 200.0, 1024, -1024, 3071, None, 11, header={"format": "212", "skew": 0}),
    Channel("V5", "mV", 200.0, 1024, -1024, 3071, -1024, 11, header={"format": "212", "skew": 1}),
    Channel("TRIG", "", 1.0, 0, 0, 255, None, 8, TRIGGER),
)


def walk(n: int, low: int = -200, high: int = 200, seed: int = 0) -> np.ndarray:
    """A smooth column of integers."""
    steps = np.random.default_rng(seed).integers(-3, 4, n)
    return np.clip(np.cumsum(steps), low, high).astype(np.int32)


def leads(n: int, seed: int = 0) -> np.ndarray:
    """Samples for LEADS, with a missing stretch in the second."""
    x = np.stack([walk(n, seed=seed), walk(n, seed=seed + 1), walk(n, 0, 255, seed + 2) // 40], axis=1)
    x[n // 3 : n // 3 + 7, 1] = -1024
    return x


def events(n: int = 40, rate: int = 100) -> Annotations:
    """Events of every column type."""
    sample = np.cumsum(np.arange(n) % 50 + 3)
    return Annotations(
        "atr",
        {
            "time_ns": (sample * 10**9 + rate // 2) // rate,
            "sample": sample,
            "code": (np.arange(n) % 5).astype(np.int8),
            "symbol": np.array([*"NVA"] * n)[:n].astype(object),
            "short": np.array(["ab", "c"] * n)[:n],
            "weight": np.linspace(0, 1, n).astype(np.float32),
        },
        {"fs": 100, "names": ["x", None]},
    )


def patient(name: str = "bed1", n: int = 2500) -> Recording:
    """Two streams, one of them with a gap and channels that change, and annotations."""
    fast = leads(n)
    slow = np.stack([walk(n // 4, seed=9)], axis=1)
    late = (LEADS[0], Channel("ABP", "mmHg", 12.5, -800, -2048, 2047))
    segments = (
        Segment(0, LEADS, fast),
        Segment(n + 300, late, np.stack([walk(600, seed=5), walk(600, seed=6)], axis=1)),
    )
    return Recording(
        name,
        (
            Stream("100hz", Fraction(100), segments, n + 950),
            Stream("25hz", Fraction(25), (Segment(0, (Channel("RESP", "pm", 50.0),), slow),)),
        ),
        start_ns=1_700_000_000_123_456_000,
        timezone="+02:00",
        annotations=(events(),),
        source_format="npy",
        attributes={"comments": ["Ärztin: Müller", 3], "nested": {"a": None}},
    )


def tiny(name: str = "t") -> Recording:
    """As small as an archive gets."""
    stream = Stream("10hz", Fraction(10), (Segment(0, LEADS[:1], walk(40)[:, None]),))
    return Recording(name, (stream,), annotations=(events(3, 10),))


def write(
    path: Path, recordings: Sequence[Recording], container: str = "zarr", requests: Sequence[str] = (), **options: bool
) -> Path:
    """Write an archive."""
    with ArchiveWriter(path, container=None if options.get("append") else container, **options) as writer:
        for recording in recordings:
            writer.add(recording, requests, effort="fast")
        writer.commit()
    return path


def assert_same(a: Recording, b: Recording) -> None:
    """Compare two recordings in everything, types of annotation columns included."""
    for key in ("name", "start_ns", "timezone", "source_format", "attributes"):
        assert getattr(a, key) == getattr(b, key), key
    assert [(s.name, s.rate, s.n_samples) for s in a.streams] == [(s.name, s.rate, s.n_samples) for s in b.streams]
    for one, other in zip(a.streams, b.streams, strict=True):
        assert len(one.segments) == len(other.segments)
        for x, y in zip(one.segments, other.segments, strict=True):
            assert (x.start_sample, x.channels) == (y.start_sample, y.channels)
            assert np.array_equal(x.samples, y.samples)
    for e, f in zip(a.annotations, b.annotations, strict=True):
        assert (e.name, e.attributes, list(e.columns)) == (f.name, f.attributes, list(f.columns))
        for key, column in e.columns.items():
            assert column.dtype == f.columns[key].dtype, key
            assert np.array_equal(column, f.columns[key]), key
