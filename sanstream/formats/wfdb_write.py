"""Writing WFDB records: the source's own segments and headers given back."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sanstream.errors import InputError
from sanstream.formats import wfdb_annotations
from sanstream.formats.grid import position
from sanstream.formats.wfdb_encode import differences_fit
from sanstream.formats.wfdb_header import Header, parse_header, set_tokens
from sanstream.formats.wfdb_signals import RANGE, IntArray, add_prolog, fitting_format, groups, write_file
from sanstream.signal import Recording


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
            found = _find(
                recording, rate * per_frame, record["start"] * per_frame, record["frames"] * per_frame, number
            )
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


def checked_name(name: str) -> str:
    """Refuse a stored file name that would leave the target folder."""
    if name in ("", ".", "..") or any(c in name for c in "/\\:\0"):
        raise InputError(f"file name {name!r} in the stored header is not safe", hint="restore as --format npy")
    return name


def _write_segment(
    record: Mapping[str, Any], header: Header, signals: list[IntArray | None], folder: Path
) -> list[Path]:
    """Write one source segment: signal files, then its header with only what had to change changed."""
    text = header.text
    raw = _skewed(record, header, signals)
    kept = set(record.get("checksum_kept", []))
    files: list[Path] = []
    for name, numbers in groups(header.signals).items():
        lines = [header.signals[i] for i in numbers]
        parts = [part for i in numbers if (part := raw[i]) is not None]
        initial = [line.adc_zero if line.initial is None else line.initial for line in lines]
        fmt = fitting_format(lines[0].fmt, parts)
        if fmt == "8" and not all(differences_fit(s, i) for s, i in zip(parts, initial, strict=True)):
            fmt = fitting_format("none", parts)
        target = folder / checked_name(name)
        changes: dict[int, str] = {}
        if target.exists():
            target = folder / checked_name(f"{record['name']}_{len(files)}.dat")
            changes[0] = target.name
        write_file(target, fmt, parts, [line.samples_per_frame for line in lines], initial)
        prolog = base64.b64decode(record.get("prologs", {}).get(name, "")) if fmt == lines[0].fmt else b""
        if prolog and not changes:
            add_prolog(target, prolog)
        for i, line, part in zip(numbers, lines, parts, strict=True):
            tokens = dict(changes)
            if fmt != line.fmt or (line.offset and (not prolog or changes)):
                tokens[1] = _format_token(fmt, line)
            total = int(part.sum(dtype=np.int64))
            if line.checksum is not None and i not in kept and (total - line.checksum) % 65536:
                tokens[6] = str((total + 2**15) % 2**16 - 2**15)
            if tokens:
                text = set_tokens(text, i, tokens)
        files.append(target)
    path = folder / f"{checked_name(record['name'])}.hea"
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
        layout = folder / f"{checked_name(saved['layout']['name'])}.hea"
        layout.write_bytes(saved["layout"]["header"].encode(saved["layout"]["encoding"]))
        files.append(layout)
    if "header" in saved:
        master = folder / f"{checked_name(saved['name'])}.hea"
        master.write_bytes(saved["header"].encode(saved["encoding"]))
        files.insert(0, master)
    return files + write_annotations(recording, saved["name"], Fraction(saved["frame_rate"]), folder)


def write_annotations(recording: Recording, name: str, rate: Fraction, folder: Path) -> list[Path]:
    """Write each annotation set as ``<name>.<annotator>``; ``rate`` is that of sets of another origin."""
    files = []
    for events in recording.annotations:
        annotator = "ann" if events.name in ("edf", "bdf") else checked_name(events.name)
        path = folder / f"{checked_name(name)}.{annotator}"
        path.write_bytes(wfdb_annotations.to_bytes(events, rate))
        files.append(path)
    return files
