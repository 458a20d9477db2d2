"""Where a chunk stands on its stream's grid: by its session's numbers, its device's clock, what is there."""

from __future__ import annotations

from dataclasses import dataclass

from sanstream.chunk import Chunk, check_rate
from sanstream.daemon.sessions import CLOCK_STEP, Piece, Session, ns_of, read_clock, samples_of, start_of
from sanstream.daemon.streams import StreamState, digest
from sanstream.errors import InputError

MAX_SESSIONS = 1000
"""Of a stream; the oldest is forgotten, and what it sends again would be taken for new."""
_FAR_S = 86_400
_SHARED_PAST_S = 86_400
"""A session that a new recording joins within its first day counts from the session's own start: a broker may
bring what a killed daemon had not acknowledged long after what follows it."""
_SLACK_S = 60
"""Else messages that come in another order may be so much older than the first."""
_YEARS_NS = -2_208_988_800 * 10**9, 7_258_118_400 * 10**9
"""1900 and 2200: what comes from further away comes from a wrong clock or rate."""


class Misplaced(Exception):
    """A chunk has no place on the grid; the message says why."""


def origin_of(chunk: Chunk) -> int:
    """Return the start of a new recording whose first chunk this is, nanoseconds since 1970."""
    past = chunk.first_sample if chunk.first_sample <= _SHARED_PAST_S * chunk.rate else int(_SLACK_S * chunk.rate)
    return start_of(chunk) - ns_of(past, chunk.rate)


def check_sane(chunk: Chunk) -> None:
    """Refuse a chunk whose rate or time nobody means.

    Raises
    ------
    Misplaced
    """
    try:
        check_rate(chunk.rate)
    except InputError as error:
        raise Misplaced(error.message) from None
    begin = start_of(chunk)
    _check_years(begin, begin + ns_of(chunk.n_samples, chunk.rate))
    _check_years(origin_of(chunk), begin)


def _check_years(begin_ns: int, end_ns: int) -> None:
    if not _YEARS_NS[0] <= begin_ns <= end_ns <= _YEARS_NS[1]:
        raise Misplaced("its time lies outside the years 1900 to 2199")


@dataclass(frozen=True)
class Located:
    """Where a chunk belongs.

    Parameters
    ----------
    session : Session
    piece : Piece
        ``piece.base + chunk.first_sample`` is the place.
    is_anchor : bool
        The chunk's device time should be kept.
    """

    session: Session
    piece: Piece
    is_anchor: bool


def locate(stream: StreamState, chunk: Chunk, tolerance_ns: int) -> Located:
    """Find the place of a chunk whose samples its session has not brought before.

    Parameters
    ----------
    stream : StreamState
    chunk : Chunk
    tolerance_ns : int
        Larger steps of a device's clock begin a segment.

    Returns
    -------
    Located
        Nothing has changed yet: the journal may have no room, and the same chunk comes again.

    Raises
    ------
    Misplaced
        When the place is impossibly far ahead, or in no year that anybody means.
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
    elif known and _jumps(stream, session, place) and not reading.is_anchor:
        raise Misplaced(f"its numbers jump {float((place - stream.end) / stream.rate):.0f} s ahead of its stream")
    place = piece.base + first
    # what other daemons sealed may be this session's, which comes again: only a new one has to stay off it
    taken = place < stream.end and not stream.is_free(place, place + n, foreign=not known)
    if place < 0 or _is_future(stream, place, chunk) or taken:
        # before the recording began, long after now, or where others' samples stand: its clock is wrong, or was
        far = (stream.end - place) * 10**9 > tolerance_ns * stream.rate
        piece = Piece(first, stream.end - first, CLOCK_STEP if far or known else "")
    place = piece.base + first
    _check_years(stream.time_ns(place), stream.time_ns(place + n))
    return Located(session, piece, reading.is_anchor)


def settle(stream: StreamState, chunk: Chunk, found: Located) -> None:
    """Let stream and session know of a chunk that is journalled."""
    session, piece = found.session, found.piece
    if session.name not in stream.sessions:
        session.pieces = [piece]
        stream.sessions[session.name] = session
        if len(stream.sessions) > MAX_SESSIONS:
            del stream.sessions[next(iter(stream.sessions))]
    elif piece is not session.piece_at(chunk.first_sample):
        session.add_piece(piece)
    if found.is_anchor and chunk.device_ns is not None:
        session.anchor = (chunk.first_sample, chunk.device_ns)
    session.fresh = False
    session.received.add(chunk.first_sample, chunk.first_sample + chunk.n_samples)
    session.remember(chunk.first_sample, chunk.n_samples, digest(chunk))
    stream.changed.add(session.name)


def _jumps(stream: StreamState, session: Session, place: int) -> bool:
    """Tell whether a place is more than a day ahead of all that is known of its stream."""
    return not session.fresh and place > stream.end and place - stream.end > _FAR_S * stream.rate


def _is_future(stream: StreamState, place: int, chunk: Chunk) -> bool:
    """Tell whether a place is more than a day ahead of our clock, and the stream itself is not."""
    limit = chunk.arrival_ns + _FAR_S * 10**9
    return place > stream.end and stream.time_ns(place) > limit >= stream.time_ns(stream.end)
