"""Feed ``kafka://`` against the client's mock cluster in a process of its own: small volumes, no restart."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import free_port, kafka_broker, wait_for
from feed_cases import Running, assert_whole, key, recording

from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, make_feed
from sanstream.publish import PublishOptions, publish

SOURCE = recording(seconds=10)
N_MESSAGES = 10 + 10


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with kafka_broker() as address:
        yield address


@pytest.fixture
def url(cluster: str, request: pytest.FixtureRequest) -> str:
    """A topic of each test's own."""
    return f"kafka://{cluster}/{request.node.name.partition('[')[0][5:60]}"


@pytest.fixture(autouse=True)
def short_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanstream.feeds.kafka._LAST_ACKS_S", 0.3)


def fill(url: str, **more: Any) -> None:
    done = publish(SOURCE, PublishOptions(url), speed=0, **more)
    assert done.n_messages == N_MESSAGES * more.get("streams", 1)


def running(url: str, **more: Any) -> Running:
    group = url.rpartition("/")[2]
    return Running(url, session_timeout_s=6.0, group=group, **more)


def raw(url: str, *messages: bytes) -> None:
    from confluent_kafka import Producer

    servers, topic = url.removeprefix("kafka://").split("/")
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    for message in messages:
        producer.produce(topic, message, "x")
    assert producer.flush(10) == 0


def committed(url: str) -> int:
    """How many messages of a topic the group needs no more."""
    from confluent_kafka import Consumer, TopicPartition

    servers, topic = url.removeprefix("kafka://").split("/")
    consumer = Consumer({"bootstrap.servers": servers, "group.id": topic, "log_level": 0})
    try:
        partitions = [TopicPartition(topic, n) for n in range(4)]
        return sum(max(p.offset, 0) for p in consumer.committed(partitions, timeout=10))
    finally:
        consumer.close()


def test_every_message_comes_once_and_is_committed(url: str) -> None:
    fill(url, streams=3)
    with running(url) as feed:
        feed.wait(3 * N_MESSAGES)
        wait_for(lambda: committed(url) == 3 * N_MESSAGES, "a commit while it runs")
    assert_whole(feed.deliveries, SOURCE, 3)
    assert set(Counter(feed.keys).values()) == {1}


def test_what_is_acknowledged_never_comes_again_and_the_rest_does(url: str, tmp_path: Path) -> None:
    """Only the wholly acknowledged beginning of a partition is committed."""
    fill(url)
    with running(url, acknowledge=False, state_dir=tmp_path) as feed:
        deliveries = feed.wait(N_MESSAGES)
        samples = [d for d, k in zip(deliveries, feed.keys, strict=True) if k[1]]
        # samples and events have keys, hence partitions, of their own
        for delivery in [*samples[:4], *samples[6:]]:
            delivery.acknowledge()
    assert committed(url) in (4, 4 + 10)
    with running(url, state_dir=tmp_path) as again:
        # among them samples whose channels only an acknowledged message described
        again.wait(N_MESSAGES - 4)
    assert set(again.keys) == set(feed.keys) - {key(d.items[0]) for d in samples[:4]}


def test_acknowledgements_after_the_stop_are_committed(url: str) -> None:
    fill(url)
    with running(url, acknowledge=False) as feed:
        deliveries = feed.wait(N_MESSAGES)
        feed._stop.set()
        for delivery in deliveries:
            delivery.acknowledge()
    assert committed(url) == N_MESSAGES


def test_a_slow_daemon_is_waited_for_and_the_group_keeps_its_member(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanstream.feeds.kafka.MAX_WAITING_BYTES", 2000)
    monkeypatch.setattr("sanstream.feeds.kafka._BATCH", 2)
    with running(url, allow=3) as feed:
        fill(url)
        feed.wait(3)
        wait_for(lambda: feed.feed._paused)
        time.sleep(1)
        assert feed.feed._waiting_bytes < 4000
        assert len(feed.deliveries) == 3
        feed.allow = None
        feed.wait(N_MESSAGES)
        assert feed.feed.state.n_connects == 1
    assert_whole(feed.deliveries, SOURCE)
    assert set(Counter(feed.keys).values()) == {1}


def test_a_run_that_failed_goes_on_where_it_was(url: str) -> None:
    fill(url)
    feed = running(url)
    feed.fail_at = 7
    with feed:
        wait_for(lambda: len(set(feed.keys)) == N_MESSAGES)
    assert feed.failures == 1


def test_poison_is_delivered_and_committed(url: str) -> None:
    raw(url, b"hello", b"", b"{}")
    with running(url) as feed:
        feed.wait(3)
    assert feed.poison == [b"hello", b"", b"{}"]
    assert committed(url) == 3


def test_check_says_what_the_cluster_is(url: str) -> None:
    fill(url)
    lines = make_feed(FeedOptions("ward", url)).check()
    assert "4 partitions" in lines[0]
    assert "45 s" in lines[1]


def test_an_unreachable_cluster_is_one_clear_error_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanstream.feeds.kafka._CHECK_S", 1.0)
    nowhere = f"kafka://127.0.0.1:{free_port()}"
    with pytest.raises(InputError, match="cannot use its Kafka cluster") as caught:
        make_feed(FeedOptions("ward", nowhere)).check()
    assert "127.0.0.1" not in str(caught.value)
    with Running(nowhere) as feed:
        wait_for(lambda: feed.feed.state.error)
        assert not feed.feed.state.connected
        assert "127.0.0.1" not in feed.feed.state.error


@pytest.mark.parametrize("options", [{"session_timeout_s": 1.0}, {"grp": "x"}])
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"session_timeout_s|unknown key"):
        make_feed(FeedOptions("ward", "kafka://localhost", options=options))
