"""The ledger: records and payloads, replaced whole in one step, nothing that was synced is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from durable_cases import Promise, TinyDisk, cut_everywhere, sites_of

from sanstream.durable import Disk, DiskFull, SyncError
from sanstream.durable_power import PowerCut
from sanstream.durable_tree import SECTOR
from sanstream.errors import CorruptError, InputError, UnsupportedError
from sanstream.ledger import Ledger, read_ledger
from sanstream.log import FRAME, LEDGER, LogWriter, pack_head


def body(n: int) -> bytes:
    return bytes((n % 251,)) * (n % 7 * 5)


def add(ledger: Ledger, *numbers: int) -> None:
    for n in numbers:
        ledger.append("block", {"number": n, "stream": "ä"}, body(n))


def record(n: int) -> tuple[str, dict[str, Any], bytes]:
    return "block", {"number": n, "stream": "ä"}, body(n)


def numbers(path: Path) -> list[int]:
    out = []
    for r in read_ledger(path):
        assert (r.kind, r.head, r.body()) == record(r.head["number"])
        assert r.place.length == len(body(r.head["number"]))
        out.append(r.head["number"])
    return out


def test_records_come_back_with_their_bodies(tmp_path: Path) -> None:
    path = tmp_path / "state" / "ledger.log"
    ledger = Ledger(path)
    places = [ledger.append(*record(n)) for n in range(5)]
    assert [ledger.read_body(p) for p in places] == [body(n) for n in range(5)]
    ledger.append("closed", {})
    ledger.sync()
    kinds = [(r.kind, r.head, r.body()) for r in read_ledger(path)]
    assert kinds == [*(record(n) for n in range(5)), ("closed", {}, b"")]
    assert [(r.kind, r.head, r.body()) for r in ledger.records()] == kinds
    assert ledger.size_bytes == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_no_ledger_has_no_records(tmp_path: Path) -> None:
    assert list(read_ledger(tmp_path / "none")) == []


def test_it_goes_on_after_opening_again(tmp_path: Path) -> None:
    for n in range(4):
        ledger = Ledger(tmp_path / "l")
        assert ledger.torn_bytes == 0
        add(ledger, n)
        ledger.close()
    assert numbers(tmp_path / "l") == [0, 1, 2, 3]


def test_a_compaction_keeps_what_it_is_given_and_old_records_stay_readable(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l")
    add(ledger, *range(6))
    ledger.sync()
    old = list(read_ledger(tmp_path / "l"))
    place = old[3].place
    size, epoch = ledger.size_bytes, ledger.epoch
    places = ledger.compact((r.kind, r.head, r.body()) for r in ledger.records() if r.head["number"] in (3, 5))
    assert numbers(tmp_path / "l") == [3, 5]
    assert [ledger.read_body(p) for p in places] == [body(3), body(5)]
    assert ledger.size_bytes < size
    assert ledger.epoch == epoch + 1
    assert [r.body() for r in old] == [body(n) for n in range(6)]
    with pytest.raises(InputError, match="a place of epoch 1, now is 2"):
        ledger.read_body(place)
    add(ledger, 9)
    ledger.sync()
    assert numbers(tmp_path / "l") == [3, 5, 9]
    assert [p.name for p in tmp_path.iterdir()] == ["l"]


def test_a_torn_tail_of_any_length_is_cut_off_on_opening(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l")
    add(ledger, 1, 2, 3)
    ledger.sync()
    data = (tmp_path / "l").read_bytes()
    counts = set()
    path = tmp_path / "b"
    for n in range(16, len(data) + 1):
        path.write_bytes(data[:n])
        before = numbers(path)
        again = Ledger(path)
        assert (again.torn_bytes == 0) == (path.stat().st_size == n)
        add(again, 8)
        again.sync()
        assert numbers(path) == [*before, 8]
        counts.add(len(before))
    assert counts == {0, 1, 2, 3}
    for n in range(16):
        path.write_bytes(data[:n])
        for verb in (Ledger, numbers):
            with pytest.raises(CorruptError, match="b: its head is damaged"):
                verb(path)


@pytest.mark.parametrize("sealed", [True, False])
def test_any_flipped_bit_is_a_torn_tail_or_corruption_never_other_data(tmp_path: Path, sealed: bool) -> None:
    ledger = Ledger(tmp_path / "l")
    for n in (1, 2, 3):
        add(ledger, n)
        ledger.sync()
    ledger.close() if sealed else None
    data = (tmp_path / "l").read_bytes()
    torn = 0
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "b").write_bytes(flipped)
        try:
            got = numbers(tmp_path / "b")
        except CorruptError:
            continue
        assert got == [1, 2, 3][: len(got)]
        assert len(got) >= 3 - (not sealed)
        torn += got != [1, 2, 3]
    assert bool(torn) is not sealed


def test_a_body_that_changes_after_it_was_found_is_corruption(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l")
    add(ledger, 5)
    ledger.sync()
    (found,) = read_ledger(tmp_path / "l")
    data = bytearray((tmp_path / "l").read_bytes())
    data[-1] ^= 1
    with (tmp_path / "l").open("r+b") as file:
        file.write(data)
    with pytest.raises(CorruptError, match="l: no whole frame at byte 16"):
        found.body()


def test_records_that_make_no_sense_are_corruption(tmp_path: Path) -> None:
    heads = [b"", b"\xff\0\0\0\0", b"\0\xff\0\0\0{}", b"\0\2\0\0\0[]", b"\1\2\0\0\0\xff{}"]
    for k, wrong in enumerate(heads):
        disk = Disk()
        log = LogWriter(disk, disk.create_log(tmp_path / str(k)), 1, 0, LEDGER)
        log.append(1 if k else 2, wrong)
        log.seal()
        with pytest.raises(CorruptError, match=rf"{k}: the record at byte 16 cannot be read"):
            numbers(tmp_path / str(k))


def test_a_newer_ledger_is_refused_with_the_command_that_finishes_it(tmp_path: Path) -> None:
    import google_crc32c

    head = pack_head(LEDGER, 1)
    head = head[:5] + b"\x02" + head[6:12]
    (tmp_path / "l").write_bytes(head + google_crc32c.value(head).to_bytes(4, "little"))
    for verb in (Ledger, numbers):
        with pytest.raises(UnsupportedError, match="sanstream recover STATE_DIR"):
            verb(tmp_path / "l")


def test_a_full_disk_loses_nothing_and_the_ledger_goes_on(tmp_path: Path) -> None:
    disk = TinyDisk(400)
    ledger = Ledger(tmp_path / "l", disk)
    taken: list[int] = []
    with pytest.raises(DiskFull):
        for n in range(100):
            add(ledger, n)
            taken.append(n)
            ledger.sync()
    assert numbers(tmp_path / "l") == taken[:-1]
    with pytest.raises(DiskFull):
        ledger.compact(record(n) for n in range(50))
    assert numbers(tmp_path / "l") == taken[:-1]
    assert [p.name for p in tmp_path.iterdir()] == ["l"]
    disk.left = 5000
    add(ledger, 70)
    ledger.sync()
    assert numbers(tmp_path / "l") == [*taken, 70]
    ledger.compact(record(n) for n in (70,))
    assert numbers(tmp_path / "l") == [70]


@pytest.mark.parametrize("during", ["sync", "compact"])
def test_a_failed_fsync_ends_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, during: str) -> None:
    ledger = Ledger(tmp_path / "l")
    add(ledger, 1)
    ledger.sync()
    add(ledger, 2)

    def fsync(handle: int) -> None:
        raise OSError(5, os.strerror(5))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(SyncError, match="fsync failed at ledger"):
            ledger.sync() if during == "sync" else ledger.compact([record(2)])
    with pytest.raises(SyncError, match="not usable"):
        ledger.sync()
    with pytest.raises(SyncError, match="not usable"):
        add(ledger, 3)
    again = Ledger(tmp_path / "l")
    add(again, 4)
    again.close()
    assert numbers(tmp_path / "l") in ([1, 2, 4], [1, 4])
    with pytest.raises(SyncError, match="it is closed"):
        again.sync()


def test_a_reader_sees_whole_records_while_the_file_grows_and_is_replaced(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l")
    stop = threading.Event()

    def write() -> None:
        for n in range(600):
            add(ledger, n)
            if n % 3 == 0:
                ledger.flush()
            if n % 100 == 99:
                ledger.compact(record(k) for k in range(n - 10, n + 1))
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not stop.is_set() or reads < 3:
        got = numbers(tmp_path / "l")
        assert got == sorted(set(got))
        reads += 1
    writer.join()
    assert numbers(tmp_path / "l")[-1] == 599


def test_a_power_cut_during_a_compaction_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    def run_one(root: Path, disk: Disk, promise: Promise) -> None:
        ledger = Ledger(root / "l", disk)
        add(ledger, *range(4))
        ledger.sync()
        promise.must = {"begun"}
        ledger.compact(record(n) for n in (1, 3, 7))
        promise.must = {"done"}

    def check_one(root: Path, promise: Promise) -> None:
        found = numbers(root / "l")
        if promise.must:
            assert found in ([1, 3, 7], [0, 1, 2, 3])
            assert found == [1, 3, 7] or promise.must == {"begun"}
        Ledger(root / "l").close()
        assert [p.name for p in root.iterdir()] == ["l"]

    assert cut_everywhere(tmp_path, run_one, check_one) > 40


def run(root: Path, disk: Disk, promise: Promise) -> None:
    """Append, sync, compact; be killed with bytes in flight; recover, go on, end."""
    path = root / "state" / "l"
    ledger = Ledger(path, disk)
    promise.may |= {1, 2}
    add(ledger, 1, 2)
    ledger.sync()
    promise.must |= {1, 2}
    promise.must.discard(1)
    ledger.compact([record(2)])
    promise.may |= {3}
    add(ledger, 3)
    ledger.sync()
    promise.must.add(3)
    promise.may |= {4}
    add(ledger, 4)
    ledger.flush()
    broken = disk.open_log(path)
    disk.append(broken, FRAME.pack(30, 1, 1) + b"half")
    broken.close()
    ledger = Ledger(path, disk)
    assert ledger.torn_bytes == 13
    promise.must |= set(numbers(path))
    assert 4 in promise.must
    promise.may |= {5, 6}
    add(ledger, 5)
    ledger.sync()
    promise.must.add(5)
    add(ledger, 6)
    ledger.close()
    promise.must.add(6)


def check(root: Path, promise: Promise) -> None:
    path = root / "state" / "l"
    found = numbers(path)
    assert len(set(found)) == len(found)
    assert promise.must <= set(found) <= promise.may
    ledger = Ledger(path)
    add(ledger, 8)
    ledger.close()
    assert numbers(path) == [*found, 8]


def test_a_power_cut_at_any_moment_loses_nothing_that_was_synced(tmp_path: Path) -> None:
    assert cut_everywhere(tmp_path, run, check) > 80


SITES = ("ledger.data", "ledger.folder", "ledger.head", "ledger.parent", "ledger.settle")


def test_these_are_all_sites(tmp_path: Path) -> None:
    assert sites_of(tmp_path / "x", run) == sorted(SITES)


@pytest.mark.parametrize("site", SITES)
def test_without_any_single_fsync_a_power_cut_loses_data(tmp_path: Path, site: str) -> None:
    with pytest.raises((AssertionError, CorruptError)):
        cut_everywhere(tmp_path, run, check, ignore=site, tears=("none", "zeros"))


@pytest.mark.parametrize("ignore", [None, "ledger.settle"])
def test_a_stale_frame_behind_a_torn_one_never_returns(tmp_path: Path, ignore: str | None) -> None:
    """Sector 0 ends with a mark, 1 is frame "b", broken, 2 is frame "c", whole: a tail that a power cut left."""
    returned = 0
    for seed in range(40):
        root = tmp_path / str(seed)
        root.mkdir()
        ledger = Ledger(root / "l")
        ledger.append("a", {}, bytes(462))
        ledger.sync()
        assert ledger.append("b", {}, bytes(495)).offset == SECTOR
        assert ledger.append("c", {}, bytes(495)).offset == 2 * SECTOR
        ledger.flush()
        data = bytearray((root / "l").read_bytes())
        data[SECTOR + 100] ^= 1
        (root / "l").write_bytes(data)
        with PowerCut(root, ignore=ignore, tear=seed) as disk:
            again = Ledger(root / "l", disk)
            assert [r.kind for r in again.records()] == ["a"]
            again.append("d", {}, bytes(478))
            again.flush()
            disk.cut()
        returned += "c" in [r.kind for r in read_ledger(root / "l")]
    assert (returned > 0) == (ignore is not None)


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_ledger import add, record
from sanstream.ledger import Ledger
ledger = Ledger(Path({path!r}))
for n in range(12):
    add(ledger, n)
    ledger.sync()
    print(n, flush=True)
    if n % 5 == 4:
        ledger.compact([record(k) for k in range(n - 2, n + 1)])
"""


