"""Single values of a codec's configuration: what is not exactly of its type is refused."""

from __future__ import annotations

import base64
import re
from fractions import Fraction
from typing import Any

_RATE = re.compile(r"[0-9]{1,18}(?:/[0-9]{1,18})?")


def whole(value: Any) -> int:
    """Return an integer; a number that is none, or a text, would be sealed as another than it is."""
    if type(value) is not int:
        raise ValueError(f"{value!r} is no integer")
    return value


def text(value: Any) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def octets(value: Any) -> bytes:
    """Decode base64 in its one canonical form."""
    data = base64.b64decode(text(value), validate=True)
    if base64.b64encode(data).decode("ascii") != value:
        raise ValueError("base64 with bits left over")
    return data


def rate(value: Any) -> Fraction:
    """Read a rate in lowest terms; exponents and decimals are refused, since they name numbers of any size."""
    if not isinstance(value, str) or not _RATE.fullmatch(value) or str(Fraction(value)) != value:
        raise ValueError(f"rate {value!r}")
    return Fraction(value)
