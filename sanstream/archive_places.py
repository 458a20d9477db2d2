"""Where sessions lie on the grids of a recording's streams: what daemons that share it agree on (FORMAT.md 12.9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from sanstream.archive_sealed import FORMAT_VERSION, open_json, seal_json
from sanstream.errors import CorruptError

PLACES = "places.json"
MAX_SESSIONS = 1000
"""Of a stream; the oldest are left out."""

PlacedPiece = tuple[int, int, str]
"""From this session sample on, the place of session sample 0 on the stream's grid, and the flag of a segment that
begins there, or nothing."""


@dataclass(frozen=True)
class StreamPlaces:
    """Where the sessions of one stream lie.

    Parameters
    ----------
    rate : Fraction
        Samples per second.
    sessions : mapping of str to tuple of PlacedPiece
        Oldest first; the pieces of each by their first sample.
    """

    rate: Fraction
    sessions: Mapping[str, tuple[PlacedPiece, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Places:
    """Where the sessions of one recording lie.

    Parameters
    ----------
    name : str
        The recording.
    start_ns : int
        Time of place 0 of all its streams, nanoseconds since 1970 (UTC).
    streams : mapping of str to StreamPlaces
    """

    name: str
    start_ns: int
    streams: Mapping[str, StreamPlaces] = field(default_factory=dict)

    def with_stream(self, name: str, stream: StreamPlaces) -> Places:
        """Return these with a stream in place of its former self."""
        kept = dict(list(stream.sessions.items())[-MAX_SESSIONS:])
        return Places(self.name, self.start_ns, {**self.streams, name: StreamPlaces(stream.rate, kept)})

    def to_bytes(self) -> bytes:
        """Return the object: sealed JSON."""
        streams = [
            {
                "name": name,
                "rate": str(stream.rate),
                "sessions": [
                    {"session": session, "pieces": [list(p) if p[2] else [p[0], p[1]] for p in pieces]}
                    for session, pieces in stream.sessions.items()
                ],
            }
            for name, stream in self.streams.items()
        ]
        return seal_json(
            {"format_version": FORMAT_VERSION, "name": self.name, "start_ns": self.start_ns, "streams": streams}
        )

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Places:
        """Read :meth:`to_bytes` output.

        Raises
        ------
        CorruptError
            When a byte has changed.
        UnsupportedError
            When a newer sanstream wrote it.
        """
        values = open_json(data, where)
        try:
            streams = {
                str(s["name"]): StreamPlaces(
                    Fraction(s["rate"]), {str(one["session"]): _pieces(one["pieces"]) for one in s["sessions"]}
                )
                for s in values["streams"]
            }
            return cls(str(values["name"]), int(values["start_ns"]), streams)
        except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
            raise CorruptError(f"{where}: no places of sessions ({error!r})") from error


def _pieces(values: Any) -> tuple[PlacedPiece, ...]:
    out = tuple((int(p[0]), int(p[1]), str(p[2]) if len(p) > 2 else "") for p in values)
    if not out or list(out) != sorted(out, key=lambda p: p[0]):
        raise ValueError(f"pieces {values!r}")
    return out
