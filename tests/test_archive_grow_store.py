"""An archive in an object store grows, also when two daemons add to one recording at the same time."""

from __future__ import annotations

import threading
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from grow_cases import START_NS, STREAM, segment, ward
from grow_cases import event as event_at

import sanstream
from sanstream.archive import verify
from sanstream.archive_grow import ALL_EVENTS, GrowingArchive
from sanstream.archive_grow_events import part_key
from sanstream.archive_growth import Growth
from sanstream.archive_store import RemoteObjects
from sanstream.chunk import Event
from sanstream.errors import InputError

_NUMBERS = count()
FIRST = segment("0", 0, ward(7000))
SECOND = segment("8000", 8000, ward(3000, seed=5))


@pytest.fixture
def url() -> str:
    return f"memory://grow{next(_NUMBERS)}"


def event(number: int) -> Event:
    return event_at(number, float(number))


def growth(*segments: object, events: tuple = (), recording: str = "bed1") -> Growth:
    return Growth(recording, START_NS, "utc", {}, segments, events)  # type: ignore[arg-type]


def test_shards_that_are_sealed_are_read_at_once(url: str) -> None:
    archive = GrowingArchive(url)
    assert list(sanstream.open(url).recordings) == []
    for shard in range(3):
        archive.commit(growth(FIRST.grown(shard, shard + 1), events=(event(shard),)))
        stream = sanstream.open(url).recordings["bed1"].streams[STREAM]
        assert np.array_equal(stream.read(), FIRST.samples[: stream.n_samples])
        assert verify(url, deep=True) == []
    before = archive.manifest("bed1")
    assert archive.commit(growth(FIRST.grown(2, 3), events=(event(2),))) == before
    assert len(sanstream.open(url).recordings["bed1"].annotations[0]) == 3
    assert GrowingArchive(url).recordings() == ["bed1"]


def test_two_daemons_add_to_one_recording_in_turn(url: str) -> None:
    one, two = GrowingArchive(url), GrowingArchive(url)
    one.commit(growth(FIRST.grown(0, 1), events=(event(0),)))
    two.commit(growth(SECOND.grown(0, 9), events=(event(1),)))
    one.commit(growth(FIRST.grown(1, 9), events=(event(2),)))
    two.commit(growth(events=(event(3),)))
    with sanstream.open(url) as archive:
        recording = archive.recordings["bed1"]
        assert np.array_equal(recording.streams[STREAM].read(0, 7000), FIRST.samples)
        assert np.array_equal(recording.streams[STREAM].read(8000, 11000), SECOND.samples)
        assert sorted(recording.annotations[0].columns["number"].tolist()) == [0, 1, 2, 3]
    assert verify(url, deep=True) == []


def test_daemons_that_commit_at_the_same_moment_lose_nothing_of_each_other(url: str) -> None:
    archives = [GrowingArchive(url) for _ in range(3)]
    pieces = [[segment(f"{n}-{i}", 2000 * n, ward(1000, seed=n)) for n in range(i, 15, 3)] for i in range(3)]
    failed: list[BaseException] = []

    def add(i: int) -> None:
        try:
            for k, piece in enumerate(pieces[i]):
                archives[i].commit(growth(piece.grown(0, 9), events=(event(100 * i + k),)))
                archives[i].commit(growth(piece.grown(0, 9), recording=f"own{i}-{k}"))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=add, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with sanstream.open(url) as archive:
        assert len(archive.recordings) == 16
        stream = archive.recordings["bed1"].streams[STREAM]
        for n in range(15):
            assert np.array_equal(stream.read(2000 * n, 2000 * n + 1000), ward(1000, seed=n))
        assert len(archive.recordings["bed1"].annotations[0]) == 15
    assert verify(url, deep=True) == []


def test_what_a_killed_daemon_left_is_not_taken_for_ones_own(url: str) -> None:
    archive = GrowingArchive(url)
    archive.commit(growth(FIRST.grown(0, 1), events=(event(0),)))
    RemoteObjects(url).put(f"bed1/{part_key(1)}", b"cut off before the manifest")
    archive.commit(growth(events=tuple(event(n) for n in range(1, 4))))
    assert len(sanstream.open(url).recordings["bed1"].annotations[0]) == 4
    assert verify(url, deep=True) == []


def test_whole_segments_and_recordings_go(url: str) -> None:
    archive = GrowingArchive(url)
    archive.commit(growth(FIRST.grown(0, 9), SECOND.grown(0, 9), events=(event(0),)))
    archive.remove("bed1", [(STREAM, "0")])
    objects = RemoteObjects(url)
    assert not [k for k in objects.keys("bed1") if k.startswith(f"bed1/{STREAM}/0/")]
    assert np.array_equal(sanstream.open(url).recordings["bed1"].streams[STREAM].read(8000, 11000), SECOND.samples)
    assert archive.remove("bed1", [(STREAM, "8000")], events_until_ns=ALL_EVENTS) is None
    assert list(sanstream.open(url).recordings) == []
    assert not list(objects.keys("bed1"))


def test_a_place_that_is_something_else_is_refused(url: str, tmp_path: Path) -> None:
    RemoteObjects(url).put("notes.txt", b"mine")
    with pytest.raises(InputError, match=r"is not empty and no archive \(notes.txt stands there\)"):
        GrowingArchive(url)
