"""``natss://`` and ``mqtts://``: encrypted, and only to a broker whose certificate is trusted."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from brokers import Broker, mqtt_broker, nats_broker, program, wait_for
from feed_cases import Running, assert_whole, recording

from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, make_feed
from sanstream.publish import PublishOptions, publish

SOURCE = recording(seconds=6)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate of 127.0.0.1 that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def encrypted(broker: Broker, name: str, text: str) -> None:
    """Start a broker again with more settings."""
    broker.stop()
    command = broker._command

    def changed(b: Broker) -> list[str]:
        line = command(b)
        config = b.folder / name
        config.write_text(config.read_text() + text)
        return line

    broker._command = changed
    broker.start()


# paho leaves the socket of a failed handshake to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_mqtt_over_tls(tmp_path: Path, certificate: Path) -> None:
    with mqtt_broker(tmp_path / "b") as broker:
        encrypted(broker, "mosquitto.conf", f"\ncertfile {certificate}/cert.pem\nkeyfile {certificate}/key.pem\n")
        check(f"mqtts://127.0.0.1:{broker.port}", str(certificate / "cert.pem"))


def test_nats_over_tls(tmp_path: Path, certificate: Path) -> None:
    with nats_broker(tmp_path / "b") as broker:
        tls = f'\ntls {{ cert_file: "{certificate}/cert.pem", key_file: "{certificate}/key.pem" }}\n'
        encrypted(broker, "nats.conf", tls)
        check(f"natss://127.0.0.1:{broker.port}", str(certificate / "cert.pem"))


def check(url: str, ca: str) -> None:
    with pytest.raises(InputError, match="TLS failed"):
        make_feed(FeedOptions("ward", url)).check()
    with pytest.raises(InputError, match="PEM"):
        make_feed(FeedOptions("ward", url, options={"ca": "no-such-file"})).check()
    with Running(url) as distrustful:
        wait_for(lambda: distrustful.feed.state.error)
    assert distrustful.feed.state.n_connects == 0
    with Running(url, ca=ca, **({"create": True} if url.startswith("nats") else {})) as feed:
        feed.wait_connected()
        assert publish(SOURCE, PublishOptions(url, ca=ca), speed=0).n_messages == 12
        feed.wait(12)
    assert_whole(feed.deliveries, SOURCE)
