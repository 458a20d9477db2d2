"""Channel descriptors that outlive the process.

A message names its channels; the message that described them may have been acknowledged before a restart, and never
comes again. So a descriptor is durable here before the message that brought it can be acknowledged.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path

from sanstream.durable import DiskFull, OpenFile, current_disk
from sanstream.wire_channels import digest_of

MAX_FILE_BYTES = 32 << 20


class DescriptorFile:
    """One feed's descriptors, a line each: Base64, a space, their name in hex. A line that is torn names nothing.

    Parameters
    ----------
    path : Path or None
        None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: OpenFile | None = None
        self._waiting: list[bytes] = []
        self._n_bytes = 0

    def read(self) -> Iterator[bytes]:
        """Give the descriptors that are kept; the newest half only when there are more than 32 MiB."""
        if self._path is None or not self._path.is_file():
            return
        data = self._path.read_bytes()
        if len(data) > MAX_FILE_BYTES:
            data = data[-MAX_FILE_BYTES // 2 :]
            current_disk().replace(self._path, data, "feed.descriptors", mode=0o600)
        self._n_bytes = len(data)
        for line in data.splitlines():
            text, _, name = line.partition(b" ")
            try:
                descriptor = base64.b64decode(text, validate=True)
            except binascii.Error:
                continue
            if digest_of(descriptor).hex().encode() == name:
                yield descriptor

    def keep(self, descriptor: bytes) -> None:
        """Make a descriptor durable; on a full disk it is tried again with the next.

        Raises
        ------
        SyncError
            When the disk fails.
        """
        if self._path is None or self._n_bytes > 2 * MAX_FILE_BYTES:
            return
        # a line of its own even after one that was torn
        self._waiting.append(b"\n%b %b\n" % (base64.b64encode(descriptor), digest_of(descriptor).hex().encode()))
        disk = current_disk()
        try:
            if self._file is None:
                self._file = self._open(self._path)
            data = b"".join(self._waiting)
            disk.append(self._file, data)
        except DiskFull:
            del self._waiting[:-1000]
            return
        self._waiting.clear()
        self._n_bytes += len(data)
        disk.sync(self._file, "feed.descriptors")

    def _open(self, path: Path) -> OpenFile:
        disk = current_disk()
        if path.is_file():
            return disk.open_log(path)
        disk.make_folder(path.parent, mode=0o700, site="feed.folder_made")
        file = disk.create_log(path)
        disk.sync_folder(path.parent, "feed.folder")
        return file
