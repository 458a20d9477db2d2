"""Brokers on free ports of this machine, with the settings of ``deploy/`` under which nothing is lost."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.paper.report import ROOT

_DEADLINE_S = 60.0
_MOCK = """
import sys
from confluent_kafka import Producer
cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": ""})
print(*(f"{b.host}:{b.port}" for b in cluster.list_topics(timeout=30).brokers.values()), flush=True)
sys.stdin.read()
"""


class Missing(Exception):
    """A server is not installed."""


@contextmanager
def nats(folder: Path, settings: str = "") -> Iterator[str]:
    """Run nats-server with JetStream, and with further settings; gives its address."""
    folder.mkdir(parents=True)
    port = free_port()
    config = folder / "nats.conf"
    config.write_text(settings, encoding="utf-8")
    listen = ["-a", "127.0.0.1", "-p", str(port)]
    command = [_program("nats-server"), "-c", str(config), "-js", "-sd", str(folder), *listen]
    with _running(command, port, folder):
        yield f"127.0.0.1:{port}"


@contextmanager
def mosquitto(folder: Path) -> Iterator[str]:
    """Run Mosquitto with the settings of ``deploy/``, passwords aside; gives its address."""
    folder.mkdir(parents=True)
    port = free_port()
    text = (ROOT / "deploy" / "mosquitto.conf").read_text("utf-8")
    text = text.replace("listener 1883", f"listener {port}").replace("/var/lib/mosquitto/", f"{folder}/")
    text = re.sub(r"password_file.*", "", text).replace("allow_anonymous false", "allow_anonymous true")
    config = folder / "mosquitto.conf"
    config.write_text(text + "\nuser root\n", encoding="utf-8")
    with _running([_program("mosquitto"), "-c", str(config)], port, folder):
        yield f"127.0.0.1:{port}"


@contextmanager
def kafka(folder: Path) -> Iterator[str]:
    """Run Kafka's mock cluster in a process of its own; gives its address."""
    folder.mkdir(parents=True)
    process = subprocess.Popen(
        [sys.executable, "-c", _MOCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        if not address:
            raise Missing("confluent-kafka, whose mock cluster is used")
        yield address
    finally:
        process.kill()
        process.communicate()


def private_lsl() -> None:
    """Give this process and its children an LSL of this machine's own; before its first use."""
    if "LSLAPICFG" in os.environ:
        return
    file = Path(tempfile.mkdtemp(prefix="sanstream-lsl-")) / "lsl_api.cfg"
    file.write_text(
        "[log]\nlevel = -3\n[multicast]\nResolveScope = machine\n"
        f"[lab]\nKnownPeers = {{127.0.0.1}}\nSessionID = faults-{uuid.uuid4().hex}\n",
        encoding="utf-8",
    )
    os.environ["LSLAPICFG"] = str(file)


def free_port() -> int:
    """Return a port that nobody listens at now."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Missing(f"{name}: apt-get install {name}")
    return found


@contextmanager
def _running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until = time.monotonic() + _DEADLINE_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]} does not answer: {(folder / 'log').read_text()[-500:]}")
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
