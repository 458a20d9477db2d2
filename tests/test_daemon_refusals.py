"""What is refused is seen: in the log, in the status, never with what somebody sent."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from live_cases import Ward, chunk, samples, settings

from sanstream.chunk import Delivery
from sanstream.config import FeedSettings, HttpSettings
from sanstream.daemon.check import FAILED, check
from sanstream.daemon.refusals import plainly, word_of
from sanstream.daemon.run import ENDED, ingest
from sanstream.daemon.tell import Teller
from sanstream.errors import InputError, UnsupportedError

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


@pytest.mark.parametrize("url", ["file:{}/x.csv?tail=true&rate=250&name=c", "stdin:?rate=250&name=banks"])
def test_a_reserved_name_is_refused_at_the_start_and_by_the_check(tmp_path: Path, url: str) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    told = replace(settings(tmp_path), feeds=(FeedSettings("bed", url.format(tmp_path)),), http=HttpSettings(listen=""))
    text = "feed 'bed': name: recording name '(c|banks)' is reserved; the archive needs it for itself; choose another"
    with pytest.raises(InputError, match=text):
        ingest(told)
    (failed,) = [f for f in check(told) if f.state == FAILED]
    assert "is reserved" in failed.text


def test_a_feed_that_cannot_go_on_says_why_and_the_daemon_ends_with_2(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "Jane Doe.npy").write_bytes(b"\x93NUMPY\x01\0")
    feeds = (
        FeedSettings("good", "sim://ecg?streams=1&seconds=2&speed=0"),
        FeedSettings("bad", f"file://{tmp_path}/Jane%20Doe.npy?tail=true"),
    )
    with caplog.at_level(logging.ERROR, "sanstream.daemon"):
        code = ingest(replace(settings(tmp_path), feeds=feeds, http=HttpSettings(listen="")))
    assert code == ENDED == 2
    told = [(r.getMessage(), r.feed) for r in caplog.records]  # type: ignore[attr-defined]
    assert told == [("feed ended: ... a growing npy file cannot be followed; follow CSV or WFDB", "bad")]


@pytest.mark.parametrize(
    ("error", "url", "text"),
    [
        (InputError("/d/Jane Doe.csv: 'Doe' at 1/3600 Hz"), "file:///d/Jane%20Doe.csv?tail=1", "... ... at 1/3600 Hz"),
        (InputError("doe.hea: the file's label \"O'Doe\""), "file:doe", "....hea: the file's label ..."),
        (UnsupportedError("rate is 0.5 Hz", hint="give rate"), "stdin:?format=csv", "rate is 0.5 Hz; give rate"),
    ],
)
def test_an_errors_words_without_names(error: InputError, url: str, text: str) -> None:
    assert plainly(error, url) == text
