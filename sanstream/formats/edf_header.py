"""EDF and BDF headers: every field kept as text, so that the header is given back byte for byte."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from sanstream.errors import InputError, UnsupportedError
from sanstream.formats.clock import EPOCH, moment_of
from sanstream.formats.labels import exact_number

MAIN = (
    ("version", 8),
    ("patient", 80),
    ("recording", 80),
    ("startdate", 8),
    ("starttime", 8),
    ("header_bytes", 8),
    ("reserved", 44),
    ("n_records", 8),
    ("record_duration", 8),
    ("n_signals", 4),
)
"""Fields of the first 256 bytes and their widths (EDF specification, 1992)."""

SIGNAL = (
    ("label", 16),
    ("transducer", 80),
    ("dimension", 8),
    ("physical_min", 8),
    ("physical_max", 8),
    ("digital_min", 8),
    ("digital_max", 8),
    ("prefilter", 80),
    ("samples_per_record", 8),
    ("reserved", 32),
)
"""Fields of each signal, in file order, and their widths."""

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_MAX_SIGNALS = 4096


@dataclass(frozen=True)
class EdfHeader:
    """A header as text (latin-1, trailing blanks dropped where they are the padding).

    ``main`` maps each field of :data:`MAIN`, ``signals`` each field of :data:`SIGNAL`.
    """

    main: dict[str, str]
    signals: tuple[dict[str, str], ...]
    where: str

    @property
    def sample_bytes(self) -> int:
        """Return 3 for BDF, 2 for EDF."""
        return 3 if self.main["version"][:1] == "\xff" else 2

    @property
    def kind(self) -> str:
        """Return ``"bdf"`` or ``"edf"``."""
        return "bdf" if self.sample_bytes == 3 else "edf"

    @property
    def n_records(self) -> int:
        """Return the announced number of data records; -1 when the recorder never said it."""
        return self.integer(self.main["n_records"], "number of data records", -1)

    @property
    def duration(self) -> Fraction:
        """Return seconds per data record."""
        return self.number(self.main["record_duration"], "record duration")

    @property
    def samples(self) -> list[int]:
        """Return samples per record of each signal."""
        return [self.integer(s["samples_per_record"], f"samples per record of {s['label']!r}") for s in self.signals]

    @property
    def annotated(self) -> list[int]:
        """Return the numbers of the annotation signals."""
        return [i for i, s in enumerate(self.signals) if s["label"] in ("EDF Annotations", "BDF Annotations")]

    @property
    def discontinuous(self) -> bool:
        """Tell EDF+D and BDF+D."""
        return self.main["reserved"].startswith(("EDF+D", "BDF+D"))

    def integer(self, text: str, what: str, low: int = 0) -> int:
        """Read an integer field."""
        try:
            value = int(text.strip())
        except ValueError:
            value = low - 1
        if value < low:
            raise InputError(
                f"{self.where}: {what} is {text!r}, must be an integer of at least {low}", hint="repair the header"
            )
        return value

    def number(self, text: str, what: str) -> Fraction:
        """Read a decimal field; a decimal comma is accepted."""
        try:
            return exact_number(text.replace(",", "."))
        except ValueError:
            raise InputError(f"{self.where}: {what} is {text!r}, must be a number", hint="repair the header") from None


def _field(data: bytes) -> str:
    """Drop padding blanks; keep any other padding (NUL) as it is."""
    return data.decode("latin-1").rstrip(" ")


def read_header(path: Path) -> EdfHeader:
    """Read a header.

    Raises
    ------
    InputError
        When the file is shorter than its header, or its fields contradict each other.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        data = file.read(256)
        if len(data) < 256:
            raise InputError(
                f"{path}: {size} bytes, an EDF or BDF header has at least 256", hint="the file is cut short"
            )
        main, at = {}, 0
        for name, width in MAIN:
            main[name] = _field(data[at : at + width])
            at += width
        if not main["version"].startswith(("0", "\xffBIOSEMI")):
            raise InputError(f"{path}: version {main['version']!r} is neither EDF nor BDF", hint="check the file")
        header = EdfHeader(main, (), str(path))
        n = header.integer(main["n_signals"], "number of signals", 1)
        if n > _MAX_SIGNALS:
            raise InputError(f"{path}: {n} signals announced, at most {_MAX_SIGNALS}", hint="repair the header")
        rest = file.read(256 * n)
    if len(rest) < 256 * n:
        raise InputError(f"{path}: {size} bytes, its header needs {256 * (n + 1)}", hint="the file is cut short")
    if header.integer(main["header_bytes"], "header size") != 256 * (n + 1):
        raise InputError(
            f"{path}: header size is {main['header_bytes']}, {n} signals need {256 * (n + 1)}", hint="repair the header"
        )
    signals: list[dict[str, str]] = [{} for _ in range(n)]
    at = 0
    for name, width in SIGNAL:
        for signal in signals:
            signal[name] = _field(rest[at : at + width])
            at += width
    header = EdfHeader(main, tuple(signals), str(path))
    if sum(header.samples) == 0:
        raise InputError(f"{path}: no signal has samples", hint="repair the header")
    return header


