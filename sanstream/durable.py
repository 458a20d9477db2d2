"""Bytes that must survive a power cut: ordered writes, fsync, rename, and named places where tests kill the process.

Nothing is durable before the file and the folder that names it are both synced. A failed fsync is never tried again:
the kernel may have dropped the very pages that it could not write, and would report success the second time.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

from sanstream.errors import InputError, SanstreamError

Data = bytes | bytearray | memoryview
T = TypeVar("T")

POINTS = (
    *("journal.created", "journal.append", "journal.synced", "journal.removed"),
    *("ledger.append", "ledger.synced", "ledger.written", "ledger.replaced"),
    *("archive.partial_made", "archive.object_written", "archive.recording_written"),
    *("archive.before_rename", "archive.renamed", "archive.before_catalog"),
    *("seal.bank", "seal.shard", "seal.meta", "seal.events", "seal.manifest", "seal.catalog", "seal.recorded"),
    *("engine.acknowledged", "engine.committed", "retrain.trained", "retrain.adopted"),
    *("seal.places", "seal.descriptor"),  # of archives that daemons share
)
"""Places where a process may die, each reached by :func:`reach`."""

watcher: Callable[[str], None] | None = None
"""Told of every point that is reached; for tests."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the operating system says when there is no more space."""
NO_HANDLES = frozenset({errno.EMFILE, errno.ENFILE})
"""What it says when too many files are open."""
HANDLES_S = 60.0
"""So long is waited for a file handle where the work cannot stop half way."""
_reached: Counter[str] = Counter()


class SyncError(SanstreamError):
    """The disk failed to write or to keep bytes; what was not synced may be lost (exit code 1).

    Attributes
    ----------
    reason : str
        What the operating system said.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(f"{message}: {reason}", hint="check the disk and start again: the state recovers from disk")
        self.reason = reason


class DiskFull(InputError):
    """No space for more bytes; what was there before is untouched, and a later try may succeed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: no space left on its disk", hint="free some space or enlarge the quota")


class NoHandles(DiskFull):
    """Too many files are open; as with a full disk nothing has changed, and a later try may succeed."""

    def __init__(self, name: str) -> None:
        hint = "raise ulimit -n or LimitNOFILE; it is tried again by itself"
        InputError.__init__(self, f"{name}: cannot be opened, too many files are open", hint=hint)


class OpenFile:
    """An open file; closed when dropped.

    Parameters
    ----------
    path : Path
    handle : int
        The operating system's.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self.handle = handle

    def close(self) -> None:
        """Close; the second time does nothing."""
        handle, self.handle = self.handle, -1
        if handle >= 0:
            os.close(handle)

    def __del__(self) -> None:
        self.close()


class Disk:
    """The real disk. Every verb that changes something is one method, so that a test can stand in for it.

    ``site`` names the place that asks for an fsync (``"journal.data"``), for messages and for tests that leave one out.
    """

    def create_log(self, path: Path, *, mode: int = 0o600) -> OpenFile:
        """Make a new file, open for appending and reading.

        Raises
        ------
        DiskFull
        FileExistsError
        """
        try:
            return OpenFile(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, mode))
        except OSError as error:
            if error.errno in FULL:
                raise DiskFull(path.name) from error
            if error.errno in NO_HANDLES:
                raise NoHandles(path.name) from error
            raise

    def open_log(self, path: Path) -> OpenFile:
        """Open a file for appending and reading."""
        return _opened(path, os.O_RDWR | os.O_APPEND)

    def append(self, file: OpenFile, data: Data) -> None:
        """Write all of the data at the file's end; a part of it may be there after an error.

        Raises
        ------
        DiskFull
        SyncError
        """
        view = memoryview(data)
        try:
            done = 0
            while done < len(view):
                done += os.write(file.handle, view[done:])
        except OSError as error:
            _refuse(error, file.path.name, "cannot write")
        finally:
            view.release()

    def truncate(self, file: OpenFile, length: int) -> None:
        """Cut a file to a length in bytes.

        Raises
        ------
        SyncError
        """
        try:
            os.ftruncate(file.handle, length)
        except OSError as error:
            raise SyncError(f"{file.path.name}: cannot truncate", os.strerror(error.errno or 0)) from error

    def sync(self, file: OpenFile, site: str) -> None:
        """Bring a file's bytes to the disk.

        Raises
        ------
        SyncError
        """
        try:
            os.fsync(file.handle)
        except OSError as error:
            raise SyncError(f"fsync failed at {site}", os.strerror(error.errno or 0)) from error

    def sync_path(self, path: Path, site: str) -> None:
        """Bring a closed file, which another library wrote, to the disk."""
        file = _opened(path, os.O_RDONLY)
        try:
            self.sync(file, site)
        finally:
            file.close()

    def sync_folder(self, path: Path, site: str) -> None:
        """Bring a folder's entries to the disk.

        Raises
        ------
        SyncError
        """
        file = _opened(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sync(file, site)
        finally:
            file.close()

    def make_folder(self, path: Path, *, mode: int = 0o777, site: str | None = None) -> None:
        """Make a folder and those above it, where missing; with ``site``, bring the new entries to the disk."""
        missing = [p for p in (path, *path.parents) if not p.exists()]
        for folder in reversed(missing):
            self._mkdir(folder, mode)
        if site is not None:
            for folder in reversed(missing):
                self.sync_folder(folder.parent, site)

    def write_new(self, path: Path, data: Data, site: str, *, mode: int = 0o666) -> None:
        """Write a file that is not there yet, and bring its bytes, not its name, to the disk.

        Raises
        ------
        DiskFull, SyncError, FileExistsError
        """
        file = self.create_log(path, mode=mode)
        try:
            self.append(file, data)
            self.sync(file, site)
        finally:
            file.close()

    def replace(self, path: Path, data: Data, site: str, *, mode: int = 0o666) -> None:
        """Put a file in the place of another in one step; durable on return (sites ``site`` and ``site.folder``).

        Raises
        ------
        DiskFull, SyncError
        """
        partial = path.with_name(f".{path.name}.partial-{os.getpid()}-{secrets.token_hex(4)}")
        try:
            self.write_new(partial, data, site, mode=mode)
            self.rename(partial, path)
        except (OSError, DiskFull, SyncError):
            self.remove(partial)
            raise
        self.sync_folder(path.parent, f"{site}.folder")

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file or folder, over the target where there is one; durable when the folder is synced."""
        os.replace(source, target)

    def remove(self, path: Path) -> None:
        """Remove a file; one that is not there is no error. It may come back after a power cut."""
        path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        """Remove a folder and all below; one that is not there is no error. It may come back after a power cut."""
        if path.exists():
            shutil.rmtree(path)

    def reach(self, point: str) -> None:
        """Mark that one of :data:`POINTS` is reached; dies here when ``SANSTREAM_FAULT`` says so."""
        if watcher is not None:
            watcher(point)
        if _fault is not None and point == _fault[0]:
            _reached[point] += 1
            if _reached[point] == _fault[1]:
                os.kill(os.getpid(), signal.SIGKILL)

    def _mkdir(self, path: Path, mode: int) -> None:
        try:
            path.mkdir(mode=mode, exist_ok=True)
        except OSError as error:
            if error.errno in FULL:
                raise DiskFull(path.name) from error
            raise


