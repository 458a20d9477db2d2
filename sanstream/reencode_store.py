"""Checkpoints of a re-encoding, beside the archive that it makes: plans of segments, blocks, and blocks of whole jobs.

Each is one object: a line of sealed JSON, then payloads. One that was torn or has changed counts as not there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from sanstream.archive_claim import Busy, Claim
from sanstream.archive_objects import PARTIAL, local_path
from sanstream.archive_sealed import FORMAT_VERSION, open_json, seal_json
from sanstream.archive_store import RemoteObjects, remote_scheme
from sanstream.durable import FULL, DiskFull, NoHandles
from sanstream.errors import CorruptError, InputError, UnsupportedError

FOLDER = f"{PARTIAL}reencode"
_WORK = "reencode"
_GOES_ON = "what is done so far is kept: the same command goes on where it was"


class Checkpoints(Protocol):
    """Objects by key; a put is whole or not at all, and may be done twice."""

    def get(self, key: str) -> bytes | None:
        """Return an object, or None."""

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""

    def keys(self, prefix: str = "") -> list[str]:
        """List the objects below a prefix that ends with a slash."""

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects."""

    def clear(self) -> None:
        """Remove everything."""


class LocalCheckpoints:
    """Files of a hidden folder; they are not synced, since a torn one is found out and made anew."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, key: str) -> bytes | None:
        """Return a file's bytes."""
        try:
            return (self.root / key).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Write beside, under a name of its own (workers of one process are threads, too), then rename."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        beside.write_bytes(data)
        beside.replace(path)

    def keys(self, prefix: str = "") -> list[str]:
        """List files."""
        folder = self.root / prefix
        found = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
        return sorted(p.relative_to(self.root).as_posix() for p in found)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove files, and folders that are empty then."""
        for key in keys:
            (self.root / key).unlink(missing_ok=True)
            with suppress(OSError):
                (self.root / key).parent.rmdir()

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.root, ignore_errors=True)


class RemoteCheckpoints:
    """Objects below a prefix that is no part of the archive."""

    def __init__(self, url: str) -> None:
        self._objects = RemoteObjects(url)

    def get(self, key: str) -> bytes | None:
        """Return an object's bytes."""
        try:
            return self._objects.read(key)
        except CorruptError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""
        self._objects.put(key, data)

    def keys(self, prefix: str = "") -> list[str]:
        """List objects."""
        return list(self._objects.keys(prefix))

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects."""
        self._objects.remove(keys)

    def clear(self) -> None:
        """Remove all."""
        self._objects.remove(self._objects.keys())


def checkpoints_of(target: str | os.PathLike[str]) -> str:
    """Return where an archive's checkpoints stand.

    Raises
    ------
    UnsupportedError
        Where other processes cannot reach the archive.
    """
    text = os.fspath(target)
    scheme = remote_scheme(text)
    if scheme == "memory":
        raise UnsupportedError(
            f"{text}: no other process can write there",
            hint="give a local path, or an address of s3://, gs:// or az://",
        )
    if scheme:
        return f"{text.rstrip('/')}/{FOLDER}"
    path = local_path(text).absolute()
    return str(path.with_name(f".{path.name}{FOLDER}"))


def open_checkpoints(url: str) -> Checkpoints:
    """Open what :func:`checkpoints_of` named."""
    return RemoteCheckpoints(url) if remote_scheme(url) else LocalCheckpoints(Path(url))


@contextmanager
def alone(url: str, target: str | os.PathLike[str]) -> Iterator[Checkpoints]:
    """Open checkpoints for one process at a time: by a lock that ends with it or, in an object store, a claim.

    What one that was killed has claimed is taken over within a minute.

    Raises
    ------
    InputError
        When another process has them.
    """
    if remote_scheme(url):
        with ExitStack() as held:
            try:
                held.enter_context(Claim(RemoteObjects(url), writer=_WORK).kept())
            except Busy:
                raise _busy(target) from None
            yield RemoteCheckpoints(url)
        return
    root = Path(url)
    made = [p for p in (root, *root.parents) if not p.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InputError(f"{target}: cannot write ({error.strerror})") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield LocalCheckpoints(root)
    except BlockingIOError:
        raise _busy(target) from None
    finally:
        os.close(handle)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def _busy(target: str | os.PathLike[str]) -> InputError:
    return InputError(f"{os.fspath(target)}: another process is re-encoding to it", hint="try again when it is done")


@contextmanager
def resumable(target: str | os.PathLike[str]) -> Iterator[None]:
    """Say of what ends a re-encoding half way, a full disk or an interrupt, that its checkpoints stay.

    Raises
    ------
    InputError
        On a full disk, whoever met it: a worker, or the writer of the archive, which itself keeps nothing.
    KeyboardInterrupt
        With what to do next.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_GOES_ON) from None
    except (OSError, InputError) as error:
        full = any(isinstance(e, DiskFull) and not isinstance(e, NoHandles) for e in (error, error.__cause__))
        met = error if isinstance(error, OSError) else error.__cause__
        if not full and not (isinstance(met, OSError) and met.errno in FULL):
            raise
        raise InputError(
            f"{os.fspath(target)}: no space left while writing it", hint=f"free some space; {_GOES_ON}"
        ) from error


def pack(values: Mapping[str, Any], payloads: Sequence[bytes] = ()) -> bytes:
    """Return a checkpoint's bytes."""
    body = b"".join(payloads)
    head = {**values, "lengths": [len(p) for p in payloads], "body": hashlib.sha256(body).hexdigest()}
    return seal_json({"format_version": FORMAT_VERSION, **head}) + b"\n" + body


def unpack(data: bytes | None) -> tuple[dict[str, Any], list[bytes]] | None:
    """Return what :func:`pack` took; None when it is not there, torn or changed."""
    if data is None:
        return None
    head, _, body = data.partition(b"\n")
    try:
        values = open_json(head, "checkpoint")
    except (CorruptError, UnsupportedError):
        return None
    if hashlib.sha256(body).hexdigest() != values.get("body"):
        return None
    payloads, at = [], 0
    for length in values["lengths"]:
        payloads.append(body[at : at + length])
        at += length
    return values, payloads
