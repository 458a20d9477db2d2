"""Times as a user writes them: ISO 8601 with offset, ``+90s`` from the start, or ``@sample``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from sanstream.errors import InputError

_ALLOWED = "write +90s (also +5m, +1h30m, +250ms), @7200 for a sample, or 2024-05-01T12:00:00+02:00"
_STEP = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|us|ns|s|min|m|h|d)(?![a-z])")
_SECONDS = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "min": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
}
_ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d{1,9})\d*)?\s*(Z|[+-]\d{2}(?::?\d{2})?)?", re.IGNORECASE
)
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})?")


@dataclass(frozen=True)
class Time:
    """A place in a recording: exactly one of the two is set.

    Parameters
    ----------
    seconds : Fraction or None
        Seconds from the recording's start, exact; may be negative.
    sample : int or None
        Position on the stream's sample grid.
    """

    seconds: Fraction | None = None
    sample: int | None = None

    def to_sample(self, rate: Fraction) -> int:
        """Return the first sample at or after this time on a grid of ``rate`` hertz."""
        if self.sample is not None:
            return self.sample
        return math.ceil((self.seconds or Fraction(0)) * rate)


def parse_time(text: str, start_ns: int | None = None, timezone: str = "unknown") -> Time:
    """Read a time.

    Parameters
    ----------
    text : str
        ``"+90s"``, ``"+1h30m"``, ``"@7200"`` or ``"2024-05-01T12:00:00.25+02:00"``. A number without
        unit is refused: it may be meant as seconds, a sample or a year. A wall clock without offset is
        accepted only when the recording's time zone is unknown, since then it means the recording's own clock.
    start_ns : int or None
        The recording's start, nanoseconds since 1970-01-01 of the wall clock in ``timezone``.
    timezone : str
        ``"utc"``, an offset such as ``"+02:00"``, or ``"unknown"``.

    Returns
    -------
    Time

    Raises
    ------
    InputError
        When the text is no time, or the recording's start or zone does not allow it.
    """
    word = text.strip()
    if word.startswith("@"):
        return Time(sample=_sample(word[1:], text))
    if word.startswith("+"):
        return Time(seconds=_elapsed(word[1:], text))
    return Time(seconds=_iso(word, start_ns, timezone))


def _sample(digits: str, text: str) -> int:
    if not re.fullmatch(r"[0-9_]+", digits) or not digits.strip("_"):
        raise InputError(f"time {text!r}: {digits!r} is not a sample number", hint=_ALLOWED)
    return int(digits.replace("_", ""))


def _elapsed(word: str, text: str) -> Fraction:
    total, position = Fraction(0), 0
    for match in _STEP.finditer(word):
        if match.start() != position:
            break
        total += Fraction(match.group(1)) * _SECONDS[match.group(2)]
        position = match.end()
    if position != len(word) or not word:
        raise InputError(f"time {text!r} is not a time", hint=_ALLOWED)
    return total


def parse_offset(timezone: str) -> int | None:
    """Return a zone's offset from UTC in seconds; None for ``"unknown"``.

    Raises
    ------
    InputError
        When the zone is none of ``"utc"``, ``"+HH:MM"`` and ``"unknown"``.
    """
    if timezone == "unknown":
        return None
    if timezone.lower() in ("utc", "z"):
        return 0
    match = _OFFSET.fullmatch(timezone)
    if match is None:
        raise InputError(f"time zone {timezone!r} is not known", hint="use utc, unknown or an offset such as +02:00")
    seconds = int(match.group(2)) * 3600 + int(match.group(3) or 0) * 60
    return -seconds if match.group(1) == "-" else seconds


def _iso(word: str, start_ns: int | None, timezone: str) -> Fraction:
    match = _ISO.fullmatch(word)
    if match is None:
        raise InputError(f"time {word!r} is not a time", hint=_ALLOWED)
    if start_ns is None:
        raise InputError(
            f"time {word!r}: this recording has no start time", hint="write +90s from its start, or @7200 for a sample"
        )
    day, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}+00:00")
    except ValueError as error:
        raise InputError(f"time {word!r} is not a time: {error}", hint=_ALLOWED) from None
    wall_ns = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1) * 10**9
    wall_ns += int((fraction or "0").ljust(9, "0"))
    own = parse_offset(timezone)
    if own is None and zone is not None:
        raise InputError(
            f"time {word!r}: the recording's time zone is unknown, so an offset cannot be placed",
            hint="write the recording's own clock without offset, or +90s",
        )
    if own is not None and zone is None:
        raise InputError(f"time {word!r} has no offset", hint=f"write {word}Z or {word}+02:00, or +90s from the start")
    if own is not None and zone is not None:
        wall_ns += (own - (parse_offset(zone) or 0)) * 10**9
    return Fraction(wall_ns - start_ns, 10**9)


def format_time(start_ns: int | None, timezone: str) -> str | None:
    """Write a recording's start as ISO 8601, with its offset when the zone is known; None when absent."""
    if start_ns is None:
        return None
    seconds, rest = divmod(start_ns, 10**9)
    stamp = (datetime(1970, 1, 1) + timedelta(seconds=seconds)).isoformat()
    if rest:
        stamp += f".{rest:09d}".rstrip("0")
    own = parse_offset(timezone)
    if own is None:
        return stamp
    if own == 0:
        return stamp + "Z"
    sign = "-" if own < 0 else "+"
    return f"{stamp}{sign}{abs(own) // 3600:02d}:{abs(own) % 3600 // 60:02d}"
