"""What the log says while the daemon runs: feeds that come and go, their warnings, a disk that fills and empties."""

from __future__ import annotations

import logging

from sanstream.daemon.engine import Engine
from sanstream.daemon.report import waits_for

_LOG = logging.getLogger("sanstream.daemon")


class Teller:
    """Writes a line when something has changed since the last look."""

    def __init__(self) -> None:
        self._up: dict[str, bool] = {}
        self._warned: dict[tuple[str, str], int] = {}
        self._full = False

    def look(self, engine: Engine) -> None:
        """Compare the engine with what it was."""
        for name, link in engine.feeds.items():
            up = link.state.connected or link.inbox.ended
            if up != self._up.get(name, True):
                if up:
                    _LOG.info("feed connected", extra={"feed": name})
                else:
                    _LOG.warning("feed not connected; sanstream status says why", extra={"feed": name})
            self._up[name] = up
            for word, n in list(link.state.n_warnings.items()):
                if n > self._warned.get((name, word), 0):
                    self._warned[name, word] = n
                    _LOG.warning("feed warns", extra={"feed": name, "cause": word, "count": n})
        if engine.disk_full:
            _LOG.warning("%s: nothing is acknowledged until that has passed", waits_for(engine))
        elif self._full:
            _LOG.info("messages are acknowledged again")
        self._full = engine.disk_full
