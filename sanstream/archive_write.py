"""ArchiveWriter: recordings in, and an archive that appears whole when it is committed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from types import TracebackType
from typing import Self

from sanstream.archive_commit import all_or_nothing, reach
from sanstream.archive_convert import copy_recording
from sanstream.archive_draft import Draft, LocalDraft, name_taken
from sanstream.archive_draft_remote import RemoteDraft
from sanstream.archive_encode import EncodeOptions, Progress, encode_recording
from sanstream.archive_folder import RecordingFolder
from sanstream.archive_manifest import CATALOG, CONTAINERS, LIVE, MANIFEST, Manifest
from sanstream.archive_objects import local_path
from sanstream.archive_places import PLACES
from sanstream.archive_recording import RecordingReader
from sanstream.archive_store import RemoteObjects, remote_scheme
from sanstream.bank import Bank
from sanstream.encode_effort import laid_out
from sanstream.errors import InputError
from sanstream.quality import check_requests
from sanstream.signal import Recording

_RESERVED = ("banks", CATALOG, "zarr.json", MANIFEST, LIVE, PLACES)


class ArchiveWriter:
    """Writes a new archive, or adds recordings to one; nothing is visible before :meth:`commit`.

    Parameters
    ----------
    url : str or path
        Where the archive will stand: a folder, or ``s3://``, ``gs://`` or ``az://``.
    container : str, optional
        ``"zarr"`` (default) or ``"parquet"``; an existing archive keeps its own.
    append : bool
        Add to the archive that stands there.
    self_contained : bool
        Put whole banks into the arrays' metadata, so that Zarr needs no installed bank.
    writer : str, optional
        Name under which an object store is claimed: what a killed writer of the same name left is taken over at once.

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
        writer: str | None = None,
    ) -> None:
        if container is not None and container not in CONTAINERS:
            raise InputError(f"container {container!r} is unknown", hint=f"use {' or '.join(CONTAINERS)}")
        self._self_contained = self_contained
        self._manifests: dict[str, Manifest] = {}
        self._done = False
        text = os.fspath(url)
        self._draft: Draft
        if remote_scheme(text):
            self._target = text
            self._draft = RemoteDraft(RemoteObjects(text), container, append=append, writer=writer)
        else:
            path = local_path(url)
            self._target = str(path)
            with all_or_nothing(path):
                self._draft = LocalDraft(path, container, append=append)
        self.container = self._draft.container

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
        block_s: float | None = None,
        apart: bool = False,
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
        block_s : float, optional
            Block length in seconds, 1 to 60: a short read decodes whole blocks. Default: the effort's own, 60.
        apart : bool
            Let every channel decode alone, at the price of what channels tell about each other.

        Returns
        -------
        Manifest
            What was written.

        Raises
        ------
        InputError
            When its name is taken or cannot be a folder's, on a bad quality, block length, or a full disk.
        """
        for name in (*(s.name for s in recording.streams), *(a.name for a in recording.annotations)):
            _check_folder_name(name)
        check_requests(requests, [c for s in recording.streams for g in s.segments for c in g.channels])
        laid_out(effort, block_s)
        options = EncodeOptions(requests, effort, bank, device, progress, block_s, apart)
        head = Manifest(
            recording.name,
            recording.start_ns,
            recording.timezone,
            recording.source_format,
            recording.attributes,
            self.container,
            (),
        )
        return self.take(head, lambda folder: encode_recording(folder, recording, options))

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
        return self.take(reader.manifest, lambda folder: copy_recording(folder, reader))

    def take(self, head: Manifest, write: Callable[[RecordingFolder], Manifest]) -> Manifest:
        """Let a function write a recording.

        Parameters
        ----------
        head : Manifest
            Gives name, start, attributes and parent; its container, streams, objects and banks are not looked at.
        write : callable
            Takes the recording's folder; returns what was written.

        Returns
        -------
        Manifest

        Raises
        ------
        InputError
            When its name is taken, or on a full disk.
        """
        self._check_name(head.name)
        head = replace(head, container=self.container, streams=(), objects={}, banks={}, grows=False)
        try:
            with all_or_nothing(self._target):
                with RecordingFolder(self._draft, head, self_contained=self._self_contained) as folder:
                    manifest = write(folder)
                reach("recording_written")
        except BaseException:
            self._draft.drop(head.name)
            raise
        self._manifests[head.name] = manifest
        return manifest

    def free_name(self, name: str) -> str:
        """Return ``name``, or the first of ``name-2``, ``name-3``, ... that no recording has."""
        taken = {*self._draft.present, *self._manifests}
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
            self._draft.commit(self._manifests)
        self._done = True

    def abort(self) -> None:
        """Leave nothing behind."""
        self._done = True
        self._draft.abort()

    def _check_name(self, name: str) -> None:
        _check_folder_name(name)
        if name in (*self._draft.present, *self._manifests):
            raise name_taken(self._target, name)


def _check_folder_name(name: str) -> None:
    if not name or name in _RESERVED or name.startswith((".", "__")) or set(name) & set("/\\\0") or len(name) > 200:
        raise InputError(f"name {name!r} cannot be a folder's name", hint="rename the source")
