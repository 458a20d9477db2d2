"""Feeds ``nats://`` that share partitions: each message to one, nothing acknowledged after a lease is lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from brokers import Broker, nats_broker, wait_for
from feed_cases import Running, recording

from sanstream.config import ArchiveSettings, FeedSettings, Settings
from sanstream.daemon.check import built
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, make_feed
from sanstream.publish import PublishOptions, publish

SOURCE = recording()
N_STREAMS = 8
N_MESSAGES = N_STREAMS * (20 + 20)
PARTITIONS = 4
SHARED = {"streams": "sanstream.{partition}.>", "partitions": PARTITIONS, "lease_s": 3.0}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with nats_broker(tmp_path / "nats", partitions=PARTITIONS) as running:
        yield running


@pytest.fixture(autouse=True)
def short_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanstream.feeds.nats._LAST_ACKS_S", 0.3)


def url(broker: Broker) -> str:
    return f"nats://127.0.0.1:{broker.port}"


def fill(broker: Broker) -> None:
    done = publish(SOURCE, PublishOptions(url(broker), create=True), speed=0, streams=N_STREAMS)
    assert done.n_messages == N_MESSAGES


def share(feed: Running) -> Any:
    return feed.feed._share


def messages(feed: Running) -> list[Any]:
    return [d for d in feed.deliveries if not d.ends]


def left(broker: Broker) -> int:
    """Messages that the consumers still wait for."""

    async def ask() -> int:
        nc = await nats.connect(url(broker))
        js = nc.jetstream()
        found = [await js.consumer_info("sanstream", f"sanstream-ward-{n}") for n in range(PARTITIONS)]
        await nc.close()
        return sum((i.num_pending or 0) + (i.num_ack_pending or 0) for i in found)

    return asyncio.run(ask())


def test_two_share_fairly_and_every_message_comes_to_one(broker: Broker) -> None:
    fill(broker)
    with Running(url(broker), **SHARED) as one, Running(url(broker), **SHARED) as two:
        wait_for(lambda: one.feed.state.partitions == two.feed.state.partitions == PARTITIONS // 2)
        assert not {*share(one).pulls} & {*share(two).pulls}
        fill(broker)
        wait_for(lambda: len(messages(one)) + len(messages(two)) == 2 * N_MESSAGES)
        assert set(Counter([*one.keys, *two.keys]).values()) == {1}
        wait_for(lambda: left(broker) == 0)
    # a recording and its events are in one partition, at any time
    tenures = {d.tenure for feed in (one, two) for d in messages(feed)}
    assert all(tenures)


def test_who_stops_leaves_at_once(broker: Broker) -> None:
    fill(broker)
    with Running(url(broker), **SHARED) as one:
        wait_for(lambda: one.feed.state.partitions == PARTITIONS)
        with Running(url(broker), **SHARED) as two:
            wait_for(lambda: two.feed.state.partitions == PARTITIONS // 2)
            wait_for(lambda: sum(d.ends for d in list(one.deliveries)) == PARTITIONS // 2)
            # nothing of a tenure comes after its end
            for end in [d for d in one.deliveries if d.ends]:
                rest = one.deliveries[one.deliveries.index(end) + 1 :]
                assert end.tenure not in {d.tenure for d in rest}
        wait_for(lambda: one.feed.state.partitions == PARTITIONS)


def test_what_is_acknowledged_after_a_lease_was_lost_comes_to_the_next(broker: Broker) -> None:
    """As with a process that was paused: its clock has gone on, and others may have its partitions."""
    fill(broker)
    with Running(url(broker), acknowledge=False, ack_wait_s=2.0, **SHARED) as one:
        wait_for(lambda: len(messages(one)) == N_MESSAGES)
        leases = share(one)._leases
        leases._clock = lambda: time.monotonic() + 1000
        for delivery in messages(one):
            delivery.acknowledge()
        leases.turn = _never  # and it does not come to renew them
        with Running(url(broker), ack_wait_s=2.0, **SHARED) as two:
            wait_for(lambda: {*two.keys} == {*one.keys})
        assert left(broker) == 0


async def _never() -> None:
    await asyncio.sleep(3600)


def test_a_server_that_restarts_keeps_the_shares(broker: Broker) -> None:
    fill(broker)
    with Running(url(broker), **SHARED) as one:
        one.wait(N_MESSAGES)
        broker.restart(kill=True)
        wait_for(lambda: one.feed.state.n_connects == 2)
        fill(broker)
        wait_for(lambda: len({*one.keys}) == 2 * N_MESSAGES)
        wait_for(lambda: left(broker) == 0)


def test_check_says_how_the_partitions_are_shared(broker: Broker) -> None:
    fill(broker)
    options = {"partitions": PARTITIONS}
    feed = make_feed(FeedOptions("ward", url(broker), streams=SHARED["streams"], options=options))  # type: ignore[arg-type]
    lines = feed.check()
    assert any("4 partitions, subjects sanstream.0.> to sanstream.3.>" in line for line in lines)
    assert any("leases of 12 s in the bucket sanstream-ward, which will be made" in line for line in lines)
    with Running(url(broker), **SHARED) as one:
        wait_for(lambda: one.feed.state.partitions == PARTITIONS)
        assert any("1 daemons share them now" in line for line in feed.check())


@pytest.mark.parametrize("partitions", [PARTITIONS - 1, PARTITIONS + 3])
def test_daemons_with_other_counts_of_partitions_are_refused(broker: Broker, partitions: int) -> None:
    fill(broker)
    with Running(url(broker), **SHARED) as one:
        wait_for(lambda: one.feed.state.partitions == PARTITIONS)
        other = of(broker, partitions)
        with pytest.raises(InputError, match=rf"partitions = {partitions}, and another daemon .* has {PARTITIONS}"):
            asyncio.run(opened(other, broker))


def test_messages_under_a_partition_that_nobody_takes_are_an_error(broker: Broker) -> None:
    fill(broker)
    feed = of(broker, 1)
    with pytest.raises(InputError, match=r"has messages under partition \d, and partitions = 1 takes 0 to 0"):
        asyncio.run(opened(feed, broker))


def of(broker: Broker, partitions: int) -> Any:
    """A feed that counts so many partitions."""
    options = {"partitions": partitions, "lease_s": 3.0}
    return make_feed(FeedOptions("ward", url(broker), streams=str(SHARED["streams"]), options=options))


async def opened(feed: Any, broker: Broker) -> None:
    """Take a feed's share."""
    nc = await nats.connect(url(broker))
    try:
        await feed._share.open(nc, "sanstream")
    finally:
        await nc.close()


