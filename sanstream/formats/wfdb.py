"""WFDB records: single- and multi-segment, multi-rate, all signal formats, annotations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sanstream.errors import InputError
from sanstream.formats import wfdb_annotations, wfdb_compose, wfdb_write
from sanstream.formats.grid import Piece, build_streams
from sanstream.formats.labels import kind_of, safe_name
from sanstream.formats.wfdb_header import Header, decode_text, parse_header
from sanstream.formats.wfdb_signals import RANGE, IntArray, RawSegment, read_segment
from sanstream.signal import Channel, Recording, unique_labels

_MAX_HEADER_BYTES = 16 * 2**20


def load_header(path: Path) -> tuple[Header, str]:
    """Read a header file; return it and its text encoding.

    Raises
    ------
    InputError
        When it is missing, larger than any header, or no header.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such header", hint="fetch it beside the record")
    if path.stat().st_size > _MAX_HEADER_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes are no WFDB header", hint="check the file")
    text, encoding = decode_text(path.read_bytes())
    return parse_header(text, str(path)), encoding


def _stem(source: Path) -> tuple[Path, str]:
    """Find folder and record name: the source may carry ``.hea``, a signal file's suffix, or none."""
    if source.suffix.lower() == ".hea":
        return source.parent, source.name[:-4]
    if Path(f"{source}.hea").is_file():
        return source.parent, source.name
    return source.parent, source.stem


def aligned(raw: IntArray, n: int, skew: int, missing: int | None) -> tuple[IntArray, IntArray]:
    """Take out a signal's skew.

    Parameters
    ----------
    raw : ndarray
        Samples as the file holds them.
    n : int
        Samples of the signal in the record.
    skew : int
        Samples by which the file is late.
    missing : int or None
        Code for samples past the file's end.

    Returns
    -------
    head : ndarray
        The samples before the record's start, which only the file shows.
    samples : ndarray, shape (n,)
    """
    head, kept = raw[:skew], raw[skew : skew + n]
    if len(kept) == n:
        return head, kept
    code = missing if missing is not None else int(raw[-1])
    return head, np.concatenate([kept, np.full(n - len(kept), code, dtype=np.int64)])


def _channel(line: Any, number: int, label: str) -> Channel:
    low, high, missing = RANGE[line.fmt]
    if line.fmt == "8":  # differences: the format bounds nothing, so the ADC does, widened by the data
        low, high = line.adc_zero, line.adc_zero
    header: dict[str, Any] = {"position": number, "format": line.fmt, "adc_zero": line.adc_zero}
    if line.description != label:
        header["label"] = line.description
    if line.samples_per_frame != 1:
        header["samples_per_frame"] = line.samples_per_frame
    if line.skew:
        header["skew"] = line.skew
    if line.block_size:
        header["block_size"] = line.block_size
    return Channel(
        label=label,
        unit=line.unit,
        gain=line.gain,
        baseline=line.baseline,
        digital_min=low,
        digital_max=high,
        missing=missing,
        resolution_bits=line.resolution,
        kind=kind_of(label),
        header=header,
    )


def _pieces(header: Header, raw: RawSegment, start: int, rate: Fraction) -> Iterator[tuple[Piece, IntArray]]:
    """Give each signal of a segment as a piece, with its head (see :func:`aligned`)."""
    labels = unique_labels([line.description for line in header.signals])
    for number, (line, samples) in enumerate(zip(header.signals, raw.samples, strict=True)):
        if samples is None:
            continue
        channel = _channel(line, number, labels[number])
        per_frame = line.samples_per_frame
        head, kept = aligned(samples, raw.n_frames * per_frame, line.skew * per_frame, channel.missing)
        yield Piece(rate * per_frame, start * per_frame, channel, kept), head


def _segment_record(
    header: Header, encoding: str, raw: RawSegment, start: int, heads: list[IntArray]
) -> dict[str, Any]:
    """Describe a source segment so that the writer can give it back as it was."""
    out: dict[str, Any] = {"header": header.text, "start": start, "frames": raw.n_frames}
    if encoding != "utf-8":
        out["encoding"] = encoding
    if raw.prologs:
        out["prologs"] = raw.prologs
    if raw.file_frames != raw.n_frames:
        out["file_frames"] = raw.file_frames
    skewed = [h.tolist() for h in heads]
    if any(skewed):
        out["heads"] = skewed
    wrong = [i for i, (line, s) in enumerate(zip(header.signals, raw.samples, strict=True)) if not _sum_right(line, s)]
    if wrong:
        out["checksum_kept"] = wrong
    if raw.longer:
        out["longer"] = raw.longer
    return out


def notes(recording: Recording) -> list[str]:
    """Say where a record's header and its signal files contradict each other."""
    segments = recording.attributes.get("wfdb", {}).get("segments", [])
    sums, longer = [], []
    for segment in segments:
        lines = parse_header(segment["header"], segment["name"]).signals
        where = f"{segment['name']}.hea"
        kept = [i for i in segment.get("checksum_kept", []) if not lines[i].skew]  # of late signals, tools sum others
        sums += [f"{where}: the checksum of signal {i} ({lines[i].description})" for i in kept]
        longer += [
            f"{where}: {segment['frames']} frames announced, {file} holds {n}"
            for file, n in segment.get("longer", {}).items()
        ]
    return [
        f"{found[0]}{f' (and of {len(found) - 1} more)' if len(found) > 1 else ''}{end}"
        for found, end in (
            (sums, " is not that of its samples; both are kept as they are"),
            (longer, "; those announced are kept"),
        )
        if found
    ]


