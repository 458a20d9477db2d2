"""A ledger is compacted in steps while it is appended to: nothing that was synced is lost, nothing is doubled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from durable_cases import Promise, TinyDisk, cut_everywhere, sites_of
from live_cases import RATE, Clock, Ward, feed_seconds, samples
from test_ledger import add, body, numbers, record

import sanstream
from sanstream.daemon import compacting
from sanstream.durable import Disk, DiskFull
from sanstream.errors import SanstreamError
from sanstream.ledger import Ledger, Place


def rewritten(ledger: Ledger, places: dict[int, Place], keep: tuple[int, ...], n_bytes: int) -> dict[int, int]:
    """Rewrite in steps; between two of them a record is appended."""
    rewriting = ledger.rewrite([("block", {}, places[n]) for n in keep])
    number = 100
    while not ledger.adopt(rewriting, n_bytes):
        if number < 106:
            places[number] = ledger.append(*record(number))
            number += 1
    return rewriting.moved


def test_what_is_appended_meanwhile_stands_behind_what_is_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l")
    places = {n: ledger.append(*record(n)) for n in range(20)}
    epoch = ledger.epoch
    moved = rewritten(ledger, places, (3, 5, 6), 60)
    add(ledger, 200)
    ledger.sync()
    assert ledger.epoch == epoch + 1
    assert numbers(tmp_path / "l") == [3, 5, 6, *range(100, 106), 200]
    for number in (3, 5, 6, 100, 105):
        old = places[number]
        assert ledger.read_body(Place(moved[old.offset], old.length, ledger.epoch)) == body(number)
    assert [p.name for p in tmp_path.iterdir()] == ["l"]


def run_one(root: Path, disk: Disk, promise: Promise) -> None:
    ledger = Ledger(root / "l", disk)
    places = {n: ledger.append(*record(n)) for n in range(4)}
    ledger.sync()
    promise.must = {1, 3}
    rewriting = ledger.rewrite([("block", {}, places[n]) for n in (1, 3)])
    done = ledger.adopt(rewriting, 10)
    add(ledger, 5)
    ledger.sync()
    promise.must = {1, 3, 5}
    while not done:
        done = ledger.adopt(rewriting, 10)
    promise.may = {1, 3, 5}
    add(ledger, 6)
    ledger.sync()
    promise.must = {1, 3, 5, 6}


def check_one(root: Path, promise: Promise) -> None:
    found = numbers(root / "l")
    assert promise.must <= set(found)
    assert found == sorted(set(found))
    Ledger(root / "l").close()
    assert [p.name for p in root.iterdir()] == ["l"]


def test_a_power_cut_at_any_moment_of_it_loses_nothing(tmp_path: Path) -> None:
    assert cut_everywhere(tmp_path, run_one, check_one) > 60


def test_without_any_one_fsync_something_is_lost(tmp_path: Path) -> None:
    needless = set()
    for site in sites_of(tmp_path / "sites", run_one):
        (tmp_path / site).mkdir()
        try:
            cut_everywhere(tmp_path / site, run_one, check_one, ignore=site)
        except (AssertionError, SanstreamError):
            continue
        needless.add(site)
    # what a ledger needs that is made or opened, test_ledger.py proves
    assert needless <= {"ledger.parent", "ledger.settle", "ledger.head"}


def test_a_disk_that_fills_leaves_the_old_ledger_and_no_leavings(tmp_path: Path) -> None:
    disk = TinyDisk(4000)
    ledger = Ledger(tmp_path / "l", disk)
    places = {n: ledger.append(*record(n)) for n in range(40)}
    ledger.sync()
    rewriting = ledger.rewrite([("block", {}, place) for place in places.values()])
    with pytest.raises(DiskFull):
        while not ledger.adopt(rewriting, 200):
            pass
    rewriting.drop()
    assert numbers(tmp_path / "l") == list(range(40))
    assert [p.name for p in tmp_path.iterdir()] == ["l"]


def test_an_engine_goes_on_after_its_ledger_was_rewritten_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacting.Compactor, "_is_due", lambda self: True)
    monkeypatch.setattr(compacting, "AT_ONCE_BYTES", 2_000)
    x, clock, epochs = samples(1500), Clock(), set()
    ward = Ward(tmp_path, clock)
    for at in range(0, 1500, 50):
        for bed in ("bed1", "bed2"):
            feed_seconds(ward, x[at * RATE : (at + 50) * RATE], first=at * RATE, step=50 * RATE, recording=bed,
                         turn=False)  # fmt: skip
        clock.now_ns -= 50 * 10**9
        ward.turn(4)
        epochs.add(ward.engine.ledger.epoch)
        if at in (600, 1000):  # killed in the middle of a rewriting
            ward = Ward(tmp_path, clock)
    assert len(epochs) > 2
    ward.stop()
    assert np.array_equal(ward.read("bed1"), x)
    assert np.array_equal(ward.read("bed2"), x)
    assert sanstream.open(ward.url).verify(deep=True) == []
