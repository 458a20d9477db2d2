"""Feed ``nats://`` against a real nats-server: nothing lost, nothing acknowledged too early."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from brokers import Broker, free_port, nats_broker, wait_for
from feed_cases import Running, assert_whole, recording

from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, make_feed
from sanstream.publish import PublishOptions, publish

SOURCE = recording()
N_MESSAGES = 20 + 20


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with nats_broker(tmp_path / "nats") as running:
        yield running


@pytest.fixture(autouse=True)
def short_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanstream.feeds.nats._LAST_ACKS_S", 0.3)


def url(broker: Broker) -> str:
    return f"nats://127.0.0.1:{broker.port}"


def fill(broker: Broker, streams: int = 1) -> None:
    done = publish(SOURCE, PublishOptions(url(broker), create=True), speed=0, streams=streams)
    assert done.n_messages == N_MESSAGES * streams


def raw(broker: Broker, *messages: bytes, stream: str = "sanstream") -> None:
    """Publish payloads as they are."""

    async def send() -> None:
        nc = await nats.connect(url(broker))
        js = nc.jetstream()
        await js.add_stream(name=stream, subjects=["sanstream.>"])
        for message in messages:
            await js.publish("sanstream.x", message)
        await nc.close()

    asyncio.run(send())


def consumer(broker: Broker) -> Any:
    """What the server says of the feed's consumer."""

    async def ask() -> Any:
        nc = await nats.connect(url(broker))
        info = await nc.jetstream().consumer_info("sanstream", "sanstream-ward")
        await nc.close()
        return info

    return asyncio.run(ask())


def test_every_message_comes_once(broker: Broker) -> None:
    fill(broker, streams=3)
    with Running(url(broker)) as feed:
        feed.wait(3 * N_MESSAGES)
    assert_whole(feed.deliveries, SOURCE, 3)
    assert set(Counter(feed.keys).values()) == {1}
    info = consumer(broker)
    assert (info.num_pending, info.num_ack_pending) == (0, 0)
    assert (info.config.max_ack_pending, info.config.ack_wait) == (65536, 30)


def test_what_is_acknowledged_never_comes_again_and_the_rest_does(broker: Broker, tmp_path: Path) -> None:
    fill(broker)
    with Running(url(broker), acknowledge=False, state_dir=tmp_path) as feed:
        for delivery in feed.wait(N_MESSAGES)[:10]:
            delivery.acknowledge()
        wait_for(lambda: consumer(broker).num_ack_pending == N_MESSAGES - 10)
    first = feed.keys
    with Running(url(broker), state_dir=tmp_path) as again:
        # at once, not after ack_wait, which is 30 s
        again.wait(N_MESSAGES - 10)
    assert sorted(again.keys) == sorted(first[10:])


def test_acknowledgements_after_the_stop_are_sent(broker: Broker) -> None:
    fill(broker)
    with Running(url(broker), acknowledge=False) as feed:
        deliveries = feed.wait(N_MESSAGES)
        feed._stop.set()
        for delivery in deliveries:
            delivery.acknowledge()
    assert consumer(broker).num_ack_pending == 0


@pytest.mark.parametrize("kill", [False, True])
def test_a_broker_that_restarts_in_mid_stream_loses_nothing(broker: Broker, kill: bool) -> None:
    fill(broker)
    with Running(url(broker), acknowledge=False) as feed:
        held = list(feed.wait(N_MESSAGES))
        broker.restart(kill=kill)
        wait_for(lambda: feed.feed.state.n_connects == 2)
        for delivery in held:
            delivery.acknowledge()
        feed.acknowledge = True
        fill(broker)
        feed.wait(2 * N_MESSAGES)
        # acknowledgements of messages that came over the lost connection arrive too
        wait_for(lambda: consumer(broker).num_ack_pending == 0)
    assert len({k[2] for k in feed.keys}) == 2
    # a server that is killed may have forgotten what it sent
    assert max(Counter(feed.keys).values()) <= (2 if kill else 1)


def test_a_slow_daemon_is_waited_for_without_a_second_delivery(broker: Broker) -> None:
    fill(broker)
    with Running(url(broker), acknowledge=False, allow=5, ack_wait_s=1.0) as feed:
        feed.wait(5)
        time.sleep(2.5)  # more than twice the time after which the server sends again
        assert len(feed.deliveries) == 5
        assert feed.feed.state.connected
        feed.allow = None
        for delivery in feed.wait(N_MESSAGES):
            delivery.acknowledge()
        wait_for(lambda: consumer(broker).num_ack_pending == 0)
        assert consumer(broker).num_redelivered == 0
    assert set(Counter(feed.keys).values()) == {1}