def test_the_leases_of_a_bucket_that_is_there_last_as_it_says(broker: Broker) -> None:
    """Else the server would give away what its holder still counts on."""
    fill(broker)
    with Running(url(broker), **SHARED) as one:
        wait_for(lambda: one.feed.state.partitions == PARTITIONS)
        with Running(url(broker), **{**SHARED, "lease_s": 60.0}) as two:
            wait_for(lambda: two.feed.state.partitions)
            assert share(two)._leases.lease_s == SHARED["lease_s"]
            assert any("leases of 3 s" in line for line in two.feed.check())


@pytest.mark.parametrize(
    ("streams", "options", "message"),
    [
        ("sanstream.>", {"partitions": 4}, "partitions = 4 with subjects 'sanstream.>'"),
        ("sanstream.{partition}.>", {}, "partitions = 0 with subjects"),
        ("sanstream.{partition}.>", {"partitions": 5000}, "partitions = 5000"),
        ("sanstream.{partition}.>", {"partitions": 4, "lease_s": 1.0}, "lease_s = 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(streams: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        make_feed(FeedOptions("ward", "nats://127.0.0.1", streams=streams, options=options))
    assert refused.value.hint


def test_partitions_need_an_archive_that_is_shared(tmp_path: Path) -> None:
    feed = FeedSettings("ward", "nats://127.0.0.1", streams="sanstream.{partition}.>", options={"partitions": 4})
    with pytest.raises(InputError, match="the archive is not shared") as refused:
        built(Settings(ArchiveSettings(str(tmp_path / "a"), tmp_path / "s")), feed)
    assert "shared = true" in (refused.value.hint or "")
