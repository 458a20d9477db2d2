"""What was read of files that do not change, kept for the next who opens them in this process."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from sanstream.block_coding import SegmentCoding
from sanstream.shard import ShardTable

_Value = TypeVar("_Value")

MAX_KEPT = 4096
MAX_BYTES = 64 << 20
"""Of the files, not of what was made from them."""
SETTLED_NS = 2 * 10**9
"""A file written so recently may change once more without its time stamp telling; nothing is kept of it."""

Stamp = tuple[int, int, int, int, int]
"""Device, inode, bytes, last write and last change of a file."""


class Kept:
    """Values by file and purpose, the least recently used ones dropped; safe between threads."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, str], tuple[Stamp, Any]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, path: str, purpose: str, make: Callable[[], _Value]) -> _Value:
        """Return what ``make`` gave for the file as it stands, or make it now.

        Parameters
        ----------
        path : str
        purpose : str
            What is made of the file; tells values of one file apart.
        make : callable
            Reads the file; what it raises is not kept.
        """
        try:
            found = os.stat(path)
        except OSError:
            return make()
        stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        key = (path, purpose)
        held = self._held.get(key)
        if held is not None and held[0] == stamp:
            with self._lock:
                if key in self._held:
                    self._held.move_to_end(key)
            return held[1]  # type: ignore[no-any-return]
        value = make()
        if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > SETTLED_NS:
            self._keep(key, stamp, value)
        return value

    def _keep(self, key: tuple[str, str], stamp: Stamp, value: Any) -> None:
        with self._lock:
            before = self._held.pop(key, None)
            self._bytes += stamp[2] - (before[0][2] if before else 0)
            self._held[key] = stamp, value
            while len(self._held) > MAX_KEPT or (self._bytes > MAX_BYTES and len(self._held) > 1):
                _, (old, _) = self._held.popitem(last=False)
                self._bytes -= old[2]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()
            self._bytes = 0


KEPT = Kept()
"""Of this process."""


class Memo:
    """What was read of a recording's objects and found to be what its manifest says; lives as long as the manifest.

    Attributes
    ----------
    tables : dict
        Tables of shards by key.
    codings : dict
        Codings with their delta by key.
    """

    def __init__(self) -> None:
        self.tables: dict[str, ShardTable] = {}
        self.codings: dict[str, SegmentCoding] = {}
