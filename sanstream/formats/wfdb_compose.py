"""Writing WFDB records: a new record composed from a recording of any origin."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np

from sanstream.errors import InputError, UnsupportedError
from sanstream.formats.clock import moment_of
from sanstream.formats.grid import common_rate, position
from sanstream.formats.labels import rate_text, safe_name
from sanstream.formats.wfdb_header import comments
from sanstream.formats.wfdb_signals import FLAC, RANGE, IntArray, fitting_format, write_file
from sanstream.formats.wfdb_write import write_annotations
from sanstream.signal import Channel, Recording, Segment


def start_text(start_ns: int | None) -> str:
    """Write a start as the record line has it, with a leading blank; empty when there is none."""
    if start_ns is None:
        return ""
    seconds, ns = divmod(start_ns, 10**9)
    moment = moment_of(seconds)
    # wfdb's own reader refuses more than six decimals, which a daemon's start has
    fraction = f".{ns // 1000:06d}".rstrip("0").rstrip(".")
    return f" {moment:%H:%M:%S}{fraction} {moment.day:02d}/{moment.month:02d}/{moment.year:04d}"


def _epochs(recording: Recording, frame_rate: Fraction) -> list[tuple[int, int]]:
    """Cut the recording where any stream's segments begin or end; in frames, gaps included."""
    edges = {0, max(ceil(s.n_samples * frame_rate / s.rate) for s in recording.streams)}
    for stream in recording.streams:
        for segment in stream.segments:
            for sample in (segment.start_sample, segment.stop_sample):
                frame = sample * frame_rate / stream.rate
                if frame.denominator != 1 and sample != stream.n_samples:
                    raise UnsupportedError(
                        f"stream {stream.name!r} has a segment edge at sample {sample}, within a WFDB frame",
                        hint="restore each stretch by --from and --until",
                    )
                edges.add(ceil(frame))
    ordered = sorted(edges)
    return list(pairwise(ordered))


def _covering(segments: Sequence[Segment], start: int) -> Segment | None:
    return next((s for s in segments if s.start_sample <= start < s.stop_sample), None)


def _signals_at(
    recording: Recording, frame_rate: Fraction, start: int, stop: int
) -> list[tuple[Channel, int, IntArray]]:
    """Return channel, samples per frame and samples (padded to whole frames) of one epoch."""
    out = []
    for number, stream in enumerate(recording.streams):
        per_frame = int(stream.rate / frame_rate)
        segment = _covering(stream.segments, start * per_frame)
        if segment is None:
            continue
        first = start * per_frame - segment.start_sample
        block = segment.samples[first : first + (stop - start) * per_frame]
        short = (stop - start) * per_frame - len(block)
        for column, channel in enumerate(segment.channels):
            samples = block[:, column]
            if short:
                code = channel.missing if channel.missing is not None else int(samples[-1])
                samples = np.concatenate([samples, np.full(short, code, dtype=np.int32)])
            out.append((position(channel, 1000 * number + column), channel, per_frame, samples))
    return [(channel, n, samples) for _, channel, n, samples in sorted(out, key=lambda item: item[0])]


def _compose_segment(name: str, head: str, signals: list[tuple[Channel, int, IntArray]], folder: Path) -> list[Path]:
    """Write one new segment: a signal file per format and rate."""
    files: list[Path] = []
    names: dict[int, tuple[str, str]] = {}
    runs = _runs(signals)
    for number, (fmt, members) in enumerate(runs):
        path = folder / (f"{name}.dat" if len(runs) == 1 else f"{name}_{number}.dat")
        data = [signals[i][2] for i in members]
        write_file(path, fmt, data, [signals[i][1] for i in members], [int(s[0]) for s in data])
        names |= dict.fromkeys(members, (path.name, fmt))
        files.append(path)
    lines = [_signal_line(*signal, *names[i]) for i, signal in enumerate(signals)]
    path = folder / f"{name}.hea"
    path.write_text("\n".join([f"{name} {len(signals)} {head}", *lines]) + "\n", encoding="utf-8")
    return [path, *files]


def _new_format(channel: Channel, samples: IntArray) -> str:
    """Choose a signal format that holds the samples and whose missing code means what the channel's does."""
    wanted = str(channel.header.get("format", "16"))
    fmt = fitting_format(wanted if wanted != "8" else "16", [samples])
    code = RANGE[fmt][2]
    if code != channel.missing and code is not None and bool((samples == code).any()):
        return "24" if code >= -(2**15) else "32"
    return fmt


