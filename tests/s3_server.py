"""An S3 server process (moto), and a proxy before it that answers 500, answers late, and tears uploads."""

from __future__ import annotations

import http.client
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

BUCKET = "ward"
_OWN = ("connection", "transfer-encoding", "date", "server")
_SCOPE = "test/20260101/us-east-1/s3/aws4_request"


@contextmanager
def s3_server() -> Iterator[str]:
    """Run a server with an empty bucket :data:`BUCKET`; gives its address."""
    if not _has_moto():
        if os.environ.get("CI"):
            pytest.fail("moto is not installed: pip install 'sanstream[test]'")
        pytest.skip("needs moto: pip install 'sanstream[test]'")
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60
        while not _made_bucket(port):
            assert process.poll() is None, "the S3 server ended"
            assert time.monotonic() < until, "the S3 server does not answer"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def use_s3(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Let this process and its children talk to a server."""
    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)


def environment(endpoint: str) -> dict[str, str]:
    """Return the variables that name a server."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


class Proxy:
    """Counts requests to a server, and spoils some.

    Parameters
    ----------
    endpoint : str
    """

    def __init__(self, endpoint: str) -> None:
        self.requests: list[tuple[str, str]] = []
        self.spoil: dict[str, float] = {}
        self.spoiled: list[str] = []
        self.refuse = False
        self.random = random.Random(1)
        self._there = endpoint.removeprefix("http://")
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                proxy.answer(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: Any) -> None:
        """Pass a request on, unless it is spoiled."""
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        with self._lock:
            self.requests.append((request.command, request.path))
            draw, kind = self.random.random(), ""
            for name, share in self.spoil.items():
                if draw < share:
                    kind = name
                    break
                draw -= share
            if kind:
                self.spoiled.append(kind)
        if self.refuse:
            self._reply(request, 403, {}, b"<Error><Code>AccessDenied</Code></Error>")
            return
        if kind == "500":
            self._reply(request, 500, {}, b"<Error><Code>InternalError</Code></Error>")
            return
        if kind == "torn" and request.command in ("PUT", "POST"):
            self._forward(request, body[: len(body) // 2], cut=True)
            request.close_connection = True
            with suppress(OSError):
                request.connection.shutdown(socket.SHUT_RDWR)
            return
        if kind == "slow":
            time.sleep(0.3)
        status, headers, data = self._forward(request, body)
        if kind == "lost":  # done, but nobody hears of it
            request.close_connection = True
            with suppress(OSError):
                request.connection.shutdown(socket.SHUT_RDWR)
            return
        self._reply(request, status, headers, data)

    def _forward(self, request: Any, body: bytes, *, cut: bool = False) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self._there, timeout=30)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("connection", "content-length")}
        if request.command in ("PUT", "POST"):
            headers["Content-Length"] = request.headers.get("Content-Length") or "0"
        connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        if cut:
            connection.close()
            return 0, {}, b""
        answer = connection.getresponse()
        data = answer.read()
        found = {
            k: v
            for k, v in answer.getheaders()
            if k.lower() not in ("connection", "transfer-encoding", "date", "server")
        }
        connection.close()
        return answer.status, found, data

    def _reply(self, request: Any, status: int, headers: dict[str, str], data: bytes) -> None:
        with suppress(OSError):
            request.send_response(status)
            own = {k.lower() for k in headers}
            for name, value in headers.items():
                request.send_header(name, value)
            if "content-length" not in own:
                request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            if request.command != "HEAD":
                request.wfile.write(data)


def _made_bucket(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request(
            "PUT",
            f"/{BUCKET}",
            headers={"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"},
        )
        status = connection.getresponse().status
        connection.close()
    except OSError:
        return False
    return status == 200


def _has_moto() -> bool:
    from importlib.util import find_spec

    return find_spec("moto") is not None and find_spec("flask") is not None


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])
