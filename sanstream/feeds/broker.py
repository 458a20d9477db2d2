"""What feeds and publishers of brokers share: addresses, TLS, pauses that grow, acknowledging in order."""

from __future__ import annotations

import ssl
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from sanstream.errors import InputError


@dataclass(frozen=True)
class Address:
    """Where a broker listens and who asks.

    Parameters
    ----------
    hosts : tuple of (str, int)
        Host and port; more than one for clusters.
    path : str
        What the URL says after the host, without its first slash: a prefix of topics or subjects.
    tls : bool
    user, password : str
        Empty when there are none.
    """

    hosts: tuple[tuple[str, int], ...]
    path: str
    tls: bool
    user: str = ""
    password: str = field(default="", repr=False)


def broker_address(url: str, port: int, *, user: str = "", password: str = "") -> Address:
    """Read a broker's URL: ``nats://host:4222/prefix``, several hosts with commas, TLS by an ``s`` more.

    Parameters
    ----------
    url : str
    port : int
        The transport's own, where the URL names none.
    user, password : str
        From the configuration; they stand above what the URL holds.

    Raises
    ------
    InputError
        When it names no host or an impossible port.
    """
    scheme, _, rest = url.partition("://")
    place, _, path = rest.partition("?")[0].partition("/")
    login, _, hosts = place.rpartition("@")
    found = []
    for host in hosts.split(","):
        name, colon, number = host.rpartition(":")
        if not colon or name.startswith("[") != name.endswith("]"):
            name, number = host, str(port)
        if not name or not number.isdecimal() or not 0 < int(number) < 65536:
            raise InputError(
                "broker URL without host, or with an impossible port", hint=f"write {scheme}://host:{port}"
            )
        found.append((name.strip("[]"), int(number)))
    from_url, _, secret = login.partition(":")
    tls = scheme in ("natss", "mqtts", "kafkas")
    return Address(tuple(found), unquote(path.strip("/")), tls, user or unquote(from_url), password or unquote(secret))


def tls_context(address: Address, ca: str) -> ssl.SSLContext | None:
    """Return what checks the broker's certificate, or None for a plain connection.

    Parameters
    ----------
    address : Address
    ca : str
        File of certificates to trust; empty for the system's.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    if not address.tls:
        return None
    try:
        return ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"certificates of ca = {ca!r} cannot be read: {error}", hint="name a PEM file") from None


def pauses(first: float = 0.2, most: float = 30.0) -> Iterator[float]:
    """Give the seconds to wait before each next attempt: doubled every time, up to ``most``."""
    pause = first
    while True:
        yield pause
        pause = min(2 * pause, most)


def reason_of(error: BaseException | str) -> str:
    """Say in one short line why a connection failed, without addresses: only the kind of error and its errno."""
    if isinstance(error, str):
        return " ".join(error.split())[:160]
    if isinstance(error, InputError):
        return error.message
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'certificate not accepted'}"
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {error.strerror or 'connection failed'}"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}".rstrip(": ")


class InOrder:
    """Turns acknowledgements in any order into the longest beginning that is wholly acknowledged.

    One of these per connection, partition or whatever counts its messages; every method is thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: deque[list[Any]] = deque()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, token: Any) -> list[Any]:
        """Note a message, in the order of arrival; what is returned is given to :meth:`done`."""
        entry = [token, False]
        with self._lock:
            self._open.append(entry)
        return entry

    def done(self, entry: list[Any]) -> list[Any]:
        """Mark a message; return the tokens that may be acknowledged now, in order of arrival."""
        with self._lock:
            entry[1] = True
            free = []
            while self._open and self._open[0][1]:
                free.append(self._open.popleft()[0])
            return free
