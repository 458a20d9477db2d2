"""CSV files: a time column or a given rate, header rows and comments kept, numbers given back as they were written."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from sanstream.errors import InputError
from sanstream.formats.columns import one_stream, tables
from sanstream.formats.csv_text import is_missing, is_number, read_numbers, write_numbers
from sanstream.formats.csv_time import NAMES, read_times, write_times
from sanstream.formats.labels import rate_text
from sanstream.formats.wfdb_header import decode_text
from sanstream.signal import Recording, parse_rate, unique_labels

_COMMENT = re.compile(r"^#\s*(rate|fs|sampling rate|sampling_rate|sampling frequency|unit|units)\s*[:=]\s*(\S+)", re.I)
_UNIT = re.compile(r"^(.*?)\s*[\[(]([^\])]*)[\])]$")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_UNIT_TEXT = re.compile(r"[\[(]?(?=[^\W\d_]|[%‰°/])[^?!]{1,24}$")
_NO_UNIT = re.compile(r"(err|error|invalid|bad|inf|infinity|nan|overflow|off|true|false|x+)$", re.I)
_MAX_COLUMNS = 4096


@dataclass(frozen=True)
class _Sheet:
    """A file cut into header lines and a table of cells."""

    head: list[str]
    rows: list[list[str]]
    delimiter: str
    names: list[str]
    units: list[str]
    notes: dict[str, str]


def _delimiter(line: str) -> str:
    """Find the delimiter of a row of numbers."""
    counts = {d: line.count(d) for d in (",", ";", "\t", "|")}
    best = max(counts, key=lambda d: counts[d])
    return best if counts[best] else ","


def _is_head(cells: list[str]) -> bool:
    """Tell a row of names: some cell is neither number nor missing, and the first is no date."""
    return not _DATE.match(cells[0]) and any(not is_number(c) and not is_missing(c) for c in cells)


def _is_units(cells: list[str]) -> bool:
    """Tell a row of units, below the names: no cell is a value, and each is as short as a unit."""
    words = [c for c in cells if not is_missing(c)]
    return bool(words) and all(_UNIT_TEXT.match(c) and not _NO_UNIT.match(c) for c in words)


def _head_cells(line: str, delimiter: str, source: Path) -> list[str]:
    """Cut a header line into cells, out of their double quotes, or out of single ones as WFDB's tools write."""
    text = line.strip(" ")
    quote = "'" if text.startswith("'") and text.endswith("'") else '"'
    try:
        cells = next(csv.reader([text], delimiter=delimiter, quotechar=quote, skipinitialspace=True), [""])
    except csv.Error as error:
        raise InputError(f"{source}: header line {line[:40]!r}: {error}", hint="repair the line") from error
    return [cell.strip() for cell in cells]


def _quoted(label: str) -> str:
    """Write a label as one header cell."""
    text = " ".join(label.splitlines())
    return '"' + text.replace('"', '""') + '"' if re.search("[,;|\t\"]|^['#]", text) else text


def _split(lines: list[str], source: Path) -> _Sheet:
    notes: dict[str, str] = {}
    first = 0
    while first < len(lines) and (lines[first].startswith("#") or not lines[first].strip()):
        match = _COMMENT.match(lines[first])
        if match:
            notes["rate" if match[1].lower()[0] in "rfs" else "unit"] = match[2]
        first += 1
    if first == len(lines):
        raise InputError(f"{source}: no rows", hint="name a file with samples")
    delimiter = _delimiter(lines[-1])
    data = first
    named: list[list[str]] = []
    while data < len(lines) and len(named) < 3:
        if not lines[data].strip() and delimiter in lines[-1]:
            data += 1
            continue
        cells = _head_cells(lines[data], delimiter, source)
        if not (_is_units(cells) if named else _is_head(cells)):
            break
        named.append(cells)
        data += 1
    rows = [line.split(delimiter) for line in lines[data:]]
    if not rows:
        raise InputError(f"{source}: header but no rows", hint="name a file with samples")
    width = len(rows[0])
    if width > _MAX_COLUMNS:
        raise InputError(f"{source}: {width} columns, at most {_MAX_COLUMNS}", hint="time goes down the rows")
    for number, row in enumerate(rows):
        if len(row) != width:
            raise InputError(
                f"{source}: line {data + number + 1} has {len(row)} cells, the first row {width}",
                hint="repair the file",
            )
    names = named[0] if named and len(named[0]) == width else [""] * width
    units = named[1] if len(named) > 1 and len(named[1]) == width else [""] * width
    return _Sheet(lines[:data], rows, delimiter, names, units, notes)