def header_bytes(main: dict[str, str], signals: list[dict[str, str]]) -> bytes:
    """Encode a header.

    Raises
    ------
    UnsupportedError
        When a text is longer than its field or not latin-1.
    """
    out = [_padded(main[name], name, width) for name, width in MAIN]
    out += [_padded(signal[name], name, width) for name, width in SIGNAL for signal in signals]
    return b"".join(out)


def _padded(text: str, name: str, width: int) -> bytes:
    try:
        data = text.encode("latin-1")
    except UnicodeEncodeError:
        data = text.encode("ascii", "replace")
    if len(data) > width:
        raise UnsupportedError(f"EDF field {name!r} holds {width} characters, {text!r} has {len(data)}")
    return data.ljust(width)


def start_second(main: dict[str, str]) -> datetime.datetime | None:
    """Read the start to the second; None when date or time is no date or time.

    The four-digit year of an EDF+ ``Startdate dd-MMM-yyyy`` wins over the two-digit one (1985 to
    2084).
    """
    clock = re.match(r"^(\d{1,2})[.:](\d{1,2})[.:](\d{1,2})", main["starttime"])
    plus = re.match(r"^Startdate (\d{1,2})-([A-Z]{3})-(\d{4})", main["recording"], re.IGNORECASE)
    short = re.match(r"^(\d{1,2})[./](\d{1,2})[./](\d{2})$", main["startdate"])
    try:
        if plus and plus[2].upper() in _MONTHS:
            day = datetime.datetime(int(plus[3]), 1 + _MONTHS.index(plus[2].upper()), int(plus[1]))
        elif short:
            year = int(short[3])
            day = datetime.datetime(year + (1900 if year >= 85 else 2000), int(short[2]), int(short[1]))
        else:
            return None
        return day.replace(hour=int(clock[1]), minute=int(clock[2]), second=int(clock[3])) if clock else None
    except ValueError:
        return None


def to_ns(moment: datetime.datetime) -> int:
    """Return nanoseconds since 1970 of a wall-clock moment."""
    delta = moment - EPOCH
    return (delta.days * 86400 + delta.seconds) * 10**9 + delta.microseconds * 1000


def from_ns(ns: int) -> tuple[str, str, str, Fraction]:
    """Return startdate, starttime, EDF+ startdate and the fraction of a second left over."""
    seconds, rest = divmod(ns, 10**9)
    moment = moment_of(seconds)
    date = f"{moment:%d.%m.%y}" if 1985 <= moment.year <= 2084 else f"{moment:%d.%m}.yy"
    plus = f"{moment.day:02d}-{_MONTHS[moment.month - 1]}-{moment.year:04d}"
    return date, f"{moment:%H.%M.%S}", plus, Fraction(rest, 10**9)
