"""A compaction in small steps: the ledger is appended to meanwhile, and what was appended is copied behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sanstream.durable import Disk, OpenFile
from sanstream.ledger_records import RECORD, Place, pack_record
from sanstream.log import LEDGER, LogWriter
from sanstream.log_read import LogReader, read_frame

KeptRow = tuple[str, dict[str, Any], Place | None]
"""Kind and head of a record to write, or the place of one that is copied as it is."""


class Rewriting:
    """The file that will take a ledger's place.

    Parameters
    ----------
    disk : Disk
    old : OpenFile
        The ledger's present file.
    partial : Path
        Where the new one is written.
    epoch : int
        The ledger's.
    end : int
        Bytes of the present file, all whole frames and written; what is appended later is copied behind the rows.
    rows : iterable of KeptRow
        What is kept of those bytes.

    Attributes
    ----------
    file, log : OpenFile, LogWriter
        The new file.
    epoch : int
        The ledger's, when it began.
    moved : dict of int to int
        Where copied records stand now, by where they stood.

    Raises
    ------
    DiskFull, SyncError
    """

    def __init__(self, disk: Disk, old: OpenFile, partial: Path, epoch: int, end: int, rows: Iterable[KeptRow]) -> None:
        self._disk, self._old, self._partial = disk, old, partial
        self._rows: Iterator[KeptRow] = iter(rows)
        self._behind = end
        self.epoch = epoch
        self.moved: dict[int, int] = {}
        disk.remove(partial)
        self.file = disk.create_log(partial)
        self.log = LogWriter(disk, self.file, epoch + 1, 0, LEDGER)

    def step(self, n_bytes: int, end: int) -> bool:
        """Copy some bytes and bring them to the disk.

        Parameters
        ----------
        n_bytes : int
            About so many.
        end : int
            Bytes of the old file by now, all written.

        Returns
        -------
        bool
            Whether all is copied.

        Raises
        ------
        CorruptError
            When a record that is kept has changed on the disk.
        DiskFull, SyncError
        """
        stop = self.log.size + n_bytes
        for kind, head, place in self._rows:
            if place is None:
                self.log.append(RECORD, pack_record(kind, head, b""))
            else:
                self._copy(place.offset, read_frame(self._old.handle, self.epoch, place.offset, self._old.path.name)[2])
            if self.log.size >= stop:
                break
        else:
            self._follow(stop, end)
        self.log.sync()
        return self._behind >= end and self.log.size < stop

    def drop(self) -> None:
        """Give it up; the ledger stays as it is."""
        self.file.close()
        with suppress(OSError):
            self._disk.remove(self._partial)

    def _follow(self, stop: int, end: int) -> None:
        if self._behind >= end:
            return
        reader = LogReader(self._old.handle, self.epoch, self._behind)
        for frame in reader:
            self._copy(frame.offset, frame.body)
            self._behind = reader.end
            if self.log.size >= stop or self._behind >= end:
                return
        self._behind = reader.end  # a mark may follow the last record

    def _copy(self, offset: int, body: bytes) -> None:
        self.moved[offset] = self.log.append(RECORD, body)