def _runs(signals: list[tuple[Channel, int, IntArray]]) -> list[tuple[str, list[int]]]:
    """Group neighbouring signals into files: one format each, and one rate and at most eight signals in FLAC."""
    formats = [_new_format(channel, samples) for channel, _, samples in signals]
    plain = {f for f, (c, _, _) in zip(formats, signals, strict=True) if "format" not in c.header}
    if len(plain) > 1:  # signals of another origin share the widest format that one of them needs
        widest = max(plain, key=lambda f: RANGE[f][1])
        formats = [f if "format" in s[0].header else widest for f, s in zip(formats, signals, strict=True)]
    runs: list[tuple[str, list[int]]] = []
    for i, fmt in enumerate(formats):
        last = runs[-1] if runs else ("", [])
        flac_full = fmt in FLAC and (len(last[1]) == 8 or signals[i][1] != signals[last[1][-1] if last[1] else i][1])
        if last[0] != fmt or flac_full:
            runs.append((fmt, [i]))
        else:
            last[1].append(i)
    return runs


def _signal_line(channel: Channel, per_frame: int, samples: IntArray, file: str, fmt: str) -> str:
    total = (int(samples.sum(dtype=np.int64)) + 2**15) % 2**16 - 2**15
    unit = "_".join(channel.unit.split()) or "NU"
    frame = f"x{per_frame}" if per_frame != 1 else ""
    label = str(channel.header.get("label", channel.label)).replace("\n", " ")
    zero = channel.header.get("adc_zero", 0)
    block = channel.header.get("block_size", 0)
    baseline = round(channel.baseline)
    numbers = f"{channel.resolution_bits} {zero} {int(samples[0])} {total} {block}"
    return f"{file} {fmt}{frame} {channel.gain!r}({baseline})/{unit} {numbers} {label}"


def compose(recording: Recording, folder: Path) -> list[Path]:
    """Write a recording of any origin as a new record, multi-segment when it has gaps or changes.

    Raises
    ------
    UnsupportedError
        When its rates or segment edges fit no common frame.
    """
    if not recording.streams:
        raise InputError(f"recording {recording.name!r} has no channels", hint="choose another recording")
    frame_rate = common_rate([s.rate for s in recording.streams])
    if any(s.rate / frame_rate > 2**16 for s in recording.streams):
        raise UnsupportedError(
            f"recording {recording.name!r}: rates {[s.name for s in recording.streams]} share no WFDB frame",
            hint="restore as --format npy or csv",
        )
    name = safe_name(recording.name).replace(".", "_").replace("+", "_")
    rate = rate_text(frame_rate)
    head = rate if "/" not in rate else repr(float(frame_rate))
    epochs = [(a, b, _signals_at(recording, frame_rate, a, b)) for a, b in _epochs(recording, frame_rate)]
    n_frames, files = epochs[-1][1], []
    start = start_text(recording.start_ns)
    if len(epochs) == 1:
        files = _compose_segment(name, f"{head} {n_frames}{start}", epochs[0][2], folder)
    else:
        lines = []
        for number, (a, b, signals) in enumerate(epochs, 1):
            segment = f"{name}_{number:04d}"
            lines.append(f"{segment if signals else '~'} {b - a}")
            if signals:
                files += _compose_segment(segment, f"{head} {b - a}", signals, folder)
        layout, n_signals = _layout(name, head, [signals for _, _, signals in epochs], folder)
        master = folder / f"{name}.hea"
        text = [f"{name}/{len(lines) + 1} {n_signals} {head} {n_frames}{start}", f"{name}_layout 0", *lines]
        master.write_text("\n".join(text) + "\n", encoding="utf-8")
        files = [master, *files, layout]
    _append_comments(recording, files[0])
    return files + write_annotations(recording, name, frame_rate, folder)


def _layout(name: str, head: str, epochs: list[list[tuple[Channel, int, IntArray]]], folder: Path) -> tuple[Path, int]:
    lines: dict[str, str] = {}
    for signals in epochs:
        for channel, per_frame, samples in signals:
            line = _signal_line(channel, per_frame, samples[:1], "~", "0")
            lines.setdefault(channel.label, line)
    path = folder / f"{name}_layout.hea"
    path.write_text("\n".join([f"{name}_layout {len(lines)} {head} 0", *lines.values()]) + "\n", encoding="utf-8")
    return path, len(lines)


def _append_comments(recording: Recording, header: Path) -> None:
    saved = recording.attributes.get("wfdb") or {}
    text = saved.get("header") or (saved.get("segments") or [{}])[0].get("header", "")
    notes = comments(text)
    if notes:
        with header.open("a", encoding="utf-8") as file:
            file.writelines(f"#{note}\n" for note in notes)
