"""What the journal's frames hold: definitions of streams, chunks of samples, events."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from sanstream.chunk import MAX_CHUNK_VALUES, Chunk, Event
from sanstream.errors import InputError
from sanstream.signal import Channel, IntSamples

DEFINE = 1
CHUNK = 2
EVENT = 3

_NUMBER = struct.Struct("<I")
_HEAD = struct.Struct("<IqqqB")
_NO_TIME = -(1 << 63)
_LANES = ("main", "late")


@dataclass(frozen=True, eq=False)
class Definition:
    """What all chunks of a session have in common; equal and hashed by content.

    Parameters
    ----------
    recording, stream, session : str
        As in :class:`~sanstream.chunk.Chunk`.
    base : int
        Place of the session's sample 0 on the stream's grid, in samples.
    start_ns : int
        The recording's first sample ever, nanoseconds since 1970 (UTC); place 0 of every grid of it.
    rate : Fraction
        Samples per second.
    channels : tuple of Channel
    feed : str
        Name of the feed that brought it.
    lane : str
        ``"main"``, or ``"late"`` for data behind what is committed already.
    timezone : str
    flag : str
        Why a new segment begins with its first chunk (``"clock_step"``); empty when none need.
    """

    recording: str
    stream: str
    session: str
    base: int
    start_ns: int
    rate: Fraction
    channels: tuple[Channel, ...]
    feed: str
    lane: str = "main"
    timezone: str = "utc"
    flag: str = ""

    def __post_init__(self) -> None:
        if self.lane not in _LANES:
            raise InputError(f"lane is {self.lane!r}", hint=f"use {' or '.join(_LANES)}")

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Definition) and self.content == other.content)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def content(self) -> bytes:
        """The definition as compact JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["rate"] = [self.rate.numerator, self.rate.denominator]
        values["channels"] = [c.to_dict() for c in self.channels]
        return json.dumps(values, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()

    @cached_property
    def _hash(self) -> int:
        return hash(self.content)

    @classmethod
    def from_json(cls, data: bytes) -> Definition:
        """Build a definition from :attr:`content`."""
        values: dict[str, Any] = json.loads(data)
        rate = Fraction(*values.pop("rate"))
        channels = tuple(Channel.from_dict(c) for c in values.pop("channels"))
        return cls(**values, rate=rate, channels=channels)


@dataclass(frozen=True, eq=False)
class ChunkEntry:
    """A chunk that was journalled, and where it belongs."""

    definition: Definition
    chunk: Chunk


@dataclass(frozen=True)
class EventEntry:
    """An event that was journalled."""

    event: Event


Entry = ChunkEntry | EventEntry


def pack_definition(number: int, definition: Definition) -> bytes:
    """Return the body of a DEFINE frame: number in its file, JSON."""
    return _NUMBER.pack(number) + definition.content


def unpack_definition(body: bytes) -> tuple[int, Definition]:
    """Read the body of a DEFINE frame.

    Raises
    ------
    KeyError, TypeError, ValueError, InputError, struct.error
        When it is no definition, or none that a chunk can have.
    """
    definition = Definition.from_json(body[_NUMBER.size :])
    _chunk(definition, 0, np.zeros((1, len(definition.channels)), np.int32), None, 0).__post_init__()
    return _NUMBER.unpack_from(body)[0], definition


def pack_chunk(number: int, chunk: Chunk) -> bytes:
    """Return the body of a CHUNK frame; samples take two bytes where all of them fit."""
    samples = chunk.samples
    size = 2
    packed = samples.astype("<i2")
    if not (packed == samples).all():
        packed, size = samples.astype("<i4"), 4
    device_ns = _NO_TIME if chunk.device_ns is None else chunk.device_ns
    return _HEAD.pack(number, chunk.first_sample, device_ns, chunk.arrival_ns, size) + packed.tobytes()


def unpack_chunk(body: bytes, definitions: Mapping[int, Definition]) -> ChunkEntry:
    """Read the body of a CHUNK frame.

    Parameters
    ----------
    body : bytes
    definitions : mapping of int to Definition
        Those of its file so far, by number.

    Raises
    ------
    KeyError, ValueError, InputError, struct.error
        When it is no chunk.
    """
    number, first, device_ns, arrival_ns, size = _HEAD.unpack_from(body)
    definition = definitions[number]
    if size not in (2, 4):
        raise ValueError(f"samples of {size} bytes")
    packed = np.frombuffer(body, "<i2" if size == 2 else "<i4", offset=_HEAD.size)
    samples = packed.astype(np.int32).reshape(-1, len(definition.channels))
    if not (0 < samples.size <= MAX_CHUNK_VALUES and 0 <= first < 1 << 60):
        raise ValueError(f"{samples.size} values from sample {first} on")
    return ChunkEntry(definition, _chunk(definition, first, samples, device_ns, arrival_ns))


def definition_of(body: bytes, definitions: Mapping[int, Definition]) -> Definition:
    """Return what the body of a CHUNK frame is of, its samples unread."""
    return definitions[_HEAD.unpack_from(body)[0]]


def _chunk(definition: Definition, first: int, samples: IntSamples, device_ns: int | None, arrival_ns: int) -> Chunk:
    """Build a chunk without its own checks: a quarter of a million are read at a start, under few definitions."""
    chunk = object.__new__(Chunk)
    chunk.__dict__.update(
        recording=definition.recording,
        stream=definition.stream,
        session=definition.session,
        first_sample=first,
        samples=samples,
        rate=definition.rate,
        channels=definition.channels,
        device_ns=None if device_ns == _NO_TIME else device_ns,
        arrival_ns=arrival_ns,
    )
    return chunk


def pack_event(event: Event) -> bytes:
    """Return the body of an EVENT frame: JSON."""
    return json.dumps(event.__dict__, ensure_ascii=False, separators=(",", ":")).encode()


def unpack_event(body: bytes) -> EventEntry:
    """Read the body of an EVENT frame.

    Raises
    ------
    ValueError, TypeError, InputError
        When it is no event.
    """
    return EventEntry(Event(**json.loads(body)))
