"""Writing WFDB records: the source's own segments and headers given back, or a new record composed."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from sanstream.errors import InputError, UnsupportedError
from sanstream.formats import wfdb_annotations
from sanstream.formats.grid import common_rate, position
from sanstream.formats.labels import rate_text, safe_name
from sanstream.formats.wfdb_encode import differences_fit
from sanstream.formats.wfdb_header import Header, comments, parse_header, set_tokens
from sanstream.formats.wfdb_signals import FLAC, RANGE, IntArray, add_prolog, fitting_format, groups, write_file
from sanstream.signal import Channel, Recording, Segment

_EPOCH = datetime.datetime(1970, 1, 1)


def _find(recording: Recording, rate: Fraction, start: int, n: int, place: int) -> IntArray | None:
    """Return the samples of one source signal over one source segment, or None when they are not all there."""
    for stream in recording.streams:
        if stream.rate != rate:
            continue
        for segment in stream.segments:
            if segment.start_sample <= start and start + n <= segment.stop_sample:
                for column, channel in enumerate(segment.channels):
                    if position(channel, -1) == place and "format" in channel.header:
                        first = start - segment.start_sample
                        return segment.samples[first : first + n, column]
    return None


def _gather(recording: Recording, saved: Mapping[str, Any]) -> list[tuple[Header, list[IntArray | None]]] | None:
    """Collect every source segment's signals; None when the recording is not the whole source any more."""
    rate = Fraction(saved["frame_rate"])
    if any(stream.n_samples != saved["n_frames"] * stream.rate / rate for stream in recording.streams):
        return None
    out = []
    for record in saved["segments"]:
        header = parse_header(record["header"], record["name"])
        if "header" not in saved and header.start_ns != recording.start_ns:
            return None
        signals: list[IntArray | None] = []
        for number, line in enumerate(header.signals):
            if line.fmt == "0" or line.file == "~":
                signals.append(None)
                continue
            per_frame = line.samples_per_frame
            found = _find(recording, rate * per_frame, record["start"] * per_frame, record["frames"] * per_frame, number)
            if found is None:
                return None
            signals.append(found)
        out.append((header, signals))
    return out


def _skewed(record: Mapping[str, Any], header: Header, signals: list[IntArray | None]) -> list[IntArray | None]:
    """Put skew back: each signal as its file had it."""
    frames = record.get("file_frames", record["frames"])
    heads = iter(record.get("heads", []))
    out: list[IntArray | None] = []
    for line, samples in zip(header.signals, signals, strict=True):
        if samples is None:
            out.append(None)
            continue
        head = np.array(next(heads, []), dtype=np.int64)
        n = frames * line.samples_per_frame
        raw = np.concatenate([head, samples])[:n] if len(head) or n != len(samples) else samples
        missing = RANGE[line.fmt][2]
        if len(raw) < n:
            raw = np.concatenate([raw, np.full(n - len(raw), raw[-1] if missing is None else missing)])
        out.append(raw)
    return out


def _safe(name: str) -> str:
    if safe_name(name) != name or "/" in name or "\\" in name:
        if name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise InputError(f"file name {name!r} in the stored header is not safe", hint="restore as --format npy")
    return name


def _write_segment(record: Mapping[str, Any], header: Header, signals: list[IntArray | None], folder: Path) -> list[Path]:
    """Write one source segment: signal files, then its header with only what had to change changed."""
    text = header.text
    raw = _skewed(record, header, signals)
    kept = set(record.get("checksum_kept", []))
    files = []
    for name, numbers in groups(header.signals).items():
        lines = [header.signals[i] for i in numbers]
        parts = [part for i in numbers if (part := raw[i]) is not None]
        initial = [line.adc_zero if line.initial is None else line.initial for line in lines]
        fmt = fitting_format(lines[0].fmt, parts)
        if fmt == "8" and not all(differences_fit(s, i) for s, i in zip(parts, initial, strict=True)):
            fmt = fitting_format("none", parts)
        target = folder / _safe(name)
        changes: dict[int, str] = {}
        if target.exists():
            target = folder / _safe(f"{record['name']}_{len(files)}.dat")
            changes[0] = target.name
        write_file(target, fmt, parts, [line.samples_per_frame for line in lines], initial)
        prolog = base64.b64decode(record.get("prologs", {}).get(name, "")) if fmt == lines[0].fmt else b""
        if prolog and not changes:
            add_prolog(target, prolog)
        for i, line, part in zip(numbers, lines, parts, strict=True):
            tokens = dict(changes)
            if fmt != line.fmt or line.offset and (not prolog or changes):
                tokens[1] = _format_token(fmt, line)
            total = int(part.sum(dtype=np.int64))
            if line.checksum is not None and i not in kept and (total - line.checksum) % 65536:
                tokens[6] = str((total + 2**15) % 2**16 - 2**15)
            if tokens:
                text = set_tokens(text, i, tokens)
        files.append(target)
    path = folder / f"{_safe(record['name'])}.hea"
    path.write_bytes(text.encode(record.get("encoding", "utf-8")))
    return [path, *files]


