"""Lines of a CSV that still grows: its head once, then rows of numbers, however broken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from sanstream.errors import InputError
from sanstream.formats.csv_text import is_missing
from sanstream.formats.csv_time import NAMES
from sanstream.formats.labels import kind_of
from sanstream.signal import Channel, parse_rate, unique_labels

MAX_LINE_BYTES = 1 << 20
_MAX_COLUMNS = 1024
_RATE = re.compile(r"^#\s*(?:rate|fs|sampling[ _]rate|sampling frequency)\s*[:=]\s*(\S+)", re.IGNORECASE)
_UNIT = re.compile(r"^(.*?)\s*[\[(]([^\])]*)[\])]$")
_SECONDS = re.compile(r"\d{1,12}(?:\.\d{0,12})?")
_EPOCH_S = 10**8
"""A time column's numbers above this are seconds since 1970; below it they count from some start."""


@dataclass(frozen=True)
class Rows:
    """Rows read from lines.

    Parameters
    ----------
    values : ndarray, shape (n_rows, n_channels), float64
        NaN where a cell, or a whole line, was no number.
    time_ns : int or None
        The time column's first entry, when it is a date or seconds since 1970.
    n_bad : int
        Lines that could not be read.
    """

    values: npt.NDArray[np.float64]
    time_ns: int | None
    n_bad: int


class CsvLines:
    """Reads a CSV's lines as they come.

    Parameters
    ----------
    rate : Fraction or None
        Samples per second; else a comment ``# rate: 250`` must say it.
    unit : str
        Unit of columns whose header names none.
    """

    def __init__(self, rate: Fraction | None, unit: str = "") -> None:
        self.rate = rate
        self._unit = unit
        self._delimiter: str | None = ","
        self._timed = False
        self.channels: tuple[Channel, ...] = ()

    def read(self, lines: Sequence[str]) -> Rows | None:
        """Read whole lines; None while only the head was there.

        Raises
        ------
        InputError
            When the head has too many columns, or does not say the rate and nobody else does.
        """
        rows = [line.strip() for line in lines]
        body = [line for line in rows if line and not self._is_head(line)]
        if not body:
            return None
        if self.rate is None:
            raise InputError("CSV lines do not say their sampling rate", hint="give rate=250, or a line '# rate: 250'")
        values = np.full((len(body), len(self.channels)), np.nan)
        n_bad = 0
        for row, line in enumerate(body):
            cells = self._cells(line)[int(self._timed) :]
            if len(cells) != len(self.channels):
                n_bad += 1
                continue
            try:
                values[row] = [np.nan if is_missing(cell) else float(cell) for cell in cells]
            except ValueError:
                n_bad += 1
        time_ns = _moment(self._cells(body[0])[0]) if self._timed else None
        return Rows(values, time_ns, n_bad)

    def _is_head(self, line: str) -> bool:
        """Take a comment, or the row of names before any row of numbers, out of the body."""
        if line.startswith("#"):
            match = _RATE.match(line)
            if match and self.rate is None:
                self.rate = parse_rate(match[1])
            return True
        if self.channels:
            return False
        counts = {mark: line.count(mark) for mark in ",;\t|"}
        best = max(counts, key=lambda mark: counts[mark])
        self._delimiter = best if counts[best] else None if " " in line else ","
        cells = self._cells(line)
        if all(is_missing(cell) or _is_number(cell) or (k == 0 and _moment(cell)) for k, cell in enumerate(cells)):
            self._columns([""] * len(cells))
            return False
        self._columns([cell.strip("\"' ") for cell in cells])
        return True

    def _cells(self, line: str) -> list[str]:
        return line.split(self._delimiter)

    def _columns(self, names: list[str]) -> None:
        if len(names) > _MAX_COLUMNS:
            raise InputError(f"CSV of {len(names)} columns, at most {_MAX_COLUMNS}", hint="time goes down the rows")
        parts = [_UNIT.match(name) for name in names]
        labels = [match[1] if match and match[1] else name for match, name in zip(parts, names, strict=True)]
        units = [match[2] if match and match[1] else self._unit for match in parts]
        self._timed = len(names) > 1 and labels[0].lower() in NAMES
        skip = int(self._timed)
        labels, units = unique_labels(labels[skip:], "ch"), units[skip:]
        self.channels = tuple(Channel(n[:80], u[:16], kind=kind_of(n)) for n, u in zip(labels, units, strict=True))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _moment(cell: str) -> int | None:
    """Return a date, or seconds since 1970, as nanoseconds; None for anything else."""
    if _SECONDS.fullmatch(cell.strip()):
        value = Fraction(cell.strip())
        return int(value * 10**9) if _EPOCH_S < value < 1 << 32 else None
    try:
        moment = datetime.fromisoformat(cell.strip())
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000


def split_lines(data: bytes) -> tuple[list[str], bytes]:
    """Cut bytes into whole lines and what is left.

    Raises
    ------
    InputError
        When a line is longer than any row could be.
    """
    whole, mark, rest = data.rpartition(b"\n")
    if len(rest) > MAX_LINE_BYTES:
        raise InputError(f"a line of more than {MAX_LINE_BYTES} bytes is no row of a CSV", hint="check the source")
    return (whole.decode("utf-8", "replace").split("\n") if mark else []), rest
