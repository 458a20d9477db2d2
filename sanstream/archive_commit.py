"""Making an archive appear all at once or not at all: hidden folder, fsync, rename, then the catalog."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sanstream import durable
from sanstream.archive_objects import PARTIAL
from sanstream.durable import DiskFull, NoHandles, SyncError, current_disk
from sanstream.errors import InputError, SanstreamError

POINTS = ("partial_made", "object_written", "recording_written", "before_rename", "renamed", "before_catalog")
"""Places where a write may be interrupted, in order; tests stop it at each."""

watcher: Callable[[str], None] | None = None
"""Told of every point; for tests that interrupt."""


def reach(point: str) -> None:
    """Mark that a write has come to one of :data:`POINTS`."""
    if watcher is not None:
        watcher(point)
    durable.reach(f"archive.{point}")


def write_object(path: Path, data: bytes, *, site: str = "archive.object") -> None:
    """Write a new file and its folders, and bring its bytes, not yet its name, to the disk in use.

    Parameters
    ----------
    path : Path
    data : bytes
    site : str
        Names the fsync for tests that leave one out.

    Raises
    ------
    OSError, DiskFull, SyncError
        When the disk refuses.
    """
    disk = current_disk()
    disk.make_folder(path.parent)
    disk.write_new(path, data, site)
    reach("object_written")


def replace_object(path: Path, data: bytes, *, site: str = "archive.replaced") -> None:
    """Replace a file in one step; durable on return (sites ``site`` and ``site.folder``)."""
    partial = path.with_name(_partial_name(path.name))
    try:
        write_object(partial, data, site=site)
        reach("before_catalog")
        current_disk().rename(partial, path)
        sync_folder(path.parent, site=f"{site}.folder")
    finally:
        partial.unlink(missing_ok=True)


def sync_folder(folder: Path, *, site: str = "archive.folder") -> None:
    """Bring a folder's entries to the disk."""
    current_disk().sync_folder(folder, site)


def sync_tree(root: Path, *, site: str = "archive.tree") -> None:
    """Bring the entries of a folder and of all folders below to the disk."""
    for folder, _, _ in os.walk(root, topdown=False):
        sync_folder(Path(folder), site=site)


def make_partial(parent: Path, name: str) -> Path:
    """Make the hidden folder of an unfinished write.

    Parameters
    ----------
    parent : Path
        Where the finished folder will stand.
    name : str
        The finished folder's name.

    Returns
    -------
    Path
    """
    partial = parent / _partial_name(name)
    current_disk().make_folder(partial)
    try:
        reach("partial_made")
    except BaseException:
        remove_partial(partial)
        raise
    return partial


def clear_partials(folder: Path, name: str = "*") -> None:
    """Remove what killed writers of this machine left in a folder for ``name``."""
    for old in folder.glob(f".{name}{PARTIAL}*"):
        node, _, rest = old.name.rpartition(PARTIAL)[2].rpartition("-")[0].rpartition("-")
        if node == _node() and rest.isdigit() and not _is_alive(int(rest)):
            remove_partial(old)


def remove_partial(partial: Path) -> None:
    """Remove an unfinished write; what cannot be removed stays hidden."""
    if partial.is_file():
        partial.unlink(missing_ok=True)
    shutil.rmtree(partial, ignore_errors=True)


def publish(partial: Path, target: Path) -> None:
    """Rename a finished folder to its name.

    Raises
    ------
    InputError
        When something stands there by now.
    """
    sync_tree(partial)
    reach("before_rename")
    try:
        current_disk().rename(partial, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise InputError(f"{target}: another writer made it meanwhile", hint="choose another name") from error
        raise
    sync_folder(target.parent, site="archive.published")
    reach("renamed")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other writers out of an archive; the lock ends with the process.

    Raises
    ------
    InputError
        When another process writes to it.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError(f"{folder}: another process is writing to it", hint="try again when it is done") from None
    finally:
        os.close(handle)


@contextmanager
def explained(target: str | Path) -> Iterator[None]:
    """Turn what the operating system refuses into one clear line; DiskFull and SyncError say theirs already.

    Raises
    ------
    DiskFull
        Also for what libraries write that do not use the disk in use.
    SyncError
    InputError
    """
    try:
        yield
    except SanstreamError:
        raise
    except OSError as error:
        if error.errno in durable.FULL:
            raise DiskFull(Path(target).name) from error
        if error.errno in durable.NO_HANDLES:
            raise NoHandles(Path(target).name) from error
        raise InputError(f"{target}: cannot write ({error.strerror or error})") from error


@contextmanager
def all_or_nothing(target: str | Path) -> Iterator[None]:
    """As :func:`explained`, for a writer that keeps nothing after any failure: all of them are InputError then."""
    try:
        with explained(target):
            yield
    except NoHandles:
        raise
    except DiskFull as error:
        raise InputError(
            f"{target}: no space left while writing; nothing was kept", hint="free some space or choose another disk"
        ) from error
    except SyncError as error:
        raise InputError(f"{target}: cannot write ({error.reason}); nothing was kept") from error


def _partial_name(name: str) -> str:
    """Name an unfinished write after its writer, so that a later one can tell whether it still runs."""
    return f".{name}{PARTIAL}{_node()}-{os.getpid()}-{secrets.token_hex(4)}"


def _node() -> str:
    return platform.node().replace("/", "_")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
