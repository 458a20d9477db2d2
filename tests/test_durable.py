"""The disk that everything durable goes through, its named points, and the simulated power cut itself."""

from __future__ import annotations

import ast
import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_cases import tiny
from durable_cases import Promise, cut_everywhere, sites_of

import sanstream
from sanstream import durable
from sanstream.archive import ArchiveWriter
from sanstream.archive_commit import explained
from sanstream.bank import named_banks
from sanstream.durable import POINTS, Disk, DiskFull, SyncError, current_disk, parse_fault, using
from sanstream.durable_power import PowerCut, PowerLost
from sanstream.errors import InputError, SanstreamError

PACKAGE = Path(sanstream.__file__).parent


def test_every_point_that_the_code_reaches_is_listed() -> None:
    named = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called == "reach" and "." in str(node.args[0].value):
                    named.add(node.args[0].value)
    assert named
    assert named <= set(POINTS)
    assert len(set(POINTS)) == len(POINTS)


def test_faults_are_read_and_mistakes_named() -> None:
    assert parse_fault("") is None
    assert parse_fault("journal.append") == ("journal.append", 1)
    assert parse_fault("seal.shard:12") == ("seal.shard", 12)
    for wrong in ("journal", "journal.append:0", "journal.append:x", "journal.append:-1"):
        with pytest.raises(InputError, match=rf"SANSTREAM_FAULT is '{wrong}'; use POINT or POINT:N; points: journal"):
            parse_fault(wrong)


def test_a_process_dies_at_the_nth_time_its_point_is_reached() -> None:
    code = "from sanstream import durable\nfor k in range(9): print(k, flush=True); durable.reach('seal.shard')"
    environment = {**os.environ, "SANSTREAM_FAULT": "seal.shard:3"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout.split()) == (-9, ["0", "1", "2"])


def test_the_watcher_and_the_disk_in_use_are_told_of_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(durable, "watcher", seen.append)
    disk = PowerCut(tmp_path)
    with using(disk):
        assert current_disk() is disk
        durable.reach("seal.meta")
    assert current_disk() is not disk
    assert (seen, disk.points) == (["seal.meta"], {"seal.meta": 1})


def test_a_replaced_file_is_whole_and_leaves_nothing_beside(tmp_path: Path) -> None:
    disk = Disk()
    for data in (b"old", b"new"):
        disk.replace(tmp_path / "a", data, "x", mode=0o600)
        assert (tmp_path / "a").read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("verb", ["write", "fsync"])
def test_a_replacement_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    disk = Disk()
    disk.replace(tmp_path / "a", b"old", "x")

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, verb, fail)
        with pytest.raises(SyncError, match="Input/output error; check the disk"):
            disk.replace(tmp_path / "a", b"new", "x")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"old"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_space_by_any_name_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    for verb in ("write", "open"):
        with monkeypatch.context() as patch:
            patch.setattr(os, verb, fail)
            with pytest.raises(DiskFull, match="no space left on its disk"):
                Disk().write_new(tmp_path / verb, b"x", "x")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(SyncError):
            Disk().write_new(tmp_path / "fsync", b"x", "x")


def test_a_new_file_never_takes_the_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(FileExistsError):
        Disk().write_new(tmp_path / "a", b"y", "x")
    assert (tmp_path / "a").read_text() == "x"


