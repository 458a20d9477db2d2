"""What the tests of journal, ledger and disk share: small chunks, full disks, and campaigns of power cuts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sanstream.chunk import Chunk, Event
from sanstream.durable import Data, Disk, DiskFull, OpenFile
from sanstream.durable_power import PowerCut
from sanstream.journal import read_journal
from sanstream.journal_records import ChunkEntry, Definition
from sanstream.signal import Channel

CHANNELS = (Channel("I", "mV", 200.0, header={"n": 1}), Channel("II", "mV", 200.0))
TEARS: tuple[str | int, ...] = ("none", "zeros", 1, 2)


def definition(session: str = "s", recording: str = "bed-1", lane: str = "main") -> Definition:
    return Definition(recording, "250hz", session, 0, 10**18, Fraction(250), CHANNELS, "icu", lane)


def chunk(number: int, session: str = "s", recording: str = "bed-1", n: int = 4) -> Chunk:
    """Chunk ``number`` holds samples that no other chunk of its session holds."""
    samples = (np.arange(2 * n, dtype=np.int32).reshape(n, 2) + 1000 * number).astype(np.int32)
    device = None if number % 2 else 10**18 + number
    return Chunk(recording, "250hz", session, n * number, samples, Fraction(250), CHANNELS, device, 2 * 10**18 + number)


def event(number: int) -> Event:
    return Event("bed-1", "e", number, 10**18 + number, "marker", f"märk {number}", 5)


def keys(folder: Path) -> list[tuple[str, int]]:
    """Name every entry of a journal, after comparing its samples."""
    out = []
    for _, entry in read_journal(folder):
        if isinstance(entry, ChunkEntry):
            assert_chunk(entry)
            out.append((entry.chunk.session, entry.chunk.first_sample // 4))
        else:
            assert entry.event == event(entry.event.number)
            out.append(("e", entry.event.number))
    return out


def assert_chunk(entry: ChunkEntry) -> None:
    got = entry.chunk
    want = chunk(got.first_sample // 4, got.session, got.recording)
    np.testing.assert_array_equal(got.samples, want.samples)
    assert (got.stream, got.rate, got.channels) == (want.stream, want.rate, want.channels)
    assert (got.device_ns, got.arrival_ns) == (want.device_ns, want.arrival_ns)
    assert entry.definition == definition(got.session, got.recording)


class TinyDisk(Disk):
    """A disk with so many bytes left; like a real one it writes what fits before it refuses."""

    def __init__(self, left: int) -> None:
        self.left = left

    def append(self, file: OpenFile, data: Data) -> None:
        fits = data[: self.left]
        super().append(file, fits)
        self.left -= len(fits)
        if len(fits) < len(data):
            raise DiskFull(file.path.name)

    def truncate(self, file: OpenFile, length: int) -> None:
        self.left += os.fstat(file.handle).st_size - length
        super().truncate(file, length)


class Promise:
    """What a run has been told is durable, and what it ever wrote."""

    def __init__(self) -> None:
        self.must: set[Any] = set()
        self.may: set[Any] = set()


def cut_everywhere(
    folder: Path,
    run: Callable[[Path, Disk, Promise], None],
    check: Callable[[Path, Promise], None],
    *,
    ignore: str | None = None,
    tears: Sequence[str | int] = TEARS,
) -> int:
    """Run with the power cut before every operation in turn, check what survived; return how many cuts."""
    cuts = 0
    for tear in tears:
        lost, at = True, 0
        while lost:
            at += 1
            root = folder / f"{tear}-{at}"
            root.mkdir()
            promise = Promise()
            with PowerCut(root, at=at, ignore=ignore, tear=tear) as disk:
                run(root, disk, promise)
                disk.cut()
            lost = disk.operations == at
            check(root, promise)
            shutil.rmtree(root)
            cuts += 1
    return cuts


def sites_of(folder: Path, run: Callable[[Path, Disk, Promise], None]) -> list[str]:
    """Return every fsync site that a run reaches."""
    folder.mkdir()
    with PowerCut(folder) as disk:
        run(folder, disk, Promise())
    return sorted(disk.sites)
