"""Channel descriptors on the wire (WIRE.md, clause 5): JSON, known by the first eight bytes of its SHA-256."""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sanstream.errors import InputError
from sanstream.signal import SIGNAL, TRIGGER, Channel, unique_labels

MAX_DESCRIPTOR_BYTES = 1 << 20
MAX_CHANNELS = 4096
_MAX_KNOWN_BYTES = 64 << 20
_TEXTS = {"label": 256, "unit": 64}
_INTEGERS = ("digital_min", "digital_max", "missing", "resolution_bits")
_DEFAULTS = Channel("").to_dict()

Channels = tuple[Channel, ...]


class UnknownDescriptor(InputError):
    """A message names a channel descriptor that was not seen yet; it may still come.

    Parameters
    ----------
    digest : bytes
        The eight bytes that name it.
    """

    def __init__(self, digest: bytes) -> None:
        super().__init__(
            "message names a channel descriptor that was not sent yet",
            hint="publishers repeat it at least every 16 messages and every 10 s (WIRE.md, clause 5)",
        )
        self.digest = digest


def descriptor_of(channels: Sequence[Channel]) -> bytes:
    """Return the descriptor of channels: JSON with sorted keys, without what has its default.

    Of a channel's header only the lattice travels: everything else describes the file that it was read from.
    """
    out: list[dict[str, Any]] = []
    for channel in channels:
        entry = {k: v for k, v in channel.to_dict().items() if k != "header" and v != _DEFAULTS[k]}
        entry["label"] = channel.label
        if "lattice" in channel.header:
            entry["lattice"] = channel.header["lattice"]
        out.append(entry)
    return json.dumps({"channels": out}, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(descriptor: bytes) -> bytes:
    """Return the eight bytes that name a descriptor."""
    return hashlib.sha256(descriptor).digest()[:8]


def read_descriptor(descriptor: bytes) -> Channels:
    """Read a descriptor.

    Raises
    ------
    InputError
        When it is too long, no JSON, or a value in it is not what clause 5 allows.
    """
    if len(descriptor) > MAX_DESCRIPTOR_BYTES:
        raise InputError(f"channel descriptor of {len(descriptor)} bytes, allowed {MAX_DESCRIPTOR_BYTES}")
    try:
        data = json.loads(descriptor)
    except (ValueError, RecursionError):
        raise InputError("channel descriptor is not JSON") from None
    if not isinstance(data, dict) or set(data) != {"channels"}:
        raise InputError("channel descriptor is not an object with the one key 'channels'")
    return channels_from(data["channels"])


def channels_from(entries: object) -> Channels:
    """Build channels from the list of a descriptor, or of a JSON message; labels that repeat get numbers.

    Raises
    ------
    InputError
        When a value is not what clause 5 allows.
    """
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_CHANNELS:
        raise InputError(f"channels are not a list of 1 to {MAX_CHANNELS}")
    channels = [_channel(entry, number) for number, entry in enumerate(entries)]
    labels = unique_labels([channel.label for channel in channels], "ch")
    return tuple(c if c.label == label else replace(c, label=label) for c, label in zip(channels, labels, strict=True))


def _channel(entry: object, number: int) -> Channel:
    if not isinstance(entry, dict) or "label" not in entry:
        raise InputError(f"channel {number} is not an object with a label")
    lattice = entry.pop("lattice", None)
    unknown = sorted(set(entry) - (set(_DEFAULTS) - {"header"}))
    if unknown:
        raise InputError(f"channel {number} has the unknown key {unknown[0]!r:.40}")
    for key, value in entry.items():
        if not _allowed(key, value):
            raise InputError(f"channel {number}: {key} has a value that WIRE.md, clause 5, does not allow")
    header = {} if lattice is None else {"lattice": _lattice(lattice, number)}
    channel = Channel(**{**_DEFAULTS, **entry, "header": header})
    if channel.digital_min > channel.digital_max:
        raise InputError(f"channel {number}: digital_min is above digital_max")
    return channel


def _allowed(key: str, value: object) -> bool:
    if key in _TEXTS:
        return isinstance(value, str) and len(value) <= _TEXTS[key] and (value.isprintable() or not value)
    if key == "kind":
        return value in (SIGNAL, TRIGGER)
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        return False
    if value is None:
        return key == "missing"
    if key in _INTEGERS:
        return isinstance(value, int) and -(2**31) <= value < 2**31 and (key != "resolution_bits" or 0 <= value <= 64)
    # gain and baseline; an integer too long for a float must not raise
    return abs(value) < 1e30 and math.isfinite(value) and (key != "gain" or abs(value) > 1e-30)


def _lattice(value: object, number: int) -> object:
    """Check what :func:`sanstream.formats.lattice.lattice_of` reads."""
    if value == "float32-bits":
        return value
    good = (
        isinstance(value, dict)
        and set(value) == {"kind", "digits", "multiple"}
        and value["kind"] in ("decimal", "binary", "product")
        and type(value["digits"]) is int
        and 0 <= value["digits"] <= 40
        and type(value["multiple"]) is int
        and 1 <= value["multiple"] < 2**31
    )
    if not good:
        raise InputError(f"channel {number}: lattice is not what WIRE.md, clause 5, allows")
    return value


class Descriptors:
    """The descriptors that were seen, each under its name; the longest unused are forgotten beyond 64 MiB.

    Parameters
    ----------
    prepare : callable, optional
        What becomes of channels once read, such as giving them missing codes.

    Attributes
    ----------
    keep : callable
        Takes every descriptor that is new and may be named by messages without it, before it counts as known.
    """

    def __init__(self, prepare: Callable[[Channels], Channels] = tuple) -> None:
        self.keep: Callable[[bytes], None] = lambda _: None
        self._prepare = prepare
        self._known: OrderedDict[bytes, tuple[Channels, int]] = OrderedDict()
        self._kept: set[bytes] = set()
        self._n_bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def knows(self, digest: bytes) -> bool:
        """Tell whether a descriptor was seen."""
        return digest in self._known

    def channels(self, digest: bytes) -> Channels:
        """Return the channels of a descriptor that was seen; the same object every time.

        Raises
        ------
        UnknownDescriptor
            When it was not.
        """
        found = self._known.get(digest)
        if found is None:
            raise UnknownDescriptor(digest)
        self._known.move_to_end(digest)
        return found[0]

    def learn(self, digest: bytes, descriptor: bytes, *, keep: bool = True) -> Channels:
        """Know a descriptor that a message brought from now on, and return its channels.

        Parameters
        ----------
        digest : bytes
        descriptor : bytes
        keep : bool
            False when every message that means it brings it.

        Raises
        ------
        InputError
            When its name is not its hash's, or it cannot be read.
        """
        if digest_of(descriptor) != digest:
            raise InputError("channel descriptor does not have the hash that names it")
        known = self._known.get(digest)
        channels = known[0] if known else self._prepare(read_descriptor(descriptor))
        if keep and digest not in self._kept:
            self.keep(descriptor)
            self._kept.add(digest)
        if known:
            self._known.move_to_end(digest)
            return channels
        # a channel takes some 500 bytes here, however few it takes there
        cost = len(descriptor) + 500 * len(channels)
        self._known[digest] = (channels, cost)
        self._n_bytes += cost
        while self._n_bytes > _MAX_KNOWN_BYTES and len(self._known) > 1:
            oldest, (_, cost) = self._known.popitem(last=False)
            self._kept.discard(oldest)
            self._n_bytes -= cost
        return channels
