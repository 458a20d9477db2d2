"""Feed ``mqtt://`` against a real Mosquitto: nothing lost, nothing acknowledged too early."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import Broker, free_port, mqtt_broker, wait_for
from feed_cases import Running, assert_whole, recording
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, make_feed
from sanstream.publish import PublishOptions, publish

SOURCE = recording()
N_MESSAGES = 20 + 20


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with mqtt_broker(tmp_path / "mqtt") as running:
        yield running


@pytest.fixture(autouse=True)
def short_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanstream.feeds.mqtt._LAST_ACKS_S", 0.3)


def url(broker: Broker) -> str:
    return f"mqtt://127.0.0.1:{broker.port}"


def fill(broker: Broker, streams: int = 1) -> None:
    done = publish(SOURCE, PublishOptions(url(broker)), speed=0, streams=streams)
    assert done.n_messages == N_MESSAGES * streams


def subscribed(broker: Broker) -> None:
    """Make the feed's session, which the broker keeps from then on."""
    with Running(url(broker)) as feed:
        feed.wait_connected()


def raw(broker: Broker, *messages: bytes) -> None:
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    for message in messages:
        client.publish("sanstream/x", message, qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def test_every_message_comes_once(broker: Broker) -> None:
    with Running(url(broker)) as feed:
        feed.wait_connected()
        fill(broker, streams=3)
        feed.wait(3 * N_MESSAGES)
    assert_whole(feed.deliveries, SOURCE, 3)
    assert set(Counter(feed.keys).values()) == {1}


def test_an_absent_daemon_gets_everything_later(broker: Broker) -> None:
    """5 000 messages and more, of which Mosquitto's defaults would keep 1 000."""
    subscribed(broker)
    fill(broker, streams=50)
    with Running(url(broker)) as feed:
        feed.wait(50 * N_MESSAGES)
    assert_whole(feed.deliveries, SOURCE, 50)


def test_what_is_acknowledged_never_comes_again_and_the_rest_does(broker: Broker, tmp_path: Path) -> None:
    subscribed(broker)
    fill(broker)
    with Running(url(broker), acknowledge=False, state_dir=tmp_path) as feed:
        for delivery in feed.wait(N_MESSAGES)[:10]:
            delivery.acknowledge()
    with Running(url(broker), state_dir=tmp_path) as again:
        again.wait(N_MESSAGES - 10)
    # MQTT keeps the order within a topic only
    assert sorted(again.keys) == sorted(feed.keys[10:])


def test_acknowledgements_go_out_in_the_order_of_arrival(broker: Broker) -> None:
    """MQTT-4.6.0-2; what is acknowledged out of turn waits for those before it."""
    subscribed(broker)
    fill(broker)
    with Running(url(broker), acknowledge=False) as feed:
        for delivery in feed.wait(N_MESSAGES)[1:]:
            delivery.acknowledge()
    with Running(url(broker), acknowledge=False) as again:
        again.wait(N_MESSAGES)[0].acknowledge()
        for delivery in reversed(again.deliveries[1:]):
            delivery.acknowledge()
    with Running(url(broker)) as third:
        third.wait_connected()
        time.sleep(0.3)
    assert third.deliveries == []


def test_acknowledgements_after_the_stop_are_sent(broker: Broker) -> None:
    subscribed(broker)
    fill(broker)
    with Running(url(broker), acknowledge=False) as feed:
        deliveries = feed.wait(N_MESSAGES)
        feed._stop.set()
        for delivery in deliveries:
            delivery.acknowledge()
    with Running(url(broker)) as again:
        again.wait_connected()
        time.sleep(0.3)
    assert again.deliveries == []


def test_a_broker_that_restarts_in_mid_stream_loses_nothing(broker: Broker) -> None:
    with Running(url(broker), acknowledge=False) as feed:
        feed.wait_connected()
        fill(broker)
        held = list(feed.wait(N_MESSAGES))
        broker.restart()
        wait_for(lambda: feed.feed.state.n_connects == 2)
        feed.wait(2 * N_MESSAGES)  # unacknowledged: once more
        for delivery in held:  # handles of the lost connection do nothing, whatever their numbers mean now
            delivery.acknowledge()
        for delivery in feed.deliveries[N_MESSAGES:]:
            delivery.acknowledge()
        feed.acknowledge = True
        fill(broker)
        feed.wait(3 * N_MESSAGES)
    counts = Counter(feed.keys)
    assert sorted(counts.values()) == [1] * N_MESSAGES + [2] * N_MESSAGES
    assert "session_lost" not in feed.feed.state.n_warnings


def test_a_connection_that_is_cut_is_made_again(broker: Broker) -> None:
    """Through a relay whose connections are closed under way."""
    with Relay(broker.port) as relay, Running(f"mqtt://127.0.0.1:{relay.port}") as feed:
        feed.wait_connected()
        fill(broker)
        feed.wait(5)
        relay.cut()
        wait_for(lambda: feed.feed.state.n_connects == 2)
        fill(broker)
        wait_for(lambda: len(set(feed.keys)) == 2 * N_MESSAGES)


def test_a_slow_daemon_is_waited_for(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the queue's limit the feed lets the broker queue, and loses nothing."""
    monkeypatch.setattr("sanstream.feeds.mqtt.MAX_QUEUED_BYTES", 5000)
    with Running(url(broker), allow=3) as feed:
        feed.wait_connected()
        fill(broker, streams=2)
        feed.wait(3)
        wait_for(lambda: feed.feed._pressed)
        assert feed.feed._queued_bytes < 5000 + 2000
        feed.allow = None
        wait_for(lambda: len(set(feed.keys)) == 2 * N_MESSAGES)
    assert_whole(feed.deliveries, SOURCE, 2)


def test_the_connection_outlives_a_blocked_daemon(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanstream.feeds.mqtt.KEEP_ALIVE_S", 1)
    with Running(url(broker), allow=3) as feed:
        feed.wait_connected()
        fill(broker)
        feed.wait(3)
        time.sleep(2.5)  # the broker disconnects whom it does not hear for 1.5 s
        assert feed.feed.state.connected
        assert feed.feed.state.n_connects == 1
        feed.allow = None
        feed.wait(N_MESSAGES)
    assert set(Counter(feed.keys).values()) == {1}


def test_a_run_that_failed_goes_on_where_it_was(broker: Broker) -> None:
    subscribed(broker)
    fill(broker)
    feed = Running(url(broker))
    feed.fail_at = 7
    with feed:
        wait_for(lambda: len(set(feed.keys)) == N_MESSAGES)
    assert feed.failures == 1


def test_poison_is_delivered_and_acknowledged(broker: Broker) -> None:
    subscribed(broker)
    raw(broker, b"hello", b"", b"{}")
    with Running(url(broker)) as feed:
        feed.wait(3)
    assert feed.poison == [b"hello", b"", b"{}"]
    with Running(url(broker)) as again:
        again.wait_connected()
        time.sleep(0.3)
    assert again.deliveries == []


def test_other_topics_are_not_taken(broker: Broker) -> None:
    with Running(url(broker), streams="sanstream/icu-b/#") as feed:
        feed.wait_connected()
        for name in ("icu-a", "icu-b"):
            publish(SOURCE, PublishOptions(url(broker)), speed=0, name=name)
        feed.wait(N_MESSAGES)
    assert {k[0] for k in feed.keys} == {"icu-b"}


def test_json_messages_are_read_as_well(broker: Broker) -> None:
    with Running(f"{url(broker)}/ward") as feed:
        feed.wait_connected()
        publish(SOURCE, PublishOptions(f"{url(broker)}/ward", as_json=True), speed=0)
        feed.wait(N_MESSAGES)
    assert_whole(feed.deliveries, SOURCE)


def test_check_says_what_the_broker_allows_and_leaves_the_session_alone(broker: Broker) -> None:
    subscribed(broker)
    lines = make_feed(FeedOptions("ward", url(broker))).check()
    assert "8454144" in lines[0]
    assert "65535 messages unacknowledged" in lines[1]
    fill(broker)
    with Running(url(broker)) as feed:
        feed.wait(N_MESSAGES)


def test_a_wrong_password_is_one_clear_error_and_tried_again(tmp_path: Path) -> None:
    with mqtt_broker(tmp_path / "mqtt", password="right") as broker:
        with pytest.raises(InputError, match="Not authorized") as caught:
            make_feed(FeedOptions("ward", url(broker), user="sanstream", password="wrong-one")).check()
        assert "wrong-one" not in str(caught.value)
        with Running(url(broker), user="sanstream", password="wrong-one") as feed:
            wait_for(lambda: "Not authorized" in feed.feed.state.error)
            assert not feed.feed.state.connected
        with Running(url(broker), user="sanstream", password="right") as feed:
            feed.wait_connected()


def test_a_broker_that_comes_later_is_found(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="connection refused"):
        make_feed(FeedOptions("ward", f"mqtt://127.0.0.1:{free_port()}")).check()
    with mqtt_broker(tmp_path / "mqtt") as broker:
        broker.stop()
        with Running(url(broker)) as feed:
            wait_for(lambda: "no connection" in feed.feed.state.error)
            broker.start()
            feed.wait_connected()


class Relay:
    """A TCP relay to a port, whose connections can be cut."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Relay:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def cut(self) -> None:
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _start(self, target: Any, *args: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=args, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self._open += [near, far]
            self._start(self._copy, near, far)
            self._start(self._copy, far, near)

    def _copy(self, a: socket.socket, b: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
        with contextlib.suppress(OSError):
            b.shutdown(socket.SHUT_RDWR)
        a.close()


def test_two_feeds_of_one_client_id_say_so_and_leave_the_session_to_each_other(
    broker: Broker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sanstream.feeds.mqtt.TAKEN_PAUSE_S", (2, 2))
    with Running(url(broker)) as first:
        first.wait_connected()
        with Running(url(broker)) as second:
            for feed in (first.feed, second.feed):
                wait_for(lambda state=feed.state: "set client_id" in state.error)
                assert feed.state.n_warnings["session_taken"] >= 1
            told = [r for r in caplog.records if "set client_id" in r.getMessage()]
            assert {(r.levelname, r.feed) for r in told} == {("WARNING", "ward")}  # type: ignore[attr-defined]
            # one of them is connected, and says still why it may lose the session
            wait_for(lambda: any(f.feed.state.connected and f.feed.state.error for f in (first, second)))
        wait_for(lambda: first.feed.state.connected and not first.feed.state.error)
        fill(broker)
        first.wait(N_MESSAGES)


def test_each_eviction_makes_the_pause_longer() -> None:
    pauses = []

    class Told:
        def reconnect_delay_set(self, least: int, most: int) -> None:
            pauses.append((least, most))

    feed: Any = make_feed(FeedOptions("ward", "mqtt://127.0.0.1:1"))
    taken = ReasonCode(PacketTypes.DISCONNECT, identifier=0x8E)
    for _ in range(5):
        feed._on_disconnect(Told(), None, None, taken, None)
    assert pauses == [(10, 60), (20, 60), (40, 60), (60, 60), (60, 60)]
    assert feed.state.error.startswith("another client connects with the same client id; set client_id")