def test_removing_what_is_gone_is_no_error(tmp_path: Path) -> None:
    Disk().remove(tmp_path / "a")
    Disk().remove_tree(tmp_path / "a")
    (tmp_path / "a" / "b").mkdir(parents=True)
    Disk().remove_tree(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def folder_and_file(disk: Disk, root: Path) -> None:
    disk.make_folder(root / "f", site="parent")
    disk.write_new(root / "f" / "a", b"data", "file")
    disk.sync_folder(root / "f", "folder")


def growing(disk: Disk, root: Path) -> None:
    folder_and_file(disk, root)
    file = disk.open_log(root / "f" / "a")
    disk.append(file, b"more")


def renamed(disk: Disk, root: Path) -> None:
    folder_and_file(disk, root)
    disk.write_new(root / "f" / "b", b"new", "second")
    disk.rename(root / "f" / "b", root / "f" / "a")


def removed(disk: Disk, root: Path) -> None:
    folder_and_file(disk, root)
    disk.remove(root / "f" / "a")


def foreign(disk: Disk, root: Path) -> None:
    disk.make_folder(root / "f", site="parent")
    (root / "f" / "a").write_bytes(b"data")
    (root / "f" / "lost").write_bytes(b"data")
    disk.sync_path(root / "f" / "a", "file")
    disk.sync_folder(root / "f", "folder")


def moved(disk: Disk, root: Path) -> None:
    folder_and_file(disk, root)
    disk.make_folder(root / "g" / "h", site="parent")
    disk.rename(root / "f", root / "g" / "h" / "i")


def shortened(disk: Disk, root: Path) -> None:
    folder_and_file(disk, root)
    disk.truncate(disk.open_log(root / "f" / "a"), 1)


@pytest.mark.parametrize(
    ("make", "ignore", "left"),
    [
        (folder_and_file, None, {"f/a": b"data"}),
        (folder_and_file, "file", {"f/a": b""}),
        (folder_and_file, "folder", {}),
        (folder_and_file, "parent", {}),
        (growing, None, {"f/a": b"data"}),
        (renamed, None, {"f/a": b"data"}),
        (removed, None, {"f/a": b"data"}),
        (foreign, None, {"f/a": b"data", "f/lost": b""}),
        (moved, None, {"f/a": b"data"}),
        (shortened, None, {"f/a": b"data"}),
    ],
)
def test_a_power_cut_keeps_what_was_synced_and_nothing_else(
    tmp_path: Path, make: Callable[[Disk, Path], None], ignore: str | None, left: dict[str, bytes]
) -> None:
    with PowerCut(tmp_path, ignore=ignore) as disk:
        make(disk, tmp_path)
        disk.cut()
    assert files(tmp_path) == left


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_torn_bytes_are_a_prefix_perhaps_with_zeros_behind(tmp_path: Path) -> None:
    seen = set()
    for seed in range(60):
        root = tmp_path / str(seed)
        root.mkdir()
        with PowerCut(root, tear=seed) as disk:
            growing(disk, root)
            disk.cut()
        seen.add(files(root)["f/a"])
    assert all(re.fullmatch(rb"data(m(o(r(e)?)?)?)?\0*", s) and len(s) <= 8 for s in seen)
    assert {b"data", b"datamore", b"datamo"} < seen
    assert any(b"\0" in s for s in seen)


def test_a_disk_without_power_does_nothing_more(tmp_path: Path) -> None:
    with PowerCut(tmp_path, at=2) as disk:
        with pytest.raises(PowerLost):
            disk.write_new(tmp_path / "a", b"x", "x")
        for verb in (
            lambda: disk.write_new(tmp_path / "b", b"x", "x"),
            lambda: disk.remove(tmp_path / "a"),
            lambda: disk.sync_folder(tmp_path, "x"),
            lambda: disk.reach("seal.shard"),
        ):
            with pytest.raises(PowerLost):
                verb()
    assert disk.lost
    assert files(tmp_path) == {}


def test_the_power_goes_at_a_named_point(tmp_path: Path) -> None:
    with PowerCut(tmp_path, point="seal.shard:2") as disk:
        for k in range(5):
            disk.write_new(tmp_path / str(k), b"x", "x")
            disk.sync_folder(tmp_path, "x")
            durable.reach("seal.shard")
    assert disk.lost
    assert sorted(files(tmp_path)) == ["0", "1"]


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (OSError(errno.ENOSPC, "No space"), DiskFull, "x: no space left on its disk"),
        (OSError(errno.EACCES, "Permission denied"), InputError, r"x: cannot write \(Permission denied\)"),
        (SyncError("fsync failed at seal", "Input/output error"), SyncError, "fsync failed at seal"),
        (DiskFull("0"), DiskFull, "0: no space left"),
    ],
)
def test_an_archive_that_grows_tells_a_full_disk_from_a_failed_one(
    raised: Exception, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as told, explained(Path("/somewhere/x")):
        raise raised
    assert type(told.value) is kind


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two small archives: blocks are copied from them, so that a test need not wait for an encoder."""
    folder = tmp_path_factory.mktemp("sources")
    for name, bank in zip("ab", named_banks().values(), strict=False):
        with ArchiveWriter(folder / name) as writer:
            writer.add(tiny(name), effort="fast", bank=bank)
            writer.commit()
    return folder / "a", folder / "b"


def archive_run(sources: tuple[Path, Path]) -> Callable[[Path, Disk, Promise], None]:
    def run(root: Path, disk: Disk, promise: Promise) -> None:
        for source, append in zip(sources, (False, True), strict=True):
            with ArchiveWriter(root / "x.san", append=append) as writer:
                for reader in sanstream.open(source).recordings.values():
                    writer.copy(reader)
                writer.commit()
            promise.must.add(source.name)

    return run


def archive_check(root: Path, promise: Promise) -> None:
    """What was committed is listed; what is not there is not there at all."""
    if promise.must:
        with sanstream.open(root / "x.san") as archive:
            assert promise.must <= set(archive.recordings)
            assert archive.verify(deep=True) == []
    elif (root / "x.san").exists():
        assert sanstream.open(root / "x.san").verify(deep=True) == []


def test_a_power_cut_while_an_archive_is_written_leaves_it_whole(tmp_path: Path, sources: tuple[Path, Path]) -> None:
    assert cut_everywhere(tmp_path, archive_run(sources), archive_check, tears=("none",)) > 60


ARCHIVE_SITES = (
    "archive.object archive.tree archive.published archive.replaced archive.replaced.folder archive.banks"
).split()


def test_these_are_all_sites_of_an_archive(tmp_path: Path, sources: tuple[Path, Path]) -> None:
    assert sites_of(tmp_path / "x", archive_run(sources)) == sorted(ARCHIVE_SITES)


@pytest.mark.parametrize("site", ARCHIVE_SITES)
def test_without_any_single_fsync_a_power_cut_damages_an_archive(
    tmp_path: Path, sources: tuple[Path, Path], site: str
) -> None:
    promise = Promise()
    with PowerCut(tmp_path, ignore=site) as disk:
        archive_run(sources)(tmp_path, disk, promise)
        disk.cut()
    with pytest.raises((AssertionError, SanstreamError, FileNotFoundError)):
        archive_check(tmp_path, promise)
