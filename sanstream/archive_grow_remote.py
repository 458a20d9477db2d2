"""An archive that grows in an object store; several daemons may add to it.

An object is whole or not there. A manifest or catalog is replaced only where it is still the version that was read, so
that of two daemons neither undoes what the other committed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from sanstream.archive_draft_remote import list_recordings, unlisted
from sanstream.archive_grow_folder import Moved
from sanstream.archive_manifest import CATALOG, MANIFEST, catalog_bytes, read_catalog
from sanstream.archive_store import RemoteObjects, Taken
from sanstream.archive_zarr import ROOT_GROUP
from sanstream.durable import reach
from sanstream.errors import CorruptError, InputError, UnsupportedError

Version = Mapping[str, Any]


class RemotePlace:
    """Objects of an archive in an object store, by key; as :class:`~sanstream.archive_grow_folder.Place`.

    Parameters
    ----------
    objects : RemoteObjects
    """

    def __init__(self, objects: RemoteObjects) -> None:
        self._objects = objects
        self.name = objects.name
        self._versions: dict[str, Version] = {}
        self._shared: set[str] = set()
        self._lock = threading.Lock()

    def read(self, key: str) -> bytes:
        """Return an object."""
        return self._objects.read(key)

    def exists(self, key: str) -> bool:
        """Tell whether an object is there."""
        return key in self._shared or self._objects.exists(key)

    def put(self, key: str, data: bytes, what: str) -> None:
        """Write an object, or replace it."""
        self._objects.put(key, data)
        reach(f"seal.{what}")

    def put_shared(self, key: str, data: bytes, what: str) -> None:
        """Put an object that several recordings share and that never changes; once a process."""
        if key not in self._shared:
            if not self._objects.exists(key):
                self.put(key, data, what)
            self._shared.add(key)

    def put_unlike(self, key: str, data: bytes, what: str) -> bool:
        """Put an object unless another daemon, or one that was killed, has put another there."""
        try:
            self._objects.make(key, data)
        except Taken:
            return False
        reach(f"seal.{what}")
        return True

    def read_manifest(self, recording: str) -> bytes | None:
        """Return a recording's manifest, and remember its version; None where it has none."""
        try:
            data, version = self._objects.read_version(f"{recording}/{MANIFEST}")
        except CorruptError:
            self._note(recording, None)
            return None
        self._note(recording, version)
        return data

    def put_manifest(self, recording: str, data: bytes, *, new: bool) -> None:
        """Replace the manifest that was read last, or write the first one; raises Moved where another stands."""
        key = f"{recording}/{MANIFEST}"
        with self._lock:
            version = None if new else self._versions.get(recording)
        try:
            if new:
                written = self._objects.make(key, data)
            elif version is None:
                raise Moved(recording)
            else:
                written = self._objects.swap(key, data, version)
        except Taken:
            raise Moved(recording) from None
        self._note(recording, written)
        reach("seal.manifest")

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects."""
        self._objects.remove(keys)

    def keys(self, recording: str) -> Iterator[str]:
        """List the objects of a recording, by their keys below it."""
        head = f"{recording}/"
        return (k.removeprefix(head) for k in self._objects.keys(recording) if k.startswith(head))

    def recordings(self) -> list[str]:
        """Return the names in the catalog."""
        return read_catalog(self._objects.read(CATALOG), f"{self.name}: {CATALOG}")[1]

    def change_catalog(self, change: Callable[[list[str]], list[str]]) -> None:
        """Replace the catalog, again where another was faster."""
        while True:
            data, version = self._objects.read_version(CATALOG)
            names = read_catalog(data, f"{self.name}: {CATALOG}")[1]
            try:
                self._objects.swap(CATALOG, catalog_bytes("zarr", change(names)), version)
            except Taken:
                continue
            reach("seal.catalog")
            return

    def agree(self, key: str, change: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """Replace an object by what ``change`` makes of it, again where another was faster."""
        while True:
            held: bytes | None = None
            version: Version | None = None
            with suppress(CorruptError):
                held, version = self._objects.read_version(key)
            new = change(held)
            if new is None or new == held:
                return held
            try:
                if version is None:
                    self._objects.make(key, new)
                else:
                    self._objects.swap(key, new, version)
            except Taken:
                continue
            reach("seal.places")
            return new

    def forget(self, recording: str) -> None:
        """Forget a recording's version."""
        self._note(recording, None)

    def settle(self, recording: str = "") -> None:
        """Do nothing: what a store shows is stored."""

    def _note(self, recording: str, version: Version | None) -> None:
        with self._lock:
            if version is None:
                self._versions.pop(recording, None)
            else:
                self._versions[recording] = version


def open_remote(url: str) -> RemotePlace:
    """Make an archive in an object store, or take over the one that stands there.

    Raises
    ------
    InputError
        When something else stands there, or the store cannot be reached.
    UnsupportedError
        When it is no Zarr archive.
    """
    objects = RemoteObjects(url)
    place = RemotePlace(objects)
    try:
        data: bytes | None = objects.read(CATALOG)
    except CorruptError:
        data = None
    folders, keys = objects.folders()
    if data is None:
        whole = unlisted(objects, folders, [])
        odd = [n for n in (*keys, *folders) if n not in ("zarr.json", "banks", *whole)]
        if odd:
            raise InputError(
                f"{objects}: is not empty and no archive ({odd[0]} stands there)", hint="choose another place"
            )
        objects.put("zarr.json", ROOT_GROUP)
        list_recordings(objects, "zarr", whole)
        return place
    container, listed = read_catalog(data, f"{objects.name}: {CATALOG}")
    if container != "zarr":
        raise UnsupportedError(f"{objects}: a {container} archive cannot grow", hint="choose another place")
    missing = unlisted(objects, folders, listed)
    if missing:
        list_recordings(objects, container, missing)
    return place
