"""RecordingReader: a recording of an archive, whole or a stretch of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType

import numpy as np

from sanstream.archive_annotations import unpack_annotations
from sanstream.archive_grow_events import join_events, part_keys
from sanstream.archive_layers import Layers
from sanstream.archive_manifest import Manifest
from sanstream.archive_objects import Objects, read_checked
from sanstream.archive_parquet import ParquetReader
from sanstream.archive_read import BankFinder, StreamReader, When
from sanstream.archive_zarr import ZarrReader
from sanstream.errors import InputError
from sanstream.signal import Annotations, Recording, Segment, Stream


class RecordingReader:
    """One recording of an archive.

    Attributes
    ----------
    name, start_ns, timezone, source_format, attributes
        As in :class:`~sanstream.signal.Recording`.
    streams : mapping of str to StreamReader
    stored : Manifest or None
        The archive's own manifest of it; None where a daemon has sealed nothing yet.
    """

    def __init__(self, manifest: Manifest, objects: Objects, find_bank: BankFinder) -> None:
        self.manifest = manifest
        self.stored: Manifest | None = manifest
        self._objects = objects
        kind = ZarrReader if manifest.container == "zarr" else ParquetReader
        self._container: ZarrReader | ParquetReader = kind(objects, manifest)
        self.name = manifest.name
        self.start_ns = manifest.start_ns
        self.timezone = manifest.timezone
        self.source_format = manifest.source_format
        self.attributes = manifest.attributes
        self.streams: Mapping[str, StreamReader] = MappingProxyType(
            {s.name: StreamReader(manifest, s, self._container, find_bank) for s in manifest.streams}
        )

    def __repr__(self) -> str:
        return f"<RecordingReader {self.name}: {', '.join(self.streams) or 'no stream'}>"

    @cached_property
    def annotations(self) -> tuple[Annotations, ...]:
        """The annotation sets, in the source's order.

        Raises
        ------
        CorruptError
            When a file of theirs is missing or has changed.
        """
        sets = []
        held = self.manifest.objects
        for name in self.manifest.annotations:
            whole = f"annotations/{name}.parquet"
            parts = part_keys(held, name)
            keys = [whole] if whole in held or not parts else parts
            found = [unpack_annotations(read_checked(self._objects, self.name, key, held), name) for key in keys]
            sets.append(found[0] if keys == [whole] else join_events(found))
        return tuple(sets)

    def read(self, t0: When = None, t1: When = None) -> Recording:
        """Read the recording, or a stretch of it.

        Parameters
        ----------
        t0, t1 : float, Fraction, int, str or Time, optional
            As for :meth:`~sanstream.archive_read.StreamReader.read`; a sample number counts on the first stream.

        Returns
        -------
        Recording
            Start, sample places and annotation times count from ``t0``; annotations outside are left out. Without
            ``t0``, a recording whose first segments a daemon has dropped begins with the first that is left.
        """
        kept = self._kept_from()
        whole = t0 is None and t1 is None and not kept
        start, stop = (Fraction(0), None) if whole else self._seconds(t0, t1)
        if t0 is None and kept:
            start = kept  # as it is: on the first stream's grid, a faster one would lose samples
        streams = tuple(
            _read_stream(
                reader, math.ceil(start * reader.rate), None if stop is None else math.ceil(stop * reader.rate)
            )
            for reader in self.streams.values()
        )
        shift_ns = round(start * 10**9)
        annotations = self.annotations
        if not whole:
            rate = next((s.rate for s in self.streams.values()), Fraction(1))
            annotations = tuple(cut_annotations(a, start, stop, rate) for a in annotations)
        return Recording(
            self.name,
            streams,
            None if self.start_ns is None else self.start_ns + shift_ns,
            self.timezone,
            annotations,
            self.source_format,
            self.attributes,
        )

    def close(self) -> None:
        """Close files that are open."""
        if isinstance(self._container, ParquetReader):
            self._container.close()

    def _kept_from(self) -> Fraction | None:
        """Return the place in seconds of the first segment that retention has left; None where it has dropped none."""
        starts = [
            Fraction(min(g.start_sample for g in s.segments)) / s.rate for s in self.manifest.streams if s.segments
        ]
        return min(starts) or None if self.manifest.grows and starts else None

    def _seconds(self, t0: When, t1: When) -> tuple[Fraction, Fraction | None]:
        clock = next(iter(self.streams.values()), None)
        if clock is None:
            raise InputError(f"recording {self.name!r} has no stream to cut")
        first, _ = clock.span(t0, None)
        stop = None if t1 is None else Fraction(clock.span(t0, t1)[1]) / clock.rate
        return Fraction(first) / clock.rate, stop


def _read_stream(reader: StreamReader, first: int, stop: int | None) -> Stream:
    first = min(first, reader.n_samples)
    stop = reader.n_samples if stop is None else max(first, min(stop, reader.n_samples))
    segments, layers = [], Layers()
    for entry in reader.entry.segments:
        low, high = max(first, entry.start_sample), min(stop, entry.stop_sample)
        if low < high or (entry.n_samples == 0 and first == 0):
            samples = reader.read_segment(entry, low - entry.start_sample, high - entry.start_sample)
            segment = Segment(low - first, entry.channels, samples)
            if reader.layered:
                layers.add(segment)
            else:
                segments.append(segment)
    return Stream(reader.name, reader.rate, layers.segments() or tuple(segments), stop - first)


def cut_annotations(annotations: Annotations, start: Fraction, stop: Fraction | None, rate: Fraction) -> Annotations:
    """Keep the events in ``[start, stop)`` seconds, counted from ``start``."""
    times = np.asarray(annotations.columns["time_ns"])
    low, high = round(start * 10**9), None if stop is None else round(stop * 10**9)
    held = (times >= low) if high is None else (times >= low) & (times < high)
    columns = {name: np.asarray(column)[held] for name, column in annotations.columns.items()}
    columns["time_ns"] = columns["time_ns"] - low
    if "sample" in columns:
        columns["sample"] = columns["sample"] - np.asarray(math.ceil(start * rate), columns["sample"].dtype)
    return Annotations(annotations.name, columns, annotations.attributes)
