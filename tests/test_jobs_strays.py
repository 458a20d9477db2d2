"""Strays of killed writers: found when a day old, removed when asked, and never a living writer's."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import count

import pytest
from archive_cases import tiny
from grow_cases import START_NS, segment, ward
from s3_server import BUCKET, s3_server, use_s3

from pipelines.jobs.strays import find_strays, remove_strays, strays
from sanstream.archive import ArchiveWriter, verify
from sanstream.archive_claim import CLAIM
from sanstream.archive_grow import GrowingArchive, Growth
from sanstream.archive_store import RemoteObjects
from sanstream.cli.exits import run as run_command
from sanstream.errors import CorruptError, InputError

_NUMBERS = count()
DAY_S = 86_400.0
LEFT = ("bed1/100hz/900-dead/c/0/0", "bed1/100hz/900-dead/zarr.json", "bed9/100hz/0-dead/c/0/0")


@pytest.fixture
def objects() -> RemoteObjects:
    """A growing archive, and what daemons left in it that were killed between a shard and its manifest."""
    url = f"memory://strays{next(_NUMBERS)}"
    GrowingArchive(url).commit(Growth("bed1", START_NS, "utc", {}, (segment("0", 0, ward(3000)).grown(0, 9),), ()))
    held = RemoteObjects(url)
    for key in (*LEFT, "bed1/annotations/events/00000007.parquet", "banks/unused.sanbank"):
        held.put(key, b"left behind")
    return held


def tomorrow() -> float:
    return time.time() + DAY_S + 60


def test_a_day_later_they_are_strays_and_nothing_else_is(objects: RemoteObjects) -> None:
    assert find_strays(objects) == {}, "they may be a running daemon's"
    found = find_strays(objects, clock=tomorrow)
    assert found == dict.fromkeys(LEFT, len(b"left behind"))
    before = set(objects.keys())
    assert remove_strays(objects, found, clock=tomorrow) == found
    assert before - set(objects.keys()) == set(LEFT)
    objects.remove(["banks/unused.sanbank"])  # not even a bank
    assert verify(objects.url, deep=True) == []


def test_what_is_named_meanwhile_stays(objects: RemoteObjects) -> None:
    found = {**find_strays(objects, clock=tomorrow), "bed1/manifest.json": 1}
    grown = segment("9000", 9000, ward(2000, seed=3)).grown(0, 9)
    GrowingArchive(objects.url).commit(Growth("bed9", START_NS, "utc", {}, (grown,), ()))
    gone = remove_strays(objects, [*found, "bed9/100hz/9000/c/0/0"], clock=tomorrow)
    assert set(gone) == set(LEFT)
    objects.remove(["banks/unused.sanbank"])
    assert verify(objects.url, deep=True) == []


def test_recordings_that_are_being_archived_are_none(objects: RemoteObjects) -> None:
    objects.put(CLAIM, json.dumps({"writer": "x", "renewed_s": tomorrow() - 60}).encode())
    with pytest.raises(InputError, match=r"recordings are being archived there.*try again when that is done"):
        find_strays(objects, clock=tomorrow)
    objects.put(CLAIM, json.dumps({"writer": "x", "renewed_s": tomorrow() - 7200}).encode())
    assert len(find_strays(objects, clock=tomorrow)) == 3


def test_a_manifest_that_cannot_be_read_stops_it(objects: RemoteObjects) -> None:
    objects.put("bed1/manifest.json", b"{}")
    with pytest.raises(CorruptError, match=r"bed1/manifest\.json"):
        find_strays(objects, clock=tomorrow)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3_server() as endpoint:
        use_s3(monkeypatch, endpoint)
        yield f"s3://{BUCKET}/a.san"


def test_an_s3_archive_by_the_command(s3: str, capsys: pytest.CaptureFixture[str]) -> None:
    with ArchiveWriter(s3) as writer:
        writer.add(tiny(), effort="fast")
        writer.commit()
    RemoteObjects(s3).put("t/10hz/0/c/7/0", b"left behind")
    assert find_strays(RemoteObjects(s3), clock=tomorrow) == {"t/10hz/0/c/7/0": 11}
    assert run_command([s3, "--remove", "--json"], command=strays) == 0
    assert json.loads(capsys.readouterr().out) == {"archive": s3, "removed": True, "strays": {}, "n_bytes": 0}
    assert run_command([s3, "--older-than", "1h"], command=strays) == 2
    assert "may be a running writer's; ask for 24h or more" in capsys.readouterr().err
    assert run_command(["here.san"], command=strays) == 2
    assert "in a folder, the next writer removes" in capsys.readouterr().err
