"""Names: path-safe, and telling trigger channels from signals."""

from __future__ import annotations

import re
from fractions import Fraction

from sanstream.signal import SIGNAL, TRIGGER

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_NUMBER = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?")
_TRIGGER = re.compile(
    r"^(edf annotations|bdf annotations|status|triggers?|trig|sti ?\d*|markers?|event( ?marker)?s?|(sample ?)?counter|"
    r"seq(uence)?( ?number)?|digital ?(in|out|input|output)?)$",
    re.IGNORECASE,
)


def safe_name(text: str) -> str:
    """Turn any text into a name that is one path component on every system.

    Examples
    --------
    >>> safe_name("../bed 12")
    'bed_12'
    """
    name = _UNSAFE.sub("_", text).strip("._")
    return name[:120] or "recording"


def exact_number(text: str) -> Fraction:
    """Read a decimal exactly; exponents beyond two digits are refused, since their value would fill the memory.

    Raises
    ------
    ValueError
        When the text is no such number.
    """
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is not a number")
    return Fraction(text.strip())


def rate_text(rate: Fraction) -> str:
    """Write a rate exactly: ``"360"``, ``"62.4725"`` or, when no decimal is exact, ``"62500/1001"``."""
    twos = fives = 0
    denominator = rate.denominator
    while denominator % 2 == 0:
        denominator, twos = denominator // 2, twos + 1
    while denominator % 5 == 0:
        denominator, fives = denominator // 5, fives + 1
    if denominator != 1:
        return f"{rate.numerator}/{rate.denominator}"
    digits = max(twos, fives)
    if digits == 0:
        return str(rate.numerator)
    scaled = str(rate.numerator * 10**digits // rate.denominator).rjust(digits + 1, "0")
    return f"{scaled[:-digits]}.{scaled[-digits:]}"


def stream_name(rate: Fraction) -> str:
    """Name the stream of one rate: ``"360hz"``, ``"62.4725hz"``, ``"62500-1001hz"``."""
    return rate_text(rate).replace("/", "-") + "hz"


def kind_of(label: str, description: str = "") -> str:
    """Tell ``"trigger"`` channels (trigger, status, marker, counter) from signals.

    Parameters
    ----------
    label : str
    description : str
        What else the header says of the channel's type, such as an EDF transducer.
    """
    text = description.strip().lower()
    if _TRIGGER.match(label.strip()) or text.startswith(("triggers and status", "marker button")):
        return TRIGGER
    return SIGNAL