def test_no_more_is_outstanding_than_max_ack_pending(broker: Broker) -> None:
    fill(broker)
    with Running(url(broker), acknowledge=False, max_ack_pending=7) as feed:
        feed.wait(7)
        time.sleep(0.5)
        assert len(feed.deliveries) == 7
        feed.acknowledge = True
        for delivery in feed.deliveries[:7]:
            delivery.acknowledge()
        feed.wait(N_MESSAGES)


def test_a_run_that_failed_goes_on_where_it_was(broker: Broker) -> None:
    fill(broker)
    feed = Running(url(broker), ack_wait_s=1.0)
    feed.fail_at = 7
    with feed:
        wait_for(lambda: len(set(feed.keys)) == N_MESSAGES)
    assert feed.failures == 1


def test_poison_is_delivered_with_its_reason_and_blocks_nothing(broker: Broker) -> None:
    raw(broker, b"hello", b"", b"{}")
    fill(broker)
    with Running(url(broker)) as feed:
        feed.wait(N_MESSAGES + 3)
    assert feed.poison == [b"hello", b"", b"{}"]
    assert_whole(feed.deliveries, SOURCE)
    assert consumer(broker).num_ack_pending == 0


def test_other_subjects_are_not_taken(broker: Broker) -> None:
    for name in ("icu-a", "icu-b"):
        publish(SOURCE, PublishOptions(url(broker), create=True), speed=0, name=name)
    with Running(url(broker), streams="sanstream.icu-b.>") as feed:
        feed.wait(N_MESSAGES)
    assert {k[0] for k in feed.keys} == {"icu-b"}


def test_the_prefix_of_a_url_is_its_pattern(broker: Broker) -> None:
    publish(SOURCE, PublishOptions(f"{url(broker)}/ward/7", create=True), speed=0)
    with Running(f"{url(broker)}/ward/7") as feed:
        feed.wait(N_MESSAGES)


def test_a_feed_before_its_stream_waits_for_it(broker: Broker) -> None:
    with Running(url(broker)) as feed:
        wait_for(lambda: "no JetStream stream" in feed.feed.state.error)
        fill(broker)
        feed.wait(N_MESSAGES)


def test_create_makes_the_stream(broker: Broker) -> None:
    with pytest.raises(InputError, match="create = true"):
        make_feed(FeedOptions("ward", url(broker))).check()
    lines = make_feed(FeedOptions("ward", url(broker), options={"create": True})).check()
    assert any("stream sanstream" in line for line in lines)
    assert any("max_ack_pending 65536" in line for line in lines)


def test_a_wrong_password_is_one_clear_error_and_tried_again(tmp_path: Path) -> None:
    with nats_broker(tmp_path / "nats", password="right") as broker:
        with pytest.raises(InputError) as caught:
            make_feed(FeedOptions("ward", url(broker), user="sanstream", password="wrong")).check()
        assert "Authorization" in str(caught.value)
        assert "wrong" not in str(caught.value).replace("wrong password", "")
        with Running(url(broker), user="sanstream", password="wrong") as feed:
            wait_for(lambda: "Authorization" in feed.feed.state.error)
            assert not feed.feed.state.connected
        done = publish(
            SOURCE, PublishOptions(url(broker), user="sanstream", password="right", create=True), speed=0
        )  # fmt: skip
        assert done.n_messages == N_MESSAGES
        with Running(url(broker), user="sanstream", password="right") as feed:
            feed.wait(N_MESSAGES)


def test_a_server_that_comes_later_is_found(tmp_path: Path) -> None:
    nowhere = f"nats://127.0.0.1:{free_port()}"
    with pytest.raises(InputError, match="connection refused"):
        make_feed(FeedOptions("ward", nowhere)).check()
    with nats_broker(tmp_path / "nats") as broker:
        broker.stop()
        with Running(url(broker), create=True) as feed:
            wait_for(lambda: "refused" in feed.feed.state.error)
            broker.start()
            feed.wait_connected()


@pytest.mark.parametrize(
    ("options", "word"), [({"ack_wait": 3}, "ack_wait_s"), ({"max_ack_pending": -1}, "max_ack_pending")]
)
def test_impossible_options_are_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        make_feed(FeedOptions("ward", "nats://localhost", options=options))
