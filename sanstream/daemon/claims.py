"""What daemons that archive the same recordings agree on through the archive: starts, rates, and where sessions lie.

Nothing is journalled at a place that the archive does not name (FORMAT.md 12.9): so whoever goes on with a session puts
its samples where the first daemon would have, and what comes to both of them lies at one place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

from sanstream.archive_grow import GrowingArchive
from sanstream.archive_places import PlacedPiece, Places, StreamPlaces
from sanstream.daemon.coverage import Coverage
from sanstream.daemon.opening import StoreDown
from sanstream.daemon.sessions import Piece, Session
from sanstream.daemon.streams import StreamState
from sanstream.durable import DiskFull, SyncError
from sanstream.errors import SanstreamError

_Change = Callable[[Places | None], Places | None]


class Claims:
    """Asks the archive, and writes there; every method raises DiskFull while that cannot be done.

    Parameters
    ----------
    archive : GrowingArchive
    """

    def __init__(self, archive: GrowingArchive) -> None:
        self._archive = archive

    def open(self, recording: str, start_ns: int, stream: str, rate: Fraction) -> tuple[int, bool]:
        """Claim a recording's start, and a stream's name for a rate.

        Parameters
        ----------
        recording : str
        start_ns : int
            What it would be, nanoseconds since 1970.
        stream : str
        rate : Fraction

        Returns
        -------
        start_ns : int
            What it is.
        mine : bool
            Whether the stream of that name has this rate.
        """

        def change(held: Places | None) -> Places | None:
            places = held or Places(recording, start_ns)
            if stream in places.streams:
                return None
            return places.with_stream(stream, StreamPlaces(rate))

        now = self._agree(recording, change)
        return now.start_ns, now.streams[stream].rate == rate

    def start(self, recording: str, start_ns: int) -> int:
        """Claim the start of a recording of which only events came; returns what it is."""
        return self._agree(recording, lambda held: held or Places(recording, start_ns)).start_ns

    def adopt(self, stream: StreamState) -> None:
        """Take up where other daemons put a stream's sessions, and let them know of those that only we have."""

        def change(held: Places | None) -> Places | None:
            places = held or Places(stream.recording.name, stream.recording.start_ns)
            theirs = places.streams.get(stream.name) or StreamPlaces(stream.rate)
            missing = {n: _placed(s.pieces) for n, s in stream.sessions.items() if n not in theirs.sessions}
            if not missing and stream.name in places.streams:
                return None
            return places.with_stream(stream.name, StreamPlaces(theirs.rate, {**missing, **theirs.sessions}))

        now = self._agree(stream.recording.name, change)
        for name, pieces in now.streams[stream.name].sessions.items():
            _take_up(stream, name, pieces)

    def look(self, stream: StreamState) -> None:
        """See which places others have sealed segments at."""
        with _waited_for():
            manifest = self._archive.manifest(stream.recording.name, fresh=True)
        for entry in () if manifest is None else manifest.streams:
            if entry.name == stream.name:
                stream.foreign = Coverage((e.start_sample, e.stop_sample) for e in entry.segments)
                stream.end = max(stream.end, stream.foreign.end)

    def settle(self, stream: StreamState, session: Session, piece: Piece) -> bool:
        """Claim a place for what comes of a session from ``piece.first`` on.

        Returns
        -------
        bool
            False when another daemon has placed some of the session meanwhile: that is taken up, and counts.
        """
        own = _placed(session.pieces) if session.name in stream.sessions else ()
        mine = False

        def change(held: Places | None) -> Places | None:
            nonlocal mine
            places = held or Places(stream.recording.name, stream.recording.start_ns)
            theirs = places.streams.get(stream.name) or StreamPlaces(stream.rate)
            known = theirs.sessions.get(session.name, ())
            mine = set(known) <= {*own}
            if not mine:
                return None
            pieces = tuple(sorted([*own, *_placed([piece])], key=lambda p: p[0]))
            return places.with_stream(stream.name, StreamPlaces(theirs.rate, {**theirs.sessions, session.name: pieces}))

        now = self._agree(stream.recording.name, change)
        if not mine:
            _take_up(stream, session.name, now.streams[stream.name].sessions[session.name])
        return mine

    def _agree(self, recording: str, change: _Change) -> Places:
        with _waited_for():
            now = self._archive.agree(recording, change)
        if now is None:
            raise AssertionError("a change that leaves nothing is no claim")
        return now


@contextmanager
def _waited_for() -> Iterator[None]:
    """Let what the archive cannot do now hold up the feed, as a full disk does."""
    try:
        yield
    except (DiskFull, SyncError):
        raise
    except SanstreamError as error:
        raise StoreDown(error) from error


def _placed(pieces: list[Piece]) -> tuple[PlacedPiece, ...]:
    return tuple((p.first, p.base, p.flag) for p in pieces)


def _take_up(stream: StreamState, name: str, pieces: tuple[PlacedPiece, ...]) -> None:
    session = stream.sessions.get(name)
    if session is None:
        session = stream.sessions[name] = Session(name, [])
    session.pieces = [Piece(*p) for p in pieces]
    # its clock may have run on for days, and drifted: the next reading is a first one
    session.anchor, session.fresh = None, True
