"""Blocks are encoded beside the loop: it makes no difference to what is archived, nor to who is acknowledged when."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_cases import RATE, Ward, chunk, feed_seconds, samples

import sanstream
from sanstream.durable import DiskFull


class HeldPool(Executor):
    """Does nothing until it is told to."""

    def __init__(self) -> None:
        self.held: list[tuple[Future[Any], Callable[..., Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.held.append((future, lambda: fn(*args, **kwargs)))
        return future

    def map(self, fn: Callable[..., Any], *iterables: Any, **kwargs: Any) -> Any:
        return map(fn, *iterables)

    def release(self) -> None:
        while self.held:
            future, call = self.held.pop(0)
            future.set_result(call())


Script = Callable[[Ward], None]


def archived(folder: Path, script: Script, pool: HeldPool | None) -> tuple[Any, Any]:
    folder.mkdir()
    ward = Ward(folder, pool=pool)
    script(ward)
    if pool is not None:
        assert pool.held, "the script was meant to find a block in the air"
        pool.release()
    ward.stop()
    assert sanstream.open(ward.url).verify(deep=True) == []
    manifest = ward.engine.archive.manifest("bed1")
    assert manifest is not None
    return [(e.start_sample, e.n_samples, e.flags) for s in manifest.streams for e in s.segments], ward.read()


def same(folder: Path, script: Script) -> Any:
    segments, x = archived(folder / "alone", script, None)
    others, y = archived(folder / "pool", script, HeldPool())
    assert segments == others
    assert np.array_equal(x, y)
    return x


def test_samples_are_acknowledged_while_blocks_are_encoded(tmp_path: Path) -> None:
    pool = HeldPool()
    ward, x = Ward(tmp_path, pool=pool), samples(70)
    feed_seconds(ward, x)
    lane = ward.engine.state.streams["bed1", f"{RATE}hz"].main
    assert lane is not None
    assert len(ward.acknowledged) == 70
    assert lane.n_committed == 0
    assert ward.engine.writer.busy
    pool.release()
    ward.turn()
    assert lane.n_committed == 1
    ward.stop()
    assert np.array_equal(ward.read(), x)


def test_another_sessions_samples_for_a_block_in_the_air_are_stored_once(tmp_path: Path) -> None:
    x = samples(70)

    def script(ward: Ward) -> None:
        feed_seconds(ward, x[: 62 * RATE])
        feed_seconds(ward, x[10 * RATE : 12 * RATE], session="s2", start_s=10.0)
        feed_seconds(ward, x[62 * RATE :], first=62 * RATE)

    same(tmp_path, script)


def test_samples_that_come_for_a_segment_that_ends_in_the_air_begin_another(tmp_path: Path) -> None:
    x = samples(70)

    def script(ward: Ward) -> None:
        feed_seconds(ward, x[: 30 * RATE])
        ward.clock.pass_s(3700)
        ward.turn()
        feed_seconds(ward, x[30 * RATE :], first=30 * RATE)

    assert np.array_equal(same(tmp_path, script), x)


def test_a_block_that_found_no_room_after_its_encoding_is_committed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = HeldPool()
    ward, x = Ward(tmp_path, pool=pool), samples(70)
    feed_seconds(ward, x[: 61 * RATE])
    pool.release()
    with monkeypatch.context() as full:
        full.setattr(ward.engine.ledger, "sync", _no_room)
        ward.turn()
    assert ward.engine.disk_full
    feed_seconds(ward, x[61 * RATE :], first=61 * RATE)
    pool.release()
    ward.turn()
    assert not ward.engine.disk_full
    ward.stop()
    assert np.array_equal(ward.read(), x)
    assert len(ward.acknowledged) == 70


def test_a_repetition_of_a_block_in_the_air_is_one(tmp_path: Path) -> None:
    x = samples(62)

    def script(ward: Ward) -> None:
        feed_seconds(ward, x)
        ward.give(chunk(x[5 * RATE : 6 * RATE], 5 * RATE))
        ward.give(chunk(x[5 * RATE : 6 * RATE] + 1, 5 * RATE))
        ward.turn()
        assert [r.kind for r in ward.engine.aside.records()] == ["conflict"]

    assert np.array_equal(same(tmp_path, script), x)


def _no_room() -> None:
    raise DiskFull("ledger.log")
