"""A growing archive's folder that several daemons of one machine share: as an object store, by a lock in its place."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sanstream.archive_commit import replace_object
from sanstream.archive_grow_folder import GrowingFolder, Moved, locked_patiently
from sanstream.archive_manifest import MANIFEST
from sanstream.durable import patiently, reach
from sanstream.errors import CorruptError


class SharedFolder(GrowingFolder):
    """Objects below an archive's folder, by key; a manifest is replaced only where it is the one that was read.

    Parameters
    ----------
    root : Path
        The archive's folder; it exists.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._read: dict[str, bytes] = {}

    def put(self, key: str, data: bytes, what: str) -> None:
        """Write an object, or replace it, in one step: another daemon may write an equal one at the same time."""
        path = self.root / key
        replace_object(path, data, site=f"seal.{what}")
        self._sync_folders(path)
        reach(f"seal.{what}")

    def read(self, key: str) -> bytes:
        """Return an object; one that is gone may have gone with another daemon's commit.

        Raises
        ------
        CorruptError
            When it is missing.
        """
        try:
            return super().read(key)
        except FileNotFoundError as error:
            raise CorruptError(f"{self.name}/{key}: is missing") from error

    def put_unlike(self, key: str, data: bytes, what: str) -> bool:
        """Put an object unless another daemon has put one there."""
        with locked_patiently(self.root):
            if (self.root / key).exists():
                return False
            self.put(key, data, what)
            return True

    def read_manifest(self, recording: str) -> bytes | None:
        """Return a recording's manifest, and remember which it is; None where it has none."""
        path = self.root / recording / MANIFEST
        try:
            data: bytes = patiently(path.read_bytes)
        except FileNotFoundError:
            self._read.pop(recording, None)
            return None
        self._read[recording] = _digest(data)
        return data

    def put_manifest(self, recording: str, data: bytes, *, new: bool) -> None:
        """Replace the manifest that was read last, or write the first one; raises Moved where another stands."""
        path = self.root / recording / MANIFEST
        with locked_patiently(self.root):
            held = _digest(path.read_bytes()) if path.exists() else None
            if held != (None if new else self._read.get(recording)):
                raise Moved(recording)
            self.put(f"{recording}/{MANIFEST}", data, "manifest")
        self._read[recording] = _digest(data)

    def forget(self, recording: str) -> None:
        """Forget which manifest was read, and bring the folder's entries to the disk."""
        self._read.pop(recording, None)
        super().forget(recording)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
