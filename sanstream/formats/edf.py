"""EDF, EDF+, BDF and BDF+ files, read; writing is in ``edf_write``."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.errors import InputError, UnsupportedError
from sanstream.formats import edf_annotations, edf_write, wfdb_annotations
from sanstream.formats.clock import representable
from sanstream.formats.edf_header import EdfHeader, read_header, start_second, to_ns
from sanstream.formats.grid import Piece, build_streams
from sanstream.formats.labels import kind_of, safe_name
from sanstream.signal import TRIGGER, Annotations, Channel, IntSamples, Recording, unique_labels

_NO_SAMPLE = -(2**31)
"""Missing code for the gaps of discontinuous files: outside both formats' ranges."""


def _count_records(header: EdfHeader, path: Path) -> int:
    """Compare the announced number of records with the file's size."""
    record_bytes = sum(header.samples) * header.sample_bytes
    held = path.stat().st_size - 256 * (len(header.signals) + 1)
    announced = header.n_records
    whole, rest = divmod(held, record_bytes)
    if announced >= 0 and announced * record_bytes == held:
        return announced
    if announced == -1 and rest == 0:
        return whole
    found = f"{whole} data records" + (f" and {rest} bytes" if rest else "")
    said = "an unknown number" if announced == -1 else str(announced)
    hint = "the file is cut short; fetch it again" if announced * record_bytes > held else "repair the file"
    raise InputError(f"{path}: {said} of data records announced, the file holds {found}", hint=hint)


def _load(header: EdfHeader, path: Path, n_records: int) -> npt.NDArray[Any]:
    """Load the data records, shape (n_records, samples of a record), int16, or (..., 3) bytes for BDF."""
    total = sum(header.samples)
    data = np.fromfile(path, dtype=np.uint8, offset=256 * (len(header.signals) + 1))
    if header.sample_bytes == 3:
        return data.reshape(n_records, total, 3)
    return data.view("<i2").reshape(n_records, total)


def unpack24(data: npt.NDArray[np.uint8]) -> IntSamples:
    """Read 24-bit little-endian integers, shape (..., 3) bytes to (...)."""
    high = data[..., 2].astype(np.int8).astype(np.int32)
    return (high << 16) | (data[..., 1].astype(np.int32) << 8) | data[..., 0]


def _signal(data: npt.NDArray[Any], first: int, n: int) -> IntSamples:
    part = data[:, first : first + n]
    return unpack24(part) if part.ndim == 3 else part.astype(np.int32)


def calibration(header: EdfHeader, fields: dict[str, str]) -> tuple[float, float, int, int]:
    """Return gain, baseline, digital minimum and maximum of a signal."""
    low = header.integer(fields["digital_min"], f"digital minimum of {fields['label']!r}", -(2**31))
    high = header.integer(fields["digital_max"], f"digital maximum of {fields['label']!r}", -(2**31))
    bottom = header.number(fields["physical_min"], f"physical minimum of {fields['label']!r}")
    top = header.number(fields["physical_max"], f"physical maximum of {fields['label']!r}")
    if low == high or top == bottom:
        return 1.0, 0, min(low, high), max(low, high)
    gain = (high - low) / (top - bottom)
    baseline = low - bottom * gain
    exact = int(baseline) if baseline.denominator == 1 else float(baseline)
    return float(gain), exact, min(low, high), max(low, high)


def _channel(header: EdfHeader, number: int, label: str, missing: int | None) -> Channel:
    fields = header.signals[number]
    gain, baseline, low, high = calibration(header, fields)
    own = {key: value for key, value in fields.items() if value}
    annotated = number in header.annotated
    return Channel(
        label=label,
        unit=fields["dimension"].strip().strip("\0"),
        gain=gain,
        baseline=baseline,
        digital_min=low,
        digital_max=high,
        missing=missing,
        resolution_bits=0,
        kind=TRIGGER if annotated else kind_of(fields["label"], fields["transducer"]),
        header={"position": number, "edf": own},
    )


def _read_events(header: EdfHeader, data: npt.NDArray[Any], offsets: list[int]) -> tuple[edf_annotations.Events, bool]:
    blocks = []
    for number in header.annotated:
        part = data[:, offsets[number] : offsets[number] + header.samples[number]]
        raw = np.ascontiguousarray(part).view(np.uint8).reshape(len(data), -1)
        blocks.append([row.tobytes() for row in raw])
    return edf_annotations.parse([[block[i] for block in blocks] for i in range(len(data))])


def _record_starts(header: EdfHeader, onsets: list[str], n_records: int) -> list[Fraction]:
    """Return the start of each record in seconds from the first one."""
    regular = [i * header.duration for i in range(n_records)]
    if not header.discontinuous:
        return regular
    if len(onsets) != n_records:
        raise InputError(
            f"{header.where}: {len(onsets)} record onsets in {n_records} discontinuous records", hint="repair the file"
        )
    starts = [Fraction(o) - Fraction(onsets[0]) for o in onsets]
    for i in range(1, n_records):
        if starts[i] < starts[i - 1] + header.duration - Fraction(1, 1000):
            raise InputError(f"{header.where}: record {i} starts before record {i - 1} ends", hint="repair the file")
    return starts


