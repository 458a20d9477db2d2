"""Columns of number text as integers on the grid that the text implies, and back to the same text."""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from sanstream.errors import InputError, UnsupportedError
from sanstream.formats.lattice import MISSING, Lattice, lattice_channel
from sanstream.signal import Channel, IntSamples

_PLAIN = re.compile(r"-?\d+(?:\.(\d+))?\Z")
_MISSING_TEXTS = {"", "nan", "na", "n/a", "null", "none", "-", "nil", "missing"}
_MAX_DECIMALS = 18

FIXED, MINIMAL, FLOAT = "fixed", "minimal", "float"
"""Styles: always so many decimals; no trailing zeros; no trailing zeros but at least one decimal."""


def is_missing(text: str) -> bool:
    """Tell an empty cell or one of the usual words for it."""
    return text.strip().lower() in _MISSING_TEXTS


def is_number(text: str) -> bool:
    """Tell whether a cell is a number (infinities are not)."""
    try:
        return Decimal(text.strip()).is_finite()
    except InvalidOperation:
        return False


def pack(rows: Sequence[Any]) -> str:
    """Pack JSON values into text."""
    return base64.b64encode(zlib.compress(json.dumps(rows).encode(), 9)).decode("ascii")


def unpack(text: str) -> list[Any]:
    """Undo :func:`pack`."""
    out: list[Any] = json.loads(zlib.decompress(base64.b64decode(text)))
    return out


def format_number(value: int, digits: int, style: str) -> str:
    """Write ``value / 10**digits`` in a style."""
    if digits == 0:
        return f"{value}.0" if style == FLOAT else str(value)
    text = str(abs(value)).rjust(digits + 1, "0")
    whole, part = text[:-digits], text[-digits:]
    if style != FIXED:
        part = part.rstrip("0") or ("0" if style == FLOAT else "")
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}.{part}" if part else f"{sign}{whole}"


def _scaled(text: str, digits: int) -> int:
    """Return the cell's value in units of ``10**-digits``."""
    if _PLAIN.match(text):
        whole, _, part = text.partition(".")
        return int(whole + part.ljust(digits, "0"))
    return int(Decimal(text.strip()).scaleb(digits))


def _decimals(text: str, where: str) -> int:
    plain = _PLAIN.match(text)
    if plain:
        return len(plain[1] or "")
    try:
        value = Decimal(text.strip())
        exponent = value.as_tuple().exponent if value.is_finite() and value.adjusted() < _MAX_DECIMALS else None
    except InvalidOperation:
        exponent = None
    if not isinstance(exponent, int):
        raise InputError(
            f"{where}: {text.strip()!r} is not a number below 1e18",
            hint="leave the cell empty where a value is missing",
        )
    return max(0, -exponent)


def read_numbers(
    cells: Sequence[str], label: str, unit: str, where: str, header: dict[str, Any]
) -> tuple[Channel, IntSamples]:
    """Turn a column of text into a channel and its samples.

    Parameters
    ----------
    cells : sequence of str
    label, unit : str
    where : str
        File and column, for messages.
    header : dict
        Goes into the channel's header, together with what gives the text back.

    Raises
    ------
    InputError
        When a cell is no number.
    UnsupportedError
        When the numbers need more than 32 bits.
    """
    present = [not is_missing(cell) for cell in cells]
    texts = [cell for cell, there in zip(cells, present, strict=True) if there]
    digits = max((_decimals(text, f"{where}, column {label!r}") for text in texts), default=0)
    if digits > _MAX_DECIMALS:
        raise UnsupportedError(f"{where}, column {label!r}: {digits} decimals", hint="round the column first")
    values = [_scaled(text, digits) for text in texts]
    integers = np.array(values, dtype=object)
    low, high = (min(values), max(values)) if values else (0, 0)
    multiple = int(np.gcd.reduce(integers)) if values and (low or high) else 1
    multiple = max(1, abs(multiple)) if digits else 1
    if low // multiple <= MISSING or high // multiple >= 2**31:
        raise UnsupportedError(
            f"{where}, column {label!r}: {digits} decimals from {min(texts, key=len)} on need more than 32 bits",
            hint="round the column to fewer decimals",
        )
    samples = np.full(len(cells), MISSING, dtype=np.int32)
    samples[np.array(present, dtype=bool)] = (integers // multiple).astype(np.int64)
    style, missing_text, exceptions = _describe(cells, present, values, digits)
    text: dict[str, Any] = {"style": style}
    if missing_text:
        text["missing"] = missing_text
    if exceptions:
        text["exceptions"] = pack(exceptions)
    lattice = Lattice("decimal", digits, multiple)
    return lattice_channel(label, unit, lattice, samples, {**header, "text": text}), samples


def _describe(
    cells: Sequence[str], present: Sequence[bool], values: Sequence[int], digits: int
) -> tuple[str, str, list[list[Any]]]:
    """Find the style that gives back most cells, the usual missing text, and the cells that differ."""
    absent = Counter(cell for cell, there in zip(cells, present, strict=True) if not there)
    missing_text = absent.most_common(1)[0][0] if absent else ""
    best: tuple[str, list[list[Any]]] | None = None
    for style in (FIXED, MINIMAL, FLOAT):
        left = iter(values)
        wrong = []
        for row, (cell, there) in enumerate(zip(cells, present, strict=True)):
            if cell != (format_number(next(left), digits, style) if there else missing_text):
                wrong.append([row, cell])
        if best is None or len(wrong) < len(best[1]):
            best = style, wrong
        if not wrong:
            break
    assert best is not None
    return best[0], missing_text, best[1]


def write_numbers(channel: Channel, samples: IntSamples) -> list[str]:
    """Write a column: as its text was when it comes from text, in physical units otherwise.

    Physical values get two decimals more than a digital step needs, so that the steps can be had back.
    """
    named = channel.header.get("lattice")
    text = channel.header.get("text", {})
    if isinstance(named, dict) and named.get("kind") == "decimal":
        style, digits, multiple = text.get("style", FLOAT), int(named["digits"]), int(named["multiple"])
        missing = str(text.get("missing", ""))
        code = channel.missing
        out = [missing if v == code else format_number(v * multiple, digits, style) for v in samples.tolist()]
        _put_exceptions(out, text.get("exceptions"))
        return out
    if channel.holds_float_bits:
        return ["" if v != v else str(np.float32(v)) for v in channel.physical(samples).tolist()]
    if channel.gain == 1 and channel.baseline == 0:
        return ["" if v == channel.missing else str(v) for v in samples.tolist()]
    decimals = max(0, math.ceil(math.log10(abs(channel.gain)))) + 2
    return ["" if v != v else f"{v:.{decimals}f}" for v in channel.physical(samples).tolist()]


def _put_exceptions(out: list[str], packed: str | None) -> None:
    """Put back cells written in another way, wherever the value is still the same."""
    for row, cell in unpack(packed) if packed else []:
        if row >= len(out):
            continue
        if is_missing(out[row]) or is_missing(cell):
            same = is_missing(out[row]) and is_missing(cell)
        else:
            same = Decimal(out[row]) == Decimal(cell.strip())
        if same:
            out[row] = cell
