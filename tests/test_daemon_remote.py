"""``durability = "remote"``: a message is acknowledged once the archive has all of it, and then a disk may be lost."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from live_cases import RATE, Clock, Ward, chunk, feed_seconds, samples

import sanstream
from sanstream.archive import verify
from sanstream.archive_store import RemoteObjects, StoreError
from sanstream.chunk import Chunk, Delivery, Event
from sanstream.config import LimitSettings
from sanstream.daemon import delete as deleting

BLOCK, HELD_S = 60 * RATE, 120
X = samples(400)
_NUMBERS = count()


@pytest.fixture(params=["folder", "store"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "live.san") if request.param == "folder" else f"memory://remote{next(_NUMBERS)}"


class Late(Ward):
    """A daemon that acknowledges what the archive has."""

    def __init__(self, folder: Path, url: str, clock: Clock | None = None, **changes: object) -> None:
        folder.mkdir(exist_ok=True)
        self.address = url
        super().__init__(folder, clock, url=url, **{"durability": "remote", **changes})

    @property
    def url(self) -> str:  # type: ignore[override]
        return self.address

    def lose(self) -> Late:
        """Kill it, and lose its disk; returns the daemon of another machine."""
        self.engine.close()
        shutil.rmtree(self.folder / "state")
        return Late(self.folder, self.address, self.clock)

    def pass_s(self, seconds: float) -> None:
        """Let time pass in which nothing comes."""
        for _ in range(round(seconds)):
            self.clock.pass_s(1)
            self.turn()

    @property
    def firsts(self) -> list[int]:
        """First samples of the chunks that were acknowledged."""
        return [c.first_sample for c in self.acknowledged if isinstance(c, Chunk)]


def held(url: str, recording: str = "bed1") -> np.ndarray:
    """All samples that are there, in order; what is missing is left out."""
    assert verify(url, deep=True) == []
    with sanstream.open(url) as archive:
        x = archive.recordings[recording].streams["250hz"].read()
    return x[(x != -32768).any(axis=1)]


def test_a_message_is_acknowledged_when_its_block_is_in_the_archive(tmp_path: Path, url: str) -> None:
    ward = Late(tmp_path / "a", url)
    feed_seconds(ward, X[: BLOCK - RATE])
    ward.turn(3)
    assert not ward.acknowledged
    feed_seconds(ward, X[BLOCK - RATE : BLOCK + RATE], first=BLOCK - RATE)
    ward.turn(3)
    assert ward.firsts == list(range(0, BLOCK, RATE))  # each once, in order, none of the next block
    assert np.array_equal(held(url), X[:BLOCK])
    ward.stop()
    assert ward.firsts == list(range(0, BLOCK + RATE, RATE))
    assert ward.engine.holding.n_held == 0


@pytest.mark.parametrize("seconds", [30, 61, 135, 200])
def test_a_lost_disk_loses_nothing(tmp_path: Path, url: str, seconds: int) -> None:
    """What was not acknowledged comes again, to a daemon that knows nothing."""
    ward = Late(tmp_path / "a", url)
    feed_seconds(ward, X[: seconds * RATE])
    first = len(ward.acknowledged) * RATE
    assert first == seconds // 60 * BLOCK
    again = ward.lose()
    again.clock.pass_s(7.3)
    feed_seconds(again, X[first:], first=first)
    again.stop()
    assert np.array_equal(held(url), X)


def test_the_same_loses_samples_where_the_journal_is_enough(tmp_path: Path, url: str) -> None:
    ward = Late(tmp_path / "a", url, durability="local", shared=True)
    feed_seconds(ward, X[: 135 * RATE])
    first = len(ward.acknowledged) * RATE
    assert first == 135 * RATE
    again = ward.lose()
    feed_seconds(again, X[first:], first=first)
    again.stop()
    assert len(held(url)) == len(X) - first


def test_what_was_archived_and_comes_again_stands_once(tmp_path: Path, url: str) -> None:
    """The daemon died between the upload and the acknowledgement."""
    ward = Late(tmp_path / "a", url)
    feed_seconds(ward, X[: 100 * RATE])
    again = ward.lose()
    feed_seconds(again, X)
    again.stop()
    assert np.array_equal(held(url), X)
    assert again.firsts == list(range(0, len(X), RATE))


def test_a_repetition_waits_for_what_it_repeats(tmp_path: Path, url: str) -> None:
    ward = Late(tmp_path / "a", url)
    feed_seconds(ward, X[:5000])
    ward.give(chunk(X[:RATE]), tag="again")
    ward.turn(3)
    assert not ward.acknowledged
    feed_seconds(ward, X[5000 : BLOCK + RATE], first=5000)
    ward.turn(3)
    assert "again" in ward.acknowledged
    ward.give(chunk(X[:RATE]), tag="once more")  # the archive has it
    ward.turn()
    assert "once more" in ward.acknowledged
    ward.engine.close()
    ward = Late(tmp_path / "a", url, ward.clock)  # with its disk: it knows which blocks are sealed
    ward.give(chunk(X[:RATE]), tag="sealed")
    ward.give(chunk(X[BLOCK : BLOCK + RATE], BLOCK), tag="journalled")
    ward.turn()
    assert ward.acknowledged == ["sealed"]
    ward.stop()
    assert ward.acknowledged == ["sealed", "journalled"]


def test_a_stream_that_falls_silent_is_sealed_and_goes_on(tmp_path: Path, url: str) -> None:
    ward = Late(tmp_path / "a", url)
    feed_seconds(ward, X[: 70 * RATE])
    ward.pass_s(HELD_S - 15)
    assert len(ward.acknowledged) == 60
    ward.pass_s(30)
    assert len(ward.acknowledged) == 70
    assert np.array_equal(held(url), X[: 70 * RATE])
    feed_seconds(ward, X[70 * RATE :], first=70 * RATE, start_s=0.0)
    ward.stop()
    assert np.array_equal(held(url), X)
    assert len(ward.acknowledged) == 400
    with sanstream.open(url) as archive:
        entries = archive.recordings["bed1"].streams["250hz"].entry.segments
    assert [e.start_sample for e in entries] == [0, 70 * RATE]
    assert {e.shard_samples for e in entries} == {BLOCK}


def test_longer_shards_are_fewer_and_acknowledged_later(tmp_path: Path, url: str) -> None:
    ward = Late(tmp_path / "a", url, seal_s=180.0)
    feed_seconds(ward, X[: 200 * RATE])
    assert len(ward.acknowledged) == 180
    ward.pass_s(200)
    assert len(ward.acknowledged) == 180
    again = ward.lose()
    feed_seconds(again, X[180 * RATE :], first=180 * RATE)
    again.stop()
    assert np.array_equal(held(url), X)
    with sanstream.open(url) as archive:
        entries = archive.recordings["bed1"].streams["250hz"].entry.segments
    assert [e.shard_samples for e in entries] == [3 * BLOCK, BLOCK]


def test_a_slow_stream_keeps_its_blocks(tmp_path: Path, url: str) -> None:
    """One sample in four seconds fills a block in minutes: it must not become a segment every two."""
    from fractions import Fraction

    from sanstream.signal import Channel

    channels, clock = (Channel("spo2", "%", 1.0, 0, 0, 100, missing=-32768),), Clock()
    ward = Late(tmp_path / "a", url, clock)
    x = (np.arange(600).reshape(-1, 1) % 90).astype(np.int32)
    for n in range(600):
        at = clock.now_ns
        ward.give(Chunk("bed1", "slow", "s1", n, x[n : n + 1], Fraction(1, 4), channels, at, at))
        clock.pass_s(4)
        ward.turn()
    assert len(ward.acknowledged) > 400
    ward.stop()
    with sanstream.open(url) as archive:
        stream = archive.recordings["bed1"].streams["slow"]
        assert np.array_equal(stream.read(), x)
        assert len(stream.entry.segments) == 1


def test_events_wait_for_the_archive_and_no_hour(tmp_path: Path, url: str) -> None:
    ward = Late(tmp_path / "a", url)
    at = chunk(X[:1]).device_ns or 0
    ward.give(Event("bed1", "s1", 0, at, "note", "one"), tag="event")
    ward.turn(3)
    assert not ward.acknowledged
    ward.pass_s(70)
    assert ward.acknowledged == ["event"]
    ward.give(Event("bed1", "s1", 0, at, "note", "one"), tag="again")
    ward.give(Event("bed1", "s1", 1, at + 1, "note", "two"), tag="next")
    ward.turn()
    assert ward.acknowledged == ["event", "again"]
    again = ward.lose()
    again.give(Event("bed1", "s1", 1, at + 1, "note", "two"))
    again.stop()
    with sanstream.open(url) as archive:
        (notes,) = archive.recordings["bed1"].annotations
    assert list(notes.columns["text"]) == ["one", "two"]


def test_one_message_of_several_items_waits_for_all(tmp_path: Path, url: str) -> None:
    ward = Late(tmp_path / "a", url)
    at = chunk(X[:1]).device_ns or 0
    one, two = chunk(X[: BLOCK - 10]), chunk(X[: BLOCK + 10], recording="bed2")
    ward.give(one, two, Event("bed2", "s1", 0, at, "note", "one"), tag="all")
    ward.turn(3)
    assert len(held(url, "bed2")) == BLOCK
    ward.give(chunk(X[BLOCK - 10 : BLOCK], BLOCK - 10))
    ward.turn(3)
    assert len(held(url)) == BLOCK
    assert "all" not in ward.acknowledged
    ward.give(chunk(X[BLOCK + 10 : 2 * BLOCK], BLOCK + 10, recording="bed2"))
    ward.turn(3)
    assert ward.acknowledged.count("all") == 1
    ward.stop()


def test_what_is_set_aside_is_acknowledged_at_once(tmp_path: Path, url: str) -> None:
    ward = Late(tmp_path / "a", url)
    feed_seconds(ward, X[:1000])
    ward.give(chunk(X[500:750] + 1, 250), tag="contradiction")
    ward.inbox.put(Delivery((), 3, lambda: ward.acknowledged.append("poison"), b"???", "no message"))
    ward.turn()
    assert ward.acknowledged == ["poison"]  # what it contradicts is not in the archive
    assert len(list(ward.engine.aside.records())) == 2
    ward.stop()
    assert "contradiction" in ward.acknowledged


def test_a_store_that_is_away_holds_acknowledgements_and_ends_no_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, away = f"memory://remote{next(_NUMBERS)}", True
    ward = Late(tmp_path / "a", url)
    feed_seconds(ward, X[:RATE])
    real = RemoteObjects.put

    def put(own: RemoteObjects, *arguments: object) -> object:
        if away:
            raise StoreError("the store cannot be reached")
        return real(own, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(RemoteObjects, "put", put)
    feed_seconds(ward, X[RATE : 350 * RATE], first=RATE)
    assert not ward.acknowledged
    away = False
    ward.pass_s(7)
    assert len(ward.acknowledged) == 300
    ward.stop()
    assert np.array_equal(held(url), X[: 350 * RATE])
    with sanstream.open(url) as archive:
        assert len(archive.recordings["bed1"].streams["250hz"].entry.segments) == 1


def test_an_encoder_that_is_behind_ends_no_segments(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ward = Late(tmp_path / "a", url)
    with monkeypatch.context() as patch:
        patch.setattr(ward.engine, "commit", lambda **how: False)
        feed_seconds(ward, X[: 230 * RATE])
    ward.turn(5)
    feed_seconds(ward, X[230 * RATE : 250 * RATE], first=230 * RATE)
    assert len(ward.acknowledged) == 240
    ward.stop()
    with sanstream.open(url) as archive:
        assert len(archive.recordings["bed1"].streams["250hz"].entry.segments) == 1


def test_no_more_is_taken_than_may_be_held(tmp_path: Path, url: str) -> None:
    """Blocks that cannot become whole are ended, so that the rest still comes."""
    ward = Late(tmp_path / "a", url, limits=LimitSettings(memory_bytes=40 * 4 * 1024))
    for at in range(0, 50 * RATE, RATE):
        ward.give(chunk(X[at : at + RATE], at))
    ward.turn()  # a turn's worth is taken before it is looked at
    assert ward.engine.holding.n_held == 50
    ward.give(chunk(X[50 * RATE : 51 * RATE], 50 * RATE))
    ward.turn()
    assert len(ward.inbox) == 1
    ward.pass_s(HELD_S + 20)
    assert len(ward.inbox) == 0
    assert len(ward.acknowledged) == 50
    ward.stop()
    assert np.array_equal(held(url), X[: 51 * RATE])
    assert len(ward.acknowledged) == 51


def test_what_is_deleted_is_acknowledged(tmp_path: Path, url: str) -> None:
    ward = Late(tmp_path / "a", url)
    feed_seconds(ward, X[: 70 * RATE])
    deleting.delete_here(ward.engine, "bed1", None, None, dry_run=False)
    ward.turn()
    assert len(ward.acknowledged) == 70
    assert ward.engine.holding.n_held == 0
    ward.stop()


def test_a_feed_that_sends_nothing_again_is_not_kept_waiting(tmp_path: Path, url: str) -> None:
    ward = Late(tmp_path / "a", url)
    ward.engine.feeds["bed"].replays = False
    feed_seconds(ward, X[:1000])
    assert len(ward.acknowledged) == 4
    ward.stop()
