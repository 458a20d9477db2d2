"""What systemd is told: that the daemon is ready, what it does, and that it still moves."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping

JOURNAL, COMMIT = "journal", "commit"


class Notifier:
    """Sends ``sd_notify`` messages; does nothing where nobody listens.

    Parameters
    ----------
    environ : mapping of str to str
        ``NOTIFY_SOCKET``, ``WATCHDOG_USEC``, ``WATCHDOG_PID``.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        micro = environ.get("WATCHDOG_USEC", "")
        self.watchdog_ns = int(micro) * 1000 if self._address and mine and micro.isdigit() else 0

    def ready(self) -> None:
        """Say that samples are being stored."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Say in one line what goes on; no name of a stream stands in it."""
        self._send("STATUS=" + " ".join(text.split()))

    def stopping(self) -> None:
        """Say that the daemon drains."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if self._address[:1] not in ("/", "@"):
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as made:
                made.settimeout(1)
                made.sendto(message.encode(), address)
        except OSError:
            # whoever started us has gone; samples matter more
            pass


class Watchdog:
    """Fed only when both the journal and the commit loop have advanced, or had nothing to do.

    Parameters
    ----------
    feed : callable
        ``Notifier.alive``.
    interval_ns : int
        How often systemd wants to hear, nanoseconds; 0 when it does not.
    clock : callable
        Monotonic nanoseconds.
    limit_ns : int
        After so long without progress the daemon calls itself stuck.
    """

    def __init__(
        self,
        feed: Callable[[], None],
        interval_ns: int,
        clock: Callable[[], int] = time.monotonic_ns,
        *,
        limit_ns: int = 60 * 10**9,
    ) -> None:
        self._feed, self._interval_ns, self._clock, self._limit_ns = feed, interval_ns, clock, limit_ns
        now = clock()
        self._at = dict.fromkeys((JOURNAL, COMMIT), -1)
        self._moved = dict.fromkeys(self._at, now)
        self._since: set[str] = set()
        self._fed = now

    def note(self, loop: str, position: int, *, pending: bool) -> None:
        """Say how far a loop is.

        Parameters
        ----------
        loop : str
            :data:`JOURNAL` or :data:`COMMIT`.
        position : int
            Anything that grows with its work: records synced, blocks committed.
        pending : bool
            Whether it has work that is due. A loop with nothing to do counts as moving; so must one that waits on
            purpose (for a full disk to become free), as a restart would not help it.
        """
        if position != self._at[loop] or not pending:
            self._at[loop] = position
            self._moved[loop] = self._clock()
            self._since.add(loop)

    def poll(self) -> bool:
        """Feed systemd's watchdog when it is time and both loops moved since; tell whether it was fed.

        Call it after every turn; an interval is divided by three, as a turn may take a while.
        """
        now = self._clock()
        due = self._interval_ns > 0 and now - self._fed >= self._interval_ns // 3
        if not due or len(self._since) < len(self._at):
            return False
        self._fed = now
        self._since.clear()
        self._feed()
        return True

    def stuck(self) -> bool:
        """Tell whether a loop has not moved for the limit; safe from another thread."""
        return self._clock() - min(self._moved.values()) > self._limit_ns
