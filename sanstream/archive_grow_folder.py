"""The place of an archive that grows: what is put there is on the disk, or in the store, when the call returns."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from sanstream.archive_commit import locked, replace_object, sync_folder, write_object
from sanstream.archive_manifest import CATALOG, MANIFEST, catalog_bytes, read_catalog
from sanstream.archive_objects import PARTIAL
from sanstream.durable import current_disk, patiently, reach
from sanstream.errors import InputError

_PATIENCE_S = 30.0
_AT_ONCE = ("manifest", "catalog", "places")


class Place(Protocol):
    """Objects below an archive, by key.

    Attributes
    ----------
    name : str
        Of the archive, for messages.
    """

    name: str

    def read(self, key: str) -> bytes:
        """Return an object."""

    def exists(self, key: str) -> bool:
        """Tell whether an object is there."""

    def put(self, key: str, data: bytes, what: str) -> None:
        """Write an object, or replace it in one step; the fault point ``"seal.<what>"`` is reached afterwards."""

    def put_shared(self, key: str, data: bytes, what: str) -> None:
        """Put an object that several recordings share and that never changes."""

    def put_unlike(self, key: str, data: bytes, what: str) -> bool:
        """Put an object unless another daemon has put one there; tells whether it is ours."""

    def read_manifest(self, recording: str) -> bytes | None:
        """Return a recording's manifest; None where it has none."""

    def put_manifest(self, recording: str, data: bytes, *, new: bool) -> None:
        """Replace the manifest that was read last, or write the first one.

        Raises
        ------
        Moved
            When another daemon has replaced it meanwhile.
        """

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; what is gone already is passed over."""

    def keys(self, recording: str) -> Iterator[str]:
        """List the objects of a recording, by their keys below it; unfinished writes too."""

    def recordings(self) -> list[str]:
        """Return the names in the catalog."""

    def change_catalog(self, change: Callable[[list[str]], list[str]]) -> None:
        """Replace the catalog."""

    def agree(self, key: str, change: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """Replace an object by what ``change`` makes of it (None: leave it); returns what stands there then."""

    def forget(self, recording: str) -> None:
        """Make sure that a manifest which was removed does not come back with the power."""

    def settle(self, recording: str = "") -> None:
        """Bring what a killed process wrote last below a recording, or the archive, to the disk."""


class Moved(Exception):
    """Another daemon has replaced a manifest since it was read."""


class GrowingFolder:
    """Objects below an archive's folder, by key.

    Parameters
    ----------
    root : Path
        The archive's folder; it exists.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = root.name
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
        self._sync_folders(path)
        reach(f"seal.{what}")

    def _sync_folders(self, path: Path) -> None:
        """Bring the entries of the folders above an object to the disk, once each."""
        folder = path.parent
        while folder != self.root and folder not in self._durable:
            sync_folder(folder.parent, site="seal.folder")
            if folder.parent.name != "c":  # a shard's folder is written to once
                self._durable.add(folder)
            folder = folder.parent

    def put_shared(self, key: str, data: bytes, what: str) -> None:
        """Put an object that several recordings share and that never changes; once a process, unless it is gone."""
        with self._sharing:
            if key not in self._shared or not (self.root / key).exists():
                self.put(key, data, what)
                self._shared.add(key)

    def put_unlike(self, key: str, data: bytes, what: str) -> bool:
        """Put an object; no other daemon writes to a local archive."""
        self.put(key, data, what)
        return True

    def read(self, key: str) -> bytes:
        """Return an object."""
        return (self.root / key).read_bytes()

    def exists(self, key: str) -> bool:
        """Tell whether an object, or a folder of objects, is there."""
        return (self.root / key).exists()

    def read_manifest(self, recording: str) -> bytes | None:
        """Return a recording's manifest; None where it has none."""
        path = self.root / recording / MANIFEST
        return patiently(path.read_bytes) if path.is_file() else None

    def put_manifest(self, recording: str, data: bytes, *, new: bool) -> None:
        """Replace a recording's manifest; no other daemon writes to a local archive."""
        self.put(f"{recording}/{MANIFEST}", data, "manifest")

    def recordings(self) -> list[str]:
        """Return the names in the catalog."""
        return read_catalog((self.root / CATALOG).read_bytes(), f"{self.name}: {CATALOG}")[1]

    def change_catalog(self, change: Callable[[list[str]], list[str]]) -> None:
        """Replace the catalog, while no other writer does."""
        with locked_patiently(self.root):
            self.put(CATALOG, catalog_bytes("zarr", change(self.recordings())), "catalog")

    def agree(self, key: str, change: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """Replace an object by what ``change`` makes of it, while no other writer does."""
        with locked_patiently(self.root):
            path = self.root / key
            held = patiently(path.read_bytes) if path.is_file() else None
            new = change(held)
            if new is None or new == held:
                return held
            self.put(key, new, "places")
            return new

    def forget(self, recording: str) -> None:
        """Bring the folder's entries to the disk: a manifest that came back with the power would be listed again."""
        if (self.root / recording).exists():
            sync_folder(self.root / recording, site="seal.forgotten")

    def settle(self, recording: str = "") -> None:
        """Bring a folder's entries to the disk, where it is there."""
        folder = self.root / recording
        if folder.exists():
            sync_folder(folder, site="seal.settle")

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
