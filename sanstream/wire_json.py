"""The JSON form of messages (WIRE.md, clause 7): the same fields by name, samples as nested lists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.chunk import Chunk, Event, check_rate, stream_name
from sanstream.errors import InputError, UnsupportedError
from sanstream.signal import Channel
from sanstream.wire import VERSION, Floats, checked_floats, checked_time
from sanstream.wire_channels import Descriptors, descriptor_of, digest_of

MAX_JSON_BYTES = 1 << 20
_COMMON = {"sanstream", "kind", "recording", "session"}
_SAMPLES = _COMMON | {"stream", "first_sample", "rate", "device_ns", "channels", "samples", "numbers"}
_EVENT = _COMMON | {"number", "time_ns", "event", "text", "duration_ns"}


def encode_json(item: Chunk | Event) -> bytes:
    """Return the JSON message of a chunk or event.

    Raises
    ------
    UnsupportedError
        When it would be longer than 1 MiB.
    """
    out: dict[str, Any] = {"sanstream": VERSION, "recording": item.recording, "session": item.session}
    if isinstance(item, Event):
        out |= {"kind": "event", "number": item.number, "time_ns": item.time_ns, "event": item.kind}
        out |= {"text": item.text, "duration_ns": item.duration_ns}
    else:
        out |= {"kind": "samples", "stream": item.stream, "first_sample": item.first_sample, "rate": str(item.rate)}
        out |= json.loads(descriptor_of(item.channels))
        if item.device_ns is not None:
            out["device_ns"] = item.device_ns
        out["samples"] = item.samples.tolist()
    message = json.dumps(out, separators=(",", ":"), ensure_ascii=False).encode()
    if len(message) > MAX_JSON_BYTES:
        raise UnsupportedError(
            f"JSON message of {len(message)} bytes, allowed {MAX_JSON_BYTES}", hint="publish shorter messages"
        )
    return message


def decode_json(message: bytes, descriptors: Descriptors, arrival_ns: int) -> Chunk | Event | Floats:
    """Read a JSON message; channels equal to known ones become the same object.

    Raises
    ------
    InputError
        When it is not a message that WIRE.md, clause 7, allows.
    """
    if len(message) > MAX_JSON_BYTES:
        raise InputError(f"JSON message of {len(message)} bytes, allowed {MAX_JSON_BYTES}")
    try:
        data = json.loads(message)
    except (ValueError, RecursionError):
        raise InputError("message is not JSON") from None
    if not isinstance(data, dict) or data.get("sanstream") != VERSION or isinstance(data["sanstream"], bool):
        raise InputError(f"JSON message without 'sanstream': {VERSION}")
    kind = data.get("kind")
    allowed = _SAMPLES if kind == "samples" else _EVENT if kind == "event" else set()
    unknown = sorted(set(data) - allowed)
    if unknown:
        raise InputError(f"JSON message with the unknown key or kind {unknown[0]!r:.40}")
    for key in ("recording", "session", "stream", "event", "text"):
        if not isinstance(data.get(key, ""), str):
            raise InputError(f"JSON message: {key} is not text")
    try:
        json.dumps(data["session"], ensure_ascii=False).encode()
        return _event(data) if kind == "event" else _samples(data, descriptors, arrival_ns)
    except KeyError as error:
        raise InputError(f"JSON message without {error.args[0]!r}") from None
    except UnicodeEncodeError:
        raise InputError("JSON message with half a character (a lone surrogate)") from None


def _integer(data: Mapping[str, Any], key: str) -> int:
    value = data[key]
    if isinstance(value, str) and 0 < len(value) <= 20 and value.lstrip("-").isdecimal() and value.isascii():
        # JavaScript holds no integer above 2^53: nanoseconds may come as text
        value = int("-" * value.startswith("-") + value.lstrip("-"))
    if type(value) is not int:
        raise InputError(f"JSON message: {key} is not an integer")
    return value


def _event(data: Mapping[str, Any]) -> Event:
    duration = _integer(data, "duration_ns") if "duration_ns" in data else 0
    text = data.get("text", "")
    (text + data["event"]).encode()
    return Event(
        data["recording"], data["session"], _integer(data, "number"), _integer(data, "time_ns"),
        data["event"], text, duration,
    )  # fmt: skip


def _rate(value: object) -> Fraction:
    if isinstance(value, str) and len(value) <= 40 and value.isascii() and "e" not in value.lower():
        try:
            rate = Fraction(value)
        except (ValueError, ZeroDivisionError):
            rate = Fraction(0)
    elif isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 10**6:
        rate = Fraction(str(value))
    else:
        rate = Fraction(0)
    if not 0 < rate <= 10**6 or max(rate.numerator, rate.denominator) >= 1 << 32:
        raise InputError("JSON message: rate is not a number, decimal or fraction of 32 bits")
    return check_rate(rate)


def _samples(data: Mapping[str, Any], descriptors: Descriptors, arrival_ns: int) -> Chunk | Floats:
    descriptor = json.dumps(
        {"channels": data["channels"]}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()
    channels = descriptors.learn(digest_of(descriptor), descriptor, keep=False)
    rate = _rate(data["rate"])
    values = _matrix(data["samples"], channels, data.get("numbers", "int"))
    device_ns = None if data.get("device_ns") is None else checked_time(_integer(data, "device_ns"))
    place = (
        data["recording"],
        data.get("stream") or stream_name(rate),
        data["session"],
        _integer(data, "first_sample"),
    )
    if values.dtype == np.float32:
        return checked_floats(Floats(*place, values, rate, channels, device_ns, arrival_ns))
    return Chunk(*place, values, rate, channels, device_ns, arrival_ns)


def _matrix(rows: object, channels: tuple[Channel, ...], numbers: object) -> npt.NDArray[Any]:
    """Turn nested lists into int32 or float32; null is a missing sample."""
    if numbers not in ("int", "float"):
        raise InputError("JSON message: numbers is neither 'int' nor 'float'")
    n = len(channels)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) and len(row) == n for row in rows):
        raise InputError(f"JSON message: samples are no rows of {n} numbers")
    flat: list[Any] = [v for row in rows for v in row]
    if numbers == "float":
        if any(v is not None and (isinstance(v, bool) or not isinstance(v, int | float)) for v in flat):
            raise InputError("JSON message: a sample is not a number")
        if any(v is not None and not abs(v) < 3e38 for v in flat):
            raise InputError("JSON message: a sample does not fit 32-bit floats")
        plain = [np.nan if v is None else v for v in flat]
        return np.array(plain, np.float32).reshape(-1, n)
    missing = [c.missing for c in channels]
    whole = [missing[i % n] if v is None else v for i, v in enumerate(flat)]
    if any(type(v) is not int or not -(2**31) <= v < 2**31 for v in whole):
        raise InputError("JSON message: a sample is no 32-bit integer; write 'numbers': 'float' for others")
    return np.array(whole, np.int32).reshape(-1, n)
