"""What full queues dropped: counted at once, and one gap for each recording once the journal takes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sanstream.chunk import Event
from sanstream.daemon.counts import Counts
from sanstream.daemon.inbox import Dropped, FeedLink
from sanstream.daemon.intake import Intake

_OWN = "sanstream"


class Losses:
    """Keeps what was dropped until it is recorded; lives in the engine's thread.

    Parameters
    ----------
    counts : Counts
    intake : Intake
    now_ns : int
        Makes the session of the daemon's own events unlike any before.
    """

    def __init__(self, counts: Counts, intake: Intake, now_ns: int) -> None:
        self._counts, self._intake = counts, intake
        self._lost: dict[tuple[str, str, str], Dropped] = {}
        self._session, self._n = f"{_OWN}-{now_ns}", 0

    def note(self, links: Iterable[FeedLink], cause: str) -> None:
        """Count what the queues dropped since the last call."""
        for link in links:
            for lost in link.inbox.dropped():
                link.n_dropped += lost.n_messages
                self._counts.child("dropped_messages", link.name).inc(lost.n_messages)
                key = (link.name, lost.recording, cause)
                before = self._lost.get(key)
                if before is None:
                    self._counts.child("gaps", link.name, cause).inc()
                else:
                    lost = replace(lost, n_messages=before.n_messages + lost.n_messages, first_ns=before.first_ns)
                self._lost[key] = lost

    def record(self) -> bool:
        """Write down what was noted as events; tells whether there was any."""
        moved = bool(self._lost)
        for (feed, recording, cause), lost in list(self._lost.items()):
            text = f"{lost.n_messages} messages dropped: {cause.replace('_', ' ')}"
            span = max(0, lost.last_ns - lost.first_ns)
            self._intake.accept_event(Event(recording, self._session, self._n, lost.first_ns, "gap", text, span), feed)
            self._n += 1
            del self._lost[feed, recording, cause]
        return moved
