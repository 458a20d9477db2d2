"""A daemon that seals into an object store: it never waits for it, and loses nothing when it is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run
from live_cases import Clock, Ward, chunk, feed_seconds, samples
from s3_server import BUCKET, s3_server, use_s3

import sanstream
from sanstream import archive_store
from sanstream.archive import verify
from sanstream.archive_store import RemoteObjects, StoreError
from sanstream.daemon import delete as deleting

_NUMBERS = count()
X = samples(200)


class Pool(ThreadPoolExecutor):
    """Threads in place of processes."""


@pytest.fixture
def url() -> str:
    return f"memory://engine{next(_NUMBERS)}"


class Far(Ward):
    """A ward whose archive is in an object store."""

    def __init__(self, folder: Path, url: str, clock: Clock | None = None, **changes: object) -> None:
        self.address = url
        folder.mkdir(exist_ok=True)
        self.pool = Pool(1)
        super().__init__(folder, clock, pool=self.pool, url=url, **changes)

    @property
    def url(self) -> str:  # type: ignore[override]
        return self.address

    def wait(self, ready: Callable[[], bool]) -> None:
        """Turn until something is true."""
        until = time.monotonic() + 60
        while not ready():
            assert time.monotonic() < until
            self.turn()
            time.sleep(0.01)


def end_segments(ward: Ward) -> None:
    for _, lane in ward.engine.state.lanes():
        lane.closing_ns = 0
    ward.engine.writer.look_at_all()


class Outage:
    """A store that is away while asked to be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.away = False
        self.slow: threading.Event | None = None
        for verb in ("read", "read_version", "exists", "put", "_put_if", "keys"):
            monkeypatch.setattr(RemoteObjects, verb, self._wrapped(getattr(RemoteObjects, verb)))

    def _wrapped(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(own: RemoteObjects, *arguments: Any) -> Any:
            if self.slow is not None and real.__name__ == "put":
                self.slow.wait(60)
            if self.away:
                raise StoreError("the store cannot be reached")
            return real(own, *arguments)

        return call


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    return Outage(monkeypatch)


def test_what_is_sealed_is_there_and_equal(tmp_path: Path, url: str) -> None:
    ward = Far(tmp_path, url)
    feed_seconds(ward, X)
    ward.stop()
    assert np.array_equal(ward.read(), X)
    assert verify(url, deep=True) == []
    (entry,) = sanstream.open(url).recordings["bed1"].streams["250hz"].entry.segments
    assert entry.name.startswith("0-")  # two daemons never give one name


def test_the_engine_goes_on_while_the_store_is_slow(tmp_path: Path, url: str, outage: Outage) -> None:
    ward = Far(tmp_path, url)
    feed_seconds(ward, X[:1000])
    end_segments(ward)
    outage.slow = threading.Event()
    ward.wait(lambda: bool(ward.engine.sealer._on_the_way))
    before = len(ward.acknowledged)
    feed_seconds(ward, X[1000:20000], first=1000)
    assert len(ward.acknowledged) == before + 76
    assert ward.engine.sealer._on_the_way
    outage.slow.set()
    ward.stop()
    assert np.array_equal(ward.read(), X[:20000])
    assert verify(url, deep=True) == []


def test_nothing_is_lost_while_the_store_is_away(tmp_path: Path, url: str, outage: Outage) -> None:
    ward = Far(tmp_path, url)
    feed_seconds(ward, X[:5000])
    outage.away = True
    end_segments(ward)
    feed_seconds(ward, X[5000:20000], first=5000)
    assert len(ward.acknowledged) == 80  # a known recording needs no store
    ward.wait(lambda: "bed1" in ward.engine.sealer.refused)
    ward.give(chunk(X[:250], recording="bed2"), tag="new")
    ward.turn(3)
    assert ward.engine.store_down
    assert "new" not in ward.acknowledged  # whether the archive knows it must be asked
    outage.away = False
    ward.turn(3)
    assert "new" in ward.acknowledged
    assert not ward.engine.store_down
    ward.clock.pass_s(10)
    ward.stop()
    assert np.array_equal(ward.read(), X[:20000])
    assert np.array_equal(ward.read("bed2"), X[:250])
    assert verify(url, deep=True) == []


def test_a_restart_goes_on_where_it_was(tmp_path: Path, url: str, outage: Outage) -> None:
    ward = Far(tmp_path, url)
    feed_seconds(ward, X[:20000])
    outage.away = True
    ward.engine.close()
    outage.away = False
    ward = Far(tmp_path, url, ward.clock)
    feed_seconds(ward, X[19000:], first=19000)  # what came already comes again
    ward.stop()
    assert np.array_equal(ward.read(), X)


def test_two_daemons_share_an_archive(tmp_path: Path, url: str) -> None:
    one = Far(tmp_path / "a", url)
    two = Far(tmp_path / "b", url, one.clock)
    feed_seconds(one, X[:20000])
    feed_seconds(two, X[20000:], recording="bed2")
    two.stop()
    one.stop()
    assert np.array_equal(one.read(), X[:20000])
    assert np.array_equal(two.read("bed2"), X[20000:])
    assert verify(url, deep=True) == []


def test_deletion_and_retention(tmp_path: Path, url: str) -> None:
    ward = Far(tmp_path, url)
    feed_seconds(ward, X[:20000])
    ward.give(chunk(X[:2500], recording="bed2"))
    ward.turn()
    found = deleting.delete_here(ward.engine, "bed1", None, None, dry_run=False)
    assert found["samples"] == 40000
    ward.stop()
    assert list(sanstream.open(url).recordings) == ["bed2"]
    assert not list(RemoteObjects(url).keys("bed1"))
    ward = Far(tmp_path, url, ward.clock, keep_s=3600.0)
    ward.engine.keeper.look()
    assert ward.engine.retain() == 0
    ward.clock.pass_s(7200)
    assert ward.engine.retain() == 1
    ward.stop()
    assert list(sanstream.open(url).recordings) == []


def test_check_tries_the_store(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as endpoint:
        use_s3(monkeypatch, endpoint)
        where = ("--to", f"s3://{BUCKET}/checked", "--state", tmp_path / "state", "--listen", "127.0.0.1:0")
        found = run("ingest", "sim://ecg?seconds=1", *where, "--check")
        assert "conditional writes hold" in found.out + found.err
        assert found.code == 0
        assert list(RemoteObjects(f"s3://{BUCKET}/checked").keys()) == []
        assert run("ingest", "sim://ecg?seconds=100&speed=0", *where).code == 0
        assert run("verify", f"s3://{BUCKET}/checked", "--deep").code == 0
    monkeypatch.setitem(archive_store._RETRY, "max_retries", 1)
    found = run("ingest", "sim://ecg?seconds=1", *where, "--check")
    assert found.code == 2
    assert "cannot be" in found.out + found.err
