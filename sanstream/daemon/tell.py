"""What the log says while the daemon runs: feeds that come and go, their warnings, a disk that fills and empties."""

from __future__ import annotations

import logging

from sanstream.daemon.engine import Engine

_LOG = logging.getLogger("sanstream.daemon")


PATIENCE_S = 10
"""A feed that is not connected is told of after so long; at every start, connecting takes a while."""


class Teller:
    """Writes a line when something has changed since the last look."""

    def __init__(self) -> None:
        self._down_ns: dict[str, int] = {}
        self._told: set[str] = set()
        self._warned: dict[tuple[str, str], int] = {}
        self._full = False

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
        if engine.disk_full:
            _LOG.warning("disk full: nothing is acknowledged until there is room")
        elif self._full:
            _LOG.info("the disk has room again")
        self._full = engine.disk_full
