"""The ledger: what is committed but not yet in the archive, as records with a head and, some, a payload."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sanstream.durable import Disk, OpenFile, SyncError, current_disk, usable
from sanstream.errors import CorruptError, InputError
from sanstream.ledger_records import RECORD, Place, Record, pack_record, read_body, read_records
from sanstream.ledger_rewrite import KeptRow, Rewriting
from sanstream.log import LEDGER, LogWriter
from sanstream.log_read import LogReader, open_reading, read_head

__all__ = ["Ledger", "Place", "Record", "read_ledger"]


class Ledger:
    """One file, appended to, and replaced whole by a compaction.

    Opening makes what an earlier process left durable and cuts a torn tail off.

    Parameters
    ----------
    path : Path
        Made when missing.
    disk : Disk, optional
        Default: the one in use.

    Attributes
    ----------
    epoch : int
        How often it was compacted, from 1.
    torn_bytes : int
        What was cut off on opening.

    Raises
    ------
    CorruptError
        When bytes that were safe have changed.
    UnsupportedError
        When a newer version wrote it.
    DiskFull, SyncError
    InputError
        When the folder cannot be used.
    """

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        self._path = path
        self._disk = disk or current_disk()
        self._partial = path.with_name(f".{path.name}.partial")
        self._file: OpenFile | None = None
        self._log: LogWriter | None = None
        self.epoch = 0
        self.torn_bytes = 0
        with usable(path.parent):
            self._disk.make_folder(path.parent, mode=0o700, site="ledger.parent")
            self._disk.remove(self._partial)
            if path.exists():
                self._open()
            else:
                self.compact(())

    @property
    def size_bytes(self) -> int:
        """Bytes of the file, with what waits to be written."""
        return self._writer().size

    def append(self, kind: str, head: dict[str, Any], body: bytes = b"") -> Place:
        """Take a record; it is durable after the next :meth:`sync`.

        Parameters
        ----------
        kind : str
            At most 255 bytes.
        head : dict
            JSON values.
        body : bytes

        Returns
        -------
        Place

        Raises
        ------
        DiskFull
            The record is not taken; all before it are kept, and the ledger stays usable.
        SyncError
        """
        offset = self._writer().append(RECORD, pack_record(kind, head, body))
        return Place(offset, len(body), self.epoch)

    def flush(self) -> None:
        """Let other processes see what was appended; durable only after :meth:`sync`."""
        self._writer().flush()

    def sync(self) -> None:
        """Make everything appended before durable, with one fsync.

        Raises
        ------
        DiskFull
            Nothing is lost: what was appended waits in memory; call again later.
        SyncError
            The ledger then takes nothing more: the process must end, and the next one recovers.
        """
        self._writer().sync()

    def take_back(self, size: int) -> None:
        """Drop what was appended since :attr:`size_bytes` was ``size``, none of it synced.

        Raises
        ------
        SyncError
        """
        self._writer().take_back(size)

    def read_body(self, place: Place) -> bytes:
        """Read a body that this ledger holds, also one that is not synced yet.

        Raises
        ------
        InputError
            When the place is older than the last compaction.
        CorruptError
            When it has changed on the disk.
        """
        if place.epoch != self.epoch:
            raise InputError(f"ledger: a place of epoch {place.epoch}, now is {self.epoch}")
        if place.offset >= self._writer().written:
            self._writer().flush()
        return read_body(self._opened(), place)

    def records(self) -> Iterator[Record]:
        """Read all records, oldest first; what is appended meanwhile may be among them.

        Raises
        ------
        CorruptError
        """
        self._writer().flush()
        return read_records(self._opened(), self.epoch, self._path.name)

    def compact(self, records: Iterable[tuple[str, dict[str, Any], bytes]]) -> list[Place]:
        """Replace the file by one with these records only, in one step; durable on return.

        Parameters
        ----------
        records : iterable of (kind, head, body)
            May be read from this ledger while it goes on. What is not among them is gone, synced or not.

        Returns
        -------
        list of Place
            Of the records, in order; older places are not valid any more.

        Raises
        ------
        DiskFull
            The old file then stays as it is.
        SyncError
        """
        try:
            return self._replace(records)
        except SyncError:
            if self._log is not None:
                self._log.give_up()
            raise

    def rewrite(self, rows: Iterable[KeptRow]) -> Rewriting:
        """Begin a compaction that goes on in steps while records are appended.

        Parameters
        ----------
        rows : iterable of KeptRow
            Say the same as all records until now.

        Raises
        ------
        DiskFull, SyncError
        """
        self._writer().flush()
        return Rewriting(self._disk, self._opened(), self._partial, self.epoch, self._writer().written, rows)

    def adopt(self, rewriting: Rewriting, n_bytes: int) -> bool:
        """Copy some bytes more, and put the new file in the place of the old one when all is copied.

        Parameters
        ----------
        rewriting : Rewriting
        n_bytes : int

        Returns
        -------
        bool
            Whether it is in place; older places are then valid no more, ``rewriting.moved`` says where they went.

        Raises
        ------
        DiskFull
            The old file stays as it is.
        SyncError
            The ledger then takes nothing more.
        """
        self._writer().flush()
        if not rewriting.step(n_bytes, self._writer().written):
            return False
        try:
            self._swap(rewriting.file, rewriting.log, rewriting.epoch + 1)
        except SyncError:
            self._writer().give_up()
            raise
        return True

    def close(self) -> None:
        """Sync, end the file with a mark, and close it."""
        if self._log is not None:
            log, self._log, self._file = self._log, None, None
            log.seal()

    def _open(self) -> None:
        file = self._disk.open_log(self._path)
        epoch = read_head(file.handle, LEDGER, self._path.name)
        if epoch is None:
            raise CorruptError(f"{self._path.name}: its head is damaged")
        reader = LogReader(file.handle, epoch)
        for _ in reader:
            pass
        reader.check_end(self._path.name, last=True)
        self.torn_bytes = self._path.stat().st_size - reader.end
        if self.torn_bytes:
            self._disk.truncate(file, reader.end)
        # a killed process may have left bytes and a name that readers see but no disk holds yet
        self._disk.sync(file, "ledger.settle")
        self._disk.sync_folder(self._path.parent, "ledger.folder")
        self.epoch, self._file = epoch, file
        self._log = LogWriter(self._disk, file, epoch, reader.end, LEDGER)

    def _replace(self, records: Iterable[tuple[str, dict[str, Any], bytes]]) -> list[Place]:
        epoch = self.epoch + 1
        self._disk.remove(self._partial)
        file = self._disk.create_log(self._partial)
        try:
            log = LogWriter(self._disk, file, epoch, 0, LEDGER)
            places = []
            for kind, head, body in records:
                places.append(Place(log.append(RECORD, pack_record(kind, head, body)), len(body), epoch))
            log.sync()
        except BaseException as error:
            file.close()
            if not isinstance(error, SyncError):
                with suppress(OSError):
                    self._disk.remove(self._partial)
            raise
        self._swap(file, log, epoch)
        return places

    def _swap(self, file: OpenFile, log: LogWriter, epoch: int) -> None:
        self._disk.reach("ledger.written")
        self._disk.rename(self._partial, self._path)
        file.path = self._path
        self._disk.sync_folder(self._path.parent, "ledger.folder")
        self.epoch, self._file, self._log = epoch, file, log
        self._disk.reach("ledger.replaced")

    def _writer(self) -> LogWriter:
        if self._log is None:
            raise SyncError("ledger: not usable", "it is closed")
        return self._log

    def _opened(self) -> OpenFile:
        if self._file is None:
            raise SyncError("ledger: not usable", "it is closed")
        return self._file


def read_ledger(path: Path) -> Iterator[Record]:
    """Read a ledger, also another process's that is written or compacted meanwhile.

    Parameters
    ----------
    path : Path
        None there gives no records.

    Yields
    ------
    Record
        Oldest first.

    Raises
    ------
    CorruptError
        When bytes that were safe have changed. A short tail is no error.
    UnsupportedError
        When a newer version wrote it.
    """
    try:
        file = open_reading(path)
    except FileNotFoundError:
        return
    epoch = read_head(file.handle, LEDGER, path.name)
    if epoch is None:
        raise CorruptError(f"{path.name}: its head is damaged")
    yield from read_records(file, epoch, path.name)
