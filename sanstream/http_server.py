"""Listening: an address is taken, and an application served at it."""

from __future__ import annotations

import socket
from typing import Any

import uvicorn

from sanstream.config import HttpSettings
from sanstream.config_listen import split_address
from sanstream.errors import InputError
from sanstream.http_limits import MAX_CONNECTIONS, Listening, PatientProtocol


def bind(listen: str) -> socket.socket:
    """Take the address that is listened on.

    Raises
    ------
    InputError
        When it is taken, not this machine's, or not allowed.
    """
    host, port = split_address(listen)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = Listening(family, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
            made.listen(128)
        except OSError:
            made.close()
            raise
    except OSError as error:
        raise InputError(
            f"cannot listen on {listen}: {error.strerror or error}",
            hint="is another daemon running? choose another --listen or [http] listen, or port 0 for a free one",
        ) from None
    return made


def uvicorn_config(app: Any, http: HttpSettings) -> uvicorn.Config:
    """Return how an application is served: nothing is logged, and nobody is waited for without end.

    Raises
    ------
    InputError
        When the certificate cannot be used.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        loop="asyncio",
        http=PatientProtocol,
        ws="none",
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=16384,
        ssl_certfile=http.tls_cert,
        ssl_keyfile=http.tls_key,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:
        raise InputError(
            f"[http] certificate cannot be used: {error}", hint="give PEM files that belong together"
        ) from None
    return config