def current_disk() -> Disk:
    """Return the disk in use: the real one, or a test's."""
    return _disks[-1]


@contextmanager
def using(disk: Disk) -> Iterator[Disk]:
    """Make a disk the one in use, for all threads."""
    _disks.append(disk)
    try:
        yield disk
    finally:
        _disks.remove(disk)


def reach(point: str) -> None:
    """Mark that one of :data:`POINTS` is reached, on the disk in use."""
    _disks[-1].reach(point)


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses about a folder of state into one clear line."""
    try:
        with handles(folder.name):
            yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "give a folder on a local disk that this user may write to"
        raise InputError(f"{folder}: cannot be used ({reason})", hint=hint) from error


def patiently(act: Callable[[], T]) -> T:
    """Do something that opens a file, for :data:`HANDLES_S` again while too many are open."""
    until = time.monotonic() + HANDLES_S
    while True:
        try:
            return act()
        except OSError as error:
            if error.errno not in NO_HANDLES or time.monotonic() >= until:
                raise
        time.sleep(0.05)


@contextmanager
def handles(name: str) -> Iterator[None]:
    """Turn a lack of file handles into :class:`NoHandles`; for work that may be done again."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_HANDLES:
            raise NoHandles(name) from error
        raise


def parse_fault(text: str) -> tuple[str, int] | None:
    """Read ``SANSTREAM_FAULT``: ``"point"`` or ``"point:nth"``; empty means none.

    Raises
    ------
    InputError
        On an unknown point or a count that is no positive number.
    """
    if not text:
        return None
    point, _, count = text.partition(":")
    if point not in POINTS or not (count == "" or (count.isdecimal() and int(count) > 0)):
        raise InputError(f"SANSTREAM_FAULT is {text!r:.80}", hint=f"use POINT or POINT:N; points: {', '.join(POINTS)}")
    return point, int(count or 1)


def _opened(path: Path, flags: int) -> OpenFile:
    return OpenFile(path, patiently(lambda: os.open(path, flags | os.O_CLOEXEC)))


def _refuse(error: OSError, name: str, what: str) -> NoReturn:
    if error.errno in FULL:
        raise DiskFull(name) from error
    raise SyncError(f"{name}: {what}", os.strerror(error.errno or 0)) from error


_disks: list[Disk] = [Disk()]
_fault = parse_fault(os.environ.get("SANSTREAM_FAULT", ""))
