"""Wall-clock times as nanoseconds since 1970, as far as 64 bits reach."""

from __future__ import annotations

import datetime

from sanstream.errors import UnsupportedError

EPOCH = datetime.datetime(1970, 1, 1)
"""Zero of all starts, in whatever time zone the source has."""

_LAST_NS = 2**63 - 1 - 366 * 86400 * 10**9


def representable(ns: int) -> int | None:
    """Return a start, or None beyond the years 1678 to 2261.

    Times on the stream's axis are 64-bit nanoseconds. Databases that hide dates by moving them
    centuries ahead go beyond that: their start counts as absent, and the header's text keeps it. A
    year is left for the recording itself.
    """
    return ns if -_LAST_NS <= ns <= _LAST_NS else None


def moment_of(seconds: int) -> datetime.datetime:
    """Return the wall clock at so many seconds since 1970.

    Raises
    ------
    UnsupportedError
        Beyond the years 1 to 9999.
    """
    try:
        return EPOCH + datetime.timedelta(seconds=seconds)
    except OverflowError:
        raise UnsupportedError(
            "the recording's start lies outside the years 1 to 9999, which the format cannot write",
            hint="restore it as npy",
        ) from None
