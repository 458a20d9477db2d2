"""HL7 v2 messages read: segments, times, units, and what may be kept of a message that cannot be read.

Only ``MSH``, ``PID`` and ``PV1`` (one field each, to look it up), ``OBR``, ``OBX`` and ``PRT`` are looked at.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import hl7

from sanstream.errors import InputError

_TIME = re.compile(r"(\d{4})(\d{2})?(\d{2})?(?:(\d{2})(\d{2})(?:(\d{2})(?:\.(\d{1,9}))?)?)?([+-]\d{4})?")
_MARKS = re.compile(r"[|^~&\\\x00-\x1f]")
_CODES = re.compile(rb"(?:[\d.]*|MDC_[A-Z0-9_]*|MDC|UCUM|L|&(?:TIM|CHN|WAV|ANO)|\^)*")
_DIGITS = re.compile(rb"[\d.+-]*")
_NUMBERS = re.compile(rb"[\d.+\-eE^~]*")
_KEPT: dict[bytes, dict[int, re.Pattern[bytes]]] = {
    b"MSH": {
        1: re.compile(rb"\^~\\&"),
        6: _DIGITS,
        8: re.compile(rb"[A-Z]{3}\^[A-Z]\d\d(?:\^[A-Z_0-9]*)?"),
        11: _DIGITS,
    },
    b"OBR": {1: _DIGITS, 4: _CODES, 7: _DIGITS, 8: _DIGITS},
    b"OBX": {1: _DIGITS, 2: re.compile(rb"[A-Z]{2,3}"), 3: _CODES, 4: _DIGITS, 5: _NUMBERS, 6: _CODES, 14: _DIGITS},
}
"""Fields that may be set aside, and what they look like."""
_HEAD = re.compile(rb"MSH\|[^\r\n]{0,4096}")
MOST_SEGMENTS = 20000

UNITS = {
    "MDC_DIM_NANO_VOLT": "nV",
    "MDC_DIM_MICRO_VOLT": "uV",
    "MDC_DIM_MILLI_VOLT": "mV",
    "MDC_DIM_VOLT": "V",
    "MDC_DIM_MMHG": "mmHg",
    "MDC_DIM_KILO_PASCAL": "kPa",
    "MDC_DIM_PERCENT": "%",
    "MDC_DIM_X_OHM": "Ohm",
    "MDC_DIM_OHM": "Ohm",
    "MDC_DIM_DIMLESS": "",
    "mm[Hg]": "mmHg",
    "1": "",
}
"""Units of ISO/IEEE 11073-10101 and UCUM by the names that sanstream uses; others stay as they are."""


def decoded(data: bytes) -> str:
    """Decode a message: UTF-8, else latin-1; segments may end with any newline."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.replace("\r\n", "\r").replace("\n", "\r").strip("\r") + "\r"


def parsed(data: bytes) -> Any:
    """Parse a message.

    Raises
    ------
    InputError
        When it is no HL7 v2 message.
    """
    text = decoded(data)
    if not re.match(r"MSH\|\^~\\&#?\|", text):
        raise InputError("message does not begin with an MSH segment and the usual delimiters", hint="send MSH|^~\\&|")
    if text.count("\r") > MOST_SEGMENTS:
        raise InputError(f"message of more than {MOST_SEGMENTS} segments")
    try:
        message = hl7.parse(text)
        str(message.segment("MSH"))
    except (hl7.HL7Exception, LookupError, ValueError, TypeError, AttributeError, AssertionError) as error:
        raise InputError(f"message is not HL7 v2 ({type(error).__name__})") from None
    return message


def part(segment: Any, field: int, component: int = 1, subcomponent: int = 1) -> str:
    """Return a component of a segment's first repetition; empty when there is none."""
    try:
        value = segment[field][0]
        if not isinstance(value, str):
            value = value[component - 1]
            if not isinstance(value, str):
                value = value[subcomponent - 1]
            elif subcomponent > 1:
                return ""
        elif component > 1:
            return ""
        return str(value).strip()
    except (LookupError, TypeError):
        return ""


