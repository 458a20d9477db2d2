"""Writing EDF and BDF: the source given back byte for byte, or a new file composed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sanstream.errors import InputError, UnsupportedError
from sanstream.formats import edf_annotations
from sanstream.formats.edf_annotations import Tal, format_onset, format_tals
from sanstream.formats.edf_compose import scale_fields, split_duration
from sanstream.formats.edf_gaps import coded, gap_annotations
from sanstream.formats.edf_header import SIGNAL, EdfHeader, from_ns, header_bytes, start_second, to_ns
from sanstream.formats.grid import common_rate, flatten, position
from sanstream.signal import Channel, IntSamples, Recording, Stream

_BITS = {"edf": 16, "bdf": 24}


def _check_range(channel: Channel, samples: IntSamples, format: str) -> None:
    label, limit = channel.label, 2 ** (_BITS[format] - 1)
    if channel.missing is not None and channel.missing < -limit and bool((samples == channel.missing).any()):
        raise UnsupportedError(
            f"channel {label!r} has missing samples, for which a new {format.upper()} file has no code left",
            hint="use --format wfdb, or restore each stretch by --from and --until",
        )
    low, high = (int(samples.min()), int(samples.max())) if samples.size else (0, 0)
    if low < -limit or high >= limit:
        raise UnsupportedError(
            f"channel {label!r} holds {low} to {high}; {format.upper()} samples have {_BITS[format]} bits",
            hint="use --format bdf" if format == "edf" and low >= -(2**23) and high < 2**23 else "use --format wfdb",
        )


def _encode(samples: IntSamples, format: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Encode samples of shape (n_records, n) as bytes of shape (n_records, n * sample bytes)."""
    if format == "edf":
        return np.ascontiguousarray(samples.astype("<i2")).view(np.uint8).reshape(len(samples), -1)
    wide = np.ascontiguousarray(samples.astype("<i4")).view(np.uint8).reshape(*samples.shape, 4)
    return wide[..., :3].reshape(len(samples), -1)


def _write(path: Path, head: bytes, columns: Sequence[np.ndarray[Any, np.dtype[np.uint8]]]) -> None:
    with path.open("wb") as file:
        file.write(head)
        file.write(np.concatenate(columns, axis=1).data)  # not tofile(), which keeps a full disk to itself


def _records_of(stream: Stream, column: int, place: int, places: list[int], n: int) -> IntSamples | None:
    """Cut a channel into the source's records; None when a record is not whole."""
    out = np.empty((len(places), n), dtype=np.int32)
    done = 0
    for segment in stream.segments:
        if column >= len(segment.channels) or position(segment.channels[column], -1) != place:
            return None
        while done < len(places) and places[done] + n <= segment.stop_sample:
            start = places[done] - segment.start_sample
            if start < 0:
                return None
            out[done] = segment.samples[start : start + n, column]
            done += 1
    return out if done == len(places) else None


def _find(recording: Recording, number: int) -> tuple[Stream, int, Channel] | None:
    for stream in recording.streams:
        for column, channel in enumerate(stream.segments[0].channels if stream.segments else ()):
            if position(channel, -1) == number and "edf" in channel.header:
                return stream, column, channel
    return None


def restore(recording: Recording, saved: Mapping[str, Any], path: Path) -> bool:
    """Give the source back; False when the recording is only a part of it."""
    from sanstream.formats.edf import record_positions

    others = {int(k): v for k, v in saved.get("other_signals", {}).items()}
    n_signals = int(saved["main"]["n_signals"])
    found = {i: _find(recording, i) for i in range(n_signals) if i not in others}
    empty = dict.fromkeys((name for name, _ in SIGNAL), "")
    if any(entry is None for entry in found.values()):
        return False
    fields = [others[i] if i in others else {**empty, **found[i][2].header["edf"]} for i in range(n_signals)]  # type: ignore[index]
    header = EdfHeader(dict(saved["main"]), tuple(fields), recording.name)
    n_records, duration = saved["n_records"], header.duration
    onsets = edf_annotations.pattern_onsets(saved["onsets"], n_records, duration) if "onsets" in saved else []
    first = Fraction(onsets[0]) if onsets else Fraction(0)
    moment = start_second(header.main)
    if recording.start_ns is not None and moment and recording.start_ns != to_ns(moment) + int(first * 10**9):
        return False
    regular = [i * duration for i in range(n_records)]
    starts = [Fraction(o) - first for o in onsets] if header.discontinuous else regular
    columns: dict[int, IntSamples] = {}
    for number, entry in found.items():
        stream, column, channel = entry  # type: ignore[misc]
        n = header.samples[number]
        places = record_positions(starts, stream.rate, n)
        if stream.rate != n / duration or places[-1] + n != stream.n_samples:
            return False
        samples = _records_of(stream, column, number, places, n)
        if samples is None:
            return False
        _check_range(channel, samples, header.kind)
        columns[number] = samples
    encoded = {i: _encode(samples, header.kind) for i, samples in columns.items()}
    encoded |= _restore_annotations(recording, header, onsets, others)
    _write(path, header_bytes(header.main, fields), [encoded[i] for i in range(n_signals)])
    return True


