"""An S3 server on this machine (moto), and a count of what it is asked."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BUCKET = "scale"
_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def s3() -> Iterator[Counter[str]]:
    """Run a server with an empty bucket :data:`BUCKET`, named in the environment; gives its requests by method."""
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    requests: Counter[str] = Counter()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(port, requests))
    server.daemon_threads = True
    before = {name: os.environ.get(name) for name in (*_VARIABLES, "AWS_ENDPOINT_URL")}
    try:
        _make_bucket(port, process)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        os.environ.update(_VARIABLES, AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.server_address[1]}")
        yield requests
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        server.shutdown()
        server.server_close()
        process.kill()
        process.wait()


def _handler(port: int, requests: Counter[str]) -> type[BaseHTTPRequestHandler]:
    """Make the handler that counts a request and passes it on, over one connection a thread."""
    lock, local = threading.Lock(), threading.local()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                requests[self.command] += 1
            held = getattr(local, "connection", None)
            connection = local.connection = held or http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "content-length")}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            self.send_response(answer.status)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "date", "server", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler


def _make_bucket(port: int, process: subprocess.Popen[bytes]) -> None:
    credential = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("PUT", f"/{BUCKET}", headers={"Authorization": credential})
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise SystemExit("the S3 server does not answer: pip install 'sanstream[test]' brings moto")


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])
