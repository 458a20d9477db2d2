"""What publishers of wire messages share: messages made from chunks, and the ones that the broker has not confirmed."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sanstream.chunk import Chunk, Event
from sanstream.signal import Channel
from sanstream.wire import encode_chunk, encode_event
from sanstream.wire_channels import descriptor_of, digest_of
from sanstream.wire_json import encode_json

REPEAT_MESSAGES, REPEAT_S = 16, 10.0
"""A descriptor is sent at least this often (WIRE.md, clause 5)."""
_OPEN_MESSAGES, _OPEN_BYTES = 2048, 16 << 20


@dataclass(frozen=True)
class PublishOptions:
    """Where to publish and how.

    Parameters
    ----------
    url : str
    user, password : str
        Empty when there are none.
    create : bool
        Make the JetStream stream when there is none.
    as_json : bool
        JSON messages in place of binary ones.
    ca : str
        PEM file of certificates to trust.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    create: bool = False
    as_json: bool = False
    ca: str = ""


@dataclass
class Published:
    """What was confirmed.

    Parameters
    ----------
    samples : dict of (recording, stream) to list of [int, int]
        Ranges of session samples ``[first, stop)``, in order, merged.
    events : dict of recording to int
    n_messages : int
    n_bytes : int
        Of confirmed messages.
    """

    samples: dict[tuple[str, str], list[list[int]]] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    n_messages: int = 0
    n_bytes: int = 0

    def add(self, item: tuple[str, str, int, int], n_bytes: int) -> None:
        """Note a confirmed message of (recording, stream, first, stop), or of an event when the stream is empty."""
        recording, stream, first, stop = item
        self.n_messages += 1
        self.n_bytes += n_bytes
        if not stream:
            self.events[recording] = self.events.get(recording, 0) + 1
            return
        ranges = self.samples.setdefault((recording, stream), [])
        # confirmations come nearly in order: the place is at or near the end
        at = len(ranges)
        while at and ranges[at - 1][0] > first:
            at -= 1
        ranges.insert(at, [first, stop])
        for left in range(max(at - 1, 0), at + 1):
            while left + 1 < len(ranges) and ranges[left][1] >= ranges[left + 1][0]:
                ranges[left][1] = max(ranges[left][1], ranges.pop(left + 1)[1])

    @property
    def n_samples(self) -> int:
        """Samples per channel over all streams."""
        return sum(stop - first for ranges in self.samples.values() for first, stop in ranges)


@dataclass(frozen=True, eq=False)
class Letter:
    """One message on its way.

    Parameters
    ----------
    recording, stream : str
        The stream is empty for an event.
    key : str
        Its identity, for brokers that drop what they have already.
    first, stop : int
        Session samples of a chunk.
    message : bytes
    """

    recording: str
    stream: str
    key: str
    first: int
    stop: int
    message: bytes


class Outbox:
    """Encodes, and keeps every message until it is confirmed; thread-safe.

    Parameters
    ----------
    options : PublishOptions
    clock : callable, optional
        Seconds that never step back.
    """

    def __init__(self, options: PublishOptions, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.published = Published()
        self.max_messages = _OPEN_MESSAGES
        self._json = options.as_json
        self._clock = clock
        self._changed = threading.Condition()
        self._letters: OrderedDict[int, Letter] = OrderedDict()
        self._n_bytes = 0
        self._number = 0
        self._descriptors: dict[int, tuple[tuple[Channel, ...], bytes, bytes]] = {}
        self._repeat: dict[tuple[str, str, str, bytes], list[float]] = {}

    def chunk(self, chunk: Chunk) -> int:
        """Take a chunk; return the number of its message."""
        if self._json:
            message = encode_json(chunk)
        else:
            descriptor, digest = self._described(chunk.channels)
            inline = self._is_due((chunk.recording, chunk.stream, chunk.session, digest))
            message = encode_chunk(chunk, descriptor=descriptor if inline else None, digest=digest)
        key = f"{chunk.recording}/{chunk.stream}/{chunk.session}/{chunk.first_sample}"
        stop = chunk.first_sample + chunk.n_samples
        return self._add(Letter(chunk.recording, chunk.stream, key, chunk.first_sample, stop, message))

    def event(self, event: Event) -> int:
        """Take an event; return the number of its message."""
        message = encode_json(event) if self._json else encode_event(event)
        key = f"{event.recording}//{event.session}/{event.number}"
        return self._add(Letter(event.recording, "", key, event.number, event.number, message))

    def letter(self, number: int) -> Letter | None:
        """Return a message; None once it is confirmed."""
        return self._letters.get(number)

    def open(self) -> list[int]:
        """Return the numbers of all messages that are not confirmed, oldest first."""
        with self._changed:
            return list(self._letters)

    def confirm(self, number: int) -> None:
        """Note that the broker holds a message; a second time does nothing."""
        with self._changed:
            letter = self._letters.pop(number, None)
            if letter is None:
                return
            self._n_bytes -= len(letter.message)
            self.published.add((letter.recording, letter.stream, letter.first, letter.stop), len(letter.message))
            self._changed.notify_all()

    def wait_room(self, alive: Callable[[], Any]) -> None:
        """Wait while more is unconfirmed than memory should hold; ``alive`` may raise meanwhile."""
        self._wait(lambda: len(self._letters) < self.max_messages and self._n_bytes < _OPEN_BYTES, alive)

    def wait_empty(self, alive: Callable[[], Any]) -> None:
        """Wait until everything is confirmed; ``alive`` may raise meanwhile."""
        self._wait(lambda: not self._letters, alive)

    def _wait(self, ready: Callable[[], bool], alive: Callable[[], Any]) -> None:
        with self._changed:
            while not ready():
                alive()
                self._changed.wait(0.2)

    def _add(self, letter: Letter) -> int:
        with self._changed:
            self._number += 1
            self._letters[self._number] = letter
            self._n_bytes += len(letter.message)
            return self._number

    def _described(self, channels: tuple[Channel, ...]) -> tuple[bytes, bytes]:
        known = self._descriptors.get(id(channels))
        if known is None or known[0] is not channels:
            descriptor = descriptor_of(channels)
            known = (channels, descriptor, digest_of(descriptor))
            if len(self._descriptors) > 4096:
                self._descriptors.clear()
            self._descriptors[id(channels)] = known
        return known[1], known[2]

    def _is_due(self, key: tuple[str, str, str, bytes]) -> bool:
        """Tell whether a stream's descriptor must go with its next message."""
        last = self._repeat.get(key)
        if last is None or last[0] + 1 >= REPEAT_MESSAGES or self._clock() - last[1] >= REPEAT_S:
            self._repeat[key] = [0, self._clock()]
            return True
        last[0] += 1
        return False


class BrokerPublisher(ABC):
    """Sends through an :class:`Outbox`; what a transport adds is ``_send`` of a numbered message and ``_alive``."""

    outbox: Outbox

    def send_chunk(self, chunk: Chunk) -> None:
        """Send a chunk; block while too much is unconfirmed."""
        self._send(self.outbox.chunk(chunk))
        self.outbox.wait_room(self._alive)

    def send_event(self, event: Event) -> None:
        """Send an event; block while too much is unconfirmed."""
        self._send(self.outbox.event(event))
        self.outbox.wait_room(self._alive)

    def flush(self) -> None:
        """Wait until everything is confirmed."""
        self.outbox.wait_empty(self._alive)

    @abstractmethod
    def _send(self, number: int) -> None:
        """Hand a message over, or queue it."""

    @abstractmethod
    def _alive(self) -> None:
        """Raise what ended the connection for good; called while something is waited for."""
