"""The pages: what they say, who may ask, and where they may be served."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fake_engine import FakeEngine
from servers import program

from sanstream import http_limits
from sanstream.config import ArchiveSettings, HttpSettings, Settings
from sanstream.daemon.http import Server
from sanstream.daemon.state_files import is_running, read_json, save_json
from sanstream.errors import InputError
from sanstream.http_guard import host_of
from sanstream.telemetry import Telemetry


@dataclass
class Answer:
    code: int
    text: str
    headers: dict[str, str]

    def json(self) -> Any:
        return json.loads(self.text)


Start = Callable[..., Server]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def start(tmp_path: Path, engine: FakeEngine) -> Iterator[Start]:
    made = []

    def call(**http: Any) -> Server:
        settings = Settings(
            ArchiveSettings(str(tmp_path / "live"), tmp_path), http=HttpSettings(**{"listen": "127.0.0.1:0", **http})
        )
        made.append(Server(settings, engine, Telemetry()))
        return made[-1]

    yield call
    for server in made:
        server.stop()


def ask(server: Server, path: str, *, method: str = "GET", host: str | None = "", token: str = "") -> Answer:
    parts = urlsplit(server.url)
    assert parts.hostname
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)) as line:
        line.putrequest(method, path, skip_host=host is None or bool(host))
        if host:
            line.putheader("Host", host)
        if token:
            line.putheader("Authorization", token)
        line.endheaders()
        answer = line.getresponse()
        return Answer(answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.getheaders()})


PAGES = ("/metrics", "/healthz", "/readyz", "/streams", "/")


def test_every_page_answers(start: Start) -> None:
    server = start()
    assert [ask(server, page).code for page in PAGES] == [200] * len(PAGES)
    assert ask(server, "/metrics").headers["content-type"].startswith("text/plain; version=")
    assert "sanstream_streams 0.0" in ask(server, "/metrics").text
    assert ask(server, "/streams").json() == {"streams": [], "phi": None}
    assert "/streams" in ask(server, "/").text
    assert ask(server, "/nothing").code == 404
    assert ask(server, "/metrics", method="HEAD").text == ""


def test_health_fails_only_when_the_loop_is_stuck_and_readiness_with_its_causes(
    start: Start, engine: FakeEngine
) -> None:
    server = start()
    engine.why = ["disk full", "feed icu-a is not connected"]
    assert ask(server, "/healthz").code == 200
    ready = ask(server, "/readyz")
    assert (ready.code, ready.json()) == (503, {"ready": False, "causes": engine.why})
    engine.why, engine.hangs = [], True
    assert ask(server, "/healthz").code == 503
    assert (ask(server, "/readyz").code, ask(server, "/readyz").json()) == (200, {"ready": True, "causes": []})


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("localhost", 200),
        ("LOCALHOST:9464", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:9464", 200),
        ("ward7.example.", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("192.0.2.7", 421),
        ("local host", 421),
        ("localhost:x", 400),
        ("[::1", 400),
        (None, 400),
    ],
)
def test_only_requests_for_our_own_names_are_answered(start: Start, host: str | None, code: int) -> None:
    assert ask(start(hosts=("Ward7.example",)), "/streams", host=host).code == code


def test_the_host_is_found_in_the_header() -> None:
    assert [host_of(h) for h in ("A.b:1", "[::1]:9", "[::1]", "a.", "a:b", "[::1]x9")] == [
        "a.b",
        "::1",
        "::1",
        "a",
        "",
        "",
    ]


def connect(server: Server, text: bytes) -> socket.socket:
    parts = urlsplit(server.url)
    assert parts.hostname
    assert parts.port
    made = socket.create_connection((parts.hostname, parts.port), timeout=10)
    made.sendall(text)
    return made


def is_open(line: socket.socket) -> bool:
    line.setblocking(False)
    try:
        return line.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_half_open_connections_are_few_and_end(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_limits, "HEAD_S", 1.5)
    server = start()
    lines = [connect(server, b"GET / HTTP/1.1\r\nHost: l") for _ in range(100)]
    time.sleep(0.5)
    assert sum(map(is_open, lines)) == http_limits.MAX_CONNECTIONS
    time.sleep(1.5)
    assert not any(map(is_open, lines))
    assert ask(server, "/healthz").code == 200
    for line in lines:
        line.close()


@pytest.mark.parametrize("more", [b"", b"GET / HT"])
def test_an_idle_connection_ends(start: Start, monkeypatch: pytest.MonkeyPatch, more: bytes) -> None:
    monkeypatch.setattr(http_limits, "HEAD_S", 0.5)
    with closing(connect(start(), b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")) as line:
        answer = b""
        while not answer.endswith(b"ok\n"):
            answer += line.recv(4096)
        line.sendall(more)
        assert is_open(line)
        time.sleep(1)
        assert not is_open(line)


def test_only_reading_is_allowed(start: Start) -> None:
    server = start()
    assert [ask(server, "/streams", method=m).code for m in ("POST", "DELETE", "OPTIONS")] == [405] * 3


def test_the_token_guards_every_page(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    server = start(token_env="TOKEN")
    for page in PAGES:
        assert ask(server, page).code == 401
        assert ask(server, page, token="Bearer s3cre").code == 401
        assert ask(server, page, token="Bearer s3cret\xe9").code == 401
        assert ask(server, page, token="Basic s3cret").code == 401
        assert ask(server, page, token="Bearer s3cret").code == 200
    assert ask(server, "/metrics").headers["www-authenticate"] == "Bearer"


def test_the_viewer_is_served_where_a_token_is_asked(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert ask(start(), "/view/").code == 404
    monkeypatch.setenv("TOKEN", "s3cret")
    server = start(token_env="TOKEN")
    assert ask(server, "/view/").code == 401
    allowed = ask(server, "/view/?token=s3cret")
    assert (allowed.code, allowed.headers["location"]) == (303, "/view/")
    assert "Path=/view/" in allowed.headers["set-cookie"]
    assert ask(server, "/view/app.js", token="Bearer s3cret").code == 200
    nothing = ask(server, "/view/api/recordings", token="Bearer s3cret")
    assert (nothing.code, "no such folder" in nothing.text) == (400, True)


def test_metrics_and_health_may_be_opened(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    server = start(token_env="TOKEN", open_metrics=True)
    assert [ask(server, page).code for page in PAGES] == [200, 200, 200, 401, 401]


def test_beyond_loopback_without_token_and_tls_only_what_was_opened_is_served(start: Start) -> None:
    with pytest.raises(InputError, match="token or TLS"):
        start(listen="0.0.0.0:0")
    server = start(listen="0.0.0.0:0", open_metrics=True)
    assert [ask(server, page).code for page in PAGES] == [200, 200, 200, 403, 403]


def test_a_token_that_is_not_there_is_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN", raising=False)
    with pytest.raises(InputError, match="TOKEN is not set"):
        start(token_env="TOKEN")


def test_the_real_address_stands_in_a_private_file_while_it_is_served(start: Start, tmp_path: Path) -> None:
    server = start(token_env="")
    file = tmp_path / "http.json"
    found = read_json(file)
    assert found is not None
    assert found["url"] == server.url
    assert urlsplit(server.url).port != 0
    assert (found["pid"], stat.S_IMODE(file.stat().st_mode)) == (os.getpid(), 0o600)
    server.stop()
    server.stop()
    assert not file.exists()
    assert "http" not in {t.name for t in threading.enumerate()}


def test_an_address_that_is_taken_says_what_to_do(start: Start) -> None:
    taken = urlsplit(start().url).netloc
    with pytest.raises(InputError, match="another daemon"):
        start(listen=taken)


def test_listening_nowhere_is_possible(start: Start, tmp_path: Path) -> None:
    assert start(listen="").url == ""
    assert not (tmp_path / "http.json").exists()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ward7.example"
    subprocess.run(
        [program("openssl"), *command.split(), "-keyout", key, "-out", cert], check=True, capture_output=True
    )
    return cert, key


def test_tls_with_a_token_may_listen_anywhere(
    start: Start, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    server = start(listen="0.0.0.0:0", token_env="TOKEN", tls_cert=certificate[0], tls_key=certificate[1])
    parts = urlsplit(server.url)
    assert parts.scheme == "https"
    context = ssl.create_default_context(cafile=str(certificate[0]))
    context.check_hostname = False
    with closing(http.client.HTTPSConnection("127.0.0.1", parts.port, timeout=10, context=context)) as line:
        line.request("GET", "/streams", headers={"Authorization": "Bearer s3cret"})
        assert line.getresponse().status == 200


def test_a_certificate_that_cannot_be_used_is_refused(start: Start, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="certificate"):
        start(tls_cert=tmp_path / "no.pem", tls_key=tmp_path / "no.key")


@pytest.mark.parametrize(
    "raw",
    [
        b"\0\xff\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET " + b"/" * 100_000,
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
)
def test_malformed_requests_neither_pass_nor_stop_it(start: Start, raw: bytes) -> None:
    import socket

    server = start()
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=10) as line:
        line.sendall(raw)
        assert not line.recv(200).startswith(b"HTTP/1.1 200")
    assert ask(server, "/healthz").code == 200


def test_small_files_are_replaced_whole_and_what_is_broken_reads_as_nothing(tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    save_json(file, {"a": float("inf")})
    save_json(file, {"a": [1.5, float("nan")]})
    assert read_json(file) == {"a": [1.5, None]}
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]
    for broken in (b"", b"[1]", b"{", b"\xff", b"[" * 100_000):
        file.write_bytes(broken)
        assert read_json(file) is None


@pytest.mark.parametrize("pid", [0, -1, True, "1", None, 2**40])
def test_what_is_no_process_number_is_not_running(pid: object) -> None:
    assert not is_running(pid)
    assert is_running(os.getpid())
