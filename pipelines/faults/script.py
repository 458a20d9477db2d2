"""What happens in an engine's life: messages of three beds, late and lost ones, events, retention, a deletion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from sanstream.chunk import Chunk, Event
from sanstream.signal import Channel

START_NS = 1_767_225_600_000_000_000 + 10 * 3600 * 10**9
"""2026-01-01T10:00:00Z."""
RATE = Fraction(4)
PIECE = 360
"""Samples of a message: 90 s, a block and a half."""
MISSING = -32768
LEAD = (Channel("II", "mV", 200.0, 0, -32767, 32767, missing=MISSING),)
PAIR = (*LEAD, Channel("V", "mV", 200.0, 0, -32767, 32767, missing=MISSING))
KEEP_S = 6600.0
EXPIRES, DELETED = "old", "gone"
"""Recordings that retention and a user delete on the way."""
DELETE, COMPACT, RESTART = "delete", "compact", "restart"


@dataclass(frozen=True)
class Step:
    """A message, or something that the operator or the engine does.

    Parameters
    ----------
    number : int
    at_s : float
        When, seconds after :data:`START_NS`.
    items : tuple of Chunk or Event
    poison : bytes or None
    action : str
        :data:`DELETE`, :data:`COMPACT`, :data:`RESTART`, or empty for a message.
    """

    number: int
    at_s: float
    items: tuple[Chunk | Event, ...] = ()
    poison: bytes | None = None
    action: str = ""


@dataclass
class _Script:
    steps: list[Step] = field(default_factory=list)
    at_s: float = 0.0

    def add(self, *items: Chunk | Event, wait_s: float = 1.0, poison: bytes | None = None, action: str = "") -> None:
        self.at_s += wait_s
        self.steps.append(Step(len(self.steps), self.at_s, items, poison, action))


def signal(recording: str, first: int, n: int, n_channels: int = 1) -> npt.NDArray[np.int32]:
    """Return samples that no other place of any recording holds in the same order; shape (n, n_channels), int32."""
    k = np.arange(first, first + n, dtype=np.int64)[:, None]
    seed = sum(map(ord, recording)) + np.arange(n_channels)[None, :] * 7
    return np.asarray(300 * np.sin(k / 9) + (k * 7919 + seed * 104729) % 61 + seed % 50, np.int32)


def piece(
    recording: str, number: int, start_s: float, *, session: str = "s1", place: int | None = None,
    channels: tuple[Channel, ...] = LEAD,
) -> Chunk:  # fmt: skip
    """Return piece ``number`` of a session that began at ``start_s``.

    Parameters
    ----------
    recording : str
    number : int
    start_s : float
        When the session's sample 0 was, seconds after :data:`START_NS`.
    session : str
    place : int, optional
        Place of session sample 0 in the recording; default 0.
    channels : tuple of Channel
    """
    first = number * PIECE
    at_ns = START_NS + round((start_s + first / float(RATE)) * 1e9)
    x = signal(recording, (place or 0) + first, PIECE, len(channels))
    arrival = at_ns + round(PIECE / float(RATE) * 1e9)
    return Chunk(recording, "4hz", session, first, x, RATE, channels, at_ns, arrival)


def event(number: int, at_s: float) -> Event:
    """Return an alarm of bed 1."""
    return Event("bed1", "s1", number, START_NS + round(at_s * 1e9), "alarm", f"VT {number}", 10**9)


def script() -> list[Step]:
    """Return the steps of a life."""
    s, events = _Script(), [event(i, 4000 + 200 * i) for i in range(6)]
    for i in range(2):
        s.add(piece(EXPIRES, i, 0.0), wait_s=90)
        s.add(piece(DELETED, i, 0.0))
    s.at_s = 3900.0
    for i in (0, 1, 2, 4, 5):  # piece 3 comes late
        s.add(piece("bed1", i, 3900.0), wait_s=90)
        if i < 4:
            s.add(events[i])
            s.add(piece("bed2", i, 3900.0, channels=PAIR))
        if i == 2:
            s.add(piece("bed1", 1, 3900.0), poison=None)
            s.add(action=COMPACT)
            s.add(poison=b"no message at all")
    s.add(action=DELETE)
    s.add(piece("bed1", 3, 3900.0))
    s.add(action=RESTART)
    for i in (6, 7):
        s.add(piece("bed1", i, 3900.0), events[i - 3], wait_s=90)
    for i in range(3):  # bed 1's publisher starts again, at zero; a packet of bed 2 is lost for good
        s.add(piece("bed1", i, 3900.0 + 8 * 90, session="s2", place=8 * PIECE), wait_s=90)
        s.add(piece("bed2", 4 + i, 3900.0, channels=PAIR))
        s.add(action=COMPACT if i == 1 else "", poison=None if i == 1 else b"\x00\x01")
    s.at_s = 10_500.0  # two hours later: what was fed first is past its time
    gap = round((10_500 - 3900) * RATE)
    for i in range(4):
        s.add(piece("bed1", i, 10_500.0, session="s3", place=gap), wait_s=90)
    s.add(events[5])
    return s.steps


def place_of(chunk: Chunk) -> int:
    """Return where a chunk belongs in its recording, by its device's clock."""
    start_s = {EXPIRES: 0.0, DELETED: 0.0}.get(chunk.recording, 3900.0)
    assert chunk.device_ns is not None
    return round((chunk.device_ns - START_NS - round(start_s * 1e9)) * RATE / 10**9)


def expected(steps: Sequence[Step]) -> tuple[dict[str, npt.NDArray[np.int32]], list[Event]]:
    """Return what must be there at the end of a life.

    Returns
    -------
    samples : dict of str to ndarray, shape (n_samples, n_channels), int32
        By recording; holes hold :data:`MISSING`.
    events : list of Event
    """
    out: dict[str, npt.NDArray[np.int32]] = {}
    items = [item for step in steps for item in step.items]
    for chunk in (i for i in items if isinstance(i, Chunk)):
        stop = place_of(chunk) + chunk.n_samples
        held = out.setdefault(chunk.recording, np.empty((0, len(chunk.channels)), np.int32))
        if len(held) < stop:
            more = np.full((stop - len(held), held.shape[1]), MISSING, np.int32)
            held = out[chunk.recording] = np.concatenate([held, more])
        held[place_of(chunk) : stop] = chunk.samples
    return out, [i for i in items if isinstance(i, Event)]
