"""WFDB header text: parsed exactly, and rewritten token by token so that the rest stays as it was."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite

from sanstream.errors import InputError
from sanstream.formats.clock import EPOCH, representable
from sanstream.formats.labels import exact_number

_FORMAT = re.compile(r"^(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?$")
_GAIN = re.compile(r"^([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)?(?:\(([-+]?\d+)\))?(?:/(.*))?$")
_NAME = re.compile(r"^[^\s/\\:]+$")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True)
class SignalLine:
    """One signal specification line (header(5), "Signal specification lines")."""

    file: str
    fmt: str
    samples_per_frame: int
    skew: int
    offset: int
    gain: float
    baseline: int
    unit: str
    resolution: int
    adc_zero: int
    initial: int | None
    checksum: int | None
    block_size: int
    description: str


@dataclass(frozen=True)
class Header:
    """A header file: of a record, of a segment, or the master of a multi-segment record.

    ``segments`` is None for a single-segment record. ``text`` is the whole file.
    """

    name: str
    rate: Fraction
    n_frames: int | None
    start_ns: int | None
    time_of_day: str | None
    signals: tuple[SignalLine, ...]
    segments: tuple[tuple[str, int], ...] | None
    text: str


def decode_text(data: bytes) -> tuple[str, str]:
    """Decode header bytes so that encoding gives them back; return text and encoding."""
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return data.decode("latin-1"), "latin-1"


def _body(text: str) -> list[tuple[int, str]]:
    """Return the lines that are neither comment nor blank, with their numbers."""
    lines = enumerate(text.split("\n"))
    return [(i, line.rstrip("\r")) for i, line in lines if line.strip() and not line.lstrip().startswith("#")]


def comments(text: str) -> list[str]:
    """Return the comment lines of a header, without their ``#``."""
    return [s.rstrip("\r").lstrip()[1:] for s in text.split("\n") if s.lstrip().startswith("#")]


def _integer(token: str, what: str, where: str) -> int:
    try:
        return int(token)
    except ValueError:
        raise InputError(f"{where}: {what} is {token!r}, must be an integer", hint="repair the header") from None


def _time_ns(text: str) -> int | None:
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or not re.match(r"^[\d:]+(\.\d*)?$", text) or "" in parts:
        return None
    seconds = sum(Fraction(part.rstrip(".")) * 60**power for power, part in enumerate(reversed(parts)))
    return int(seconds * 10**9)


def _date(text: str) -> datetime.datetime | None:
    match = re.match(r"^(\d{1,2})/(\d{1,2})/(\d{4})$", text)
    named = re.match(r"^(\d{1,2})-([A-Za-z]{3})-(\d{4})$", text)
    try:
        if match:
            return datetime.datetime(int(match[3]), int(match[2]), int(match[1]))
        if named and named[2].lower() in _MONTHS:
            return datetime.datetime(int(named[3]), 1 + _MONTHS.index(named[2].lower()), int(named[1]))
    except ValueError:
        return None
    return None


def parse_start(tokens: list[str]) -> tuple[int | None, str | None]:
    """Read ``time [date]`` (or ``date time``, which some databases write).

    Returns
    -------
    start_ns : int or None
        Nanoseconds since 1970 of the wall clock; None without a date, or beyond the year 2261.
    time_of_day : str or None
        The time as written, when there is one and ``start_ns`` is None.
    """
    words = tokens[:2]
    if len(words) == 2 and _date(words[0]) is not None:
        words.reverse()
    clock = _time_ns(words[0]) if words else None
    day = _date(words[1]) if len(words) == 2 else None
    if clock is None:
        return None, None
    if day is None:
        return None, words[0]
    start_ns = representable((day - EPOCH).days * 86400 * 10**9 + clock)
    return start_ns, words[0] if start_ns is None else None


