"""The raw journal: what was synced comes back once and equal, whatever happens to process, disk and power."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from durable_cases import (
    CHANNELS,
    Promise,
    TinyDisk,
    chunk,
    cut_everywhere,
    definition,
    event,
    keys,
    sites_of,
)

from sanstream.chunk import Chunk
from sanstream.durable import Disk, DiskFull, SyncError
from sanstream.errors import CorruptError, InputError, UnsupportedError
from sanstream.journal import Journal, journal_numbers, read_journal
from sanstream.journal_records import ChunkEntry, Definition
from sanstream.log import FRAME, pack_head


def newest(folder: Path) -> Path:
    return max(folder.glob("*.log"))


def test_chunks_and_events_come_back_equal_and_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    numbers = [journal.append_chunk(definition(), chunk(0)), journal.append_chunk(definition("t"), chunk(1, "t"))]
    numbers.append(journal.append_event(event(3)))
    numbers.append(journal.append_chunk(definition(), chunk(1)))
    journal.sync()
    assert keys(tmp_path / "j") == [("s", 0), ("t", 1), ("e", 3), ("s", 1)]
    assert numbers == [1, 1, 1, 1] == [journal.current] * 4
    assert [n for n, _ in read_journal(tmp_path / "j")] == numbers


@pytest.mark.parametrize("value", [-(2**31), -(2**15) - 1, -(2**15), 2**15 - 1, 2**15, 2**31 - 1])
def test_extreme_samples_come_back(tmp_path: Path, value: int) -> None:
    samples = np.full((3, 2), 7, np.int32)
    samples[1, 1] = value
    given = replace(chunk(0), samples=samples)
    journal = Journal(tmp_path / "j")
    journal.append_chunk(definition(), given)
    journal.close()
    ((_, entry),) = read_journal(tmp_path / "j")
    assert isinstance(entry, ChunkEntry)
    np.testing.assert_array_equal(entry.chunk.samples, samples)
    assert entry.chunk.samples.dtype == np.int32


def test_views_and_other_orders_of_samples_are_stored_as_they_read(tmp_path: Path) -> None:
    samples = np.arange(24, dtype=np.int32).reshape(2, 12).T[::2]
    journal = Journal(tmp_path / "j")
    journal.append_chunk(definition(), replace(chunk(0), samples=samples))
    journal.close()
    ((_, entry),) = read_journal(tmp_path / "j")
    assert isinstance(entry, ChunkEntry)
    np.testing.assert_array_equal(entry.chunk.samples, samples)


def test_small_samples_take_two_bytes(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.define(definition())
    before = journal.size_bytes
    big = Chunk("bed-1", "250hz", "s", 0, np.zeros((250, 2), np.int32), Fraction(250), CHANNELS, None, 0)
    journal.append_chunk(definition(), big)
    assert journal.size_bytes - before == 1000 + 29 + 9


def test_definitions_are_equal_by_content() -> None:
    a, b = definition(), definition()
    assert a == b
    assert hash(a) == hash(b)
    assert a != definition("t")
    assert a != replace(a, base=1)
    assert a != replace(a, channels=(CHANNELS[0], replace(CHANNELS[1], header={"x": 2})))
    assert Definition.from_json(a.content) == a
    with pytest.raises(InputError, match="lane is 'fast'; use main or late"):
        replace(a, lane="fast")


def test_each_file_defines_what_it_holds_and_files_are_removed_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", file_bytes=1000)
    placed = [journal.append_chunk(definition(), chunk(k)) for k in range(40)]
    journal.sync()
    assert placed == sorted(placed)
    assert len(set(placed)) > 4
    assert journal.numbers() == list(range(1, placed[-1] + 1)) == journal_numbers(tmp_path / "j")
    assert journal.size_bytes == sum(p.stat().st_size for p in (tmp_path / "j").iterdir())
    journal.remove(2)
    journal.remove(2)
    journal.remove(1)
    assert keys(tmp_path / "j") == [("s", k) for k in range(40) if placed[k] > 2]
    assert journal.numbers() == journal_numbers(tmp_path / "j")
    assert journal.size_bytes == sum(p.stat().st_size for p in (tmp_path / "j").iterdir())
    with pytest.raises(InputError, match=rf"file {journal.current} is being written; roll first"):
        journal.remove(journal.current)


def test_a_chunk_under_a_foreign_definition_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    for wrong in (chunk(0, "t"), chunk(0, recording="bed-2"), replace(chunk(0), stream="1hz")):
        with pytest.raises(InputError, match="under the definition of another"):
            journal.append_chunk(definition(), wrong)


def test_files_and_folder_are_private(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state" / "j")
    assert (tmp_path / "state" / "j").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert newest(tmp_path / "state" / "j").stat().st_mode & 0o777 == 0o600
    journal.close()


def test_a_torn_tail_of_any_length_is_cut_off_on_opening(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    for k in range(3):
        journal.append_chunk(definition(), chunk(k))
    journal.sync()
    data = newest(tmp_path / "j").read_bytes()
    counts = set()
    for n in range(len(data) + 1):
        folder = tmp_path / str(n)
        folder.mkdir()
        (folder / f"{1:016d}.log").write_bytes(data[:n])
        before = keys(folder)
        again = Journal(folder, Disk() if n % 50 == 0 else NoSync())
        assert again.torn_bytes < len(data)
        again.append_chunk(definition(), chunk(9))
        again.close()
        assert keys(folder) == [*before, ("s", 9)]
        counts.add(len(before))
    assert counts == {0, 1, 2, 3}


class NoSync(Disk):
    """Spares the real fsync, where a test has very many."""

    def sync(self, file: object, site: str) -> None:
        pass


@pytest.mark.parametrize("sealed", [True, False])
def test_any_flipped_bit_is_a_torn_tail_or_corruption_never_other_data(tmp_path: Path, sealed: bool) -> None:
    journal = Journal(tmp_path / "j")
    for k in range(3):
        journal.append_chunk(definition(), chunk(k))
        journal.sync()
        if k == 0:
            journal.roll()
    journal.close() if sealed else None
    want = keys(tmp_path / "j")
    assert len(journal_numbers(tmp_path / "j")) == 2
    torn = 0
    for path in sorted((tmp_path / "j").iterdir()):
        data = path.read_bytes()
        for bit in range(0, 8 * len(data), 7):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            try:
                got = keys(tmp_path / "j")
            except CorruptError:
                continue
            assert path == newest(tmp_path / "j")
            assert got == want[: len(got)]
            assert len(got) >= len(want) - (not sealed)
            torn += got != want
        path.write_bytes(data)
    assert bool(torn) is not sealed


def test_damage_in_the_newest_file_stops_opening(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append_chunk(definition(), chunk(0))
    journal.close()
    path = newest(tmp_path / "j")
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    for verb in (Journal, keys):
        with pytest.raises(CorruptError, match=r"0001\.log: the frame at byte 16 is damaged; the disk changed bytes"):
            verb(tmp_path / "j")
    assert path.read_bytes() == data


def test_a_renamed_file_and_records_that_make_no_sense_are_corruption(tmp_path: Path) -> None:
    from sanstream.durable import Disk
    from sanstream.log import JOURNAL, LogWriter

    Journal(tmp_path / "j").close()
    newest(tmp_path / "j").rename(tmp_path / "j" / f"{5:016d}.log")
    for verb in (Journal, keys):
        with pytest.raises(CorruptError, match=r"0005\.log: its head says file 1; was the file renamed"):
            verb(tmp_path / "j")
    bodies = {1: [b"", b"\0\0\0\0{}"], 2: [b"\0" * 29, b"\0" * 3], 3: [b"{", b"{}"], 9: [b""]}
    for kind, wrong in bodies.items():
        for k, body in enumerate(wrong):
            folder = tmp_path / f"{kind}-{k}"
            folder.mkdir()
            disk = Disk()
            log = LogWriter(disk, disk.create_log(folder / f"{1:016d}.log"), 1, 0, JOURNAL)
            log.append(kind, body)
            log.seal()
            with pytest.raises(CorruptError, match="the record at byte 16"):
                keys(folder)


def test_a_newer_journal_is_refused_with_the_command_that_finishes_it(tmp_path: Path) -> None:
    import google_crc32c

    (tmp_path / "j").mkdir()
    head = pack_head(1, 1)
    head = head[:5] + b"\x09" + head[6:12]
    (tmp_path / "j" / f"{1:016d}.log").write_bytes(head + google_crc32c.value(head).to_bytes(4, "little"))
    for verb in (Journal, keys):
        with pytest.raises(UnsupportedError, match=r"log version 9, known are up to 1.*sanstream recover STATE_DIR"):
            verb(tmp_path / "j")


def test_foreign_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "j").mkdir()
    for name in ("notes.txt", "1.log", "000000000000000x.log"):
        (tmp_path / "j" / name).write_text("x")
    journal = Journal(tmp_path / "j")
    assert journal.numbers() == [1]
    assert keys(tmp_path / "j") == []
    assert len(list((tmp_path / "j").iterdir())) == 4


def test_a_folder_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"file.j: cannot be used \(Not a directory\); give a folder on a local disk"):
        Journal(tmp_path / "file" / "j")


def test_a_full_disk_loses_nothing_and_the_journal_goes_on(tmp_path: Path) -> None:
    disk = TinyDisk(900)
    journal = Journal(tmp_path / "j", disk)
    taken = []
    for k in range(100):
        journal.append_chunk(definition(), chunk(k))
        taken.append(("s", k))
        try:
            journal.sync()
        except DiskFull:
            break
    assert 2 < len(taken) < 20
    assert keys(tmp_path / "j") == taken[:-1]
    with pytest.raises(DiskFull, match=r"\.log: no space left on its disk"):
        journal.sync()
    disk.left = 5000
    journal.append_chunk(definition(), chunk(50))
    journal.sync()
    assert keys(tmp_path / "j") == [*taken, ("s", 50)]


def test_a_disk_too_full_for_a_new_file_keeps_the_old_one(tmp_path: Path) -> None:
    disk = TinyDisk(2000)
    journal = Journal(tmp_path / "j", disk, file_bytes=300)
    journal.append_chunk(definition(), chunk(0))
    journal.sync()
    disk.left = 5
    for _ in range(2):
        with pytest.raises(DiskFull):
            journal.append_chunk(definition(), chunk(1))
        assert journal_numbers(tmp_path / "j") == [1] == journal.numbers()
    disk.left = 5000
    assert journal.append_chunk(definition(), chunk(1)) == 2
    journal.sync()
    assert keys(tmp_path / "j") == [("s", 0), ("s", 1)]


LIMITED = """
import resource, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from durable_cases import chunk, definition, keys
from sanstream.durable import DiskFull
from sanstream.journal import Journal
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
folder = Path({folder!r})
journal = Journal(folder)
for k in range(1000):
    journal.append_chunk(definition(), chunk(k))
    try:
        journal.sync()
    except DiskFull as error:
        assert keys(folder) == [("s", n) for n in range(k)], k
        break
