"""An archive: its recordings, what it weighs, and whether it is sound."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from sanstream.archive_draft_remote import unlisted
from sanstream.archive_encode import Progress
from sanstream.archive_info import describe
from sanstream.archive_kept import KEPT
from sanstream.archive_live_place import read_place
from sanstream.archive_manifest import CATALOG, MANIFEST, Manifest, read_catalog
from sanstream.archive_objects import PARTIAL, LocalObjects, Objects, local_path
from sanstream.archive_read import StreamReader
from sanstream.archive_recording import RecordingReader
from sanstream.archive_sealed import FORMAT_VERSION
from sanstream.archive_store import RemoteObjects, remote_scheme
from sanstream.archive_verify import Problem, find_problems
from sanstream.archive_write import ArchiveWriter
from sanstream.bank import Bank, find_bank, read_bank
from sanstream.errors import BankError, CorruptError, InputError

if TYPE_CHECKING:
    from sanstream.archive_live_state import LiveRecording

__all__ = ["Archive", "ArchiveWriter", "Problem", "Progress", "RecordingReader", "StreamReader", "open", "verify"]


_AT_ONCE = 32
"""Requests that an object store is asked at a time."""


class _Catalog(NamedTuple):
    """What an archive's catalog says."""

    container: str
    names: tuple[str, ...]
    known: frozenset[str]


class Recordings(Mapping[str, RecordingReader]):
    """The recordings of an archive by name; each is opened, by one request, when it is first asked for."""

    def __init__(self, objects: Objects, live: Mapping[str, LiveRecording]) -> None:
        self._live = live
        self._objects = objects
        self._open: dict[str, RecordingReader] = {}
        self._banks: dict[str, Bank] = {}
        self.sizes: dict[str, int] = {}
        """Bytes of every manifest that was read."""

    @cached_property
    def _catalog(self) -> _Catalog:
        def read() -> _Catalog:
            container, names = read_catalog(_catalog_data(self._objects), f"{self._objects.name}: {CATALOG}")
            return _Catalog(container, tuple(names), frozenset(names))

        if isinstance(self._objects, LocalObjects):
            return KEPT.get(self._objects.file(CATALOG), "catalog", read)
        return read()

    @property
    def container(self) -> str:
        """The archive's container."""
        return self._catalog.container

    @property
    def _names(self) -> Sequence[str]:
        catalog = self._catalog
        return [*catalog.names, *(n for n in self._live if n not in catalog.known)] if self._live else catalog.names

    def _has(self, name: str) -> bool:
        return name in self._catalog.known or name in self._live

    def fetch(self) -> None:
        """Open every recording; of an object store, many at a time."""
        if isinstance(self._objects, RemoteObjects):
            left = [n for n in self._names if n not in self._open]
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                self._open.update(zip(left, pool.map(self._read, left), strict=True))
        else:
            for name in self._names:
                _ = self[name]

    def __getitem__(self, name: str) -> RecordingReader:
        if name not in self._open:
            manifest = None
            if isinstance(self._objects, RemoteObjects) and "_catalog" not in self.__dict__:
                manifest = self._manifest_alone(name)
            if manifest is None and not self._has(name):
                raise KeyError(name)
            self._open[name] = self._read(name, manifest)
        return self._open[name]

    def _manifest_alone(self, name: str) -> Manifest | None:
        """Read a manifest without the catalog: one request less for whoever knows what to ask for."""
        if not name or "/" in name or PARTIAL in name:
            return None
        try:
            return self._manifest(name)
        except CorruptError:
            return None

    def _manifest(self, name: str) -> Manifest:
        def read() -> tuple[Manifest, int]:
            data = self._objects.read(f"{name}/{MANIFEST}")
            return Manifest.from_bytes(data, f"{self._objects.name}: {name}/{MANIFEST}"), len(data)

        if isinstance(self._objects, LocalObjects):
            manifest, self.sizes[name] = KEPT.get(self._objects.file(f"{name}/{MANIFEST}"), "manifest", read)
        else:
            manifest, self.sizes[name] = read()
        return manifest

    def _read(self, name: str, manifest: Manifest | None = None) -> RecordingReader:
        live = self._live.get(name)
        if manifest is None and (live is None or self._objects.exists(f"{name}/{MANIFEST}")):
            manifest = self._manifest(name)
        if manifest is not None:
            known = "_catalog" in self.__dict__
            if manifest.name != name or (known and manifest.container != self.container):
                where = f"{self._objects.name}: {name}/{MANIFEST}"
                raise CorruptError(f"{where}: describes {manifest.container} recording {manifest.name!r}")
            if live is None or not manifest.grows:
                return RecordingReader(manifest, self._objects, self._find_bank)
        assert live is not None
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
        self._open.clear()  # they know this mapping's banks: a circle that only the collector would find

    def _find_bank(self, bank_id: str) -> Bank:
        if bank_id not in self._banks:
            self._banks[bank_id] = bank_of(self._objects, bank_id)
        return self._banks[bank_id]


