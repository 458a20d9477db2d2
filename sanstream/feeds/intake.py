"""From messages to deliveries: decoded, held while their channels are unknown, set aside when unreadable."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from sanstream.chunk import Chunk, Delivery, Event, safe_name
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, FeedState
from sanstream.feeds.address import recording_of
from sanstream.feeds.descriptors import with_missing
from sanstream.feeds.floats import FloatLattice
from sanstream.feeds.memory import DescriptorFile
from sanstream.wire import MAX_MESSAGE_BYTES, Floats, decode
from sanstream.wire_channels import Channels, Descriptors, UnknownDescriptor, digest_of

MAX_HELD_BYTES = 64 << 20
MAX_HELD_S = 60.0
LOOK_S = 5.0
_OVERHEAD = 200
_MAX_LATTICES = 4096

Acknowledge = Callable[[], None]


@dataclass(frozen=True, eq=False)
class _Held:
    """A message that waits for the descriptor of its channels."""

    message: bytes
    acknowledge: Acknowledge
    tenure: str
    arrival_ns: int
    until: float


class Intake:
    """Decodes the messages of one feed; used by one thread.

    Parameters
    ----------
    options : FeedOptions
        Of it the name, ``[identity] map`` and ``resolution`` count here.
    state : FeedState
        Where oddities are counted.
    clock : callable, optional
        Seconds that never step back.
    """

    def __init__(self, options: FeedOptions, state: FeedState, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._state = state
        self._clock = clock
        folder = options.state_dir
        kept = DescriptorFile(None if folder is None else folder / f"{safe_name(options.name)}.descriptors")
        self._descriptors = Descriptors(with_missing)
        for descriptor in kept.read():
            with contextlib.suppress(InputError):  # of a newer program, perhaps
                # where daemons share, the next message that brings it puts it where the others look
                self._descriptors.learn(digest_of(descriptor), descriptor, keep=options.descriptors is None)
        self._file, self._looked = kept, dict[bytes, float]()
        self._descriptors.keep = self._keep
        self._held: OrderedDict[bytes, list[_Held]] = OrderedDict()
        self._held_bytes = 0
        self._lattices: OrderedDict[tuple[str, str], tuple[Channels, FloatLattice]] = OrderedDict()

    @property
    def n_held(self) -> int:
        """Messages that wait for the descriptor of their channels."""
        return sum(map(len, self._held.values()))

    def take(self, message: bytes, acknowledge: Acknowledge, tenure: str = "") -> list[Delivery]:
        """Turn a message into deliveries: mostly one; none while it waits; more when others waited for it."""
        arrival_ns = time.time_ns()
        try:
            delivery = self._decoded(message, acknowledge, tenure, arrival_ns)
        except UnknownDescriptor as unknown:
            if self._is_found(unknown.digest):
                return self.take(message, acknowledge, tenure)
            self._hold(unknown.digest, _Held(message, acknowledge, tenure, arrival_ns, self._clock() + MAX_HELD_S))
            return list(self._overflow())
        except InputError as error:
            return [_poison(message, acknowledge, error.message)]
        if self._held:
            # whatever brought the descriptor came after those that waited for it
            return [*self._released(), delivery]
        return [delivery]

    def expired(self) -> list[Delivery]:
        """Return, as poison, the messages whose descriptor did not come in time."""
        now = self._clock()
        out = []
        for digest in list(self._held):
            late = [h for h in self._held[digest] if h.until <= now]
            if late and self._is_found(digest):
                continue
            self._drop(digest, late)
            out += [_poison(h.message, h.acknowledge, "its channel descriptor did not come in time") for h in late]
        return [*out, *self._released()]

    def forget(self, tenure: str | None = None) -> None:
        """Drop what waits, all or of a tenure: its connection or partition is lost, and the broker sends it again."""
        for digest in list(self._held):
            self._drop(digest, [h for h in self._held[digest] if tenure is None or h.tenure == tenure])

    def _keep(self, descriptor: bytes) -> None:
        """Make a descriptor durable here, and where others find it who get the messages that name it."""
        self._file.keep(descriptor)
        if self._options.descriptors is not None:
            self._options.descriptors.keep(descriptor)

    def _is_found(self, digest: bytes) -> bool:
        """Learn a descriptor that another daemon was sent; it is looked for every few seconds."""
        now = self._clock()
        if self._options.descriptors is None or now - self._looked.get(digest, -LOOK_S) < LOOK_S:
            return False
        self._looked[digest] = now
        found = self._options.descriptors.find(digest)
        if found is None:
            return False
        with contextlib.suppress(InputError):
            self._descriptors.learn(digest, found, keep=False)
        return self._descriptors.knows(digest)

    def _decoded(self, message: bytes, acknowledge: Acknowledge, tenure: str, arrival_ns: int) -> Delivery:
        item = decode(message, self._descriptors, arrival_ns)
        recording = recording_of(self._options, item.recording)
        if recording != item.recording:
            item = replace(item, recording=recording)
        if isinstance(item, Floats):
            return self._floats(item, message, acknowledge, tenure)
        items: tuple[Chunk | Event, ...] = (item,)
        return Delivery(items, len(message), acknowledge, tenure=tenure)

    def _floats(self, item: Floats, message: bytes, acknowledge: Acknowledge, tenure: str) -> Delivery:
        """Put floats on the lattice of their stream, which is found once and kept as long as the channels are."""
        key = (item.recording, item.stream)
        known = self._lattices.get(key)
        if known is None or known[0] is not item.channels:
            lattice = self._lattice(item.channels)
            known = self._lattices[key] = (item.channels, lattice)
            if len(self._lattices) > _MAX_LATTICES:
                self._lattices.popitem(last=False)
        self._lattices.move_to_end(key)
        channels, samples = known[1].convert(item.values)
        chunk = Chunk(
            item.recording, item.stream, item.session, item.first_sample, samples,
            item.rate, channels, item.device_ns, item.arrival_ns,
        )  # fmt: skip
        return Delivery((chunk,), len(message), acknowledge, tenure=tenure)

    def _lattice(self, channels: Channels) -> FloatLattice:
        try:
            return FloatLattice(channels, resolution=self._options.resolution, warn=self._warn)
        except InputError:
            # a resolution in volts says nothing of a pressure; to set the signal aside would be worse
            self._warn("resolution_unit")
            return FloatLattice(channels, warn=self._warn)

    def _warn(self, word: str) -> None:
        self._state.n_warnings[word] = self._state.n_warnings.get(word, 0) + 1

    def _hold(self, digest: bytes, held: _Held) -> None:
        self._held.setdefault(digest, []).append(held)
        self._held_bytes += len(held.message) + _OVERHEAD
        self._warn("waited")

    def _drop(self, digest: bytes, held: list[_Held]) -> None:
        gone = set(map(id, held))
        self._held_bytes -= sum(len(h.message) + _OVERHEAD for h in held)
        self._held[digest] = [h for h in self._held[digest] if id(h) not in gone]
        if not self._held[digest]:
            del self._held[digest]

    def _overflow(self) -> Iterator[Delivery]:
        while self._held_bytes > MAX_HELD_BYTES:
            digest, waiting = next(iter(self._held.items()))
            held = waiting[0]
            self._drop(digest, [held])
            yield _poison(held.message, held.acknowledge, "too many messages wait for channel descriptors")

    def _released(self) -> Iterator[Delivery]:
        for digest in [d for d in self._held if self._descriptors.knows(d)]:
            waiting = self._held[digest]
            self._drop(digest, waiting)
            for held in waiting:
                try:
                    yield self._decoded(held.message, held.acknowledge, held.tenure, held.arrival_ns)
                except InputError as error:
                    yield _poison(held.message, held.acknowledge, error.message)


def _poison(message: bytes, acknowledge: Acknowledge, reason: str) -> Delivery:
    return Delivery((), len(message), acknowledge, message[:MAX_MESSAGE_BYTES], reason)