def _format_token(fmt: str, line: Any) -> str:
    frame = f"x{line.samples_per_frame}" if line.samples_per_frame != 1 else ""
    skew = f":{line.skew}" if line.skew else ""
    return f"{fmt}{frame}{skew}"


def restore(recording: Recording, saved: Mapping[str, Any], folder: Path) -> list[Path] | None:
    """Give the source back, segment by segment; None when the recording is only a part of it."""
    gathered = _gather(recording, saved)
    if gathered is None:
        return None
    files: list[Path] = []
    written: set[str] = set()
    for record, (header, signals) in zip(saved["segments"], gathered, strict=True):
        if record["name"] in written:
            continue
        written.add(record["name"])
        files += _write_segment(record, header, signals, folder)
    if "layout" in saved:
        layout = folder / f"{_safe(saved['layout']['name'])}.hea"
        layout.write_bytes(saved["layout"]["header"].encode(saved["layout"]["encoding"]))
        files.append(layout)
    if "header" in saved:
        master = folder / f"{_safe(saved['name'])}.hea"
        master.write_bytes(saved["header"].encode(saved["encoding"]))
        files.insert(0, master)
    return files + _write_annotations(recording, saved["name"], Fraction(saved["frame_rate"]), folder)


def _write_annotations(recording: Recording, name: str, rate: Fraction, folder: Path) -> list[Path]:
    files = []
    for annotations in recording.annotations:
        path = folder / f"{_safe(name)}.{_safe(annotations.name)}"
        path.write_bytes(wfdb_annotations.to_bytes(annotations, rate))
        files.append(path)
    return files


def start_text(recording: Recording) -> str:
    """Write a start as the record line has it, with a leading blank; empty when there is none."""
    if recording.start_ns is None:
        return ""
    seconds, ns = divmod(recording.start_ns, 10**9)
    moment = _EPOCH + datetime.timedelta(seconds=seconds)
    fraction = f".{ns:09d}".rstrip("0").rstrip(".")
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
    return list(zip(ordered, ordered[1:], strict=False))


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
    lines: list[str] = []
    todo: dict[tuple[str, int], list[int]] = {}
    for i, (channel, per_frame, samples) in enumerate(signals):
        wanted = str(channel.header.get("format", ""))
        fmt = fitting_format(wanted if wanted != "8" else "none", [samples])
        code = RANGE[fmt][2]
        if code != channel.missing and code is not None and bool((samples == code).any()):
            fmt = "24" if fmt in ("16", "212", "80", "61", "160") else "32"
        todo.setdefault((fmt, per_frame), []).append(i)
    files, names = [], dict[int, tuple[str, str]]()
    chunks = [(k, c) for k, v in todo.items() for c in (_eights(v) if k[0] in FLAC else [v])]
    for number, ((fmt, per_frame), members) in enumerate(chunks):
        path = folder / (f"{name}.dat" if len(chunks) == 1 else f"{name}_{number}.dat")
        data = [signals[i][2] for i in members]
        write_file(path, fmt, data, [per_frame] * len(members), [int(s[0]) for s in data])
        names |= {i: (path.name, fmt) for i in members}
        files.append(path)
    for i, (channel, per_frame, samples) in enumerate(signals):
        lines.append(_signal_line(channel, per_frame, samples, *names[i]))
    path = folder / f"{name}.hea"
    path.write_text("\n".join([f"{name} {len(signals)} {head}", *lines]) + "\n", encoding="utf-8")
    return [path, *files]


def _eights(members: list[int]) -> list[list[int]]:
    return [members[i : i + 8] for i in range(0, len(members), 8)]


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
    start = start_text(recording)
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
    return files + _write_annotations(recording, name, frame_rate, folder)


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
