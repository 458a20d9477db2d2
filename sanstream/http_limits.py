"""What connections may take: so many at a time, and each step of a request so long."""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from weakref import WeakSet

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 64
HEAD_S, ANSWER_S = 10.0, 30.0
"""Seconds for a whole head, also the next one on an idle connection, and for an answer to be taken."""


class Listening(socket.socket):
    """A listening socket that closes at once what comes beyond :data:`MAX_CONNECTIONS`.

    uvicorn's own limit answers requests, and leaves connections without one open.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._accepted: WeakSet[socket.socket] = WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Raises
        ------
        ConnectionAbortedError
            When there were too many; asyncio then goes on.
        """
        made, address = super().accept()
        if sum(s.fileno() >= 0 for s in self._accepted) >= MAX_CONNECTIONS:
            made.close()
            raise ConnectionAbortedError
        self._accepted.add(made)
        return made, address


class PatientProtocol(H11Protocol):
    """HTTP that ends a connection which lets it wait."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._wait(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Wait for the answer to be taken, once a head is whole."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._wait(ANSWER_S)

    def on_response_complete(self) -> None:
        """Wait for the next head."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._wait(HEAD_S)

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
