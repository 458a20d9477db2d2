"""Compare an archive with its source: figures of every window and channel, and what missed its quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sanstream.archive import Archive, RecordingReader, StreamReader
from sanstream.archive import open as open_archive
from sanstream.archive_manifest import SegmentEntry
from sanstream.decode import decode_block, read_figures
from sanstream.errors import InputError
from sanstream.evaluate_grown import cut_like
from sanstream.evaluate_report import Broken, ChannelReport, Report, StreamReport
from sanstream.evaluate_signals import ChannelSignals, Look, Stretch
from sanstream.evaluate_windows import WindowFigures, find_broken, join_figures, measure_windows
from sanstream.formats import read
from sanstream.quality import Quality, parse_quality
from sanstream.signal import Channel, IntSamples, Recording, Segment

Progress = Callable[[str, int, int], None]
_BLOCKS_AT_ONCE = 256


@dataclass
class _Gathered:
    """What has been seen of one channel so far."""

    channel: Channel
    quality: Quality
    windows: list[WindowFigures] = field(default_factory=list)
    broken: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)


def evaluate(
    source: str | Path | Recording,
    archive: str | Path | Archive,
    *,
    recording: str | None = None,
    progress: Progress | None = None,
    look: Look | None = None,
) -> Report:
    """Decode a recording, compare it with its source and list the windows that miss the quality asked.

    Windows are the codec's own. Missing samples must be exact and are left out of the norms; a channel
    that is constant in a window must be exact.

    Parameters
    ----------
    source : path or Recording
        What was archived.
    archive : path or Archive
    recording : str, optional
        Name in the archive; default: the source's.
    progress : callable, optional
        Takes a stream's name, the samples done and the samples in all.
    look : callable, optional
        Takes the :class:`~sanstream.evaluate_signals.ChannelSignals` of every channel once it is decoded.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        When source and archive are not of one recording.
    CorruptError
        When a block does not decode.
    """
    original = source if isinstance(source, Recording) else read(source)
    if not isinstance(archive, Archive):
        with open_archive(archive, live=False) as opened:
            return evaluate(original, opened, recording=recording, progress=progress, look=look)
    reader = _choose(archive, original.name, recording)
    streams, broken = [], []
    for stream in original.streams:
        own = reader.streams.get(stream.name)
        segments = cut_like(stream, own) if own is not None and reader.manifest.grows else stream.segments
        own = _same_stream(stream.name, segments, reader)
        report, missed = _evaluate_stream(segments, own, progress, look)
        streams.append(report)
        broken += missed
    return Report(reader.name, tuple(streams), tuple(broken))


def _choose(archive: Archive, name: str, asked: str | None) -> RecordingReader:
    names = list(archive.recordings)
    wanted = name if asked is None else asked
    if wanted not in names:
        what = f"the archive holds no recording {wanted!r}"
        if asked is None:
            what = f"the source is {name!r}, the archive holds no recording of that name"
        raise InputError(what, hint=f"name one with --recording: {', '.join(names)}")
    return archive.recordings[wanted]


def _same_stream(stream: str, segments: Sequence[Segment], reader: RecordingReader) -> StreamReader:
    found = reader.streams.get(stream)
    shape = [(s.start_sample, s.n_samples, len(s.channels)) for s in segments]
    if found is None or [(e.start_sample, e.n_samples, len(e.channels)) for e in found.entry.segments] != shape:
        raise InputError(
            f"recording {reader.name!r} is not of this source: stream {stream!r} differs in its segments",
            hint="name the source that was archived, or the right recording with --recording",
        )
    return found


def _evaluate_stream(
    segments: Sequence[Segment], reader: StreamReader, progress: Progress | None, look: Look | None
) -> tuple[StreamReport, list[Broken]]:
    gathered: dict[tuple[str, str], _Gathered] = {}
    broken: list[Broken] = []
    total = sum(s.samples.size for s in segments)
    done = 0
    for segment, entry in zip(segments, reader.entry.segments, strict=True):
        if segment.n_samples == 0:
            continue
        decoded, n_activations, bits = _decode(entry, reader)
        for place, channel in enumerate(segment.channels):
            quality = parse_quality(entry.qualities[place], channel)
            own = gathered.setdefault((channel.label, str(quality)), _Gathered(channel, quality))
            figures = measure_windows(
                segment.samples[:, place],
                decoded[:, place],
                channel,
                window_samples=entry.coding.window_samples,
                n_activations=n_activations,
                bits=bits,
            )
            own.windows.append(replace(figures, start=figures.start + segment.start_sample))
            own.broken.append(find_broken(own.windows[-1], quality))
            stretch = Stretch(
                segment.start_sample, channel, segment.samples[:, place], decoded[:, place], len(figures.start)
            )
            own.stretches.append(stretch)
            broken += _broken(reader.name, own)
        done += segment.samples.size
        if progress is not None:
            progress(reader.name, done, total)
    if look is not None:
        for own in gathered.values():
            stretches, missed = tuple(own.stretches), np.concatenate(own.broken)
            windows = join_figures(own.windows)
            look(ChannelSignals(reader.name, float(reader.rate), own.quality, stretches, windows, missed))
    channels = tuple(_finish(g) for g in gathered.values())
    return StreamReport(reader.name, float(reader.rate), channels), broken


def _decode(
    entry: SegmentEntry, reader: StreamReader
) -> tuple[IntSamples, npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Decode a segment: samples (n, C), and per window its activations and its share of the bits per channel."""
    coding, bank = reader.coding(entry), reader.bank(entry)
    samples: list[IntSamples] = []
    counts: list[npt.NDArray[np.int64]] = []
    bits: list[npt.NDArray[np.float64]] = []
    for first in range(0, entry.n_blocks, _BLOCKS_AT_ONCE):
        stop = min(first + _BLOCKS_AT_ONCE, entry.n_blocks)
        for number, payload in enumerate(reader.blocks(entry, first, stop), start=first):
            samples.append(decode_block(payload, number, coding, bank))
            counts.append(read_figures(payload, number, coding, bank).n_activations)
            n = len(samples[-1])
            lengths = np.diff(np.arange(0, n, coding.window_samples), append=n)
            bits.append(8 * len(payload) * lengths / (n * coding.n_channels))
    return np.concatenate(samples), np.concatenate(counts), np.concatenate(bits)


def _broken(stream: str, own: _Gathered) -> list[Broken]:
    figures = own.windows[-1]
    return [
        Broken(
            stream,
            own.channel.label,
            int(figures.start[i]),
            str(own.quality),
            float(figures.prdn[i]),
            float(figures.rmse_adu[i]),
            float(figures.max_error_adu[i]),
            bool(figures.gaps_kept[i]),
        )
        for i in np.flatnonzero(own.broken[-1])
    ]


def _finish(own: _Gathered) -> ChannelReport:
    windows = join_figures(own.windows)
    whole = measure_windows(
        np.concatenate([s.original for s in own.stretches]),
        np.concatenate([s.decoded for s in own.stretches]),
        own.channel,
        window_samples=int(windows.n_samples.sum()),
        n_activations=np.zeros(1, np.int64),
        bits=windows.bits.sum(keepdims=True),
    )
    return ChannelReport(own.channel.label, own.channel.unit, str(own.quality), windows, whole)
