"""Asking a web application without a server: one request, one answer, cookies kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True)
class Answer:
    status_code: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


class Client:
    """Asks an application as a browser at http://127.0.0.1:80 would; follows no redirect."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.cookies: dict[str, str] = {}

    def get(
        self, path: str, params: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return self.request("GET", path, params, headers)

    def request(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        path, _, query = path.partition("?")
        sent = {"host": "127.0.0.1", **{k.lower(): v for k, v in (headers or {}).items()}}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": path.encode(), "root_path": "", "client": ("127.0.0.1", 9),
            "server": ("127.0.0.1", 80),
            "query_string": (urlencode(params) if params else query).encode(),
            "headers": [(k.encode(), v.encode()) for k, v in sent.items()],
        }  # fmt: skip
        told: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            told.append(message)

        asyncio.run(self._app(scope, receive, send))
        got = {k.decode().lower(): v.decode() for k, v in told[0]["headers"]}
        if "set-cookie" in got:
            name, _, value = got["set-cookie"].partition(";")[0].partition("=")
            self.cookies[name] = value
        return Answer(told[0]["status"], got, b"".join(m.get("body", b"") for m in told[1:]))