def bank_of(objects: Objects, bank_id: str) -> Bank:
    """Find a bank on this machine, else the archive's own copy.

    Raises
    ------
    BankError
        When it is nowhere.
    CorruptError
        When what was found is not what its name says.
    """
    if isinstance(objects, LocalObjects):
        return find_bank(bank_id, folders=[objects.file("banks")])
    try:
        return find_bank(bank_id)
    except BankError:
        key = f"banks/{bank_id}.sanbank"
        bank = read_bank(objects.read(key), f"{objects.name}: {key}")
        if bank.id != bank_id:
            raise CorruptError(f"{objects.name}: {key} is not what its name says") from None
        return bank


class Archive:
    """An open archive.

    Attributes
    ----------
    container : str
        ``"zarr"`` or ``"parquet"``.
    format_version : int
    recordings : mapping of str to RecordingReader
    """

    def __init__(self, objects: Objects, live: Mapping[str, LiveRecording] = MappingProxyType({})) -> None:
        self._objects = objects
        self.format_version = FORMAT_VERSION
        self._recordings = Recordings(objects, live)
        self.recordings: Mapping[str, RecordingReader] = self._recordings
        if not isinstance(objects, RemoteObjects):
            _ = self.container

    @property
    def container(self) -> str:
        """``"zarr"`` or ``"parquet"``."""
        return self._recordings.container

    def __repr__(self) -> str:
        return f"<Archive {self._objects.name}: {len(self.recordings)} recordings, {self.container}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def info(self) -> dict[str, Any]:
        """Say what is stored, without what a daemon has not sealed yet.

        Returns
        -------
        dict
            What ``sanstream info --json`` prints: JSON values.
        """
        self._recordings.fetch()
        stored = [r.stored for r in self.recordings.values() if r.stored is not None]
        return describe(self._objects, self.container, stored, self._recordings.sizes)

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


def open(url: str | os.PathLike[str], *, live: bool = True, only: str | None = None) -> Archive:
    """Open an archive.

    Where a daemon on this machine writes to it, what the daemon has not sealed yet is there too, up to the last sample
    received: a snapshot as of this call.

    Parameters
    ----------
    url : str or path
        A local folder or its ``file://`` address, or ``s3://``, ``gs://``, ``az://``. Of an object store, nothing is
        fetched before it is needed: the first samples of a recording that is asked for by name take three requests.
    live : bool
        Whether to look for what is not sealed yet.
    only : str, optional
        A recording: of what is not sealed yet only its samples are read. Others are named; they are not to be read.

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
    if remote_scheme(os.fspath(url)):
        return Archive(RemoteObjects(os.fspath(url)))
    path = local_path(url)
    state = read_place(path) if live else None
    if state is None:
        try:
            return Archive(LocalObjects(path))
        except (CorruptError, InputError):
            _check_catalog(path)
            raise
    _check_catalog(path)
    from sanstream.archive_live_state import read_state

    # before the catalog and the manifests: data go from the state to the archive
    found = read_state(state, only=only)
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
    if remote_scheme(os.fspath(url)):
        objects = RemoteObjects(os.fspath(url))
        if not objects.exists(CATALOG) and not unlisted(objects, objects.folders()[0], []):
            _catalog_data(objects)
        return find_problems(objects, deep=deep)
    return find_problems(LocalObjects(_folder(url)), deep=deep)


def _catalog_data(objects: Objects) -> bytes:
    """Read the catalog; where none is, no archive is."""
    try:
        return objects.read(CATALOG)
    except CorruptError:
        if isinstance(objects, LocalObjects):
            raise
        raise InputError(f"{objects}: no archive stands here, {CATALOG} is missing", hint="check the address") from None


def _check_catalog(path: Path) -> None:
    """Say what is wrong where an archive's catalog is not there."""
    if not (_folder(path) / CATALOG).is_file():
        raise CorruptError(
            f"{path}: {CATALOG} is missing, though recordings stand there", hint=f"run: sanstream verify {path}"
        )


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