def _restore_annotations(
    recording: Recording, header: EdfHeader, onsets: list[str], others: dict[int, dict[str, str]]
) -> dict[int, np.ndarray[Any, np.dtype[np.uint8]]]:
    """Encode the annotation signals that are kept as events, and signals without samples."""
    numbers = [i for i in header.annotated if i in others]
    n_records = 0 if not header.samples else len(onsets)
    out = {i: np.empty((n_records, 0), dtype=np.uint8) for i in others if i not in numbers}
    if not numbers:
        return {i: np.empty((0, 0), dtype=np.uint8) for i in out} if not n_records else out
    kept = next(a for a in recording.annotations if a.name == header.kind)
    records = edf_annotations.restore_tals(kept, onsets, len(numbers))
    for k, number in enumerate(numbers):
        size = header.samples[number] * header.sample_bytes
        rows = [format_tals(signals[k], size) for signals in records]
        out[number] = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), size)
    return out


def _padded(samples: IntSamples, n: int) -> IntSamples:
    """Repeat the last frame up to ``n`` samples."""
    short = n - len(samples)
    return samples if short <= 0 else np.concatenate([samples, np.repeat(samples[-1:], short, axis=0)])


def compose(recording: Recording, path: Path, format: str) -> None:
    """Write a recording of any origin as EDF(+) or BDF(+).

    Where no record duration divides the recording exactly, the last record repeats the last
    sample and the annotation ``Recording ends`` marks the true end. Missing samples whose code the format
    cannot hold get its lowest value, and annotations ``No signal`` say where (of the first such channel).

    Raises
    ------
    UnsupportedError
        When the format cannot hold it.
    """
    if not recording.streams:
        raise InputError(f"recording {recording.name!r} has no channels", hint="choose another recording")
    base = common_rate([s.rate for s in recording.streams])
    flat = [(stream, *flatten(stream, format.upper())) for stream in recording.streams]
    n_units = max(-(-stream.n_samples * base // stream.rate) for stream in recording.streams)
    per_record, n_records, text = split_duration(int(n_units), base, recording.name)
    signals: list[tuple[int, dict[str, str], np.ndarray[Any, np.dtype[np.uint8]]]] = []
    gaps: list[tuple[Fraction, np.ndarray[Any, np.dtype[np.bool_]]]] = []
    for number, (stream, channels, samples) in enumerate(flat):
        n = int(per_record * stream.rate / base)
        samples = _padded(samples, n * n_records)
        for column, channel in enumerate(channels):
            if channel.header.get("edf", {}).get("label", "") in ("EDF Annotations", "BDF Annotations"):
                continue
            channel, part, gone = coded(channel, samples[:, column], 2 ** (_BITS[format] - 1))
            if gone is not None:
                gaps.append((stream.rate, gone))
            _check_range(channel, part, format)
            fields = {**scale_fields(channel, part, _BITS[format]), "samples_per_record": str(n)}
            encoded = _encode(part.reshape(n_records, n), format)
            signals.append((position(channel, 10000 * number + column), fields, encoded))
    signals.sort(key=lambda item: item[0])
    main = _main_fields(recording, format, n_records, text)
    end = max(Fraction(s.n_samples) / s.rate for s in recording.streams)
    recording = replace(recording, annotations=(*recording.annotations, *gap_annotations(gaps[:1])))
    tals = _compose_tals(recording, n_records, Fraction(text), end, main)
    if tals is not None:
        width = _BITS[format] // 8
        size = -(-max(len(b"".join(t.to_bytes() for t in record)) for record in tals) // width) * width
        rows = [format_tals(record, size) for record in tals]
        data = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(n_records, size)
        signals.append((10**9, _annotation_fields(format, size // width), data))
        main["reserved"] = f"{format.upper()}+C"
    main |= {"n_signals": str(len(signals)), "header_bytes": str(256 * (len(signals) + 1))}
    _write(path, header_bytes(main, [s[1] for s in signals]), [s[2] for s in signals])


def _annotation_fields(format: str, n: int) -> dict[str, str]:
    limit = 2 ** (_BITS[format] - 1)
    fields = dict.fromkeys((name for name, _ in SIGNAL), "")
    return fields | {
        "label": f"{format.upper()} Annotations",
        "physical_min": "-1",
        "physical_max": "1",
        "digital_min": str(-limit),
        "digital_max": str(limit - 1),
        "samples_per_record": str(n),
    }


def _compose_tals(
    recording: Recording, n_records: int, duration: Fraction, end: Fraction, main: dict[str, str]
) -> list[list[Tal]] | None:
    """Return the TALs of each record, or None when a plain file says it all."""
    first = Fraction(0)
    if recording.start_ns is not None:
        first = from_ns(recording.start_ns)[3]
    padded = end != n_records * duration
    beside = recording.source_format in ("edf", "bdf")  # then annotation files are written beside the file
    sets = [a for a in recording.annotations if len(a) and not (beside and a.attributes.get("format") == "wfdb")]
    if not (first or padded or sets):
        return None
    tals = edf_annotations.foreign_tals(sets, first, n_records, duration)
    if padded:
        record = min(int(end / duration), n_records - 1)
        tals[record].append(Tal(format_onset(first + end), None, ("Recording ends",)))
    return tals


def _main_fields(recording: Recording, format: str, n_records: int, duration: str) -> dict[str, str]:
    kept = recording.attributes.get("edf", {}).get("main", {})
    date, time, plus = "01.01.85", "00.00.00", "X"
    if recording.start_ns is not None:
        date, time, plus, _ = from_ns(recording.start_ns)
    said = str(kept.get("recording", f"Startdate {plus} X X X"))
    said = re.sub(r"^Startdate \S+", f"Startdate {plus}", said)
    return {
        "version": "0" if format == "edf" else "\xffBIOSEMI",
        "patient": str(kept.get("patient", "X X X X")),
        "recording": said,
        "startdate": date,
        "starttime": time,
        "reserved": "" if format == "edf" else "24BIT",
        "n_records": str(n_records),
        "record_duration": duration,
    }
