"""The folder of an archive that grows: what is put there is on the disk when the call returns."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sanstream.archive_commit import locked, replace_object, sync_folder, write_object
from sanstream.archive_objects import PARTIAL
from sanstream.durable import current_disk, reach
from sanstream.errors import InputError

_PATIENCE_S = 30.0
_AT_ONCE = ("manifest", "catalog")


class GrowingFolder:
    """Objects below an archive's folder, by key.

    Parameters
    ----------
    root : Path
        The archive's folder; it exists.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._durable: set[Path] = set()
        self._shared: set[str] = set()
        self._sharing = threading.Lock()

    def put(self, key: str, data: bytes, what: str) -> None:
        """Write an object, or replace it in one step, and bring it and its folders' entries to the disk.

        Parameters
        ----------
        key : str
        data : bytes
        what : str
            Names the fsync sites and the fault point that is reached afterwards: ``"seal.<what>"``.

        Raises
        ------
        OSError, DiskFull, SyncError
            When the disk refuses; the object is then as it was.
        """
        path = self.root / key
        # a torn shard is of no account until a manifest names it, a torn manifest or catalog is
        if path.exists() or what in _AT_ONCE:
            replace_object(path, data, site=f"seal.{what}")
        else:
            write_object(path, data, site=f"seal.{what}")
            sync_folder(path.parent, site="seal.folder")
        folder = path.parent
        while folder != self.root and folder not in self._durable:
            sync_folder(folder.parent, site="seal.folder")
            if folder.parent.name != "c":  # a shard's folder is written to once
                self._durable.add(folder)
            folder = folder.parent
        reach(f"seal.{what}")

    def put_shared(self, key: str, data: bytes, what: str) -> None:
        """Put an object that several recordings share and that never changes; once a process, unless it is gone."""
        with self._sharing:
            if key not in self._shared or not (self.root / key).exists():
                self.put(key, data, what)
                self._shared.add(key)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects and the folders that become empty; what is gone already is passed over."""
        for key in keys:
            path = self.root / key
            current_disk().remove(path)
            folder = path.parent
            while folder != self.root:
                try:
                    folder.rmdir()
                except OSError:
                    break
                self._durable.discard(folder)
                folder = folder.parent

    def keys(self, name: str) -> Iterator[str]:
        """List the objects below one folder, by their keys below it; unfinished writes too."""
        top = self.root / name
        for folder, _, files in os.walk(top):
            here = Path(folder).relative_to(top)
            for file in files:
                yield (here / file).as_posix()


def is_partial(key: str) -> bool:
    """Tell whether it is what a writer that was killed left of one object."""
    return PARTIAL in key.rpartition("/")[2]


@contextmanager
def locked_patiently(folder: Path) -> Iterator[None]:
    """Keep other writers out of an archive; one that is there is waited for.

    Raises
    ------
    InputError
        When another process has been writing to it for half a minute.
    """
    deadline = time.monotonic() + _PATIENCE_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder))
                break
            except InputError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        yield
