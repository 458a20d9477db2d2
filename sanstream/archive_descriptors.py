"""Channel descriptors beside a shared archive: what a message names, whichever daemon was sent it (FORMAT.md 12.10)."""

from __future__ import annotations

import re
import threading

from sanstream.archive_grow_folder import Place
from sanstream.archive_grow_remote import RemotePlace
from sanstream.archive_grow_shared import SharedFolder
from sanstream.archive_objects import local_path
from sanstream.archive_store import RemoteObjects, remote_scheme
from sanstream.errors import CorruptError, InputError
from sanstream.wire_channels import digest_of

_KEY = re.compile(r"descriptors/[0-9a-f]{16}\.json")


class SharedDescriptors:
    """Descriptors by the name that messages give them; daemons of one archive share them.

    Parameters
    ----------
    url : str
        The archive's folder or address; it is first used when a descriptor is.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._place: Place | None = None
        self._opening = threading.Lock()

    def keep(self, descriptor: bytes) -> None:
        """Make a descriptor durable, so that the message that brought it may be acknowledged.

        Raises
        ------
        OSError
            When the archive cannot be written to.
        """
        try:
            self._open().put_shared(descriptor_key(digest_of(descriptor)), descriptor, "descriptor")
        except InputError as error:
            raise ConnectionError(None, "the archive cannot be written to") from error

    def find(self, digest: bytes) -> bytes | None:
        """Return a descriptor; None when it is not there, or cannot be read now."""
        try:
            data = self._open().read(descriptor_key(digest))
        except (InputError, CorruptError, OSError):
            return None
        return data if digest_of(data) == digest else None

    def _open(self) -> Place:
        with self._opening:
            if self._place is None:
                remote = remote_scheme(self._url) is not None
                self._place = RemotePlace(RemoteObjects(self._url)) if remote else SharedFolder(local_path(self._url))
            return self._place


def descriptor_key(digest: bytes) -> str:
    """Name a descriptor's object."""
    return f"descriptors/{digest.hex()}.json"


def is_descriptor_key(key: str) -> bool:
    """Tell whether an object is a descriptor's."""
    return _KEY.fullmatch(key) is not None
