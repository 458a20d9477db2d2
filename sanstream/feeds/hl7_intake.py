"""What HL7 messages say, as chunks and events: who they are of, which stream, and which sample comes first."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from functools import lru_cache
from itertools import groupby

import numpy as np

from sanstream.chunk import Chunk, Event, safe_name, stream_name
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, FeedState
from sanstream.feeds.descriptors import with_missing
from sanstream.feeds.floats import FloatLattice
from sanstream.feeds.hl7_owner import Owners
from sanstream.feeds.hl7_waves import Wave, observed
from sanstream.formats.labels import kind_of
from sanstream.signal import Channel, IntSamples, unique_labels

_MOST_STREAMS = 20000
_RESENT_BYTES = 16 << 20
_ABSENT = np.iinfo(np.int64).min
_SMALL, _WIDE = 2**15 - 1, 2**31 - 1


@dataclass
class _Stream:
    """What is known of a stream from its messages so far."""

    session: str
    next_sample: int = 0
    end_ns: int | None = None
    signature: tuple[object, ...] = ()
    channels: tuple[Channel, ...] = ()
    lattice: FloatLattice | None = None


class Hl7Intake:
    """Turns messages into chunks and events; used by one thread.

    Parameters
    ----------
    options : FeedOptions
    state : FeedState
    zone : timedelta
        Offset from UTC of times that name none.
    """

    def __init__(self, options: FeedOptions, state: FeedState, zone: timedelta) -> None:
        self._options, self._state, self._zone = options, state, zone
        self._beds = Owners(options, self._warn)
        self._run = uuid.uuid4().hex[:12]
        self._streams: OrderedDict[tuple[str, str], _Stream] = OrderedDict()
        self._owners: dict[tuple[str, Fraction], frozenset[str]] = {}
        self._sent: OrderedDict[bytes, tuple[tuple[Chunk | Event, ...], int]] = OrderedDict()
        self._sent_bytes = 0
        self._n_events = self._n_turns = 0

    def take(self, data: bytes) -> tuple[Chunk | Event, ...]:
        """Read a message; one that comes again gives the same items again.

        Raises
        ------
        InputError
            When it cannot be read.
        """
        key = hashlib.sha256(data).digest()
        if key in self._sent:
            self._warn("resent")
            return self._sent[key][0]
        told = observed(data, self._zone)
        if not told.waves and not told.notes:
            self._warn("no_waveform")
            return ()
        recording = self._beds.recording(told)
        arrival_ns = time.time_ns()
        items: list[Chunk | Event] = [
            self._chunk(recording, list(waves), arrival_ns) for _, waves in groupby(told.waves, key=_together)
        ]
        for note in told.notes:
            session, number = f"hl7-{self._run}", self._n_events
            if len(note.numbers) == 2 and note.numbers[1].isdigit():
                session, number = note.numbers[0], int(note.numbers[1])
            else:
                self._n_events += 1
            when = arrival_ns if note.time_ns is None else note.time_ns
            items.append(Event(recording, session, number, when, note.kind, note.text, note.duration_ns))
        self._remember(key, tuple(items), len(data))
        return tuple(items)

    def _remember(self, key: bytes, items: tuple[Chunk | Event, ...], n_bytes: int) -> None:
        """Keep the latest messages' items, in case an acknowledgement does not arrive."""
        self._sent[key] = (items, n_bytes)
        self._sent_bytes += n_bytes
        while self._sent_bytes > _RESENT_BYTES:
            self._sent_bytes -= self._sent.popitem(last=False)[1][1]

    def _warn(self, word: str) -> None:
        self._state.n_warnings[word] = self._state.n_warnings.get(word, 0) + 1

    def _chunk(self, recording: str, waves: list[Wave], arrival_ns: int) -> Chunk:
        first = waves[0]
        if len(first.numbers) == 8:
            return _numbered(recording, waves, arrival_ns)
        name = self._stream_name(recording, waves)
        stream = self._streams.setdefault((recording, name), _Stream(f"hl7-{self._run}"))
        self._streams.move_to_end((recording, name))
        if len(self._streams) > _MOST_STREAMS:
            self._streams.popitem(last=False)
        channels, samples = self._samples(stream, waves)
        number = self._place(stream, len(samples), first)
        return Chunk(recording, name, stream.session, number, samples, first.rate, channels, first.time_ns, arrival_ns)

    def _stream_name(self, recording: str, waves: Sequence[Wave]) -> str:
        """Name a stream by its rate; channels of other messages at that rate get a stream of their own."""
        rate, labels = waves[0].rate, frozenset(w.label for w in waves)
        owner = self._owners.setdefault((recording, rate), labels)
        if labels & owner:
            self._owners[recording, rate] = labels | owner if len(owner) < 256 else owner
            return stream_name(rate)
        return safe_name(f"{stream_name(rate)}-{waves[0].label}")

    def _place(self, stream: _Stream, n: int, wave: Wave) -> int:
        """Count on; half a message late is a gap, half a message early a new session."""
        begin, length = wave.time_ns, int(n * 10**9 / wave.rate)
        if begin is not None and stream.end_ns is not None:
            late = begin - stream.end_ns
            if late >= length // 2:
                stream.next_sample += round(late * wave.rate / 10**9)
                self._warn("gap")
            elif late <= -(length // 2) - 1:
                self._n_turns += 1
                stream.session, stream.next_sample = f"hl7-{self._run}-{self._n_turns}", 0
                self._warn("clock_back")
        number = stream.next_sample
        stream.next_sample += n
        stream.end_ns = None if begin is None else begin + length
        return number

    def _samples(self, stream: _Stream, waves: list[Wave]) -> tuple[tuple[Channel, ...], IntSamples]:
        labels = unique_labels([w.label for w in waves], "wave")
        whole = all(w.values.dtype != np.float64 for w in waves)
        same = (whole, tuple((w.label, w.unit, w.gain, w.baseline, w.low, w.high) for w in waves))
        if not whole:
            if stream.signature != same or stream.lattice is None:
                bare = [Channel(k, w.unit, kind=kind_of(k)) for k, w in zip(labels, waves, strict=True)]
                resolution = self._options.resolution
                stream.lattice = FloatLattice(bare, resolution=resolution, warn=self._warn)
                stream.signature = same
            return stream.lattice.convert(np.stack([_physical(w) for w in waves], axis=1))
        values = np.stack([w.values for w in waves], axis=1)
        present = values != _ABSENT
        largest = int(np.abs(np.where(present, values, 0)).max())
        if largest > _WIDE:
            raise InputError("waveform holds values beyond 32 bits")
        wide = largest > _SMALL or (stream.signature[:2] == same and bool(stream.signature[2]))
        if stream.signature != (*same, wide):
            stream.signature = (*same, wide)
            stream.channels = with_missing([_described(k, w, wide=wide) for k, w in zip(labels, waves, strict=True)])
        return stream.channels, _filled(values, stream.channels)


def _together(wave: Wave) -> tuple[object, ...]:
    return (wave.rate, len(wave.values), wave.time_ns, wave.numbers[:3])


def _physical(wave: Wave) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if wave.values.dtype == np.float64:
        return wave.values
    out = (wave.values.astype(np.float64) - wave.baseline) / wave.gain
    return np.where(wave.values == _ABSENT, np.nan, out)


def _described(label: str, wave: Wave, *, wide: bool) -> Channel:
    most = _WIDE if wide else _SMALL
    low, high = -most, most
    if wave.low is not None and wave.high is not None and not wide:
        low, high = min(low, wave.low), max(high, wave.high)
    low, high = max(low, -_WIDE), min(high, _WIDE)
    whole = int(wave.baseline) if wave.baseline == int(wave.baseline) else wave.baseline
    return Channel(label, wave.unit, wave.gain, whole, low, high, kind=kind_of(label))


def _filled(values: np.ndarray[tuple[int, int], np.dtype[np.int64]], channels: tuple[Channel, ...]) -> IntSamples:
    codes = np.array([c.missing for c in channels], dtype=np.int64)
    return np.where(values == _ABSENT, codes, values).astype(np.int32)


@lru_cache(maxsize=4096)
def _published(described: tuple[tuple[str, ...], ...]) -> tuple[Channel, ...]:
    """Return the channels that sanstream's own publisher described."""
    channels = []
    for label, unit, gain, baseline, low, high, code in described:
        zero = float(baseline)
        whole = int(zero) if zero.is_integer() else zero
        made = Channel(label, unit, float(gain), whole, int(low), int(high), int(code), kind=kind_of(label))
        ends = (made.digital_min, made.digital_max, made.missing or 0)
        if not made.gain or made.digital_min > made.digital_max or not all(-(2**31) <= k < 2**31 for k in ends):
            raise ValueError
        channels.append(made)
    return tuple(channels)


def _numbered(recording: str, waves: list[Wave], arrival_ns: int) -> Chunk:
    """Build the chunk that sanstream's own publisher took apart."""
    first = waves[0]
    values = np.stack([w.values for w in waves], axis=1)
    try:
        channels = _published(tuple((w.label, w.unit, *w.numbers[3:]) for w in waves))
        number = int(first.numbers[1])
    except (ValueError, OverflowError):
        raise InputError("waveform numbers are not what sanstream publishes") from None
    present = values != _ABSENT
    if values.dtype == np.float64 or np.abs(np.where(present, values, 0)).max() > 1 << 31:
        raise InputError("waveform holds values beyond 32 bits")
    session, stream = first.numbers[0], first.numbers[2]
    samples = _filled(values, channels)
    return Chunk(recording, stream, session, number, samples, first.rate, channels, first.time_ns, arrival_ns)
