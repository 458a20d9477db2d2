"""ArchiveWriter: recordings in, and an archive that appears whole when it is committed."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from sanstream.archive_commit import (
    all_or_nothing,
    clear_partials,
    locked,
    make_partial,
    publish,
    reach,
    remove_partial,
    replace_object,
    sync_folder,
    sync_tree,
    write_object,
)
from sanstream.archive_convert import copy_recording
from sanstream.archive_encode import EncodeOptions, Progress, encode_recording
from sanstream.archive_folder import RecordingFolder
from sanstream.archive_manifest import CATALOG, CONTAINERS, LIVE, MANIFEST, Manifest, catalog_bytes, read_catalog
from sanstream.archive_objects import local_path
from sanstream.archive_recording import RecordingReader
from sanstream.archive_zarr import ROOT_GROUP
from sanstream.bank import Bank
from sanstream.durable import current_disk
from sanstream.errors import InputError
from sanstream.quality import check_requests
from sanstream.signal import Recording

_RESERVED = ("banks", CATALOG, "zarr.json", MANIFEST, LIVE)


class ArchiveWriter:
    """Writes a new archive, or adds recordings to one; nothing is visible before :meth:`commit`.

    Parameters
    ----------
    url : str or path
        Where the archive will stand.
    container : str, optional
        ``"zarr"`` (default) or ``"parquet"``; an existing archive keeps its own.
    append : bool
        Add to the archive that stands there.
    self_contained : bool
        Put whole banks into the arrays' metadata, so that Zarr needs no installed bank.

    Raises
    ------
    InputError
        When the target is not empty (without ``append``) or no archive (with it).
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        *,
        container: str | None = None,
        append: bool = False,
        self_contained: bool = False,
    ) -> None:
        self._target = local_path(url)
        self._append = append
        self._self_contained = self_contained
        self._manifests: dict[str, Manifest] = {}
        self._present: list[str] = []
        self.container = container or CONTAINERS[0]
        if self.container not in CONTAINERS:
            raise InputError(f"container {container!r} is unknown", hint=f"use {' or '.join(CONTAINERS)}")
        self._check_target(container)
        self._done = False
        with all_or_nothing(self._target):
            self._partial = self._make_partial()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            self.abort()

    def add(
        self,
        recording: Recording,
        requests: Sequence[str] = (),
        *,
        effort: str = "default",
        bank: Bank | None = None,
        device: str | None = None,
        progress: Progress | None = None,
    ) -> Manifest:
        """Encode a recording.

        Parameters
        ----------
        recording : Recording
        requests : sequence of str
            Qualities, as :func:`~sanstream.quality.choose_qualities` takes them.
        effort : str
            ``"fast"``, ``"default"`` or ``"thorough"``.
        bank : Bank, optional
            Default: chosen by the encoder.
        device : str, optional
            Torch device of the encoder.
        progress : callable, optional

        Returns
        -------
        Manifest
            What was written.

        Raises
        ------
        InputError
            When its name is taken or cannot be a folder's, on a bad quality, or a full disk.
        """
        self._check_name(recording.name)
        for name in (*(s.name for s in recording.streams), *(a.name for a in recording.annotations)):
            _check_folder_name(name)
        check_requests(requests, [c for s in recording.streams for g in s.segments for c in g.channels])
        options = EncodeOptions(requests, effort, bank, device, progress)
        try:
            with all_or_nothing(self._target):
                head = Manifest(
                    recording.name,
                    recording.start_ns,
                    recording.timezone,
                    recording.source_format,
                    recording.attributes,
                    self.container,
                    (),
                )
                with self._folder(head) as folder:
                    manifest = encode_recording(folder, recording, options)
                reach("recording_written")
        except BaseException:
            remove_partial(self._partial / recording.name)
            raise
        self._manifests[recording.name] = manifest
        return manifest

    def copy(self, reader: RecordingReader) -> Manifest:
        """Take a recording over from another archive, blocks as they are.

        Parameters
        ----------
        reader : RecordingReader

        Returns
        -------
        Manifest
            What was written.

        Raises
        ------
        InputError
            When its name is taken, or on a full disk.
        CorruptError
            When the other archive has changed.
        """
        self._check_name(reader.name)
        try:
            with all_or_nothing(self._target):
                head = replace(reader.manifest, container=self.container, streams=(), objects={}, banks={}, grows=False)
                with self._folder(head) as folder:
                    manifest = copy_recording(folder, reader)
                reach("recording_written")
        except BaseException:
            remove_partial(self._partial / reader.name)
            raise
        self._manifests[reader.name] = manifest
        return manifest

    def free_name(self, name: str) -> str:
        """Return ``name``, or the first of ``name-2``, ``name-3``, ... that no recording has."""
        taken = {*self._present, *self._manifests}
        return name if name not in taken else next(n for i in count(2) if (n := f"{name}-{i}") not in taken)

    def commit(self) -> None:
        """Make what was added visible, all at once for a new archive, one by one for an existing one.

        Raises
        ------
        InputError
            When nothing was added, or another writer was faster.
        """
        if not self._manifests:
            raise InputError(f"{self._target}: no recording was added", hint="give at least one source")
        with all_or_nothing(self._target):
            if self._append:
                self._commit_into()
            else:
                if self.container == "zarr":
                    write_object(self._partial / "zarr.json", ROOT_GROUP)
                write_object(self._partial / CATALOG, catalog_bytes(self.container, list(self._manifests)))
                publish(self._partial, self._target)
        self._done = True

    def abort(self) -> None:
        """Leave nothing behind."""
        self._done = True
        remove_partial(self._partial)
        self._remove_made()

    def _commit_into(self) -> None:
        """Move banks, then recordings, then the catalog that lists them."""
        with locked(self._target):
            sync_tree(self._partial)
            self._present = heal(self._target)
            for name in self._manifests:
                self._check_name(name, taken=self._present)
            for bank in sorted((self._partial / "banks").iterdir()):
                final = self._target / "banks" / bank.name
                if not final.exists() or final.read_bytes() != bank.read_bytes():
                    current_disk().rename(bank, final)
            sync_folder(self._target / "banks", site="archive.banks")
            for name in self._manifests:
                publish(self._partial / name, self._target / name)
            replace_object(self._target / CATALOG, catalog_bytes(self.container, [*self._present, *self._manifests]))
            remove_partial(self._partial)

    def _folder(self, head: Manifest) -> RecordingFolder:
        folder = self._partial / head.name
        return RecordingFolder(folder, self._partial / "banks", head, self_contained=self._self_contained)

    def _make_partial(self) -> Path:
        """Make the hidden folder beside the new archive, or inside the one that grows."""
        append, target = self._append, self._target
        folder, name = (target, "recordings") if append else (target.parent, target.name)
        self._made = [p for p in (folder, *folder.parents) if not p.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            clear_partials(folder, "*" if append else glob.escape(name))
            return make_partial(folder, name)
        except BaseException:
            self._remove_made()
            raise

    def _remove_made(self) -> None:
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                break

    def _check_target(self, container: str | None) -> None:
        target = self._target
        if self._append:
            if not (target / CATALOG).is_file():
                raise InputError(f"{target}: no archive stands here", hint="leave out --append to make one")
            own, _ = read_catalog((target / CATALOG).read_bytes(), f"{target.name}: {CATALOG}")
            if container not in (None, own):
                raise InputError(f"{target}: its container is {own}, asked was {container}", hint=f"use {own}")
            self.container = own
            with all_or_nothing(target), locked(target):
                self._present = heal(target)
        elif target.is_symlink() or target.is_file():
            raise InputError(f"{target}: a file stands here", hint="choose another name")
        elif target.is_dir() and any(target.iterdir()):
            hint = "add to it with --append" if (target / CATALOG).is_file() else "choose another name"
            raise InputError(f"{target}: is not empty", hint=hint)

    def _check_name(self, name: str, taken: Sequence[str] | None = None) -> None:
        _check_folder_name(name)
        if name in ((*self._present, *self._manifests) if taken is None else taken):
            raise InputError(f"{self._target}: holds a recording {name!r} already", hint="rename the source")


def _check_folder_name(name: str) -> None:
    if not name or name in _RESERVED or name.startswith((".", "__")) or set(name) & set("/\\\0") or len(name) > 200:
        raise InputError(f"name {name!r} cannot be a folder's name", hint="rename the source")


def heal(target: Path) -> list[str]:
    """Return the recordings of an archive, after listing those that a killed writer committed but did not list."""
    container, listed = read_catalog((target / CATALOG).read_bytes(), f"{target.name}: {CATALOG}")
    found = sorted(p.parent.name for p in target.glob(f"*/{MANIFEST}") if not p.parent.name.startswith("."))
    names = [*listed, *(n for n in found if n not in listed)]
    if names != listed:
        replace_object(target / CATALOG, catalog_bytes(container, names))
    return names
