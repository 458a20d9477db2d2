"""``sanstream view``: the page on an address of this machine, for whoever has the token."""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from sanstream.config import HttpSettings, secret
from sanstream.config_listen import check_http, only_metrics, split_address
from sanstream.errors import InputError
from sanstream.http_guard import Rules, guarded
from sanstream.http_server import bind, uvicorn_config
from sanstream.view.app import make_viewer
from sanstream.view.library import Library

LISTEN = "127.0.0.1:0"


@dataclass(frozen=True)
class ViewSettings:
    """Where the page is served.

    Parameters
    ----------
    listen : str
        Address; port 0 takes a free one. Beyond this machine ``token_env`` and a certificate are needed.
    token_env : str
        Variable that holds the token; empty draws one.
    tls_cert, tls_key : Path or None
    hosts : tuple of str
        Further names that browsers may ask for.
    """

    listen: str = LISTEN
    token_env: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    hosts: tuple[str, ...] = field(default_factory=tuple)


def serve(
    library: Library, settings: ViewSettings, *, state_dir: Path | None = None, ready: Callable[[str], None] = print
) -> None:
    """Serve the page until the process is told to end.

    Parameters
    ----------
    library : Library
    settings : ViewSettings
    state_dir : Path or None
        State folder of the daemon that writes the archive.
    ready : callable
        Takes the whole address, token included, once requests are answered.

    Raises
    ------
    InputError
        When the address cannot be had, or may not be served like this.
    KeyboardInterrupt
        When interrupted.
    """
    http = HttpSettings(
        listen=settings.listen, token_env=settings.token_env, tls_cert=settings.tls_cert, tls_key=settings.tls_key,
        hosts=settings.hosts,
    )  # fmt: skip
    if only_metrics(http):
        raise InputError(
            f"{http.listen} is reached from other machines", hint="give --token-env, --tls-cert and --tls-key, too"
        )
    check_http(http, "view")
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # a browser's idle connections are no news
    token = secret(http.token_env, "--token-env") if http.token_env else secrets.token_urlsafe(24)
    host, _ = split_address(http.listen)
    rules = Rules(frozenset(h.lower().rstrip(".") for h in (host, *http.hosts)), token, pages="/")
    with contextlib.closing(bind(http.listen)) as taken:
        server = _Server(uvicorn_config(guarded(make_viewer(library, state_dir=state_dir, prepared=True), rules), http))
        port = taken.getsockname()[1]
        named = f"[{host}]" if ":" in host else host
        scheme = "https" if http.tls_cert else "http"
        server.when_ready = lambda: ready(f"{scheme}://{named}:{port}/?token={token}")
        server.run(sockets=[taken])


class _Server(uvicorn.Server):
    """Tells when requests are answered."""

    when_ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell."""
        await super().startup(sockets)
        if self.started:
            self.when_ready()
