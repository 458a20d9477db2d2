"""An archive: its recordings, what it weighs, and whether it is sound."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from sanstream.archive_encode import Progress
from sanstream.archive_info import describe
from sanstream.archive_live_place import read_place
from sanstream.archive_manifest import CATALOG, FORMAT_VERSION, MANIFEST, Manifest, read_catalog
from sanstream.archive_objects import PARTIAL, LocalObjects, local_path
from sanstream.archive_read import StreamReader
from sanstream.archive_recording import RecordingReader
from sanstream.archive_verify import Problem, find_problems
from sanstream.archive_write import ArchiveWriter
from sanstream.bank import Bank, find_bank
from sanstream.errors import CorruptError, InputError

if TYPE_CHECKING:
    from sanstream.archive_live_state import LiveRecording

__all__ = ["Archive", "ArchiveWriter", "Problem", "Progress", "RecordingReader", "StreamReader", "open", "verify"]


class Recordings(Mapping[str, RecordingReader]):
    """The recordings of an archive by name; each is opened, by one request, when it is first asked for."""

    def __init__(
        self, names: list[str], objects: LocalObjects, container: str, live: Mapping[str, LiveRecording]
    ) -> None:
        self._names = [*names, *(n for n in live if n not in names)]
        self._live = live
        self._objects = objects
        self._container = container
        self._open: dict[str, RecordingReader] = {}
        self._banks: dict[str, Bank] = {}

    def __getitem__(self, name: str) -> RecordingReader:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._open:
            self._open[name] = self._read(name)
        return self._open[name]

    def _read(self, name: str) -> RecordingReader:
        live = self._live.get(name)
        manifest: Manifest | None = None
        if live is None or self._objects.exists(f"{name}/{MANIFEST}"):
            where = f"{self._objects.root.name}: {name}/{MANIFEST}"
            manifest = Manifest.from_bytes(self._objects.read(f"{name}/{MANIFEST}"), where)
            if (manifest.name, manifest.container) != (name, self._container):
                raise CorruptError(f"{where}: describes {manifest.container} recording {manifest.name!r}")
            if live is None or not manifest.grows:
                return RecordingReader(manifest, self._objects, self._find_bank)
        from sanstream.archive_live import LiveRecordingReader

        return LiveRecordingReader(manifest, live, self._objects, self._find_bank)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def close(self) -> None:
        """Close every recording."""
        for reader in self._open.values():
            reader.close()

    def _find_bank(self, bank_id: str) -> Bank:
        if bank_id not in self._banks:
            self._banks[bank_id] = find_bank(bank_id, folders=[self._objects.root / "banks"])
        return self._banks[bank_id]


class Archive:
    """An open archive.

    Attributes
    ----------
    container : str
        ``"zarr"`` or ``"parquet"``.
    format_version : int
    recordings : mapping of str to RecordingReader
    """

    def __init__(self, objects: LocalObjects, live: Mapping[str, LiveRecording] = MappingProxyType({})) -> None:
        self._objects = objects
        where = f"{objects.root.name}: {CATALOG}"
        self.container, names = read_catalog(objects.read(CATALOG), where)
        self.format_version = FORMAT_VERSION
        self._recordings = Recordings(names, objects, self.container, live)
        self.recordings: Mapping[str, RecordingReader] = self._recordings

    def __repr__(self) -> str:
        return f"<Archive {self._objects.root.name}: {len(self.recordings)} recordings, {self.container}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def info(self) -> dict[str, Any]:
        """Return what ``sanstream info --json`` prints: what is stored, without what a daemon has not sealed yet."""
        stored = [r.stored for r in self.recordings.values() if r.stored is not None]
        return describe(self._objects, self.container, stored)

    def verify(self, deep: bool = False) -> list[Problem]:
        """Find every changed, truncated, missing or extra file.

        Parameters
        ----------
        deep : bool
            Decode everything as well, and compare it with what the manifests say.

        Returns
        -------
        list of Problem
            Empty when the archive is sound.
        """
        return find_problems(self._objects, deep=deep)

    def close(self) -> None:
        """Close files that are open."""
        self._recordings.close()


def open(url: str | os.PathLike[str], *, live: bool = True) -> Archive:
    """Open an archive.

    Where a daemon on this machine writes to it, what the daemon has not sealed yet is there too, up to the last sample
    received: a snapshot as of this call.

    Parameters
    ----------
    url : str or path
        A local folder, or its ``file://`` address.
    live : bool
        Whether to look for what is not sealed yet.

    Returns
    -------
    Archive

    Raises
    ------
    InputError
        When no archive stands there.
    UnsupportedError
        When a newer sanstream wrote it.
    CorruptError
        When its catalog has changed or is missing, or the daemon's state has.
    """
    path = _folder(url)
    if not (path / CATALOG).is_file():
        raise CorruptError(
            f"{path}: {CATALOG} is missing, though recordings stand there", hint=f"run: sanstream verify {path}"
        )
    state = read_place(path) if live else None
    if state is None:
        return Archive(LocalObjects(path))
    from sanstream.archive_live_state import read_state

    # before the catalog and the manifests: data go from the state to the archive
    found = read_state(state)
    return Archive(LocalObjects(path), found)


def verify(url: str | os.PathLike[str], *, deep: bool = False) -> list[Problem]:
    """Find every changed, truncated, missing or extra file of an archive, also of one that cannot be opened.

    Parameters
    ----------
    url : str or path
    deep : bool
        As for :meth:`Archive.verify`.

    Returns
    -------
    list of Problem

    Raises
    ------
    InputError
        When no archive stands there.
    UnsupportedError
        When a newer sanstream wrote it.
    """
    return find_problems(LocalObjects(_folder(url)), deep=deep)


def _folder(url: str | os.PathLike[str]) -> Path:
    """Return the folder of an archive: it has a catalog or, when that was lost, recordings."""
    path = local_path(url)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder", hint="give the folder that sanstream archive made")
    if (path / CATALOG).is_file() or any(PARTIAL not in found.parent.name for found in path.glob(f"*/{MANIFEST}")):
        return path
    raise InputError(
        f"{path}: not an archive, {CATALOG} is missing", hint="give the folder that sanstream archive made"
    )