def record_positions(starts: list[Fraction], rate: Fraction, per_record: int) -> list[int]:
    """Place each record on a stream's sample grid, never before the end of the one before."""
    out: list[int] = []
    for start in starts:
        out.append(max(round(start * rate), out[-1] + per_record if out else 0))
    return out


def _pieces(
    header: EdfHeader, data: npt.NDArray[Any], offsets: list[int], wanted: list[int], starts: list[Fraction]
) -> list[Piece]:
    labels = unique_labels([header.signals[i]["label"].strip("\0") for i in wanted])
    gapped = starts[-1] > (len(starts) - 1) * header.duration + Fraction(1, 1000) if starts else False
    pieces = []
    for label, number in zip(labels, wanted, strict=True):
        per_record = header.samples[number]
        rate = per_record / header.duration
        channel = _channel(header, number, label, _NO_SAMPLE if gapped else None)
        samples = _signal(data, offsets[number], per_record)
        places = record_positions(starts, rate, per_record)
        first = 0
        for i in range(1, len(places) + 1):
            if i == len(places) or places[i] != places[i - 1] + per_record:
                pieces.append(Piece(rate, places[first], channel, samples[first:i].reshape(-1)))
                first = i
    return pieces


def read(source: Path, *, rate: Fraction | None = None, unit: str | None = None) -> Recording:
    """Read a file.

    Parameters
    ----------
    source : Path
    rate, unit
        Not used: the header says them.

    Raises
    ------
    InputError
        When the file is cut short or contradicts its header.
    UnsupportedError
        When it holds annotations only.
    """
    header = read_header(source)
    n_records = _count_records(header, source)
    offsets = np.concatenate([[0], np.cumsum(header.samples)])[:-1].tolist()
    ordinary = [i for i, n in enumerate(header.samples) if n and i not in header.annotated]
    if not ordinary or n_records == 0:
        raise UnsupportedError(f"{source}: the file holds no samples", hint="name a file with signals")
    if header.duration <= 0:
        raise InputError(
            f"{source}: record duration is {header.main['record_duration']!r}, so the rate is unknown",
            hint="repair the header",
        )
    data = _load(header, source, n_records)
    events, exact = _read_events(header, data, offsets) if header.annotated else (edf_annotations.Events(), True)
    starts = _record_starts(header, events.onsets, n_records)
    wanted = ordinary if exact else sorted(ordinary + [i for i in header.annotated if header.samples[i]])
    saved: dict[str, Any] = {"main": header.main, "n_records": n_records, "annotations_raw": not exact}
    kept = {str(i): s for i, s in enumerate(header.signals) if i not in wanted}
    if kept:
        saved["other_signals"] = kept
    sets: tuple[Annotations, ...] = ()
    first = Fraction(events.onsets[0]) if events.onsets else Fraction(0)
    if header.annotated:
        if events.onsets:
            saved["onsets"] = edf_annotations.onset_pattern(events.onsets, header.duration)
        sets = (edf_annotations.to_annotations(events, first, header.kind, {"format": header.kind}),)
    streams = build_streams(_pieces(header, data, offsets, wanted, starts))
    sets += wfdb_annotations.read_beside(source.parent, source.name, max(s.rate for s in streams), set())
    return Recording(
        name=safe_name(source.stem),
        streams=streams,
        start_ns=_start(header, first),
        annotations=sets,
        source_format=header.kind,
        attributes={"edf": saved},
    )


def _start(header: EdfHeader, first: Fraction) -> int | None:
    moment = start_second(header.main)
    anonymous = header.main["recording"].startswith("Startdate X ") and header.main["startdate"] == "01.01.85"
    return None if moment is None or anonymous else representable(to_ns(moment) + int(first * 10**9))


def write(recording: Recording, folder: Path, format: str) -> list[Path]:
    """Write a file: as its source was when it is whole, composed anew otherwise.

    Parameters
    ----------
    recording : Recording
    folder : Path
        Empty folder.
    format : str
        ``"edf"`` or ``"bdf"``.

    Raises
    ------
    UnsupportedError
        When samples exceed 16 bits (EDF) or 24 bits (BDF), or the recording has gaps that only
        WFDB can hold.
    """
    path = folder / f"{safe_name(recording.name)}.{format}"
    saved = recording.attributes.get("edf")
    if saved is None or recording.source_format != format or not edf_write.restore(recording, saved, path):
        edf_write.compose(recording, path, format)
    files = [path]
    for events in recording.annotations if recording.source_format in ("edf", "bdf") else ():
        if events.attributes.get("format") == "wfdb":
            files.append(folder / safe_name(f"{path.name}.{events.name}"))
            rate = max(stream.rate for stream in recording.streams)
            files[-1].write_bytes(wfdb_annotations.to_bytes(events, rate))
    return files