def _signal(line: str, where: str) -> SignalLine:
    tokens = line.split(None, 8)
    match = _FORMAT.match(tokens[1]) if len(tokens) > 1 else None
    if match is None or not _NAME.match(tokens[0]):
        raise InputError(f"{where}: {line.strip()!r} is no signal line", hint="expected FILE FORMAT GAIN ... LABEL")
    gain = _GAIN.match(tokens[2]) if len(tokens) > 2 else None
    if len(tokens) > 2 and gain is None:
        raise InputError(f"{where}: gain {tokens[2]!r} is not NUMBER(BASELINE)/UNIT", hint="repair the header")
    names = ("ADC resolution", "ADC zero", "initial value", "checksum", "block size")
    rest = [_integer(token, name, where) for token, name in zip(tokens[3:8], names, strict=False)]
    rest_or = [*rest, *([None] * (5 - len(rest)))]
    adc_zero = rest_or[1] or 0
    value = float(gain[1]) if gain and gain[1] else 0.0
    if not isfinite(value):
        raise InputError(f"{where}: gain {tokens[2]!r} is not finite", hint="repair the header")
    return SignalLine(
        file=tokens[0],
        fmt=match[1],
        samples_per_frame=max(1, int(match[2] or 1)),
        skew=int(match[3] or 0),
        offset=int(match[4] or 0),
        gain=value if value != 0 else 200.0,
        baseline=int(gain[2]) if gain and gain[2] else adc_zero,
        unit=(gain[3] if gain and gain[3] else "mV"),
        resolution=rest_or[0] or 0,
        adc_zero=adc_zero,
        initial=rest_or[2],
        checksum=rest_or[3],
        block_size=rest_or[4] or 0,
        description=tokens[8].strip() if len(tokens) > 8 else "",
    )


def _rate(token: str, where: str) -> Fraction:
    try:
        rate = exact_number(token.partition("/")[0])
    except ValueError:
        rate = Fraction(0)
    if rate <= 0:
        raise InputError(f"{where}: frame rate {token!r} is not a positive number", hint="repair the record line")
    return rate


def parse_header(text: str, where: str) -> Header:
    """Read a header.

    Parameters
    ----------
    text : str
    where : str
        Name of the file, for messages.

    Raises
    ------
    InputError
        When the text is no WFDB header.
    """
    body = _body(text)
    tokens = body[0][1].split() if body else []
    if len(tokens) < 2 or not tokens[1].isdigit():
        raise InputError(f"{where}: no WFDB record line (NAME SIGNALS RATE SAMPLES)", hint="check the file")
    name, slash, n_segments = tokens[0].partition("/")
    if not _NAME.match(name):
        raise InputError(f"{where}: record name {name!r} is no file name", hint="repair the record line")
    n_lines = _integer(n_segments, "number of segments", where) if slash else int(tokens[1])
    if len(body) - 1 < n_lines:
        raise InputError(
            f"{where}: {len(body) - 1} lines after the record line, {n_lines} announced", hint="the header is cut short"
        )
    rate = _rate(tokens[2], where) if len(tokens) > 2 else Fraction(250)
    start_ns, time_of_day = parse_start(tokens[4:])
    segments = None
    signals: tuple[SignalLine, ...] = ()
    if slash:
        segments = tuple(_segment(line, where) for _, line in body[1 : n_lines + 1])
    else:
        signals = tuple(_signal(line, where) for _, line in body[1 : n_lines + 1])
    n_frames = _integer(tokens[3], "number of samples", where) if len(tokens) > 3 else 0
    if n_frames < 0:
        raise InputError(f"{where}: number of samples is {n_frames}", hint="repair the record line")
    return Header(name, rate, n_frames or None, start_ns, time_of_day, signals, segments, text)


def _segment(line: str, where: str) -> tuple[str, int]:
    tokens = line.split()
    if len(tokens) < 2 or not _NAME.match(tokens[0]):
        raise InputError(f"{where}: {line.strip()!r} is no segment line (NAME SAMPLES)", hint="repair the header")
    return tokens[0], _integer(tokens[1], "segment length", where)


def set_tokens(text: str, signal: int, values: dict[int, str]) -> str:
    """Replace whole tokens of one signal line, leaving all spacing as it is.

    Parameters
    ----------
    text : str
        Header.
    signal : int
        Number of the signal, from 0.
    values : dict
        Token number (0 file, 1 format, 5 initial value, 6 checksum) to new text; tokens that the
        line does not have are left out.
    """
    lines = text.split("\n")
    number = _body(text)[1 + signal][0]
    spans = list(re.finditer(r"\S+", lines[number]))
    for index in sorted(values, reverse=True):
        if index < len(spans):
            a, b = spans[index].span()
            lines[number] = lines[number][:a] + values[index] + lines[number][b:]
    return "\n".join(lines)
