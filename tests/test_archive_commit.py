"""An archive appears whole or not at all: killed writers, full disks, occupied targets."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from archive_cases import CONTAINERS, assert_same, patient, tiny, write

import sanstream
from sanstream import archive_commit
from sanstream.archive import ArchiveWriter
from sanstream.archive_commit import POINTS
from sanstream.errors import InputError

# blocks are copied, so that a test need not wait for an encoder
KILLED = """
import os, signal
import sanstream
from sanstream import archive_commit
from sanstream.archive import ArchiveWriter
left = {after}
def stop(point):
    global left
    if point == {point!r}:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
archive_commit.watcher = stop
source = sanstream.open({source!r})
with ArchiveWriter({path!r}, container={container!r}, append={append}) as writer:
    for name in source.recordings:
        writer.copy(source.recordings[name])
    writer.commit()
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("source") / "bc", [tiny("b"), tiny("c")])


def kill_at(point: str, after: int, source: Path, path: Path, container: str, append: bool) -> int:
    values = {"source": str(source), "path": str(path), "container": container, "append": append}
    code = KILLED.format(point=point, after=after, **values)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=120)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode


def visible(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


@pytest.mark.parametrize(
    ("point", "after"),
    [("partial_made", 1), ("object_written", 1), ("object_written", 4), ("recording_written", 1), ("before_rename", 1)],
)
def test_a_killed_writer_leaves_nothing_that_looks_like_an_archive(
    tmp_path: Path, source: Path, point: str, after: int
) -> None:
    target = tmp_path / "a.san"
    assert kill_at(point, after, source, target, "zarr", append=False) == -signal.SIGKILL
    assert visible(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 1
    write(target, [tiny("b")])
    assert [p.name for p in tmp_path.iterdir()] == ["a.san"]
    assert sanstream.open(target).verify(deep=True) == []


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    ("point", "after", "listed", "healed"),
    [
        ("partial_made", 1, ["a"], ["a"]),
        ("object_written", 3, ["a"], ["a"]),
        ("recording_written", 2, ["a"], ["a"]),
        ("before_rename", 1, ["a"], ["a"]),
        ("renamed", 1, ["a"], ["a", "b"]),
        ("renamed", 2, ["a"], ["a", "b", "c"]),
        ("before_catalog", 1, ["a"], ["a", "b", "c"]),
    ],
)
def test_a_killed_append_leaves_a_sound_archive(
    tmp_path: Path, source: Path, container: str, point: str, after: int, listed: list[str], healed: list[str]
) -> None:
    target = write(tmp_path / "a.san", [tiny("a")], container)
    assert kill_at(point, after, source, target, container, append=True) == -signal.SIGKILL
    with sanstream.open(target) as archive:
        assert list(archive.recordings) == listed
        assert archive.verify(deep=True) == []
    write(target, [tiny("d")], container, append=True)
    with sanstream.open(target) as archive:
        assert list(archive.recordings) == [*healed, "d"]
        assert archive.verify(deep=True) == []
        assert_same(archive.recordings["a"].read(), tiny("a"))
    assert not [f for f in target.iterdir() if f.name.startswith(".")]


def test_every_point_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(archive_commit, "watcher", seen.append)
    write(tmp_path / "a", [tiny("a")])
    write(tmp_path / "a", [tiny("b")], append=True)
    assert set(seen) == set(POINTS)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("point", ["partial_made", "object_written", "recording_written", "before_rename"])
def test_a_full_disk_is_one_clear_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str, point: str
) -> None:
    def full(at: str) -> None:
        if at == point:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archive_commit, "watcher", full)
    with pytest.raises(InputError, match=r"a\.san: no space left while writing; nothing was kept; free some space"):
        write(tmp_path / "new" / "a.san", [tiny()], container)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("append", [False, True])
def test_a_failed_write_of_any_object_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, append: bool
) -> None:
    target = tmp_path / "a.san"
    if append:
        write(target, [tiny("a")])
    before = sorted(tmp_path.rglob("*"))
    real = os.fsync
    for allowed in range(12):
        calls = 0

        def fsync(handle: int, allowed: int = allowed) -> None:
            nonlocal calls
            calls += 1
            if calls > allowed:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(handle)

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(InputError, match="cannot write"):
            write(target, [tiny("b")], append=append)
        monkeypatch.setattr(os, "fsync", real)
        assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ArchiveWriter(tmp_path / "a") as writer:
        writer.add(tiny())
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_visible_before_commit(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "a") as writer:
        writer.add(tiny())
        assert visible(tmp_path) == []
        writer.commit()
    assert visible(tmp_path) == ["a"]


def test_an_occupied_target_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", [tiny()])
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    for name, message in [("a", "add to it with --append"), ("file", "a file stands here"), ("full", "is not empty")]:
        with pytest.raises(InputError, match=message):
            ArchiveWriter(tmp_path / name)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", [tiny()])


def test_append_adds_and_keeps_the_container(tmp_path: Path) -> None:
    for container in CONTAINERS:
        path = write(tmp_path / container, [tiny("a")], container)
        write(path, [patient("b")], append=True)
        with sanstream.open(path) as archive:
            assert archive.container == container
            assert list(archive.recordings) == ["a", "b"]
            assert_same(archive.recordings["b"].read(), patient("b"))
            assert archive.verify(deep=True) == []
    with pytest.raises(InputError, match="its container is parquet, asked was zarr"):
        ArchiveWriter(tmp_path / "parquet", container="zarr", append=True)
    with pytest.raises(InputError, match="no archive stands here; leave out --append"):
        ArchiveWriter(tmp_path / "none", append=True)


def test_names_that_are_taken_or_cannot_be_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [tiny("a")])
    with ArchiveWriter(path, append=True) as writer:
        with pytest.raises(InputError, match="holds a recording 'a' already"):
            writer.add(tiny("a"))
        for name in ("", "banks", "../x", ".hidden", "manifest.json", "x" * 300):
            with pytest.raises(InputError, match="cannot be a folder's name"):
                writer.add(tiny(name))
        assert writer.free_name("a") == "a-2"
    with pytest.raises(InputError, match="container 'tar' is unknown; use zarr or parquet"):
        ArchiveWriter(tmp_path / "b", container="tar")
    with pytest.raises(InputError, match="no recording was added"), ArchiveWriter(tmp_path / "b") as writer:
        writer.commit()


def test_a_second_writer_waits_its_turn(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [tiny("a")])
    with ArchiveWriter(path, append=True) as writer:
        writer.add(tiny("b"))
        with archive_commit.locked(path), pytest.raises(InputError, match="another process is writing"):
            writer.commit()
        writer.commit()
    assert list(sanstream.open(path).recordings) == ["a", "b"]
