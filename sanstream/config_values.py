"""How single values are written in ``ingest.toml``: durations, sizes, choices, names of environment variables."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sanstream.errors import InputError

_STEP = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kKMGT]i?)?B")
_POWERS = "kMGT"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
FOREVER, UNLIMITED = "forever", "unlimited"


@dataclass(frozen=True)
class Kind:
    """One sort of value.

    Parameters
    ----------
    what : str
        What the reference says is allowed, with the unit.
    read : callable
        Takes the value as TOML gives it and returns the checked one; raises :class:`InputError`.
    write : callable
        Takes the checked value and returns TOML.
    """

    what: str
    read: Callable[[Any], Any]
    write: Callable[[Any], str]


def quoted(text: object) -> str:
    """Write any text as a TOML string."""
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")


def literal(value: Any) -> str:
    """Write a value that came from TOML as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quoted(k)} = {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(literal(v) for v in value) + "]"
    return quoted(value)


def read_duration(value: object) -> float:
    """Return seconds for ``"90d"``, ``"30s"``, ``"1h30m"``, ``"250ms"``.

    Raises
    ------
    InputError
        On anything else, a bare number included.
    """
    text = value if isinstance(value, str) else ""
    steps = list(_STEP.finditer(text))
    if not steps or "".join(m.group(0) for m in steps) != text:
        hint = (
            f'write "{value}s"' if isinstance(value, int) and not isinstance(value, bool) else 'write "30s" or "1h30m"'
        )
        raise InputError(f"{value!r} is no duration", hint=hint)
    return math.fsum(float(m.group(1)) * _SECONDS[m.group(2)] for m in steps)


def write_duration(seconds: float) -> str:
    """Write seconds as days, hours, minutes, seconds and milliseconds."""
    rest, parts = round(seconds * 1000), []
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, round(_SECONDS[unit] * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def read_size(value: object) -> int:
    """Return bytes for ``"4GiB"``, ``"512MiB"``, ``"10GB"`` or a bare number of bytes.

    Raises
    ------
    InputError
        On anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise InputError(f"{value!r} is no size", hint='write "512MiB" or "4GiB"')
    prefix = match.group(2) or ""
    power = _POWERS.index(prefix[0].replace("K", "k")) + 1 if prefix else 0
    step: int = (1024 if prefix.endswith("i") else 1000) ** power
    return round(float(match.group(1)) * step)


def write_size(n_bytes: int) -> str:
    """Write bytes in the largest binary unit that is exact."""
    for power in range(len(_POWERS), 0, -1):
        if n_bytes and n_bytes % 1024**power == 0:
            return f"{n_bytes // 1024**power}{_POWERS[power - 1].replace('k', 'K')}iB"
    return f"{n_bytes}B"


def _bounded(value: float, low: float, high: float, write: Callable[[Any], str]) -> Any:
    if not low <= value <= high:
        raise InputError(f"{write(value)} is outside {write(low)} ... {write(high)}")
    return value


def duration(low: str, high: str, *, absent: str = "") -> Kind:
    """Make the kind of durations within limits; ``absent`` is the word for none."""
    least, most = read_duration(low), read_duration(high)

    def read(value: object) -> float | None:
        return None if absent and value == absent else _bounded(read_duration(value), least, most, write_duration)

    what = f"duration, {low} to {high}" + (f", or {absent!r}" if absent else "")
    return Kind(what, read, lambda v: quoted(absent if v is None else write_duration(v)))


def size(low: str, high: str, *, absent: str = "") -> Kind:
    """Make the kind of sizes within limits; ``absent`` is the word for none."""
    least, most = read_size(low), read_size(high)

    def read(value: object) -> int | None:
        return None if absent and value == absent else _bounded(read_size(value), least, most, write_size)

    what = f"size in bytes, {low} to {high}" + (f", or {absent!r}" if absent else "")
    return Kind(what, read, lambda v: quoted(absent if v is None else write_size(v)))


def count(low: int, high: int) -> Kind:
    """Make the kind of whole numbers within limits."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputError(f"{value!r} is no whole number")
        return int(_bounded(value, low, high, str))

    return Kind(f"whole number, {low} to {high}", read, repr)


def share(low: float, high: float) -> Kind:
    """Make the kind of numbers within limits."""

    def read(value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise InputError(f"{value!r} is no number")
        return float(_bounded(float(value), low, high, repr))

    return Kind(f"number, {low:g} to {high:g}", read, repr)


def choice(*words: str) -> Kind:
    """Make the kind of fixed words."""

    def read(value: object) -> str:
        if value not in words:
            raise InputError(f"{value!r} is not allowed", hint=f"use {' or '.join(map(repr, words))}")
        return str(value)

    return Kind(" or ".join(quoted(w) for w in words), read, quoted)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"{value!r} is no text", hint="put it into quotes")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{value!r} is neither true nor false")
    return value


def _variable(value: object) -> str:
    text = _text(value)
    if text and not _NAME.fullmatch(text):
        # what stands there may be the secret itself: it is not repeated
        raise InputError(
            "that is no name of an environment variable", hint="name the variable that holds the secret, not the secret"
        )
    return text


def _words(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise InputError(f"{value!r} is no list of texts", hint='write ["a", "b"]')
    return tuple(value)


def _mapping(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
        # keys may be patients: they are not repeated
        raise InputError("that is no table of texts", hint='write { "theirs" = "ours" }')
    return dict(value)


def _path(value: object) -> Path | None:
    text = _text(value)
    if "://" in text:
        raise InputError(f"{text!r} is no folder or file", hint="name one on a local disk")
    return Path(text).expanduser() if text else None


def _write_path(path: Path | None) -> str:
    return quoted(path or "")


TEXT = Kind("text", _text, quoted)
FLAG = Kind("true or false", _flag, literal)
VARIABLE = Kind("name of an environment variable", _variable, quoted)
WORDS = Kind("list of texts", _words, literal)
MAPPING = Kind("table of texts", _mapping, literal)
PATH = Kind("path", _path, _write_path)
