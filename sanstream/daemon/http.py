"""Metrics, health and status over HTTP, served from a thread of its own."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from typing import Any, Protocol

import uvicorn
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sanstream import __version__
from sanstream.config import HttpSettings, Settings, secret
from sanstream.config_listen import check_http, only_metrics, split_address
from sanstream.daemon.http_guard import HEALTH, METRICS, READY, Rules, guarded
from sanstream.daemon.http_limits import MAX_CONNECTIONS, Listening, PatientProtocol
from sanstream.daemon.state_files import ADDRESS, finite, save_json
from sanstream.errors import InputError
from sanstream.telemetry import Telemetry

_START_S = 10.0
_PAGE = """sanstream {version}

/metrics   for Prometheus
/healthz   fails only when the daemon is stuck
/readyz    fails with causes while something keeps samples from being stored
/streams   every stream, as JSON; sanstream status shows it as a table
"""


class Engine(Protocol):
    """What is looked at. All three are called from other threads and must return at once, without a lock."""

    def status(self) -> Mapping[str, Any]:
        """Return the last snapshot."""

    def causes(self) -> list[str]:
        """Return why it is not ready; empty when it is."""

    def stuck(self) -> bool:
        """Tell whether the loop no longer turns."""


def make_app(engine: Engine, telemetry: Telemetry) -> Starlette:
    """Build the pages."""

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(telemetry.registry), media_type=content_type)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("stuck\n", 503) if engine.stuck() else PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        causes = [*engine.causes()]
        return JSONResponse({"ready": not causes, "causes": causes}, 503 if causes else 200)

    async def streams(_: Request) -> Response:
        return JSONResponse(finite(engine.status()))

    async def page(_: Request) -> Response:
        return PlainTextResponse(_PAGE.format(version=__version__))

    pages = {METRICS: metrics, HEALTH: healthz, READY: readyz, "/streams": streams, "/": page}
    return Starlette(routes=[Route(path, view) for path, view in pages.items()])


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
            hint="is another daemon running? choose another [http] listen, or port 0 for a free one",
        ) from None
    return made


class Server:
    """Serves the pages until it is stopped; the address stands in ``http.json`` of the state folder meanwhile.

    Parameters
    ----------
    settings : Settings
    engine : Engine
    telemetry : Telemetry

    Raises
    ------
    InputError
        When the address cannot be had, the token is not in the environment, or the certificate cannot be used.
    """

    def __init__(self, settings: Settings, engine: Engine, telemetry: Telemetry) -> None:
        http = settings.http
        self._file = settings.archive.state_dir / ADDRESS
        self._uvicorn: uvicorn.Server | None = None
        self.url = ""
        if not http.listen:
            return
        rules = _rules(http)
        self._socket = bind(http.listen)
        try:
            config = _uvicorn_config(guarded(make_app(engine, telemetry), rules), http)
            self._uvicorn = uvicorn.Server(config)
            self._thread = threading.Thread(target=self._run, name="http", daemon=True)
            self._thread.start()
            self._wait()
        except BaseException:
            self._socket.close()
            raise
        host, port = self._socket.getsockname()[:2]
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        self.url = f"http{'s' if http.tls_cert else ''}://{f'[{shown}]' if ':' in shown else shown}:{port}"
        found = {"url": self.url, "pid": os.getpid(), "token_env": http.token_env, "version": __version__}
        save_json(self._file, {**found, "tls_cert": str(http.tls_cert.resolve()) if http.tls_cert else ""})

    def _run(self) -> None:
        assert self._uvicorn is not None
        self._uvicorn.run(sockets=[self._socket])

    def _wait(self) -> None:
        """Wait until requests are answered."""
        assert self._uvicorn is not None
        pause = threading.Event()
        for _ in range(round(_START_S / 0.01)):
            if self._uvicorn.started or not self._thread.is_alive():
                break
            pause.wait(0.01)
        if not self._uvicorn.started:
            raise InputError("the HTTP server did not start", hint="choose another [http] listen")

    def stop(self) -> None:
        """Answer what is being asked, then stop; safe to call twice."""
        if self._uvicorn is None:
            return
        self._file.unlink(missing_ok=True)
        self._uvicorn.should_exit = True
        self._thread.join(_START_S)
        self._socket.close()
        self._uvicorn = None


def _rules(http: HttpSettings) -> Rules:
    # settings that were not read from a file have not been checked
    check_http(http, "[http]")
    host, _ = split_address(http.listen)
    alone = only_metrics(http)
    token = "" if alone else secret(http.token_env, "[http] token_env")
    hosts = frozenset(h.lower().rstrip(".") for h in (host, *http.hosts))
    return Rules(hosts, token, http.open_metrics, alone)


def _uvicorn_config(app: Any, http: HttpSettings) -> uvicorn.Config:
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
