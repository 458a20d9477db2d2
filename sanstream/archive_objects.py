"""The objects of an archive by key: files of a local folder, or an object store behind the same verbs."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from sanstream.errors import CorruptError, InputError, UnsupportedError

PARTIAL = ".partial-"
"""What the name of an unfinished write contains; such folders are no part of an archive."""


_ONE_CALL = 1 << 30
"""Bytes that one call of the system surely reads."""


class Objects(Protocol):
    """Read access to immutable objects; every method may be called again after a failure.

    Attributes
    ----------
    name : str
        Of the archive, for messages.
    """

    name: str

    def read(self, key: str) -> bytes:
        """Return the whole object. Raises CorruptError when it is missing."""

    def read_range(self, key: str, start: int, stop: int) -> bytes:
        """Return the bytes ``start`` to ``stop``, fewer when the object ends before."""

    def size(self, key: str) -> int:
        """Return the object's size in bytes. Raises CorruptError when it is missing."""

    def exists(self, key: str) -> bool:
        """Tell whether the object is there."""

    def keys(self) -> Iterator[str]:
        """List all objects but those of unfinished writes."""


class LocalObjects:
    """Objects are files under a folder.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = root.name
        self._folder = os.fspath(root)

    def __str__(self) -> str:
        return str(self.root)

    def read(self, key: str) -> bytes:
        """Return the whole file."""
        try:
            return (self.root / key).read_bytes()
        except FileNotFoundError:
            raise _missing(self.root, key) from None
        except OSError as error:
            raise _unreadable(self.root, key, error) from error

    def read_range(self, key: str, start: int, stop: int) -> bytes:
        """Return a part of the file."""
        try:
            if stop - start > _ONE_CALL:
                with (self.root / key).open("rb") as file:
                    file.seek(start)
                    return file.read(stop - start)
            place = os.open(self.file(key), os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.pread(place, max(0, stop - start), start)
            finally:
                os.close(place)
        except FileNotFoundError:
            raise _missing(self.root, key) from None
        except OSError as error:
            raise _unreadable(self.root, key, error) from error

    def file(self, key: str) -> str:
        """Return an object's path."""
        return f"{self._folder}/{key}"

    def size(self, key: str) -> int:
        """Return the file's size."""
        try:
            return (self.root / key).stat().st_size
        except FileNotFoundError:
            raise _missing(self.root, key) from None

    def exists(self, key: str) -> bool:
        """Tell whether the file is there."""
        return (self.root / key).is_file()

    def keys(self) -> Iterator[str]:
        """List all files, in order, but those of unfinished writes."""
        for folder, folders, files in os.walk(self.root):
            folders[:] = sorted(f for f in folders if PARTIAL not in f)
            here = Path(folder).relative_to(self.root)
            for name in sorted(f for f in files if PARTIAL not in f):
                yield (here / name).as_posix()


class ObjectFile(io.RawIOBase):
    """An object as a file that can be read and sought, by ranges.

    Parameters
    ----------
    objects : Objects
    key : str
    size : int
        Its bytes, from the manifest.
    """

    def __init__(self, objects: Objects, key: str, size: int) -> None:
        super().__init__()
        self._objects, self._key, self._size, self._at = objects, key, size, 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be sought."""
        return True

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; returns it."""
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return up to ``size`` bytes."""
        stop = self._size if size is None or size < 0 else min(self._size, self._at + size)
        data = self._objects.read_range(self._key, self._at, stop) if stop > self._at else b""
        self._at += len(data)
        return data


def read_checked(objects: Objects, name: str, key: str, held: Mapping[str, tuple[int, str]]) -> bytes:
    """Return a whole object of a recording.

    Parameters
    ----------
    objects : Objects
    name : str
        The recording's.
    key : str
        Below the recording's folder.
    held : mapping of str to (int, str)
        Size and SHA-256 of every object, from the manifest.

    Raises
    ------
    CorruptError
        When it is missing, or not what the manifest says.
    """
    if key not in held:
        raise CorruptError(f"{name}/{key}: the manifest does not name it")
    size, digest = held[key]
    data = objects.read(f"{name}/{key}")
    if len(data) != size:
        raise CorruptError(f"{name}/{key}: {len(data)} bytes, {size} were written")
    if hashlib.sha256(data).hexdigest() != digest:
        raise CorruptError(f"{name}/{key}: has changed (SHA-256 differs)")
    return data


def _missing(root: Path, key: str) -> CorruptError:
    return CorruptError(f"{root.name}: {key} is missing", hint=f"run: sanstream verify {root}")


def _unreadable(root: Path, key: str, error: OSError) -> InputError:
    return InputError(f"{root.name}: {key} cannot be read ({error.strerror})")


def local_path(url: str | os.PathLike[str]) -> Path:
    """Turn a path or a ``file:`` address into a path.

    Parameters
    ----------
    url : str or path

    Returns
    -------
    Path

    Raises
    ------
    UnsupportedError
        On any other scheme.
    """
    text = os.fspath(url)
    if "://" not in text:
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme != "file":
        raise UnsupportedError(f"{text}: not on this machine", hint="give a local path or file:// address")
    return Path(unquote(parts.path))