resource.setrlimit(resource.RLIMIT_FSIZE, (100000, resource.RLIM_INFINITY))
journal.append_chunk(definition(), chunk(k + 1))
journal.close()
assert keys(folder) == [("s", n) for n in range(k + 2)], k
print(k)
"""


def test_the_operating_systems_own_refusal_is_survived(tmp_path: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY:
        pytest.skip("files are limited here already")
    code = LIMITED.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "j"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert 5 < int(done.stdout) < 40


def test_a_failed_fsync_ends_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "j")
    journal.append_chunk(definition(), chunk(0))
    calls = []

    def fsync(handle: int) -> None:
        calls.append(handle)
        raise OSError(5, os.strerror(5))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(SyncError, match=r"fsync failed at journal\.data: Input/output error"):
            journal.sync()
        for _ in range(2):
            with pytest.raises(SyncError):
                journal.sync()
            with pytest.raises(SyncError):
                journal.append_chunk(definition(), chunk(1))
            with pytest.raises(SyncError):
                journal.roll()
        assert len(calls) == 1
    again = Journal(tmp_path / "j")
    again.append_chunk(definition(), chunk(2))
    again.close()
    assert keys(tmp_path / "j") == [("s", 0), ("s", 2)]


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.close()
    journal.close()
    with pytest.raises(SyncError, match="journal: not usable: it is closed"):
        journal.append_event(event(0))


def test_a_reader_sees_whole_entries_while_files_grow_and_vanish(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    journal = Journal(folder, NoSync(), file_bytes=2000)
    stop = threading.Event()

    def write() -> None:
        for k in range(1500):
            journal.append_chunk(definition(), chunk(k))
            if k % 3 == 0:
                journal.sync()
            if k % 20 == 0:
                for number in journal.numbers()[:-3]:
                    journal.remove(number)
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not stop.is_set() or reads < 3:
        got = [n for _, n in keys(folder)]
        assert got == sorted(set(got))
        reads += 1
    writer.join()
    assert reads >= 3
    journal.sync()
    assert keys(folder)[-1] == ("s", 1499)


def run(root: Path, disk: Disk, promise: Promise) -> None:
    """Append, sync, roll, remove; be killed with bytes in flight; recover, go on, end."""
    folder = root / "state" / "journal"
    journal = Journal(folder, disk)

    def add(*names: tuple[str, int]) -> None:
        promise.may.update(names)
        for session, k in names:
            if session == "e":
                journal.append_event(event(k))
            else:
                journal.append_chunk(definition(session), chunk(k, session))

    add(("s", 0), ("t", 0))
    journal.sync()
    promise.must |= {("s", 0), ("t", 0)}
    add(("s", 1), ("e", 0))
    journal.sync()
    promise.must |= {("s", 1), ("e", 0)}
    journal.roll()
    add(("t", 1))
    journal.sync()
    promise.must.add(("t", 1))
    promise.must -= {("s", 0), ("t", 0), ("s", 1), ("e", 0)}
    journal.remove(1)
    add(("s", 2))
    journal.flush()
    broken = disk.open_log(newest(folder))
    disk.append(broken, FRAME.pack(30, 1, 2) + b"half")
    broken.close()
    journal = Journal(folder, disk)
    assert journal.torn_bytes == 13
    promise.must |= set(keys(folder))
    assert ("s", 2) in promise.must
    add(("s", 3))
    journal.sync()
    promise.must.add(("s", 3))
    add(("t", 3))
    journal.close()
    promise.must.add(("t", 3))


def check(root: Path, promise: Promise) -> None:
    folder = root / "state" / "journal"
    before = keys(folder)
    assert len(set(before)) == len(before)
    assert promise.must <= set(before) <= promise.may
    journal = Journal(folder, NoSync())
    journal.append_chunk(definition(), chunk(8))
    journal.close()
    assert keys(folder) == [*before, ("s", 8)]


def test_a_power_cut_at_any_moment_loses_nothing_that_was_synced(tmp_path: Path) -> None:
    assert cut_everywhere(tmp_path, run, check, tears=("none", "zeros", 1, 2, 3)) > 150


SITES = ("journal.data", "journal.folder", "journal.head", "journal.parent", "journal.settle")


def test_these_are_all_sites(tmp_path: Path) -> None:
    assert sites_of(tmp_path / "x", run) == sorted(SITES)


@pytest.mark.parametrize("site", SITES)
def test_without_any_single_fsync_a_power_cut_loses_data(tmp_path: Path, site: str) -> None:
    with pytest.raises((AssertionError, CorruptError)):
        cut_everywhere(tmp_path, run, check, ignore=site, tears=("none", "zeros"))


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from durable_cases import chunk, definition
from sanstream.journal import Journal
journal = Journal(Path({folder!r}), file_bytes=1500)
for k in range(40):
    journal.append_chunk(definition(), chunk(k))
    journal.sync()
    print(k, flush=True)
    for number in journal.numbers()[:-2]:
        journal.remove(number)
"""


@pytest.mark.parametrize("fault", ["journal.created:2", "journal.append:5", "journal.synced:9", "journal.removed:1"])
def test_a_process_killed_at_a_named_point_leaves_what_it_acknowledged(tmp_path: Path, fault: str) -> None:
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "j"))
    environment = {**os.environ, "SANSTREAM_FAULT": fault}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    acknowledged = [int(line) for line in done.stdout.split()]
    found = [k for _, k in keys(tmp_path / "j")]
    assert found == list(range(found[0], found[-1] + 1))
    assert found[-1] >= acknowledged[-1]
    assert (found[0] > 0) == (fault == "journal.removed:1")
