"""Messages of MQTT, NATS and Kafka as WIRE.md says: one head for samples and events, CRC32C at the end."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from sanstream.chunk import MAX_CHUNK_VALUES, Chunk, Event, check_rate, stream_name
from sanstream.errors import InputError, UnsupportedError
from sanstream.signal import Channel
from sanstream.wire_channels import Descriptors, descriptor_of, digest_of

MAX_MESSAGE_BYTES = 8 << 20
MAGIC, VERSION = b"SW", 1
SAMPLES, EVENT = 1, 2
INT16, INT32, FLOAT32 = 0, 1, 2
_INLINE, _DEVICE = 4, 8
_HEAD = struct.Struct("<2sBBBBBBQqII8s")
_NO_DIGEST = bytes(8)
_DTYPES: dict[int, np.dtype[Any]] = {INT16: np.dtype("<i2"), INT32: np.dtype("<i4"), FLOAT32: np.dtype("<f4")}


@dataclass(frozen=True, eq=False)
class Floats:
    """Samples that a source sent as floating-point numbers, before they are put on a lattice.

    Parameters
    ----------
    recording, stream, session, first_sample, rate, channels, device_ns, arrival_ns
        As in :class:`sanstream.chunk.Chunk`; of the channels only labels, units and kinds count.
    values : ndarray, shape (n_samples, n_channels), float32
        Physical values; NaN where there is no sample.
    """

    recording: str
    stream: str
    session: str
    first_sample: int
    values: npt.NDArray[np.float32]
    rate: Fraction
    channels: tuple[Channel, ...]
    device_ns: int | None
    arrival_ns: int


def encode_chunk(chunk: Chunk | Floats, *, descriptor: bytes | None = None, digest: bytes | None = None) -> bytes:
    """Return the message of a chunk.

    Parameters
    ----------
    chunk : Chunk or Floats
    descriptor : bytes, optional
        The channels' descriptor (:func:`~sanstream.wire_channels.descriptor_of`), to send it within the message.
    digest : bytes, optional
        Its name, where the caller has it already.

    Raises
    ------
    UnsupportedError
        When the message would be longer than 8 MiB, or the rate has more than 32 bits.
    """
    values: npt.NDArray[Any]
    if isinstance(chunk, Floats):
        flags, values = FLOAT32, chunk.values.astype("<f4")
    else:
        narrow = bool(chunk.samples.min() >= -(2**15) and chunk.samples.max() < 2**15)
        flags = INT16 if narrow else INT32
        values = chunk.samples.astype(_DTYPES[flags])
    body: bytes = values.tobytes()
    if digest is None:
        digest = digest_of(descriptor if descriptor is not None else descriptor_of(chunk.channels))
    if descriptor is not None:
        flags |= _INLINE
        body = struct.pack("<I", len(descriptor)) + descriptor + body
    stream = "" if chunk.stream == stream_name(chunk.rate) else chunk.stream
    return _message(SAMPLES, flags, chunk, stream, chunk.first_sample, chunk.device_ns, chunk.rate, digest, body)


def encode_event(event: Event) -> bytes:
    """Return the message of an event.

    Raises
    ------
    UnsupportedError
        When its kind takes more than 255 bytes.
    """
    kind = event.kind.encode()
    if len(kind) > 255:
        raise UnsupportedError(f"event kind of {len(kind)} bytes, allowed 255")
    duration = struct.pack("<Q", event.duration_ns)
    body = duration + bytes([len(kind)]) + kind + event.text.encode()
    return _message(EVENT, 0, event, "", event.number, event.time_ns, Fraction(0), _NO_DIGEST, body)


def _message(
    kind: int, flags: int, item: Chunk | Event | Floats, stream: str, number: int,
    time_ns: int | None, rate: Fraction, digest: bytes, body: bytes,
) -> bytes:  # fmt: skip
    names = [item.recording.encode(), stream.encode(), item.session.encode()]
    if len(names[2]) > 255 or max(rate.numerator, rate.denominator) >= 1 << 32:
        raise UnsupportedError(f"session of {len(names[2])} bytes or rate {rate} does not fit a message's head")
    flags |= 0 if time_ns is None else _DEVICE
    head = _HEAD.pack(
        MAGIC, VERSION, kind, flags, *map(len, names), number, time_ns or 0, rate.numerator, rate.denominator, digest
    )
    message = b"".join((head, *names, body))
    if len(message) + 4 > MAX_MESSAGE_BYTES:
        raise UnsupportedError(
            f"message of {len(message) + 4} bytes, allowed {MAX_MESSAGE_BYTES}", hint="publish shorter messages"
        )
    return message + struct.pack("<I", google_crc32c.value(message))


def decode(message: bytes, descriptors: Descriptors, arrival_ns: int) -> Chunk | Event | Floats:
    """Read a message, binary or JSON.

    Parameters
    ----------
    message : bytes
    descriptors : Descriptors
        What is known of channels; grows with the message's own descriptor.
    arrival_ns : int
        When the message came, nanoseconds since 1970 (UTC).

    Raises
    ------
    UnknownDescriptor
        When its channels were not described yet.
    InputError
        When it is not a message that WIRE.md allows.
    """
    if len(message) > MAX_MESSAGE_BYTES:
        raise InputError(f"message of {len(message)} bytes, allowed {MAX_MESSAGE_BYTES}")
    if message[:1] == b"{":
        from sanstream.wire_json import decode_json

        return decode_json(message, descriptors, arrival_ns)
    if len(message) < _HEAD.size + 4 or message[:2] != MAGIC:
        raise InputError(f"message of {len(message)} bytes does not begin as WIRE.md, clause 3, says")
    head = _HEAD.unpack_from(message)
    if head[1] != VERSION:
        raise UnsupportedError(f"message of version {head[1]}, known is {VERSION}", hint="use a newer sanstream")
    view = memoryview(message)
    if google_crc32c.value(bytes(view[:-4])) != int.from_bytes(view[-4:], "little"):
        raise InputError("message does not have the checksum that it names")
    names, at = [], _HEAD.size
    for length in head[4:7]:
        names.append(_text(view[at : at + length], length))
        at += length
    if at > len(message) - 4:
        raise InputError("message ends within its names")
    body = view[at:-4]
    if head[2] == SAMPLES:
        return _samples(head, names, body, descriptors, arrival_ns)
    if head[2] == EVENT:
        return _event(head, names, body)
    raise InputError(f"message of the unknown kind {head[2]}")


def _text(part: memoryview, length: int) -> str:
    try:
        text = bytes(part).decode()
    except UnicodeDecodeError:
        raise InputError("message holds text that is not UTF-8") from None
    if len(part) != length:
        raise InputError("message ends within its names")
    return text


def _samples(
    head: tuple[Any, ...], names: list[str], body: memoryview, descriptors: Descriptors, arrival_ns: int
) -> Chunk | Floats:
    flags, number, time_ns, above, below, digest = head[3], head[7], head[8], head[9], head[10], head[11]
    dtype = _DTYPES.get(flags & 3)
    if dtype is None or flags & ~15 or not above or not below or (time_ns and not flags & _DEVICE):
        raise InputError("message has reserved bits, no rate, or a device time that its flags deny")
    if flags & _INLINE:
        length = int.from_bytes(body[:4], "little")
        if len(body) < 4 or length > len(body) - 4:
            raise InputError("message ends within its channel descriptor")
        channels = descriptors.learn(digest, bytes(body[4 : 4 + length]))
        body = body[4 + length :]
    else:
        channels = descriptors.channels(digest)
    row = dtype.itemsize * len(channels)
    if not len(body) or len(body) % row or len(body) // dtype.itemsize > MAX_CHUNK_VALUES:
        raise InputError(f"{len(body)} bytes of samples are no whole rows of {len(channels)} channels")
    rate = check_rate(Fraction(above, below))
    values = np.frombuffer(body, dtype).reshape(-1, len(channels))
    device_ns = time_ns if flags & _DEVICE else None
    place = (names[0], names[1] or stream_name(rate), names[2], number)
    if dtype.kind == "f":
        return checked_floats(Floats(*place, values.astype(np.float32), rate, channels, device_ns, arrival_ns))
    return Chunk(*place, values.astype(np.int32), rate, channels, checked_time(device_ns), arrival_ns)


def checked_time(time_ns: int | None) -> int | None:
    """Return a device time that calculations bear: within 146 years of 1970.

    Raises
    ------
    InputError
        When it lies further away.
    """
    if time_ns is not None and abs(time_ns) >= 1 << 62:
        raise InputError("device time lies outside -2^62 ... 2^62 ns")
    return time_ns


def checked_floats(floats: Floats) -> Floats:
    """Return floats whose names, times and shape a chunk would accept.

    Raises
    ------
    InputError
        When it would not, or a value is infinite.
    """
    as_chunk = np.zeros(floats.values.shape, np.int32)
    Chunk(
        floats.recording, floats.stream, floats.session, floats.first_sample, as_chunk,
        floats.rate, floats.channels, checked_time(floats.device_ns), floats.arrival_ns,
    )  # fmt: skip
    if np.isinf(floats.values).any():
        raise InputError("message holds infinite samples")
    return floats


def _event(head: tuple[Any, ...], names: list[str], body: memoryview) -> Event:
    flags, number, time_ns, above, below, digest = head[3], head[7], head[8], head[9], head[10], head[11]
    # the head of an event: rate 0/1, no descriptor, no stream
    if flags != _DEVICE or (above, below) != (0, 1) or digest != _NO_DIGEST or names[1] or len(body) < 9:
        raise InputError("event message with a head that WIRE.md, clause 6, does not allow")
    length = body[8]
    if len(body) < 9 + length:
        raise InputError("message ends within its event's kind")
    duration = int.from_bytes(body[:8], "little")
    kind, text = _text(body[9 : 9 + length], length), body[9 + length :]
    return Event(names[0], names[2], number, time_ns, kind, _text(text, len(text)), duration)