def whole(segment: Any, field: int) -> str:
    """Return a field as it was sent, without empty components at its end."""
    try:
        return str(segment[field]).strip().rstrip("^&~")
    except LookupError:
        return ""


def rows(segment: Any, field: int) -> list[list[str]]:
    """Return a field as a list of repetitions, each a list of components."""
    try:
        value = segment[field]
    except LookupError:
        return []
    out = []
    for repetition in value:
        if isinstance(repetition, str):
            out.append([repetition])
        else:
            out.append([c if isinstance(c, str) else str(c) for c in repetition])
    return out


def unit_of(segment: Any, field: int) -> str:
    """Return a unit, by whichever of its names is known."""
    names = [part(segment, field, k) for k in (2, 1, 5, 4)]
    known = [UNITS[name] for name in names if name in UNITS]
    return known[0] if known else next((n for n in names if n and not n.isdigit()), "")[:16]


def time_ns(text: str, zone: timedelta) -> int | None:
    """Return an HL7 time as nanoseconds since 1970 (UTC); ``zone`` holds where it names none."""
    match = _TIME.fullmatch(text.strip())
    if match is None or match[3] is None:
        return None
    year, month, day, hour, minute, second = (int(match[k] or 0) for k in range(1, 7))
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    offset = zone
    if match[8]:
        offset = timedelta(hours=int(match[8][1:3]), minutes=int(match[8][3:]))
        offset = -offset if match[8][0] == "-" else offset
    seconds = (moment - offset - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    return seconds * 10**9 + int((match[7] or "").ljust(9, "0"))


def format_time(ns: int) -> str:
    """Write a time as HL7 does, in UTC, to a tenth of a millisecond (the standard's own limit)."""
    seconds, rest = divmod(ns, 10**9)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y%m%d%H%M%S}.{rest // 10**5:04d}+0000"


def reply(data: bytes, code: str, text: str, now_ns: int) -> bytes:
    """Return the acknowledgement of a message, however broken it is.

    Parameters
    ----------
    data : bytes
    code : str
        ``"AA"``, ``"AE"`` or ``"AR"``.
    text : str
        Why not; no value of the message in it.
    now_ns : int
    """
    head = _HEAD.match(data.lstrip())
    fields = head[0].decode("utf-8", "replace").split("|") if head else []
    fields += [""] * (20 - len(fields))
    clean = [re.sub(r"[\x00-\x1f]", "", f)[:250] for f in fields]
    trigger = clean[8].split("^")[1] if "^" in clean[8] else "R01"
    version, control = clean[11] or "2.6", clean[9]
    lines = [
        f"MSH|^~\\&|SANSTREAM||{clean[2]}|{clean[3]}|{format_time(now_ns)}||ACK^{trigger}^ACK|{now_ns}|"
        f"{clean[10] or 'P'}|{version}",
        f"MSA|{code}|{control}",
    ]
    if text:
        plain = _MARKS.sub(" ", text)[:200]
        lines.append(f"ERR|||207^{plain}^HL70357|E")
    return ("\r".join(lines) + "\r").encode()


def redacted(data: bytes) -> bytes:
    """Return what may be set aside of a message: form, codes, numbers and times of its observations.

    Every field is kept only where it looks like what it should be, so that a message whose segments run into each
    other gives nothing away; of all other segments three letters are left.
    """
    out = []
    for line in re.split(rb"[\r\n]+", data.strip(b"\x0b\x1c\r\n ")):
        fields = line.split(b"|")
        kept = _KEPT.get(fields[0])
        if kept is not None:
            shown = [fields[0]]
            for place, field in enumerate(fields[1 : max(kept) + 1], 1):
                pattern = kept.get(place)
                shown.append(field if pattern is not None and pattern.fullmatch(field) else b"")
            out.append(b"|".join(shown).rstrip(b"|"))
        elif re.fullmatch(rb"[A-Z][A-Z0-9]{2}", fields[0]) and len(fields) > 1:
            out.append(fields[0] + b"|")
    return b"\r".join(out)
