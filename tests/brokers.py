"""Real brokers for tests: mosquitto, nats-server and the Kafka mock cluster, on free ports, killed at will."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
DEADLINE_S = 20.0


def program(name: str) -> str:
    """Return the path of a server; skip the test where it is missing, but fail in CI."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_for(ready: Callable[[], Any], what: str = "", seconds: float = DEADLINE_S) -> Any:
    """Poll until something is true, and return it; fail after a deadline."""
    until = time.monotonic() + seconds
    while True:
        found = ready()
        if found:
            return found
        if time.monotonic() > until:
            pytest.fail(f"waited {seconds:g} s in vain for {what or ready}")
        time.sleep(0.02)


class Broker:
    """A server process on a port of its own with its data in a folder; stopped, killed and started again at will."""

    def __init__(self, folder: Path, command: Callable[[Broker], list[str]]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self._process is None
        command = self._command(self)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        wait_for(self._answers, f"{command[0]}; see {self.folder / 'log'}")

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def restart(self, *, kill: bool = False) -> None:
        self._end(signal.SIGKILL if kill else signal.SIGTERM)
        self.start()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(DEADLINE_S)
            self._process = None


@contextlib.contextmanager
def nats_broker(folder: Path, *, password: str = "", max_payload: str = "", partitions: int = 0) -> Iterator[Broker]:
    """nats-server with JetStream and the settings of ``deploy/``; user ``sanstream`` when there is a password.

    With ``partitions``, the mapping of deploy/ is in force, for so many.
    """
    binary = program("nats-server")

    def command(broker: Broker) -> list[str]:
        text = (DEPLOY / "nats-server.conf").read_text().replace("/var/lib/nats", str(broker.folder / "data"))
        text = text.replace("100GB", "1GB")
        if max_payload:
            text = text.replace("max_payload: 8MB", f"max_payload: {max_payload}")
        if partitions:
            found = re.search(r"^# (mappings = .*)$", text, re.M)
            assert found
            text += "\n" + found[1].replace("partition(16,", f"partition({partitions},") + "\n"
        if password:
            text += f'\nauthorization {{ user: sanstream, password: "{password}" }}\n'
        config = broker.folder / "nats.conf"
        config.write_text(text)
        return [binary, "-c", str(config), "-a", "127.0.0.1", "-p", str(broker.port)]

    with _running(Broker(folder, command)) as broker:
        yield broker


@contextlib.contextmanager
def mqtt_broker(folder: Path, *, password: str = "") -> Iterator[Broker]:
    """Mosquitto with the settings of ``deploy/``; user ``sanstream`` when there is a password."""
    binary = program("mosquitto")

    def command(broker: Broker) -> list[str]:
        text = (DEPLOY / "mosquitto.conf").read_text()
        text = text.replace("listener 1883", f"listener {broker.port}")
        text = text.replace("/var/lib/mosquitto/", f"{broker.folder}/")
        if os.geteuid() == 0:
            text += "\nuser root\n"
        if password:
            passwords = broker.folder / "passwd"
            passwords.touch(0o600)
            subprocess.run(
                [program("mosquitto_passwd"), "-b", str(passwords), "sanstream", password],
                check=True, capture_output=True,
            )  # fmt: skip
            text = text.replace("/etc/mosquitto/passwd", str(passwords))
        else:
            text = re.sub(r"password_file.*", "", text).replace("allow_anonymous false", "allow_anonymous true")
        config = broker.folder / "mosquitto.conf"
        config.write_text(text)
        return [binary, "-c", str(config)]

    with _running(Broker(folder, command)) as broker:
        yield broker


@contextlib.contextmanager
def _running(broker: Broker) -> Iterator[Broker]:
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


_MOCK = """
import sys
from confluent_kafka import Producer
brokers = []
p = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": ""})
for b in p.list_topics(timeout=10).brokers.values():
    brokers.append(f"{b.host}:{b.port}")
print(",".join(brokers), flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def kafka_broker() -> Iterator[str]:
    """Kafka's mock cluster in a process of its own; gives ``host:port``. Small volumes only, and no restart."""
    pytest.importorskip("confluent_kafka")
    process = subprocess.Popen(
        [sys.executable, "-c", _MOCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        assert address
        yield address
    finally:
        process.kill()
        process.communicate()
