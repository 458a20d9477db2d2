"""Recordings as ``wfdb`` describes them: a header, the source's own or composed, and signals by its numbers."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from wfdb import Record
from wfdb import rdheader as _rdheader

from sanstream.archive_read import StreamReader
from sanstream.archive_recording import RecordingReader
from sanstream.errors import InputError
from sanstream.formats.grid import common_rate, position
from sanstream.formats.labels import rate_text
from sanstream.formats.wfdb_compose import start_text
from sanstream.formats.wfdb_header import comments
from sanstream.formats.wfdb_signals import RANGE
from sanstream.signal import Channel

FloatArray = npt.NDArray[np.float64]
NAME = "record"
"""Of records that are made."""


def header_of(recording: RecordingReader) -> tuple[Record, list[tuple[StreamReader, str]]]:
    """Return a record without samples, and where each of its signals is found."""
    text, _, columns = header_text(recording)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        path.with_suffix(".hea").write_text(text, encoding="utf-8")
        record = _rdheader(str(path))
    record.record_name = record.record_name if record.record_name != NAME else recording.name
    if record.sig_len is None:
        record.sig_len = max(-(-s.n_samples // record.samps_per_frame[c]) for c, (s, _) in enumerate(columns))
    return record, columns


def header_text(recording: RecordingReader) -> tuple[str, Fraction, list[tuple[StreamReader, str]]]:
    """Return a header file's text, its frames per second, and where each signal is found, in the header's order."""
    places: list[tuple[int, StreamReader, Channel]] = []
    for number, stream in enumerate(recording.streams.values()):
        places += [(position(c, 1000 * number + i), stream, c) for i, c in enumerate(stream.channels)]
    if not places:
        raise InputError(f"recording {recording.name!r} has no signals", hint="choose another")
    places.sort(key=lambda place: place[0])
    columns = [(stream, channel.label) for _, stream, channel in places]
    saved = recording.attributes.get("wfdb") or {}
    segments = saved.get("segments") or []
    if (
        len(segments) == 1
        and "header" not in saved
        and all(len(s.entry.segments) == 1 for s in recording.streams.values())
    ):
        return segments[0]["header"], Fraction(saved["frame_rate"]), columns
    rate = common_rate([s.rate for s in recording.streams.values()])
    return _composed(recording, rate, [(stream, channel) for _, stream, channel in places]), rate, columns


def _composed(recording: RecordingReader, rate: Fraction, signals: list[tuple[StreamReader, Channel]]) -> str:
    """Compose a header for a recording of another origin, or of several segments."""
    n_frames = max(-(-s.n_samples * rate.numerator * s.rate.denominator // (rate.denominator * s.rate.numerator))
                   for s, _ in signals)  # fmt: skip
    frames = rate_text(rate) if "/" not in rate_text(rate) else repr(float(rate))
    lines = [f"{NAME} {len(signals)} {frames} {n_frames}{start_text(recording.start_ns)}"]
    for stream, channel in signals:
        low, high, code = RANGE["16"]
        narrow = low < channel.digital_min and channel.digital_max <= high and channel.missing in (None, code)
        per_frame = int(stream.rate / rate)
        unit = "_".join(channel.unit.split()) or "NU"
        lines.append(
            f"~ {'16' if narrow else '32'}{f'x{per_frame}' if per_frame > 1 else ''} "
            f"{channel.gain!r}({round(channel.baseline)})/{unit} {channel.resolution_bits} 0 0 0 0 {channel.label}"
        )
    saved = recording.attributes.get("wfdb") or {}
    notes = comments(saved.get("header") or "")
    return "\n".join([*lines, *(f"#{note}" for note in notes)]) + "\n"


def samples_of(
    record: Record, columns: list[tuple[StreamReader, str]], wanted: list[int], first: int, stop: int
) -> list[npt.NDArray[Any]]:
    """Read signals, each stream once; missing samples hold their format's code."""
    found: dict[tuple[str, str], npt.NDArray[Any]] = {}
    for stream in {id(s): s for s, _ in columns}.values():
        labels = list(dict.fromkeys(label for s, label in columns if s is stream))
        per_frame = next(record.samps_per_frame[c] for c, (s, _) in zip(wanted, columns, strict=True) if s is stream)
        low, high = first * per_frame, stop * per_frame
        got = stream.read(min(low, stream.n_samples), min(high, stream.n_samples), labels)
        gone = np.isnan(stream.read(min(low, stream.n_samples), min(high, stream.n_samples), labels, True)) \
            if len(stream.entry.segments) > 1 else None  # fmt: skip
        for k, label in enumerate(labels):
            channel = stream.channels[stream.entry.places[label]]
            values = np.ascontiguousarray(got[:, k]).astype(np.int64)
            lost = values == channel.missing if gone is None else gone[:, k]
            code = RANGE[record.fmt[wanted[columns.index((stream, label))]]][2]
            if code is not None:
                values[lost] = code
            short = high - low - len(values)
            end = (code if code is not None else int(values[-1]) if len(values) else 0) if short else 0
            found[stream.name, label] = np.concatenate([values, np.full(short, end)]) if short else values
    return [found[stream.name, label].copy() for stream, label in columns]


def one_calibration(stream: StreamReader, label: str) -> bool:
    """Tell whether a channel's gain and baseline are the same in all segments, as a header can say."""
    own = {(c.gain, c.baseline) for s in stream.entry.segments for c in s.channels if c.label == label}
    return len(own) < 2


def physical_of(record: Record, stream: StreamReader, label: str, place: int, first: int, stop: int) -> FloatArray:
    """Read a signal in physical units, by the calibration of each segment; NaN where it is missing.

    Returns
    -------
    ndarray, shape (frames * samples per frame,), float64
    """
    per_frame = record.samps_per_frame[place]
    low, high = first * per_frame, stop * per_frame
    out = np.full(high - low, np.nan)
    got = stream.read(min(low, stream.n_samples), min(high, stream.n_samples), [label], physical=True)
    out[: len(got)] = got[:, 0]
    return out
