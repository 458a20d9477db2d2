"""What is sent and what must be there: every sample says in its value which one it is."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

import sanstream
from sanstream.chunk import Chunk, Event
from sanstream.signal import Channel

RATE = 250
JITTER_NS = 20_000_000
"""Of a device's clock: five samples."""
_MISSING = -32768
_SHIFT = 12


@dataclass(frozen=True)
class Sent:
    """One stream: two sessions, as a publisher that was started again in the middle sends them.

    Parameters
    ----------
    name : str
        Of its recording.
    number : int
    start_ns : int
        Time of its first sample, nanoseconds since 1970.
    first_s, second_s : int
        Seconds of the first session and of the second.
    pause_s : float
        Between the two.
    """

    name: str
    number: int
    start_ns: int
    first_s: int
    second_s: int
    pause_s: float

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Of its own: no other stream has this descriptor."""
        return (Channel(f"lead {self.number}", "mV", 200.0, 0, -32767, 32767, missing=_MISSING),)

    def samples(self, session: int) -> npt.NDArray[np.int32]:
        """Return a session's samples, shape (n, 1)."""
        n = (self.second_s if session else self.first_s) * RATE
        at = np.arange(n, dtype=np.int64) + (self.number * 7919 + session * 104_729)
        # a walk of which no two stretches are alike, so that a shift shows
        return ((at * 2_654_435_761 >> _SHIFT) % 4001 - 2000 + at % 8191).astype(np.int32).reshape(-1, 1)

    def second(self, at: int) -> list[Chunk | Event]:
        """Return what is sent in one second of the run; nothing in the pause."""
        session = int(at >= self.first_s)
        first = (at - session * self.first_s) * RATE
        begin_ns = self.start_ns + (round((self.first_s + self.pause_s) * 1e9) if session else 0)
        device = begin_ns + first * 10**9 // RATE
        jitter = random.Random(f"{self.number}/{at}").randint(-JITTER_NS, JITTER_NS)
        name = f"{self.name}-s{session}"
        part = self.samples(session)[first : first + RATE]
        chunk = Chunk(
            self.name, f"{RATE}hz", name, first, part, Fraction(RATE), self.channels, device + jitter, device + 10**9
        )
        if at % 10:
            return [chunk]
        return [chunk, Event(self.name, name, at // 10, device, "note", f"note {at // 10}")]

    @property
    def seconds(self) -> int:
        """Seconds of signal."""
        return self.first_s + self.second_s


@dataclass(frozen=True)
class Found:
    """What a comparison found.

    Parameters
    ----------
    samples : int
        That were sent.
    segments : int
    twice : int
        Samples that stand in more than one segment, equal or not; readers see the first.
    wrong : list of str
    """

    samples: int
    segments: int
    twice: int
    wrong: list[str]


def compare(url: str, streams: list[Sent]) -> Found:
    """Read all streams whole, and compare each with what was sent."""
    samples = segments = twice = 0
    wrong: list[str] = []
    with sanstream.open(url) as archive:
        for sent in streams:
            samples += sent.seconds * RATE
            recording = archive.recordings.get(sent.name)
            if recording is None:
                wrong.append(f"{sent.name}: is not there")
                continue
            try:
                stream = recording.streams[f"{RATE}hz"]
                if len(recording.streams) > 1:
                    wrong.append(f"{sent.name}: {len(recording.streams)} streams")
                problem, copies = _compared(stream, sent)
                segments += len(stream.entry.segments)
                twice += copies
                wrong += [f"{sent.name}: {line}" for line in (*problem, *_events(recording, sent))]
            except (sanstream.SanstreamError, KeyError) as error:
                wrong.append(f"{sent.name}: {error}")
    return Found(samples, segments, twice, wrong)


def _compared(stream: Any, sent: Sent) -> tuple[list[str], int]:
    x = stream.read()[:, 0]
    there = np.flatnonzero(x != _MISSING)
    copies = -len(there)
    for segment in stream.entry.segments:
        own = stream.read_segment(segment, 0, segment.n_samples)[:, 0]
        held = own != _MISSING
        copies += int(held.sum())
        if not np.array_equal(own[held], x[segment.start_sample : segment.stop_sample][held]):
            return [f"segment {segment.name} has other samples than the first that has them"], copies
    first, second = sent.samples(0)[:, 0], sent.samples(1)[:, 0]
    if len(there) != len(first) + len(second):
        return [f"{len(there)} samples, sent were {len(first) + len(second)}"], copies
    begin = there[len(first)] if len(second) else len(there)
    nominal = round((sent.first_s + sent.pause_s) * RATE)
    if not np.array_equal(there[: len(first)], np.arange(len(first))) or not np.array_equal(x[: len(first)], first):
        return ["the first session is not as sent"], copies
    if len(second) and (abs(begin - nominal) > 12 or not np.array_equal(x[begin:], second)):
        return [f"the second session is not as sent, at {begin} instead of {nominal}"], copies
    return [], copies


def _events(recording: Any, sent: Sent) -> list[str]:
    expected = sorted(f"note {n}" for n in range(-(-sent.seconds // 10)))
    found = sorted(t for a in recording.annotations for t in a.columns["text"].tolist())
    return [] if found == expected else [f"events {found} instead of {expected}"]
