"""What the log says while the daemon runs: feeds that come and go, their warnings, a disk that fills and empties."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

from sanstream.daemon.engine import Engine
from sanstream.daemon.report import refused_by_archive, waits_for

_LOG = logging.getLogger("sanstream.daemon")


PATIENCE_S = 10
"""A feed that is not connected is told of after so long; at every start, connecting takes a while."""
_EVERY_S = 61.0
"""Between two lines about a feed's refused messages; a line less than 60 s after its like would be held back."""


class Teller:
    """Writes a line when something has changed since the last look.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused: dict[str, tuple[float, Counter[str]]] = {}
        self._down_ns: dict[str, int] = {}
        self._told: set[str] = set()
        self._warned: dict[tuple[str, str], int] = {}
        self._full = self._refusing = False

    def look(self, engine: Engine) -> None:
        """Compare the engine with what it was."""
        for name, link in engine.feeds.items():
            if link.state.connected or link.inbox.ended:
                if self._down_ns.pop(name, None) is not None:
                    _LOG.info("feed connected", extra={"feed": name})
                self._told.discard(name)
            elif name not in self._told:
                now = engine.clock()
                if abs(now - self._down_ns.setdefault(name, now)) >= PATIENCE_S * 10**9:
                    _LOG.warning("feed not connected; sanstream status says why", extra={"feed": name})
                    self._told.add(name)
            for word, n in list(link.state.n_warnings.items()):
                if n > self._warned.get((name, word), 0):
                    self._warned[name, word] = n
                    _LOG.warning("feed warns", extra={"feed": name, "cause": word, "count": n})
            self._look_at_refused(name, engine.counts.refused[name])
        if engine.disk_full:
            cause = waits_for(engine)
            _LOG.warning("%s: nothing is acknowledged until that has passed", cause)
        elif self._full:
            _LOG.info("messages are acknowledged again")
        self._full = engine.disk_full
        refusing = bool(engine.sealer.refused)
        if refusing and not self._refusing:
            cause = refused_by_archive(engine)
            _LOG.warning("%s; they wait in the state folder and are tried again", cause)
        elif self._refusing and not refusing:
            _LOG.info("the archive takes all recordings again")
        self._refusing = refusing

    def _look_at_refused(self, feed: str, refused: Counter[str]) -> None:
        now = self._clock()
        since, before = self._refused.get(feed, (now - _EVERY_S, Counter[str]()))
        new = refused - before
        if new and now - since >= _EVERY_S:
            words = ", ".join(word for word, _ in new.most_common(3))
            _LOG.warning("messages refused and set aside", extra={"feed": feed, "cause": words, "count": new.total()})
            self._refused[feed] = (now, refused.copy())
