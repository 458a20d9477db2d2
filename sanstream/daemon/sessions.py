"""Where a session's samples stand on the stream's grid, and what its clock says (design section 5)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Self

from sanstream.chunk import Chunk
from sanstream.daemon.coverage import Coverage

CLOCK_STEP = "clock_step"
ANCHOR_S = 60
"""Seconds between two anchors at most."""
_DIGESTS = 128


@dataclass(frozen=True)
class Piece:
    """A stretch of a session with one place on the grid.

    Parameters
    ----------
    first : int
        Session sample from which it holds.
    base : int
        Place of session sample 0 on the stream's grid.
    flag : str
        Why the stretch began, when a new segment should begin with it: ``"clock_step"``; else empty.
    """

    first: int
    base: int
    flag: str = ""


@dataclass
class Session:
    """One numbering of samples by a publisher, or by a feed per connection.

    Parameters
    ----------
    name : str
    pieces : list of Piece
        By ``first``.
    received : Coverage
        Session samples that were accepted.
    anchor : (int, int) or None
        Session sample and device clock, nanoseconds, of the last anchor.
    digests : dict
        Length and CRC32C of the latest chunks by first sample, to tell a repetition from a contradiction.
    fresh : bool
        Its place comes from another daemon, and nothing of it has come since: how far that one got is not known.
    """

    name: str
    pieces: list[Piece]
    received: Coverage = field(default_factory=Coverage)
    anchor: tuple[int, int] | None = None
    digests: dict[int, tuple[int, int]] = field(default_factory=dict)
    fresh: bool = False

    def piece_at(self, sample: int) -> Piece:
        """Return the piece that holds a session sample."""
        if sample >= self.pieces[-1].first:
            return self.pieces[-1]
        return self.pieces[max(0, bisect_right(self.pieces, sample, key=lambda p: p.first) - 1)]

    def add_piece(self, piece: Piece) -> None:
        """Let samples from ``piece.first`` on stand elsewhere, up to the next piece."""
        self.pieces.append(piece)
        self.pieces.sort(key=lambda p: p.first)

    def remember(self, first: int, n: int, crc: int) -> None:
        """Keep a chunk's digest, the latest :data:`_DIGESTS` of them."""
        if len(self.digests) >= _DIGESTS:
            del self.digests[next(iter(self.digests))]
        self.digests[first] = (n, crc)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; digests are not kept."""
        return {
            "session": self.name,
            "pieces": [[p.first, p.base, p.flag] for p in self.pieces],
            "received": self.received.to_list(),
            "anchor": self.anchor,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a session from :meth:`to_dict` output."""
        anchor = data.get("anchor")
        return cls(
            data["session"],
            [Piece(*p) for p in data["pieces"]],
            Coverage(data["received"]),
            None if anchor is None else (anchor[0], anchor[1]),
        )


def samples_of(ns: int, rate: Fraction) -> int:
    """Return how many samples pass in ``ns`` nanoseconds, to the nearest."""
    return _nearest(ns * rate.numerator, rate.denominator * 10**9)


def ns_of(n: int, rate: Fraction) -> int:
    """Return how many nanoseconds ``n`` samples take, to the nearest."""
    return _nearest(n * 10**9 * rate.denominator, rate.numerator)


def _nearest(over: int, under: int) -> int:
    """Return ``round(Fraction(over, under))``, without the fraction: this runs for every chunk."""
    whole, rest = divmod(over, under)
    return whole + (2 * rest > under or (2 * rest == under and whole % 2))


def start_of(chunk: Chunk) -> int:
    """Return when a chunk began, nanoseconds: by the device's clock, else by its arrival."""
    if chunk.device_ns is not None:
        return chunk.device_ns
    return chunk.arrival_ns - ns_of(chunk.n_samples, chunk.rate)


@dataclass(frozen=True)
class Reading:
    """What a chunk's device time says.

    Parameters
    ----------
    is_anchor : bool
        The time is worth keeping.
    step_ns : int or None
        How far the clock jumped against what the last anchor predicts; None when it did not.
    """

    is_anchor: bool
    step_ns: int | None = None


def read_clock(session: Session, chunk: Chunk, tolerance_ns: int) -> Reading:
    """Compare a chunk's device time with the session's last anchor.

    Up to half a sample apart nothing has happened; up to ``tolerance_ns`` the device's clock and its sample
    clock drift, which an anchor records; more than that, or a clock that runs backwards, is a step.

    Parameters
    ----------
    session : Session
    chunk : Chunk
    tolerance_ns : int

    Returns
    -------
    Reading
    """
    if chunk.device_ns is None:
        return Reading(False)
    if session.anchor is None or session.anchor[0] < session.piece_at(chunk.first_sample).first <= chunk.first_sample:
        return Reading(True)  # the first, or the first that is known since its clock was set
    sample, device_ns = session.anchor
    elapsed = chunk.first_sample - sample
    if elapsed <= 0:  # out of order: its time tells nothing new
        return Reading(False)
    error = chunk.device_ns - device_ns - ns_of(elapsed, chunk.rate)
    half = max(1, ns_of(1, chunk.rate) // 2)
    if abs(error) <= half:
        return Reading(elapsed * chunk.rate.denominator >= ANCHOR_S * chunk.rate.numerator)
    if abs(error) > tolerance_ns or chunk.device_ns < device_ns:
        return Reading(True, error)
    return Reading(True)
