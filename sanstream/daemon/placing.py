"""Where a chunk stands on its stream's grid: by its session's numbers, its device's clock, what is there."""

from __future__ import annotations

from sanstream.chunk import Chunk
from sanstream.daemon.sessions import CLOCK_STEP, Piece, Session, ns_of, read_clock, samples_of, start_of
from sanstream.daemon.streams import StreamState

MAX_SESSIONS = 1000
"""Of a stream; the oldest is forgotten, and what it sends again would be taken for new."""
_FAR_S = 86_400
_SHARED_PAST_S = 60
"""A session that a new recording joins within its first minute counts from the session's own start."""
_SLACK_S = 10
"""Else messages that come in another order may be so much older than the first."""


class Misplaced(Exception):
    """A chunk has no place on the grid; the message says why."""


def origin_of(chunk: Chunk) -> int:
    """Return the start of a new recording whose first chunk this is, nanoseconds since 1970."""
    past = chunk.first_sample if chunk.first_sample <= _SHARED_PAST_S * chunk.rate else int(_SLACK_S * chunk.rate)
    return start_of(chunk) - ns_of(past, chunk.rate)


def locate(stream: StreamState, chunk: Chunk, tolerance_ns: int) -> tuple[Session, Piece, bool]:
    """Find the place of a chunk whose samples its session has not brought before.

    Parameters
    ----------
    stream : StreamState
    chunk : Chunk
    tolerance_ns : int
        Larger steps of a device's clock begin a segment.

    Returns
    -------
    session : Session
        Known to the stream from now on.
    piece : Piece
        ``piece.base + chunk.first_sample`` is the place.
    is_anchor : bool
        The chunk's device time should be kept.

    Raises
    ------
    Misplaced
        When the place is impossibly far ahead.
    """
    first, n = chunk.first_sample, chunk.n_samples
    session = stream.sessions.get(chunk.session)
    known = session is not None
    if session is None:
        by_time = samples_of(start_of(chunk) - stream.recording.start_ns, stream.rate)
        session = Session(chunk.session, [Piece(first, by_time - first)])
        piece = session.pieces[0]
    else:
        piece = session.piece_at(first)
    reading = read_clock(session, chunk, tolerance_ns)
    place = piece.base + first
    if reading.step_ns is not None:
        shift = max(0, samples_of(reading.step_ns, stream.rate))
        piece = Piece(first, piece.base + shift, CLOCK_STEP)
    elif known and place > stream.end and place - stream.end > _FAR_S * stream.rate and not reading.is_anchor:
        raise Misplaced(f"its numbers jump {float((place - stream.end) / stream.rate):.0f} s ahead of its stream")
    place = piece.base + first
    if place < 0 or _is_future(stream, place, chunk) or (place < stream.end and not stream.is_free(place, place + n)):
        # before the recording began, long after now, or where others' samples stand: its clock is wrong, or was
        far = (stream.end - place) * 10**9 > tolerance_ns * stream.rate
        piece = Piece(first, stream.end - first, CLOCK_STEP if far or known else "")
    if piece is not session.piece_at(first):
        if known:
            session.add_piece(piece)
        else:
            session.pieces = [piece]
    if not known:
        stream.sessions[chunk.session] = session
        if len(stream.sessions) > MAX_SESSIONS:
            del stream.sessions[next(iter(stream.sessions))]
    if reading.is_anchor and chunk.device_ns is not None:
        session.anchor = (first, chunk.device_ns)
    return session, piece, reading.is_anchor


def _is_future(stream: StreamState, place: int, chunk: Chunk) -> bool:
    """Tell whether a place is more than a day ahead of our clock, and the stream itself is not."""
    limit = chunk.arrival_ns + _FAR_S * 10**9
    return place > stream.end and stream.time_ns(place) > limit >= stream.time_ns(stream.end)
