"""What is refused is seen: in the log, in the status, never with what somebody sent."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from live_cases import Ward, chunk, samples

from sanstream.chunk import Delivery
from sanstream.daemon.refusals import word_of
from sanstream.daemon.tell import Teller

X = samples(1)


def spoil(ward: Ward, reason: str) -> None:
    ward.inbox.put(Delivery((), 3, lambda: None, b"odd", reason))
    ward.turn()


def test_refused_messages_are_told_at_once_then_once_a_minute(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ward, now = Ward(tmp_path), 0.0
    teller = Teller(lambda: now)
    with caplog.at_level(logging.WARNING, "sanstream.daemon"):
        teller.look(ward.engine)
        assert not caplog.records
        for second in range(100):
            now = float(second)
            spoil(ward, "JSON message with the unknown key or kind 'rate of Jane Doe'")
            teller.look(ward.engine)
    told = [(r.getMessage(), r.feed, r.cause, r.count) for r in caplog.records]  # type: ignore[attr-defined]
    text = "messages refused and set aside"
    assert told == [(text, "bed", "json", 1), (text, "bed", "json", 61)]


def test_the_status_counts_what_each_feed_had_refused(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    ward.give(chunk(X))
    ward.give(chunk(X + 1))
    ward.give(replace(chunk(X), device_ns=1 << 80, session="s2"))
    ward.turn()
    spoil(ward, "message does not have the checksum that it names")
    (feed,) = ward.engine.status()["feeds"]
    assert feed["refused"] == 3
    assert feed["refused_for"] == {"contradiction": 1, "time": 1, "checksum": 1}


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("rate is 2.5e-05 Hz, allowed are 1/3600 to 1 000 000 Hz", "rate"),
        ("recording name 'the rate' cannot be a folder's", "name"),
        ("its stream has begun 100 segments within 3600 s, and it would begin another", "segments"),
        ("message is not JSON", "json"),
        ("Jane Doe", "other"),
    ],
)
def test_a_reason_becomes_a_word(reason: str, word: str) -> None:
    assert word_of(reason) == word
