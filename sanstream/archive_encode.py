"""Encoding one recording into its folder, segment by segment."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sanstream.archive_folder import RecordingFolder
from sanstream.archive_manifest import Manifest, SegmentEntry, StreamEntry
from sanstream.archive_reached import Reached
from sanstream.bank import Bank, find_bank
from sanstream.encode import encode_blocks, plan_segment, resolve_bits
from sanstream.encode_effort import laid_out
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
    block_s : float, optional
        Block length in seconds; default: the effort's own.
    apart : bool
        Let every channel decode alone.
    """

    requests: Sequence[str] = ()
    effort: str = "default"
    bank: Bank | None = None
    device: str | None = None
    progress: Progress | None = None
    block_s: float | None = None
    apart: bool = False


def encode_recording(folder: RecordingFolder, recording: Recording, options: EncodeOptions) -> Manifest:
    """Encode every segment of a recording into its folder.

    Returns
    -------
    Manifest
    """
    count = _Counter(recording, options.progress)
    streams = tuple(
        StreamEntry(
            stream.name,
            stream.rate,
            stream.n_samples,
            tuple(_encode_segment(folder, recording.name, stream, s, options, count) for s in stream.segments),
        )
        for stream in recording.streams
    )
    return folder.finish(streams, recording.annotations)


def _encode_segment(
    folder: RecordingFolder, recording: str, stream: Stream, segment: Segment, options: EncodeOptions, count: _Counter
) -> SegmentEntry:
    effort = laid_out(options.effort, options.block_s, options.apart)
    qualities = resolve_bits(
        segment.samples,
        segment.channels,
        choose_qualities(options.requests, segment.channels),
        stream.rate,
        effort=effort,
        bank=options.bank,
    )
    plan = plan_segment(
        segment.samples,
        segment.channels,
        qualities,
        stream.rate,
        segment_id=segment_id(recording, stream.name, segment),
        effort=effort,
        bank=options.bank,
        device=options.device,
    )
    coding = plan.coding
    bank = _same_bank(options.bank, coding.bank_base)
    reached = Reached(coding, bank, qualities)

    def blocks() -> Iterator[bytes]:
        for number, payload in enumerate(encode_blocks(segment.samples, plan)):
            at = number * coding.block_samples
            rows = min(coding.block_samples, segment.n_samples - at)
            reached.add(payload, number, segment.samples[at : at + rows])
            count.add(rows * coding.n_channels)
            yield payload

    entry = SegmentEntry(
        str(segment.start_sample),
        segment.start_sample,
        segment.n_samples,
        shard_samples(float(stream.rate), coding.n_channels, coding.block_samples),
        segment.channels,
        coding,
        tuple(str(q) for q in qualities),
    )
    entry = folder.add_segment(stream.name, stream.rate, entry, bank, blocks())
    return replace(entry, n_windows=reached.n_windows, reached=reached.figures(), samples_crc=reached.samples_crc)


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