@pytest.mark.parametrize("fault", ["ledger.append:3", "ledger.synced:9", "ledger.written:2", "ledger.replaced:2"])
def test_a_process_killed_at_a_named_point_leaves_what_it_acknowledged(tmp_path: Path, fault: str) -> None:
    code = KILLED.format(tests=str(Path(__file__).parent), path=str(tmp_path / "l"))
    environment = {**os.environ, "SANSTREAM_FAULT": fault}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    acknowledged = [-1, *map(int, done.stdout.split())]
    Ledger(tmp_path / "l").close()
    found = [-1, *numbers(tmp_path / "l")]
    assert found[1:] == list(range(found[-1] + 1))[-len(found[1:]) :][: len(found) - 1]
    assert found[-1] >= acknowledged[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["l"]


@pytest.mark.parametrize("written", [False, True])
def test_what_is_taken_back_never_comes(tmp_path: Path, written: bool) -> None:
    path = tmp_path / "ledger.log"
    ledger = Ledger(path)
    ledger.append("kept", {})
    ledger.sync()
    size = ledger.size_bytes
    for again in range(2):
        ledger.append("gone", {"n": again}, bytes(2 << 20))
        ledger.append("gone", {})
        if written:
            ledger.flush()
        ledger.take_back(size)
        assert ledger.size_bytes == size
    ledger.append("next", {})
    ledger.sync()
    with pytest.raises(InputError, match=f"frames from byte {size} on cannot be dropped"):
        ledger.take_back(size)
    ledger.append("last", {})
    ledger.close()
    assert [record.kind for record in read_ledger(path)] == ["kept", "next", "last"]
    data = bytearray(path.read_bytes())
    data[size + 4] ^= 1  # before the mark of the last sync
    path.write_bytes(data)
    with pytest.raises(CorruptError):
        list(read_ledger(path))
