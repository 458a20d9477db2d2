"""What an archive's writer has not committed yet, in a local folder: hidden, then renamed."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from sanstream.archive_commit import (
    clear_partials,
    locked,
    make_partial,
    publish,
    remove_partial,
    replace_object,
    sync_folder,
    sync_tree,
    write_object,
)
from sanstream.archive_manifest import CATALOG, MANIFEST, Manifest, catalog_bytes, read_catalog
from sanstream.archive_zarr import ROOT_GROUP
from sanstream.durable import current_disk
from sanstream.errors import InputError


class Draft(Protocol):
    """Objects of a new archive, or of recordings that one gains; nobody sees them before :meth:`commit`.

    Attributes
    ----------
    container : str
    present : list of str
        Recordings that the archive has already.
    is_remote : bool
        Whether readers pay for every request: manifests then hold all that a read needs.
    """

    container: str
    present: list[str]
    is_remote: bool

    def put(self, key: str, data: bytes) -> None:
        """Write an object, by its key below the archive."""

    def has(self, key: str) -> bool:
        """Tell whether the draft has an object."""

    def path(self, key: str) -> Path:
        """Return where another library may write an object; :meth:`adopt` takes it up."""

    def adopt(self, key: str) -> tuple[int, str]:
        """Take up what was written at :meth:`path`; returns its size and SHA-256."""

    def drop(self, name: str) -> None:
        """Forget a recording."""

    def commit(self, manifests: Mapping[str, Manifest]) -> None:
        """Make recordings visible, in order: all at once for a new archive, one by one for an existing one."""

    def abort(self) -> None:
        """Leave nothing behind."""


class LocalDraft:
    """A hidden folder beside the new archive, or inside the one that grows.

    Parameters
    ----------
    target : Path
    container : str or None
        None: Zarr, or what the archive that stands there has.
    append : bool
        Add to the archive that stands there.

    Raises
    ------
    InputError
        When the target is not empty (without ``append``) or no archive (with it).
    """

    is_remote = False

    def __init__(self, target: Path, container: str | None, *, append: bool) -> None:
        self._target, self._append = target, append
        self.present: list[str] = []
        self.container = self._check(container)
        folder, name = (target, "recordings") if append else (target.parent, target.name)
        self._made = [p for p in (folder, *folder.parents) if not p.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            clear_partials(folder, "*" if append else glob.escape(name))
            self._partial = make_partial(folder, name)
        except BaseException:
            self._remove_made()
            raise

    def put(self, key: str, data: bytes) -> None:
        """Write a file."""
        write_object(self._partial / key, data)

    def has(self, key: str) -> bool:
        """Tell whether a file is there."""
        return (self._partial / key).exists()

    def path(self, key: str) -> Path:
        """Return a file's place."""
        path = self._partial / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def adopt(self, key: str) -> tuple[int, str]:
        """Bring a file to the disk."""
        size, digest = weigh(self._partial / key)
        current_disk().sync_path(self._partial / key, "archive.object")
        return size, digest

    def drop(self, name: str) -> None:
        """Remove a recording's folder."""
        remove_partial(self._partial / name)

    def commit(self, manifests: Mapping[str, Manifest]) -> None:
        """Rename."""
        if self._append:
            self._commit_into(list(manifests))
            return
        if self.container == "zarr":
            self.put("zarr.json", ROOT_GROUP)
        self.put(CATALOG, catalog_bytes(self.container, list(manifests)))
        publish(self._partial, self._target)

    def abort(self) -> None:
        """Remove the hidden folder, and folders that were made for it."""
        remove_partial(self._partial)
        self._remove_made()

    def _commit_into(self, names: Sequence[str]) -> None:
        """Move banks, then recordings, then the catalog that lists them."""
        with locked(self._target):
            sync_tree(self._partial)
            self.present = heal(self._target)
            for name in names:
                if name in self.present:
                    raise name_taken(self._target, name)
            for bank in sorted((self._partial / "banks").iterdir()):
                final = self._target / "banks" / bank.name
                if not final.exists() or final.read_bytes() != bank.read_bytes():
                    current_disk().rename(bank, final)
            sync_folder(self._target / "banks", site="archive.banks")
            for name in names:
                publish(self._partial / name, self._target / name)
            replace_object(self._target / CATALOG, catalog_bytes(self.container, [*self.present, *names]))
            remove_partial(self._partial)

    def _remove_made(self) -> None:
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                break

    def _check(self, container: str | None) -> str:
        target = self._target
        if self._append:
            if not (target / CATALOG).is_file():
                raise InputError(f"{target}: no archive stands here", hint="leave out --append to make one")
            own, _ = read_catalog((target / CATALOG).read_bytes(), f"{target.name}: {CATALOG}")
            check_container(target, own, container)
            with locked(target):
                self.present = heal(target)
            return own
        if target.is_symlink() or target.is_file():
            raise InputError(f"{target}: a file stands here", hint="choose another name")
        if target.is_dir() and any(target.iterdir()):
            hint = "add to it with --append" if (target / CATALOG).is_file() else "choose another name"
            raise InputError(f"{target}: is not empty", hint=hint)
        return container or "zarr"


def check_container(target: object, own: str, wanted: str | None) -> None:
    """Raise InputError when an archive's container is not the one asked for."""
    if wanted not in (None, own):
        raise InputError(f"{target}: its container is {own}, asked was {wanted}", hint=f"use {own}")


def name_taken(target: object, name: str) -> InputError:
    """Say that an archive has such a recording."""
    return InputError(f"{target}: holds a recording {name!r} already", hint="rename the source")


def weigh(path: Path) -> tuple[int, str]:
    """Return a file's size and SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path.stat().st_size, digest


def heal(target: Path) -> list[str]:
    """Return the recordings of an archive, after listing those that a killed writer committed but did not list."""
    container, listed = read_catalog((target / CATALOG).read_bytes(), f"{target.name}: {CATALOG}")
    found = sorted(p.parent.name for p in target.glob(f"*/{MANIFEST}") if not p.parent.name.startswith("."))
    names = [*listed, *(n for n in found if n not in listed)]
    if names != listed:
        replace_object(target / CATALOG, catalog_bytes(container, names))
    return names
