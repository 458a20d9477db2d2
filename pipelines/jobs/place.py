"""Where a job writes: a local folder or a prefix of an object store; an object appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from sanstream.archive_objects import local_path
from sanstream.archive_store import RemoteObjects, remote_scheme
from sanstream.errors import CorruptError


class Place(Protocol):
    """A folder of objects by key."""

    def read(self, key: str) -> bytes | None:
        """Return an object; None when it is not there."""

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object, or replace it; of a path, what stands there."""

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; what is gone already is passed over."""

    def keys(self, prefix: str) -> list[str]:
        """List the objects in a folder below."""


def place_at(url: str) -> Place:
    """Return the place of an address."""
    return Store(url) if remote_scheme(url) else Folder(local_path(url))


class Folder:
    """A folder on this machine.

    Parameters
    ----------
    root : Path
        Made when something is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, key: str) -> bytes | None:
        """Return a file; None when it is not there."""
        try:
            return (self.root / key).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, key: str, data: bytes | Path) -> None:
        """Write a file beside its place, sync it, and rename it."""
        target = self.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        # the name is hidden from readers of the dataset: pyarrow and DuckDB's *.parquet pass it over
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with draft.open("wb") as out:
                if isinstance(data, Path):
                    with data.open("rb") as source:
                        while piece := source.read(1 << 20):
                            out.write(piece)
                else:
                    out.write(data)
                out.flush()
                os.fsync(out.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove files, and folders that are empty then."""
        for key in keys:
            target = self.root / key
            target.unlink(missing_ok=True)
            for folder in list(target.parents)[: key.count("/")]:
                if not folder.is_dir() or any(folder.iterdir()):
                    break
                folder.rmdir()

    def keys(self, prefix: str) -> list[str]:
        """List the files in a folder below."""
        return sorted(p.relative_to(self.root).as_posix() for p in (self.root / prefix).rglob("[!.]*") if p.is_file())


class Store:
    """A prefix of an object store.

    Parameters
    ----------
    url : str
    """

    def __init__(self, url: str) -> None:
        self._objects = RemoteObjects(url)

    def read(self, key: str) -> bytes | None:
        """Return an object; None when it is not there."""
        try:
            return self._objects.read(key)
        except CorruptError:
            return None

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object, or replace it."""
        self._objects.put(key, data)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects."""
        self._objects.remove(keys)

    def keys(self, prefix: str) -> list[str]:
        """List the objects in a folder below."""
        return list(self._objects.keys(prefix))
