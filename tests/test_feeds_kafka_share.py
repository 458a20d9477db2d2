"""Feeds ``kafka://`` of one group: partitions come and go, and the daemon hears of it in the order of what it gets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from brokers import kafka_broker, wait_for
from feed_cases import Running, recording

from sanstream.publish import PublishOptions, publish

SOURCE = recording(seconds=10)
N_STREAMS = 8
N_MESSAGES = N_STREAMS * (10 + 10)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with kafka_broker() as address:
        yield address


@pytest.fixture(autouse=True)
def short_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanstream.feeds.kafka._LAST_ACKS_S", 0.3)


def test_a_partition_that_goes_to_another_member_ends_its_tenure(cluster: str) -> None:
    url = f"kafka://{cluster}/share"

    def fill() -> None:
        publish(SOURCE, PublishOptions(url), speed=0, streams=N_STREAMS)

    fill()
    options = {"session_timeout_s": 6.0, "group": "share"}
    with Running(url, **options) as one:
        one.wait(N_MESSAGES)
        whole = one.feed.state.partitions
        first = {d.tenure for d in one.deliveries}
        assert len(first) == whole
        with Running(url, **options) as two:
            wait_for(lambda: two.feed.state.partitions and one.feed.state.partitions, seconds=60)
            wait_for(lambda: two.feed.state.partitions + one.feed.state.partitions == whole, seconds=60)
            ends = {d.tenure for d in one.deliveries if d.ends}
            assert ends & first  # it may come and go more than once
            fill()
            wait_for(lambda: len({*one.keys, *two.keys}) == 2 * N_MESSAGES, seconds=60)
            for end in (d for d in list(one.deliveries) if d.ends):
                rest = one.deliveries[one.deliveries.index(end) + 1 :]
                assert end.tenure not in {d.tenure for d in rest}
        wait_for(lambda: one.feed.state.partitions == whole, seconds=60)