def _sum_right(line: Any, samples: IntArray | None) -> bool:
    if samples is None or line.checksum is None:
        return True
    return bool((int(samples.sum(dtype=np.int64)) - line.checksum) % 65536 == 0)


def _parts(master: Header, folder: Path, stem: str) -> Iterator[tuple[str, int, Header, str, int]]:
    """Walk a record's segments: name, start frame, header, encoding, frames announced."""
    start = 0
    for number, (name, length) in enumerate(master.segments or ()):
        if name != "~" and length > 0:
            header, encoding = load_header(folder / f"{name}.hea")
            if header.segments is not None:
                raise InputError(f"{folder / stem}.hea: segment {number} ({name}) is itself multi-segment")
            if header.rate != master.rate:
                raise InputError(
                    f"{folder / stem}.hea: segment {name} has {header.rate} frames/s, the record {master.rate}",
                    hint="repair the header",
                )
            yield name, start, header, encoding, length
        start += length


def _read_multi(master: Header, folder: Path, stem: str) -> tuple[list[Piece], list[dict[str, Any]], dict[str, Any]]:
    pieces: list[Piece] = []
    records: list[dict[str, Any]] = []
    for name, start, header, encoding, length in _parts(master, folder, stem):
        raw = read_segment(header, folder, name)
        if raw.n_frames != length:
            raise InputError(
                f"{folder / stem}.hea: segment {name} has {raw.n_frames} frames, {length} announced",
                hint="repair the header or fetch the segment again",
            )
        heads = []
        for piece, head in _pieces(header, raw, start, master.rate):
            pieces.append(piece)
            heads.append(head)
        records.append({"name": name, **_segment_record(header, encoding, raw, start, heads)})
    if not pieces:
        raise InputError(f"{folder / stem}.hea: no segment holds samples", hint="name a record with samples")
    extra: dict[str, Any] = {}
    first = (master.segments or (("~", 0),))[0]
    if first[1] == 0 and first[0] != "~" and (folder / f"{first[0]}.hea").is_file():
        layout, encoding = load_header(folder / f"{first[0]}.hea")
        extra = {"layout": {"name": first[0], "header": layout.text, "encoding": encoding}}
    return pieces, records, extra


def read(source: Path, *, rate: Fraction | None = None, unit: str | None = None) -> Recording:
    """Read a record, with its annotation files.

    Parameters
    ----------
    source : Path
        Record with or without extension.
    rate, unit
        Not used: the header says them.

    Raises
    ------
    InputError
        When a header or signal file is missing, cut short or contradictory.
    """
    folder, stem = _stem(source)
    master, encoding = load_header(folder / f"{stem}.hea")
    attributes: dict[str, Any] = {"n_frames": master.n_frames}
    if master.segments is None:
        if not master.signals:
            raise InputError(f"{folder / stem}.hea: the record has no signals", hint="name a record with signals")
        raw = read_segment(master, folder, stem)
        both = list(_pieces(master, raw, 0, master.rate))
        pieces = [piece for piece, _ in both]
        records = [{"name": stem, **_segment_record(master, encoding, raw, 0, [head for _, head in both])}]
        n_frames = raw.n_frames
    else:
        pieces, records, extra = _read_multi(master, folder, stem)
        attributes |= {"header": master.text, "encoding": encoding, **extra}
        n_frames = max(master.n_frames or 0, sum(length for _, length in master.segments))
    attributes |= {"name": stem, "n_frames": n_frames, "frame_rate": str(master.rate), "segments": records}
    top: dict[str, Any] = {"wfdb": attributes}
    if master.time_of_day is not None:
        top["time_of_day"] = master.time_of_day
    lengths = {piece.rate: int(n_frames * piece.rate / master.rate) for piece in pieces}
    signal_files = {line.file for line in master.signals}
    return Recording(
        name=safe_name(stem),
        streams=build_streams(pieces, lengths),
        start_ns=master.start_ns,
        annotations=wfdb_annotations.read_beside(folder, stem, master.rate, signal_files),
        source_format="wfdb",
        attributes=top,
    )


def write(recording: Recording, folder: Path, format: str) -> list[Path]:
    """Write a record: as its source was when it is whole, composed anew otherwise.

    Parameters
    ----------
    recording : Recording
    folder : Path
        Empty folder.
    format : str
        ``"wfdb"``.

    Returns
    -------
    list of Path
        The header of the record first.
    """
    saved = recording.attributes.get("wfdb")
    if isinstance(saved, Mapping) and recording.name != safe_name(saved["name"]):
        folder = folder / safe_name(recording.name)  # its files keep their names, which another record has too
        folder.mkdir()
    files = wfdb_write.restore(recording, saved, folder) if isinstance(saved, Mapping) else None
    return files if files is not None else wfdb_compose.compose(recording, folder)
