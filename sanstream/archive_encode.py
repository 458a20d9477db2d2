"""Encoding one recording into its folder: segments, annotations, banks, and the manifest last."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sanstream.archive_annotations import pack_annotations
from sanstream.archive_commit import write_object
from sanstream.archive_manifest import MANIFEST, Manifest, SegmentEntry, StreamEntry
from sanstream.archive_parquet import BLOCKS, ParquetWriter
from sanstream.archive_reached import Reached
from sanstream.archive_zarr import ZarrWriter
from sanstream.bank import Bank, find_bank
from sanstream.encode import encode_blocks, plan_segment
from sanstream.quality import choose_qualities
from sanstream.shard import shard_samples
from sanstream.signal import Recording, Segment, Stream

Progress = Callable[[str, int, int], None]
"""Takes a recording's name, the samples (all channels) done and the samples in all."""


@dataclass(frozen=True)
class EncodeOptions:
    """How recordings are encoded.

    Parameters
    ----------
    requests : sequence of str
        Qualities, as :func:`~sanstream.quality.choose_qualities` takes them.
    effort : str
        ``"fast"``, ``"default"`` or ``"thorough"``.
    bank : Bank, optional
        Default: chosen by the encoder.
    device : str, optional
        Torch device of the encoder.
    progress : callable, optional
    self_contained : bool
        Put whole banks into the arrays' metadata.
    """

    requests: Sequence[str] = ()
    effort: str = "default"
    bank: Bank | None = None
    device: str | None = None
    progress: Progress | None = None
    self_contained: bool = False


class RecordingWriter:
    """Writes the folder of one recording.

    Parameters
    ----------
    folder, banks : Path
        Where its objects and its banks go.
    recording : Recording
    container : str
    options : EncodeOptions
    """

    def __init__(self, folder: Path, banks: Path, recording: Recording, container: str, options: EncodeOptions) -> None:
        self._folder = folder
        self._banks_folder = banks
        self._recording = recording
        self._container = container
        self._options = options
        self._count = _Counter(recording, options.progress)
        self._objects: dict[str, tuple[int, str]] = {}
        self._banks: dict[str, int] = {}

    def write(self) -> Manifest:
        """Write everything; the manifest last.

        Returns
        -------
        Manifest
        """
        recording = self._recording
        streams = self._write_signal()
        rates = tuple(s.rate for s in recording.streams)
        for events in recording.annotations:
            self._put(f"annotations/{events.name}.parquet", pack_annotations(events, rates))
        manifest = Manifest(
            recording.name,
            recording.start_ns,
            recording.timezone,
            recording.source_format,
            recording.attributes,
            self._container,
            streams,
            tuple(a.name for a in recording.annotations),
            self._objects,
            self._banks,
        )
        write_object(self._folder / MANIFEST, manifest.to_bytes())
        return manifest

    def _write_signal(self) -> tuple[StreamEntry, ...]:
        recording = self._recording
        if self._container == "zarr":
            writer = ZarrWriter(self._put, self_contained=self._options.self_contained)
            streams = tuple(self._stream(writer, s) for s in recording.streams)
            writer.finish(recording)
            return streams
        rows = ParquetWriter(self._folder / BLOCKS, recording)
        try:
            streams = tuple(self._stream(rows, s) for s in recording.streams)
            rows.finish(recording)
        finally:
            rows.close()
        self._register(BLOCKS)
        return streams

    def _stream(self, writer: ZarrWriter | ParquetWriter, stream: Stream) -> StreamEntry:
        segments = tuple(self._segment(writer, stream, s) for s in stream.segments)
        return StreamEntry(stream.name, stream.rate, stream.n_samples, segments)

    def _segment(
        self,
        writer: ZarrWriter | ParquetWriter,
        stream: Stream,
        segment: Segment,
    ) -> SegmentEntry:
        options = self._options
        qualities = choose_qualities(options.requests, segment.channels)
        name = str(segment.start_sample)
        identity = segment_id(self._recording.name, stream.name, segment)
        plan = plan_segment(
            segment.samples,
            segment.channels,
            qualities,
            stream.rate,
            segment_id=identity,
            effort=options.effort,
            bank=options.bank,
            device=options.device,
        )
        coding = plan.coding
        own = _same_bank(options.bank, coding.bank_base)
        self._keep_bank(own)
        shard = shard_samples(float(stream.rate), coding.n_channels, coding.block_samples)
        reached = Reached(segment.samples, coding, own, qualities)

        def blocks() -> Iterator[bytes]:
            for number, payload in enumerate(encode_blocks(segment.samples, plan)):
                reached.add(payload, number)
                rows = min(coding.block_samples, segment.n_samples - number * coding.block_samples)
                self._count.add(rows * coding.n_channels)
                yield payload

        coded = writer.add_segment(stream, segment, name, coding, shard, own, blocks())
        return SegmentEntry(
            name,
            segment.start_sample,
            segment.n_samples,
            shard,
            segment.channels,
            coding,
            tuple(str(q) for q in qualities),
            reached.n_windows,
            coded,
            reached.figures(),
            reached.samples_crc,
            has_delta=writer.keeps_delta and bool(coding.bank_delta),
        )

    def _keep_bank(self, bank: Bank) -> None:
        path = self._banks_folder / f"{bank.id}.sanbank"
        if not path.exists():
            write_object(path, bank.data)
        self._banks[bank.id] = len(bank.data)

    def _put(self, key: str, data: bytes) -> None:
        write_object(self._folder / key, data)
        self._objects[key] = (len(data), hashlib.sha256(data).hexdigest())

    def _register(self, key: str) -> None:
        """Take up a file that another library wrote."""
        path = self._folder / key
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        self._objects[key] = (path.stat().st_size, digest)


class _Counter:
    """Tells a progress function how far a recording is."""

    def __init__(self, recording: Recording, progress: Progress | None) -> None:
        self._name = recording.name
        self._progress = progress
        self._total = sum(g.samples.size for s in recording.streams for g in s.segments)
        self._done = 0

    def add(self, n: int) -> None:
        self._done += n
        if self._progress is not None:
            self._progress(self._name, self._done, self._total)


def _same_bank(given: Bank | None, bank_id: str) -> Bank:
    return given if given is not None and given.id == bank_id else find_bank(bank_id)


def segment_id(recording: str, stream: str, segment: Segment) -> str:
    """Derive a segment's id, sixteen hex digits, from its place and its samples."""
    digest = hashlib.blake2b(f"{recording}\0{stream}\0{segment.start_sample}\0".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(segment.samples, dtype="<i4").tobytes())
    return digest.hexdigest()