def _label(name: str, unit: str) -> tuple[str, str]:
    """Split ``"II [mV]"`` into label and unit."""
    match = _UNIT.match(name)
    return (match[1], unit or match[2]) if match and match[1] else (name, unit)


def read(source: Path, *, rate: Fraction | None = None, unit: str | None = None) -> Recording:
    """Read a file.

    Parameters
    ----------
    source : Path
    rate : Fraction, optional
        Samples per second; else from a ``# rate: 250`` comment or a time column.
    unit : str, optional
        Unit of columns whose header names none.

    Raises
    ------
    InputError
        When the file is no table of numbers, or its rate is unknown.
    UnsupportedError
        When a column needs more than 32 bits.
    """
    text, encoding = decode_text(source.read_bytes())
    if "\0" in text:
        raise InputError(f"{source}: holds NUL bytes, so it is no CSV file", hint="check the file")
    newline = "\r\n" if "\r\n" in text else "\n"
    ended = text.endswith(newline)
    lines = text.removesuffix(newline).split(newline)
    mark = "\ufeff" if lines[0].startswith("\ufeff") else ""
    lines[0] = lines[0].removeprefix("\ufeff")
    sheet = _split(lines, source)
    columns = list(zip(*sheet.rows, strict=True))
    rate = rate or (parse_rate(sheet.notes["rate"]) if "rate" in sheet.notes else None)
    saved: dict[str, Any] = {
        "head": [mark + sheet.head[0], *sheet.head[1:]] if sheet.head else [mark] * bool(mark),
        "delimiter": sheet.delimiter,
        "newline": newline,
        "ended": ended,
        "encoding": encoding,
    }
    name, time_unit = _label(sheet.names[0], sheet.units[0])
    timed = name.lower() in NAMES and len(columns) > 1
    start, zone = None, "unknown"
    if timed:
        times = read_times(columns[0], str(source), time_unit, rate)
        rate, start, zone, saved["time"] = times.rate, times.start_ns, times.timezone, times.saved
    if rate is None:
        raise InputError(
            f"{source}: the file does not say its sampling rate",
            hint="give it, for example --rate 250, or write a first line '# rate: 250'",
        )
    wanted = range(int(timed), len(columns))
    named = [_label(sheet.names[i], sheet.units[i]) for i in wanted]
    labels = unique_labels([label for label, _ in named], "ch")
    default = unit or sheet.notes.get("unit", "")
    channels = [
        read_numbers(columns[i], label, own or default, str(source), {"position": k})
        for k, (i, label, (_, own)) in enumerate(zip(wanted, labels, named, strict=True))
    ]
    recording = one_stream(source.stem, rate, channels, "csv", {"csv": saved})
    return Recording(recording.name, recording.streams, start, zone, (), "csv", recording.attributes)


def write(recording: Recording, folder: Path, format: str) -> list[Path]:
    """Write one file per rate: the source's text for CSV sources, else physical units with a time column."""
    saved = recording.attributes.get("csv")
    files = []
    for stem, stream, channels, samples in tables(recording, "csv"):
        cells = [write_numbers(channel, samples[:, i]) for i, channel in enumerate(channels)]
        path = folder / f"{stem}.csv"
        if saved is not None:
            times = None
            if "time" in saved:
                times = write_times(saved["time"], len(samples), stream.rate, recording.start_ns)
            lines = _restored(saved, cells if times is None else [times, *cells])
            text = saved["newline"].join(lines) + (saved["newline"] if saved["ended"] else "")
            path.write_bytes(text.encode(saved["encoding"]))
        else:
            names = [f"{c.label} [{c.unit}]" if c.unit else c.label for c in channels]
            head = [f"# rate: {rate_text(stream.rate)}", ",".join(map(_quoted, names))]
            rows = [",".join(row) for row in zip(*cells, strict=True)]
            path.write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")
        files.append(path)
    return files


def _restored(saved: dict[str, Any], cells: list[list[str]]) -> list[str]:
    delimiter = saved["delimiter"]
    rows = [delimiter.join(row) for row in zip(*cells, strict=True)]
    head = list(saved["head"])
    if head == ["\ufeff"]:
        head, rows[0] = [], "\ufeff" + rows[0]
    return head + rows
