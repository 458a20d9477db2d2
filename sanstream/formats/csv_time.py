"""Time columns: the rate that they imply, and their text given back."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from sanstream.errors import InputError
from sanstream.formats.clock import EPOCH, representable
from sanstream.formats.csv_text import format_number, pack, unpack

NAMES = {"elapsed time", *"time t times seconds sec elapsed_time timestamp time_s datetime date".split()}
"""Column names, without unit and quotes, that mean time."""

_SCALE = {"ms": 1000, "us": 10**6, "µs": 10**6, "ns": 10**9, "milliseconds": 1000}


@dataclass(frozen=True)
class TimeColumn:
    """What a time column says.

    Parameters
    ----------
    rate : Fraction
        Samples per second.
    start_ns : int or None
        Wall clock of the first sample, for columns of dates.
    timezone : str
    saved : dict
        JSON values that give the text back.
    """

    rate: Fraction
    start_ns: int | None
    timezone: str
    saved: dict[str, Any]


def simplest_between(low: Fraction, high: Fraction) -> Fraction:
    """Return the fraction of smallest denominator within ``[low, high]``, both positive (Stern-Brocot)."""
    whole = -(-low.numerator // low.denominator)
    if whole <= high:
        return Fraction(whole)
    floor = low.numerator // low.denominator
    return floor + 1 / simplest_between(1 / (high - floor), 1 / (low - floor))


def _seconds(cell: str) -> tuple[Fraction, int]:
    """Return a cell's value and number of decimals."""
    value = Decimal(cell.strip())
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or value.adjusted() > 30 or exponent < -30:
        raise InvalidOperation
    return Fraction(value), max(0, -exponent)


def _moments(cells: Sequence[str]) -> tuple[list[Fraction], int, str]:
    """Return dates as seconds since 1970 of their wall clock, their decimals, and the time zone."""
    times, zone, digits = [], "unknown", 0
    for cell in cells:
        moment = datetime.datetime.fromisoformat(cell.strip())
        offset = moment.utcoffset()
        if offset is not None:
            zone = "utc" if not offset else moment.isoformat()[-6:]
        delta = moment.replace(tzinfo=None) - EPOCH
        times.append(delta.days * 86400 + delta.seconds + Fraction(delta.microseconds, 10**6))
        part = cell.strip().partition(".")[2]
        digits = max(digits, len(part) - len(part.lstrip("0123456789")))
    return times, digits, zone


def read_times(cells: Sequence[str], where: str, unit: str, rate: Fraction | None) -> TimeColumn:
    """Read a time column.

    Parameters
    ----------
    cells : sequence of str
        Numbers in seconds (or ``unit``), or ISO 8601 dates.
    where : str
        For messages.
    unit : str
        Unit that the header gives; milliseconds and the like are understood.
    rate : Fraction or None
        What the caller says; wins over the column.

    Raises
    ------
    InputError
        When the column is no time, or not evenly spaced and no rate is given.
    """
    scale = _SCALE.get(unit.strip().lower(), 1)
    start, zone, dated = None, "unknown", False
    try:
        pairs = [_seconds(cell) for cell in cells]
        times, digits = [t / scale for t, _ in pairs], max(d for _, d in pairs)
        step = Fraction(1, 10**digits * scale)
    except (InvalidOperation, ValueError):
        try:
            times, digits, zone = _moments(cells)
        except ValueError as error:
            raise InputError(f"{where}: time column: {error}", hint="use seconds or ISO 8601") from error
        step, dated, start = Fraction(1, 10 ** min(digits, 6)), True, representable(int(times[0] * 10**9))
    rate = rate or _rate_of(times, step, where)
    if dated:
        return TimeColumn(rate, start, zone, {"cells": pack(list(cells)), "start_ns": start})
    for mode in ("round", "floor"):
        saved = {"first": str(times[0] * scale), "digits": digits, "scale": scale, "mode": mode}
        if write_times(saved, len(cells), rate) == list(cells):
            return TimeColumn(rate, None, zone, saved)
    return TimeColumn(rate, None, zone, {"cells": pack(list(cells))})


def _rate_of(times: Sequence[Fraction], step: Fraction, where: str) -> Fraction:
    if len(times) < 2 or times[-1] <= times[0]:
        raise InputError(
            f"{where}: the time column does not grow, so the rate is unknown", hint="give it, as --rate 250"
        )
    n, span = len(times) - 1, times[-1] - times[0]
    low, high = n / (span + step), n / max(span - step, span / 2)
    exact = all(time - times[0] == row * span / n for row, time in enumerate(times))
    rate = n / span if exact else simplest_between(low, high)
    for row, time in enumerate(times):
        if abs(time - times[0] - row / rate) > step + Fraction(1, 100) / rate:
            raise InputError(
                f"{where}: the time column is not evenly spaced: row {row} is {float(time)} s, "
                f"{float(times[0] + row / rate)} s at {float(rate):g} Hz",
                hint="give the rate, as --rate 250, or resample first",
            )
    return rate


def rows_of_stretch(n_held: int, n: int, rate: Fraction, held_ns: int | None, start_ns: int | None) -> int | None:
    """Return the row at which a stretch of ``n`` samples begins in a column of ``n_held`` dates.

    None when starts do not tell, so that times count from the stretch.
    """
    if n == n_held:
        return 0
    if held_ns is None or start_ns is None:
        return None
    first = round(Fraction(start_ns - held_ns, 10**9) * rate)
    return first if 0 <= first <= n_held - n else None


def write_times(saved: dict[str, Any], n: int, rate: Fraction, start_ns: int | None = None) -> list[str]:
    """Give back a time column of ``n`` rows, of which the first is at ``start_ns``."""
    if "cells" in saved:
        cells = [str(c) for c in unpack(saved["cells"])]
        first_row = rows_of_stretch(len(cells), n, rate, saved.get("start_ns"), start_ns)
        if first_row is not None:
            return cells[first_row : first_row + n]
        saved = {"first": "0", "digits": 6, "scale": 1, "mode": "round"}
    first, digits = Fraction(saved["first"]), int(saved["digits"])
    scale = 10**digits
    step = Fraction(int(saved["scale"])) / rate * scale
    first *= scale
    denominator = (first + step).denominator * step.denominator
    a, b = int(first * denominator), int(step * denominator)
    if saved["mode"] == "floor":
        return [format_number((a + b * i) // denominator, digits, "fixed") for i in range(n)]
    half = denominator
    return [format_number((2 * (a + b * i) + half) // (2 * denominator), digits, "fixed") for i in range(n)]
