"""What a feed hands over: chunks of samples and events, and the message that they came in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from sanstream.errors import InputError
from sanstream.signal import Channel, IntSamples

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+=~-]{0,127}")
_RESERVED = frozenset({"banks", "annotations", "c", "zarr.json", "catalog.json", "manifest.json", "live.json"})
MIN_RATE, MAX_RATE = Fraction(1, 3600), 10**6
"""Hz; a slower rate is a wrong unit, and every few samples of it would be a day."""
MAX_CHUNK_VALUES = 1 << 22
"""Samples times channels of one chunk: 16 MiB, twice what the wire allows."""


def check_name(what: str, name: str) -> str:
    """Return a recording's or stream's name when it can be a folder's name in an archive.

    Raises
    ------
    InputError
        When it cannot.
    """
    if isinstance(name, str) and name in _RESERVED:
        raise InputError(f"{what} name {name!r} is reserved", hint="the archive needs it for itself; choose another")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or set(name) == {"."}:
        raise InputError(
            f"{what} name {name!r:.80} cannot be a folder's",
            hint="use letters, digits and . _ - @ + = ~, at most 128, the first a letter, a digit or _",
        )
    return name


def safe_name(text: str) -> str:
    """Turn any text into a name that :func:`check_name` accepts."""
    name = re.sub(r"[^A-Za-z0-9_.@+=~-]+", "-", text).strip("-.")[:128]
    if not name or not _NAME.fullmatch(name) or name in _RESERVED:
        name = f"_{name}"[:128]
    return name


def check_rate(rate: Fraction) -> Fraction:
    """Return a rate that a feed may have; a :class:`Chunk` of an old journal may be slower.

    Raises
    ------
    InputError
        When it is slower than a sample an hour, or above 1 MHz.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InputError(
            f"rate is {float(rate):.6g} Hz, allowed are 1/3600 to 1 000 000 Hz",
            hint="is it a period, or in another unit? Give samples per second",
        )
    return rate


def stream_name(rate: Fraction) -> str:
    """Name a stream after its rate: ``"250hz"``, ``"62.5hz"``, ``"62500_1001hz"``."""
    exact = f"{float(rate):g}"
    return f"{exact}hz" if Fraction(exact) == rate else f"{rate.numerator}_{rate.denominator}hz"


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive samples of one stream, as one message brought them.

    ``(source, session, first_sample)`` identifies it: the same numbers never carry other samples.

    Parameters
    ----------
    recording : str
        Name of the source: a bed, a device, a file.
    stream : str
        Name of the stream, usually :func:`stream_name` of its rate.
    session : str
        Drawn by the publisher, or by the feed per connection; sample numbers count within it.
    first_sample : int
        Number of the first sample in its session, from 0.
    samples : ndarray, shape (n_samples, n_channels), int32
        The ADC's integers, time first.
    rate : Fraction
        Samples per second.
    channels : tuple of Channel
        Label, unit, gain, baseline, range; the same object for all chunks of a descriptor, where possible.
    device_ns : int or None
        The device's clock at the first sample, nanoseconds since 1970 (UTC); None when it sends none.
    arrival_ns : int
        Our clock when the message came, nanoseconds since 1970 (UTC).

    Raises
    ------
    InputError
        On a name that cannot be a folder's, a rate that is not positive, or a shape that does not fit.
    """

    recording: str
    stream: str
    session: str
    first_sample: int
    samples: IntSamples
    rate: Fraction
    channels: tuple[Channel, ...]
    device_ns: int | None
    arrival_ns: int

    def __post_init__(self) -> None:
        check_name("recording", self.recording)
        check_name("stream", self.stream)
        if not 0 < len(self.session) <= 128:
            raise InputError(f"session of {len(self.session)} characters, allowed 1 to 128")
        if not 0 < self.rate.numerator <= 10**6 * self.rate.denominator:
            raise InputError(f"rate is {self.rate} Hz, allowed above 0, up to 1 000 000")
        x = self.samples
        if x.ndim != 2 or x.dtype != np.int32 or not 0 < x.size <= MAX_CHUNK_VALUES or x.shape[1] != len(self.channels):
            raise InputError(f"samples of shape {x.shape} and type {x.dtype} for {len(self.channels)} channels")
        if not 0 <= self.first_sample < 1 << 60:
            raise InputError(f"first sample {self.first_sample} is outside 0 ... 2^60")

    @property
    def n_samples(self) -> int:
        """Samples per channel."""
        return int(self.samples.shape[0])


@dataclass(frozen=True)
class Event:
    """Something that happened: an annotation, a marker, an alarm.

    Parameters
    ----------
    recording : str
    session : str
    number : int
        Place in its session, from 0; with the session it identifies the event.
    time_ns : int
        When, nanoseconds since 1970 (UTC).
    kind : str
        ``"annotation"``, ``"marker"``, ``"alarm"``, ``"gap"`` or another word.
    text : str
    duration_ns : int
        0 for a moment.
    """

    recording: str
    session: str
    number: int
    time_ns: int
    kind: str
    text: str
    duration_ns: int = 0

    def __post_init__(self) -> None:
        check_name("recording", self.recording)
        if not 0 < len(self.session) <= 128 or len(self.kind) > 64 or len(self.text) > 65536:
            raise InputError("event with a session, kind or text of impossible length")
        if not (0 <= self.number < 1 << 60 and abs(self.time_ns) < 1 << 62 and 0 <= self.duration_ns < 1 << 62):
            raise InputError(f"event with number {self.number}, time {self.time_ns} or duration {self.duration_ns}")


def _nothing() -> None:
    pass


@dataclass(frozen=True, eq=False)
class Delivery:
    """One message of a feed and what it brought.

    Parameters
    ----------
    items : tuple of Chunk or Event
    n_bytes : int
        Size of the message, for limits.
    acknowledge : callable
        Called once, from the engine's thread, when all items are durable; must not block nor raise.
    poison : bytes or None
        The message itself when it could not be read; ``items`` is then empty and ``reason`` says why.
        It is set aside, then acknowledged.
    reason : str
    tenure : str
        Names the time for which the feed has the share of its source that this comes from; empty where feeds do not
        share sources.
    ends : bool
        The tenure is over: nothing else comes of it, and ``items`` is empty.
    """

    items: tuple[Chunk | Event, ...]
    n_bytes: int = 0
    acknowledge: Callable[[], None] = _nothing
    poison: bytes | None = None
    reason: str = ""
    tenure: str = ""
    ends: bool = False

    @property
    def arrival_ns(self) -> int | None:
        """When its first chunk came, our clock; None where it brought none."""
        return next((i.arrival_ns for i in self.items if isinstance(i, Chunk)), None)
