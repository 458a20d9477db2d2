"""Frames: whole or not at all, and torn tails told from damage."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
from durable_cases import TinyDisk

from sanstream.durable import Disk, DiskFull, SyncError
from sanstream.errors import CorruptError, InputError, UnsupportedError
from sanstream.log import FRAME, FRAME_BYTES, HEAD_BYTES, JOURNAL, LEDGER, MAX_BODY, LogWriter, pack_head
from sanstream.log_read import LogReader, open_reading, read_frame, read_head

BODIES = [b"one", b"", b"three" * 9, bytes(40), b"SNSYNCED" * 3]


def write(path: Path, groups: list[list[bytes]], *, sealed: bool = False, disk: Disk | None = None) -> bytes:
    disk = disk or Disk()
    log = LogWriter(disk, disk.create_log(path), 7, 0, JOURNAL)
    for group in groups:
        for body in group:
            log.append(5, body)
        log.sync()
    (log.seal if sealed else log.close)()
    return path.read_bytes()


def read(path: Path, *, last: bool = True, seed: int = 7) -> list[bytes]:
    file = open_reading(path)
    if read_head(file.handle, JOURNAL, path.name) is None:
        return []
    reader = LogReader(file.handle, seed)
    bodies = [f.body for f in reader]
    reader.check_end(path.name, last=last)
    return bodies


def test_frames_come_back_in_order_and_marks_stay_hidden(tmp_path: Path) -> None:
    data = write(tmp_path / "a", [BODIES[:2], BODIES[2:]], sealed=True)
    assert read(tmp_path / "a", last=False) == BODIES
    assert data.count(b"SNSYNCED") == 3 + 2
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_frames_larger_than_a_window_come_back(tmp_path: Path) -> None:
    bodies = [os.urandom(n) for n in (3_000_000, 9_000_000, 5, 4_000_000)]
    write(tmp_path / "a", [bodies])
    assert read(tmp_path / "a") == bodies


def test_a_frame_is_bound_to_its_file_and_place(tmp_path: Path) -> None:
    data = write(tmp_path / "a", [[b"same", b"same"]])
    size = FRAME_BYTES + 4
    first = data[HEAD_BYTES : HEAD_BYTES + size]
    (tmp_path / "b").write_bytes(data[: HEAD_BYTES + size] + first)
    assert read(tmp_path / "b") == [b"same"]
    assert read(tmp_path / "a", seed=8) == []


def test_a_file_cut_at_any_byte_gives_the_frames_before(tmp_path: Path) -> None:
    data = write(tmp_path / "a", [BODIES[:2], BODIES[2:]])
    seen = set()
    for n in range(len(data)):
        (tmp_path / "b").write_bytes(data[:n])
        got = read(tmp_path / "b")
        assert got == BODIES[: len(got)]
        seen.add(len(got))
    assert seen == {0, 1, 2, 3, 4}


def test_any_flipped_bit_of_a_finished_file_is_corruption(tmp_path: Path) -> None:
    data = write(tmp_path / "a", [BODIES[:2], BODIES[2:4]], sealed=True)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "b").write_bytes(flipped)
        with pytest.raises(CorruptError):
            read(tmp_path / "b", last=False)


def test_any_flipped_bit_of_the_last_file_is_corruption_unless_no_mark_follows(tmp_path: Path) -> None:
    data = write(tmp_path / "a", [BODIES[:2], BODIES[2:]])
    mark = data.index(b"SNSYNCED")
    torn = 0
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "b").write_bytes(flipped)
        try:
            got = read(tmp_path / "b")
        except CorruptError:
            assert bit // 8 < mark
        else:
            assert bit // 8 >= mark - FRAME_BYTES
            assert got == BODIES[: len(got)]
            torn += 1
    assert torn


def test_an_absurd_length_reaches_no_allocation(tmp_path: Path) -> None:
    data = write(tmp_path / "a", [[b"fine"]])
    for length in (2**32 - 1, MAX_BODY + 1, MAX_BODY, 1000):
        (tmp_path / "b").write_bytes(data + FRAME.pack(length, 1, 5) + b"x" * 20)
        tracemalloc.start()
        assert read(tmp_path / "b") == [b"fine"]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10 << 20
        with pytest.raises(CorruptError, match=rf"b: the frame at byte {len(data)} is damaged"):
            read(tmp_path / "b", last=False)


def test_a_sparse_tail_of_a_terabyte_is_no_hang(tmp_path: Path) -> None:
    write(tmp_path / "a", [[b"fine"]])
    os.truncate(tmp_path / "a", 1 << 40)
    assert read(tmp_path / "a") == [b"fine"]


def test_a_body_over_the_limit_is_refused(tmp_path: Path) -> None:
    disk = Disk()
    log = LogWriter(disk, disk.create_log(tmp_path / "a"), 7, 0, JOURNAL)
    with pytest.raises(InputError, match="journal: a record of 67108865 bytes, allowed are 67108864"):
        log.append(5, bytes(MAX_BODY + 1))


def test_heads_of_other_kinds_versions_and_damage_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(pack_head(LEDGER, 7) + b"x")
    with pytest.raises(CorruptError, match=r"is of kind 2, expected 1 \(journal\)"):
        read(path)
    path.write_bytes(newer(pack_head(JOURNAL, 7)))
    with pytest.raises(UnsupportedError, match=r"a: written by a newer sanstream \(log version 2.*sanstream recover"):
        read(path)
    path.write_bytes(b"X" + pack_head(JOURNAL, 7)[1:] + b"x")
    with pytest.raises(CorruptError, match="its head is damaged"):
        read(path)


def newer(head: bytes) -> bytes:
    from sanstream.log_read import _crc

    head = head[:5] + b"\x02" + head[6:12]
    return head + _crc(head)


def test_one_frame_is_read_by_its_place_and_checked(tmp_path: Path) -> None:
    disk = Disk()
    log = LogWriter(disk, disk.create_log(tmp_path / "a"), 7, 0, JOURNAL)
    places = [log.append(5, b) for b in BODIES]
    log.sync()
    file = open_reading(tmp_path / "a")
    assert [read_frame(file.handle, 7, p, "a").body for p in places] == BODIES
    for wrong in (places[1] + 1, 10**6, 0):
        with pytest.raises(CorruptError, match=f"a: no whole frame at byte {wrong}"):
            read_frame(file.handle, 7, wrong, "a")


def test_a_full_disk_keeps_what_waits_and_ends_with_a_whole_frame(tmp_path: Path) -> None:
    disk = TinyDisk(HEAD_BYTES + 30)
    log = LogWriter(disk, disk.create_log(tmp_path / "a"), 7, 0, JOURNAL)
    log.append(5, b"first")
    log.sync()
    log.append(5, b"second" * 10)
    for _ in range(2):
        with pytest.raises(DiskFull, match="a: no space left on its disk; free some space"):
            log.sync()
        assert read(tmp_path / "a") == [b"first"]
        assert (tmp_path / "a").stat().st_size == HEAD_BYTES + FRAME_BYTES + 5
    disk.left = 1000
    log.append(5, b"third")
    log.sync()
    assert read(tmp_path / "a") == [b"first", b"second" * 10, b"third"]


def test_a_full_buffer_on_a_full_disk_refuses_the_next_frame_only(tmp_path: Path) -> None:
    disk = TinyDisk(HEAD_BYTES)
    log = LogWriter(disk, disk.create_log(tmp_path / "a"), 7, 0, JOURNAL)
    body = bytes(600_000)
    log.append(5, body)
    log.append(5, body)
    size = log.size
    for _ in range(3):
        with pytest.raises(DiskFull):
            log.append(5, body)
        assert log.size == size
    disk.left = 10_000_000
    log.append(5, b"z")
    log.sync()
    assert read(tmp_path / "a") == [body, body, b"z"]


def test_a_failed_fsync_is_never_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    log = LogWriter(disk, disk.create_log(tmp_path / "a"), 7, 0, JOURNAL)
    log.append(5, b"x")
    calls = []

    def fsync(handle: int) -> None:
        calls.append(handle)
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(SyncError, match=r"fsync failed at journal\.data: Input/output error; check the disk and start"):
        log.sync()
    for verb in (log.sync, log.flush, lambda: log.append(5, b"y")):
        with pytest.raises(SyncError, match="journal: not usable"):
            verb()
    assert len(calls) == 1
