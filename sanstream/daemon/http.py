"""Metrics, health and status over HTTP, served from a thread of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any, Protocol

import uvicorn
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from sanstream import __version__
from sanstream.config import HttpSettings, Settings, secret
from sanstream.config_listen import check_http, only_metrics, split_address
from sanstream.daemon.state_files import ADDRESS, finite, save_json
from sanstream.errors import InputError
from sanstream.http_guard import HEALTH, METRICS, READY, Rules, guarded
from sanstream.http_server import bind, uvicorn_config
from sanstream.telemetry import Telemetry

_START_S = 10.0
_PAGE = """sanstream {version}

/metrics   for Prometheus
/healthz   fails only when the daemon is stuck
/readyz    fails with causes while something keeps samples from being stored
/streams   every stream, as JSON; sanstream status shows it as a table
"""
_VIEW_LINE = "/view/     recordings, as a page: open it with ?token=TOKEN\n"
VIEW = "/view/"


class Engine(Protocol):
    """What is looked at. All three are called from other threads and must return at once, without a lock."""

    def status(self) -> Mapping[str, Any]:
        """Return the last snapshot."""

    def causes(self) -> list[str]:
        """Return why it is not ready; empty when it is."""

    def stuck(self) -> bool:
        """Tell whether the loop no longer turns."""


def make_app(engine: Engine, telemetry: Telemetry, viewer: Starlette | None = None) -> Starlette:
    """Build the pages; a viewer below :data:`VIEW`."""

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
        return PlainTextResponse(_PAGE.format(version=__version__) + (_VIEW_LINE if viewer is not None else ""))

    pages = {METRICS: metrics, HEALTH: healthz, READY: readyz, "/streams": streams, "/": page}
    routes: list[BaseRoute] = [Route(path, view) for path, view in pages.items()]
    return Starlette(routes=[*routes, *([Mount(VIEW.rstrip("/"), viewer)] if viewer is not None else [])])


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
            app = make_app(engine, telemetry, _viewer(settings) if rules.pages else None)
            config = uvicorn_config(guarded(app, rules), http)
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
    return Rules(hosts, token, http.open_metrics, alone, VIEW if token else "")


def _viewer(settings: Settings) -> Starlette:
    """Make the page that shows what is archived; it reads as another process would."""
    from sanstream.view.app import make_viewer
    from sanstream.view.library import Library

    return make_viewer(Library(settings.archive.url), state_dir=settings.archive.state_dir)
