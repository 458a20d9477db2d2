"""What an archive's writer has not committed yet, in an object store: under its final keys, without a manifest.

There is no rename: what no manifest names does not exist. One writer at a time, by a claim.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from sanstream.archive_claim import Claim
from sanstream.archive_commit import reach
from sanstream.archive_draft import check_container, name_taken, weigh
from sanstream.archive_manifest import CATALOG, MANIFEST, Manifest, catalog_bytes, read_catalog
from sanstream.archive_store import RemoteObjects, Taken
from sanstream.archive_zarr import ROOT_GROUP
from sanstream.errors import CorruptError, InputError


class RemoteDraft:
    """Objects of a new archive, or of recordings that one gains.

    Parameters
    ----------
    objects : RemoteObjects
    container : str or None
        None: Zarr, or what the archive that stands there has.
    append : bool
        Add to the archive that stands there.
    clock : callable
        Returns seconds since 1970.
    writer : str, optional
        Name in the claim; default: drawn.

    Raises
    ------
    InputError
        When the place is not empty (without ``append``), holds no archive (with it), or another writer is there.
    """

    is_remote = True

    def __init__(
        self,
        objects: RemoteObjects,
        container: str | None,
        *,
        append: bool,
        clock: Callable[[], float] = time.time,
        writer: str | None = None,
    ) -> None:
        self._objects, self._append = objects, append
        self.present: list[str] = []
        self._files = tempfile.TemporaryDirectory(prefix="sanstream-", ignore_cleanup_errors=True)
        self._claim = Claim(objects, clock, writer)
        self._put_keys: dict[str, None] = {}
        self._banks: set[str] = set()
        self._manifests: dict[str, bytes] = {}
        taken_over = False
        try:
            self._check_place(append)
            taken_over = self._claim.take()
            self.container = self._check(container, taken_over=taken_over)
        except BaseException:
            self.abort()
            raise

    def put(self, key: str, data: bytes) -> None:
        """Upload an object; a manifest is kept until the commit."""
        if key.count("/") == 1 and key.endswith(f"/{MANIFEST}"):
            self._manifests[key] = data
            return
        if key.startswith("banks/"):
            self._banks.add(key)
            if self._objects.exists(key):
                return
        else:
            self._put_keys[key] = None
        self._claim.renew()
        self._objects.put(key, data)
        reach("object_written")

    def has(self, key: str) -> bool:
        """Tell whether an object was put."""
        return key in self._put_keys or key in self._banks or key in self._manifests

    def path(self, key: str) -> Path:
        """Return a temporary file's place."""
        path = Path(self._files.name) / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def adopt(self, key: str) -> tuple[int, str]:
        """Upload a temporary file."""
        path = self.path(key)
        held = weigh(path)
        self._claim.renew()
        self._put_keys[key] = None
        self._objects.put(key, path)
        path.unlink()
        return held

    def drop(self, name: str) -> None:
        """Remove a recording's objects."""
        head = f"{name}/"
        self._manifests.pop(f"{head}{MANIFEST}", None)
        gone = [key for key in self._put_keys if key.startswith(head)]
        if gone:
            self._claim.renew(sure=True)  # else another writer may have put objects of these names
        self._objects.remove(gone)
        for key in gone:
            del self._put_keys[key]

    def commit(self, manifests: Mapping[str, Manifest]) -> None:
        """Put the manifests, then the catalog that lists them."""
        self._claim.renew(sure=True)
        reach("before_rename")
        if self.container == "zarr" and not self._append:
            self._objects.put("zarr.json", ROOT_GROUP)
        for name in manifests:
            key = f"{name}/{MANIFEST}"
            try:
                self._objects.make(key, self._manifests[key])
            except Taken:
                raise name_taken(self._objects, name) from None
            for own in [k for k in self._put_keys if k.startswith(f"{name}/")]:
                del self._put_keys[own]
            reach("renamed")
        reach("before_catalog")
        list_recordings(self._objects, self.container, list(manifests))
        self._put_keys.clear()
        self._end()

    def abort(self) -> None:
        """Remove what was put, as far as the store lets; nothing once another writer has the claim.

        That one has removed what was here, and may have put objects of the same names.
        """
        with suppress(InputError):
            if self._put_keys:
                self._claim.renew(sure=True)
                self._objects.remove(self._put_keys)
        self._end()

    def _end(self) -> None:
        self._claim.release()
        self._files.cleanup()

    def _check_place(self, append: bool) -> None:
        """Refuse a place that cannot be written to, before a claim is put there."""
        if append:
            if not self._objects.exists(CATALOG):
                raise InputError(f"{self._objects}: no archive stands here", hint="leave out --append to make one")
        elif self._objects.exists(CATALOG):
            raise InputError(f"{self._objects}: is not empty", hint="add to it with --append")

    def _check(self, container: str | None, *, taken_over: bool) -> str:
        folders, keys = self._objects.folders()
        if not self._append:
            if (folders or keys) and (unlisted(self._objects, folders, []) or not taken_over):
                raise InputError(f"{self._objects}: is not empty", hint="choose another name")
            self._objects.remove(self._objects.keys())  # of the writer that is no more
            return container or "zarr"
        own, listed = read_catalog(self._objects.read(CATALOG), f"{self._objects.name}: {CATALOG}")
        check_container(self._objects, own, container)
        missing = unlisted(self._objects, folders, listed)
        if missing:
            list_recordings(self._objects, own, missing)
        self.present = [*listed, *missing]
        if taken_over:
            for name in {*folders} - {*self.present, "banks"}:
                self._objects.remove(self._objects.keys(name))
        return own


def unlisted(objects: RemoteObjects, folders: list[str], listed: list[str]) -> list[str]:
    """Return the recordings that a writer committed but did not list before it was killed."""
    return [n for n in folders if n not in {*listed, "banks"} and objects.exists(f"{n}/{MANIFEST}")]


def list_recordings(objects: RemoteObjects, container: str, names: list[str]) -> None:
    """Add recordings to the catalog, which others may change at the same time."""
    while True:
        try:
            data, version = objects.read_version(CATALOG)
        except CorruptError:
            try:
                objects.make(CATALOG, catalog_bytes(container, names))
                return
            except Taken:
                continue
        own, listed = read_catalog(data, f"{objects.name}: {CATALOG}")
        new = [n for n in names if n not in listed]
        if not new:
            return
        try:
            objects.swap(CATALOG, catalog_bytes(own, [*listed, *new]), version)
            return
        except Taken:
            continue
