"""An archive grows shard by shard, loses whole segments, and is sound at every moment."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from archive_cases import tiny, write
from grow_cases import LEADS, START_NS, STREAM, event, segment, ward

import sanstream
from sanstream import archive_commit
from sanstream.archive_grow import GrowingArchive
from sanstream.archive_growth import Growth
from sanstream.archive_manifest import Manifest
from sanstream.archive_objects import LocalObjects
from sanstream.archive_verify import find_problems
from sanstream.durable_power import PowerCut
from sanstream.errors import InputError, SanstreamError, UnsupportedError

FIRST = segment("0", 0, ward(7000))
SECOND = segment("8000", 8000, ward(3000, seed=5))
SHARD = FIRST.entry.shard_samples


def growth(*segments: object, events: tuple = (), recording: str = "bed1") -> Growth:
    return Growth(recording, START_NS, "utc", {"feed": "icu"}, segments, events)  # type: ignore[arg-type]


def sound(path: Path) -> bool:
    return find_problems(LocalObjects(path), deep=True) == []


def snapshot(path: Path) -> dict[str, bytes]:
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.fixture
def archive(tmp_path: Path) -> GrowingArchive:
    return GrowingArchive(tmp_path / "a", clock=lambda: 7)


def test_shards_that_are_sealed_are_read_by_sanstream_and_by_zarr(archive: GrowingArchive) -> None:
    assert sanstream.open(archive.root).recordings == {}
    n_shards = -(-len(FIRST.samples) // SHARD)
    assert n_shards > 2
    for shard in range(n_shards):
        manifest = archive.commit(growth(FIRST.grown(shard, shard + 1)))
        n = min((shard + 1) * SHARD, len(FIRST.samples))
        with sanstream.open(archive.root) as opened:
            stream = opened.recordings["bed1"].streams[STREAM]
            assert stream.n_samples == n
            assert np.array_equal(stream.read(), FIRST.samples[:n])
            assert opened.recordings["bed1"].manifest == manifest
        assert np.array_equal(zarr.open_array(archive.root / "bed1" / STREAM / "0", mode="r")[:], FIRST.samples[:n])
        assert sound(archive.root)
    archive.commit(growth(SECOND.grown(0, 9)))
    with sanstream.open(archive.root) as opened:
        grid = opened.recordings["bed1"].streams[STREAM].read()
        assert np.array_equal(grid[8000:], SECOND.samples)
        assert (grid[7000:8000] == -2048).all()
        (entry, _) = opened.recordings["bed1"].manifest.streams[0].segments
        assert entry.clock == FIRST.entry.clock
        assert entry.committed_ns == 7
        assert opened.info()["recordings"][0]["streams"][0]["n_samples"] == 11000


def test_the_same_growth_again_changes_nothing(archive: GrowingArchive) -> None:
    steps = [growth(FIRST.grown(0, 2), events=(event(0, 1.0),)), growth(FIRST.grown(2, 9)), growth(SECOND.grown(0, 9))]
    for step in steps:
        archive.commit(step)
    before = snapshot(archive.root)
    for step in steps:
        archive.commit(step)
        GrowingArchive(archive.root, clock=lambda: 8).commit(step)
    assert snapshot(archive.root) == before


class Stopped(BaseException):
    pass


def stop_after(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [n]

    def watch(point: str) -> None:
        left[0] -= point in ("object_written", "before_catalog")
        if left[0] < 0:
            raise Stopped

    monkeypatch.setattr(archive_commit, "watcher", watch)


def test_a_commit_cut_off_anywhere_leaves_a_sound_archive_and_can_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = growth(FIRST.grown(0, 1)), growth(FIRST.grown(1, 3), SECOND.grown(0, 9), events=(event(0, 2.0),))
    whole = GrowingArchive(tmp_path / "whole", clock=lambda: 7)
    whole.commit(first)
    whole.commit(second)
    wanted = snapshot(whole.root)
    for n in range(100):
        root = tmp_path / f"{n}"
        stop_after(n, monkeypatch)
        try:
            archive = GrowingArchive(root, clock=lambda: 7)
            archive.commit(first)
            archive.commit(second)
            done = True
        except Stopped:
            done = False
        monkeypatch.setattr(archive_commit, "watcher", None)
        if (root / "live.json").exists() or (root / "catalog.json").exists():
            for recording in sanstream.open(root).recordings.values():
                got = recording.streams[STREAM].read()
                assert len(got) in (SHARD, 11000)
                assert np.array_equal(got[: 3 * SHARD], FIRST.samples[: min(len(got), 3 * SHARD)])
        again = GrowingArchive(root, clock=lambda: 7)
        again.commit(first)
        again.commit(second)
        again.heal()
        assert snapshot(root) == wanted, n
        if done:
            break
    assert n > 10


def test_a_failed_commit_can_be_done_again_by_the_same_process(
    archive: GrowingArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.commit(growth(FIRST.grown(0, 1)))
    stop_after(1, monkeypatch)
    with pytest.raises(Stopped):
        archive.commit(growth(FIRST.grown(1, 3)))
    monkeypatch.setattr(archive_commit, "watcher", None)
    archive.commit(growth(FIRST.grown(1, 3)))
    assert sound(archive.root)
    assert sanstream.open(archive.root).recordings["bed1"].streams[STREAM].n_samples == 3 * SHARD


def test_blocks_that_do_not_follow_are_refused(archive: GrowingArchive) -> None:
    archive.commit(growth(FIRST.grown(0, 1)))
    other = segment("0", 0, ward(7000, seed=3))
    for wrong, what in (
        (growth(FIRST.grown(2, 3)), "hole"),
        (growth(other.grown(0, 1)), "other bytes"),
        (growth(segment("8000", 0, ward(3000)).grown(0, 0)), "no shards"),
    ):
        with pytest.raises(InputError, match=what):
            archive.commit(wrong)
    archive.commit(growth(SECOND.grown(0, 9)))
    longer = segment("8000", 8000, np.concatenate([SECOND.samples, ward(4000)]))
    per = SHARD // FIRST.entry.coding.block_samples
    with pytest.raises(InputError, match=r"finished|other bytes|hole"):
        archive.commit(growth(longer.grown(len(SECOND.blocks) // per, 9)))
    with pytest.raises(InputError, match="starts at"):
        archive.commit(Growth("bed1", START_NS + 1, segments=(FIRST.grown(1, 2),)))
    assert sound(archive.root)


def test_whole_segments_are_dropped_and_nothing_else(archive: GrowingArchive) -> None:
    archive.commit(growth(FIRST.grown(0, 9)))
    archive.commit(growth(SECOND.grown(0, 9)))
    assert archive.remove("bed1", [(STREAM, "0"), (STREAM, "not there")]) == archive.manifest("bed1")
    assert not (archive.root / "bed1" / STREAM / "0").exists()
    assert sound(archive.root)
    with sanstream.open(archive.root) as opened:
        reader = opened.recordings["bed1"]
        assert np.array_equal(reader.streams[STREAM].read(8000), SECOND.samples)
        assert reader.streams[STREAM].n_samples == 11000
    assert archive.remove("bed1", [(STREAM, "8000")]) is None
    assert sorted(p.name for p in archive.root.iterdir()) == ["banks", "catalog.json", "zarr.json"]
    assert len(sanstream.open(archive.root).recordings) == 0
    assert archive.remove("bed1", [(STREAM, "8000")]) is None
    archive.commit(growth(FIRST.grown(0, 1)))
    assert sound(archive.root)


def test_a_removal_cut_off_anywhere_leaves_a_sound_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sanstream.archive_grow_folder import GrowingFolder

    removed = GrowingFolder.remove
    for n in range(3):
        root = tmp_path / str(n)
        archive = GrowingArchive(root)
        archive.commit(growth(FIRST.grown(0, 9), SECOND.grown(0, 9)))
        left = [n]

        def remove(self: GrowingFolder, keys: object, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Stopped
            removed(self, keys)  # type: ignore[arg-type]

        monkeypatch.setattr(GrowingFolder, "remove", remove)
        with pytest.raises(Stopped):
            archive.remove("bed1", [(STREAM, "0")])
            archive.remove("bed1", [(STREAM, "8000")])
        monkeypatch.setattr(GrowingFolder, "remove", removed)
        again = GrowingArchive(root)
        again.heal()
        assert sound(root)
        again.remove("bed1", [(STREAM, "0"), (STREAM, "8000")])
        assert sorted(p.name for p in root.iterdir()) == ["banks", "catalog.json", "zarr.json"]


def test_recordings_of_files_stand_beside_growing_ones(archive: GrowingArchive) -> None:
    archive.commit(growth(FIRST.grown(0, 1)))
    write(archive.root, [tiny()], append=True)
    archive.commit(growth(FIRST.grown(1, 9)))
    assert list(sanstream.open(archive.root).recordings) == ["bed1", "t"]
    with pytest.raises(InputError, match="archived from files"):
        archive.commit(growth(FIRST.grown(0, 1), recording="t"))
    archive.heal()
    assert sound(archive.root)
    GrowingArchive(archive.root, state_dir=archive.root.parent)
    for recording in ("t", "bed1"):
        (archive.root / recording / "10hz" / "0" / "c" / "9").mkdir(parents=True)
        (archive.root / recording / "10hz" / "0" / "c" / "9" / "0").write_bytes(b"x")
    assert [p.path for p in find_problems(LocalObjects(archive.root))] == ["t/10hz/0/c/9/0"]


def test_what_cannot_grow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="cannot grow"):
        GrowingArchive(tmp_path / "p", container="parquet")
    with pytest.raises(UnsupportedError, match="cannot grow"):
        GrowingArchive(write(tmp_path / "q", [tiny()], "parquet"))
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match=r"thesis\.txt"):
        GrowingArchive(tmp_path / "r")
    assert (tmp_path / "r" / "thesis.txt").read_text() == "x"


def test_entries_of_live_segments_come_back_from_the_manifest(archive: GrowingArchive) -> None:
    late = segment("late-1", 100, ward(1000), flags=("late", "session"))
    manifest = archive.commit(growth(FIRST.grown(0, 1), late.grown(0, 9)))
    again = Manifest.from_bytes(manifest.to_bytes(), "m")
    assert again == manifest
    assert [e.flags for e in again.streams[0].segments] == [(), ("late", "session")]
    assert again.streams[0].segments[0].channels == LEADS


def power_cut_commits(root: Path, done: list[int], **how: object) -> PowerCut:
    """Two commits and a removal; then the power goes, unless it went before. ``done`` gets the samples committed."""
    first, second = growth(FIRST.grown(0, 1)), growth(FIRST.grown(1, 3), SECOND.grown(0, 9), events=(event(0, 2.0),))
    root.mkdir()
    with PowerCut(root, **how) as disk:  # type: ignore[arg-type]
        archive = GrowingArchive(root / "a", state_dir=root / "state", clock=lambda: 7)
        archive.commit(first)
        done.append(SHARD)
        archive.commit(second)
        done.append(3 * SHARD)
        archive.remove("bed1", [(STREAM, "8000")])
        disk.cut()
    return disk


def committed(root: Path) -> bool:
    """Tell whether all that was committed is there and sound."""
    try:
        with sanstream.open(root / "a") as opened:
            reader = opened.recordings["bed1"]
            whole = np.array_equal(reader.streams[STREAM].read(), FIRST.samples[: 3 * SHARD])
            named = [len(a) for a in reader.annotations] == [1] and opened.verify(deep=True) == []
            plain = zarr.open_array(root / "a" / "bed1" / STREAM / "0", mode="r")[:]
            return whole and named and np.array_equal(plain, FIRST.samples[: 3 * SHARD])
    except (SanstreamError, KeyError, OSError, ValueError):
        return False


def test_a_power_cut_at_any_moment_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    whole = power_cut_commits(tmp_path / "whole", [])
    assert committed(tmp_path / "whole")
    for at in range(1, whole.operations + 1, 7):
        root, done = tmp_path / str(at), [0]
        assert power_cut_commits(root, done, at=at, tear=at).lost
        again = GrowingArchive(root / "a", state_dir=root / "state", clock=lambda: 7)
        held = again.manifest("bed1")
        n_before = held.streams[0].segments[0].n_samples if held is not None else 0
        again.commit(growth(FIRST.grown(0, 1)))
        again.commit(growth(FIRST.grown(1, 3), SECOND.grown(0, 9), events=(event(0, 2.0),)))
        again.remove("bed1", [(STREAM, "8000")])
        assert n_before >= done[-1], at
        assert n_before in (0, SHARD, 3 * SHARD)
        assert committed(root), at
        shutil.rmtree(root)


def test_no_fsync_of_a_commit_can_be_left_out(tmp_path: Path) -> None:
    whole = power_cut_commits(tmp_path / "whole", [])
    # those two are for other moments: tests/test_faults_power.py
    others = {"seal.settle", "seal.forgotten"}
    sites = sorted(site for site in whole.sites if site.startswith("seal.") and site not in others)
    assert {"seal.bank", "seal.shard", "seal.meta", "seal.manifest", "seal.catalog", "seal.folder"} <= set(sites)
    for site in sites:
        power_cut_commits(tmp_path / site, [], ignore=site)
        assert not committed(tmp_path / site), site


def test_a_state_folder_spelled_otherwise_is_the_same(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (tmp_path / "link").symlink_to(state)
    GrowingArchive(tmp_path / "a", state_dir=state)
    with (state / "lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for spelled in (tmp_path / "link", state / ".." / "state"):
            GrowingArchive(tmp_path / "a", state_dir=spelled)
        with pytest.raises(InputError, match="a running daemon with its state in"):
            GrowingArchive(tmp_path / "a", state_dir=tmp_path / "other")
