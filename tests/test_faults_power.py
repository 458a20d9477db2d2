"""Power cuts through a whole engine's life: nothing acknowledged is lost or doubled, and no fsync is idle."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from grow_cases import RATE, STREAM, segment, ward
from live_cases import START_NS, settings

import sanstream
from pipelines.faults.power import Lost, cut_and_go_on
from pipelines.faults.power_script import DELETE, DELETED, script
from sanstream.archive_grow import GrowingArchive
from sanstream.archive_growth import Growth
from sanstream.daemon.home import Home, read_version
from sanstream.durable import POINTS
from sanstream.durable_power import PowerCut
from sanstream.errors import SanstreamError

PACKAGE = Path(sanstream.__file__).parent
FILES_ONLY = {f"archive.{p}" for p in ("partial_made", "recording_written", "before_rename", "renamed")}
"""Points of archives of files; tests/test_durable.py cuts there."""
RETRAIN = {"retrain.trained", "retrain.adopted"}
SHARED = {"seal.places", "seal.descriptor"}
LIFE = sorted(set(POINTS) - FILES_ONLY - RETRAIN - SHARED)
N_OPERATIONS = 700
"""About as many as a life has."""

NEEDED = {
    "state.folder": {}, "state.version": {},
    "journal.parent": {"point": "engine.acknowledged:1"},
    "journal.folder": {"point": "engine.acknowledged:32"},
    "journal.data": {"point": "engine.acknowledged:32"},
    "ledger.data": {}, "ledger.folder": {},
    "seal.folder": {}, "seal.meta": {}, "seal.meta.folder": {}, "seal.catalog": {}, "seal.catalog.folder": {},
    "seal.bank": {}, "seal.shard": {}, "seal.manifest": {}, "seal.manifest.folder": {}, "seal.events": {},
    "seal.forgotten": {"after": DELETE},
}  # fmt: skip
"""Fsync sites without which a life loses something, and when the power must go for that; at its end unless told."""
ELSEWHERE = {
    "journal.settle": "test_journal.py", "journal.head": "test_journal.py",
    "ledger.settle": "test_ledger.py", "ledger.head": "test_ledger.py", "ledger.parent": "test_ledger.py",
    "seal.bank.folder": "test_archive_grow.py", "seal.settle": "test_faults_power.py",
    "state.version.folder": "test_faults_power.py",
}  # fmt: skip
"""Those of other moments, and the tests that show them to be needed."""


@pytest.mark.parametrize("point", LIFE)
def test_a_power_cut_at_a_named_point_loses_and_doubles_nothing(tmp_path: Path, point: str) -> None:
    first, later = tmp_path / "first", tmp_path / "later"
    first.mkdir()
    later.mkdir()
    assert cut_and_go_on(first, point=f"{point}:1").points[point] == 1
    cut_and_go_on(later, point=f"{point}:4", tear=len(point))


@pytest.mark.parametrize("seed", range(6))
def test_a_power_cut_at_any_operation_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    for i in range(2):
        root = tmp_path / str(i)
        root.mkdir()
        cut_and_go_on(root, at=rng.randint(1, N_OPERATIONS), tear=rng.choice(["zeros", rng.randrange(1000)]))


@pytest.mark.parametrize("seed", range(6))
def test_a_power_cut_soon_after_a_kill_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    rng = random.Random(100 + seed)
    kill = rng.randint(10, N_OPERATIONS)
    cut_and_go_on(tmp_path, kill=str(kill), at=kill + rng.randint(8, 60), tear=rng.choice(["none", seed]))


@pytest.mark.parametrize("kill", range(22, 30))
def test_an_archive_whose_making_was_killed_shows_all_that_is_acknowledged_after_a_power_cut(
    tmp_path: Path, kill: int
) -> None:
    cut_and_go_on(tmp_path, kill=str(kill), at=kill + 44, steps=script()[:8])


@pytest.mark.parametrize("site", NEEDED)
def test_without_any_single_fsync_a_life_loses_something(tmp_path: Path, site: str) -> None:
    with pytest.raises((Lost, SanstreamError, LookupError, OSError)):
        cut_and_go_on(tmp_path, ignore=site, **NEEDED[site])


def test_every_fsync_of_the_daemon_has_a_test_that_fails_without_it(tmp_path: Path) -> None:
    disk = cut_and_go_on(tmp_path)
    assert disk.sites.keys() | {"seal.bank.folder", "ledger.parent"} == NEEDED.keys() | ELSEWHERE.keys()
    assert set(disk.points) == set(LIFE)
    assert disk.operations == pytest.approx(N_OPERATIONS, rel=0.2)
    here = Path(__file__).parent
    for site, file in ELSEWHERE.items():
        text = (here / file).read_text(encoding="utf-8")
        assert site in text or re.search(r'startswith\("seal\."\)', text), site


def test_a_deletion_that_was_cut_off_can_be_asked_for_again(tmp_path: Path) -> None:
    steps = script()
    place = next(s.number for s in steps if s.action == DELETE)
    after = [s for s in steps if s.number <= place + 1]
    for at in range(308, 400, 16):
        root = tmp_path / str(at)
        root.mkdir()
        cut_and_go_on(root, at=at, steps=after)
        with sanstream.open(root / "a" / "live.san") as archive:
            assert DELETED not in archive.recordings


def test_what_the_state_folder_says_of_itself_is_durable_before_anything_is_taken(tmp_path: Path) -> None:
    for ignore in (None, "state.version.folder"):
        root = tmp_path / str(ignore)
        root.mkdir()
        with PowerCut(root, ignore=ignore) as disk:
            with Home(root / "state", disk) as home:
                home.remember(settings(root))
            disk.cut()
        assert bool(read_version(root / "state")) == (ignore is None)


def test_what_a_killed_process_renamed_last_is_on_the_disk_before_the_next_one_relies_on_it(tmp_path: Path) -> None:
    one = segment("0", 0, ward(4000))
    first, second = (Growth("bed1", START_NS, segments=(one.grown(n, n + 1),)) for n in (0, 1))
    for ignore, kept in ((None, 2), ("seal.settle", 1)):
        root = tmp_path / str(ignore)
        root.mkdir()
        with PowerCut(root, ignore="seal.manifest.folder") as disk:
            archive = GrowingArchive(root / "a")
            archive.commit(first)
            disk.sync_folder(root / "a" / "bed1", "test")
            archive.commit(second)
            # killed before the fsync; the next process finds all there and has nothing to write
            disk._ignore = ignore
            GrowingArchive(root / "a").commit(second)
            disk.cut()
        with sanstream.open(root / "a") as opened:
            assert opened.recordings["bed1"].streams[STREAM].n_samples == kept * one.entry.shard_samples
            assert opened.recordings["bed1"].streams[STREAM].rate == RATE
