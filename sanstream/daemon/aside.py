"""Messages that cannot be archived, set aside in a bounded folder: unreadable ones, and ones that contradict others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sanstream.chunk import Chunk
from sanstream.durable import Disk
from sanstream.errors import CorruptError
from sanstream.ledger import Ledger, Record, read_ledger

SLACK_S = 600
"""A file is not written anew for less."""
_FILES = 4
"""Files that share the bound; the oldest goes when a new one begins."""


class Aside:
    """Appends to the newest of a few files.

    Parameters
    ----------
    folder : Path
    disk : Disk
    max_bytes : int
        Of all files; a message larger than a file's share is cut.
    clock : callable
        Nanoseconds since 1970.
    """

    def __init__(self, folder: Path, disk: Disk, max_bytes: int, clock: Callable[[], int] = time.time_ns) -> None:
        self._folder, self._disk, self._clock = folder, disk, clock
        self._share = max(0, max_bytes // _FILES)
        self._file: Ledger | None = None
        self._current = folder
        self._dirty = False
        disk.make_folder(folder, mode=0o700)

    def poison(self, feed: str, message: bytes, reason: str) -> None:
        """Keep a message that could not be read; durable after the next :meth:`sync`."""
        self._append("poison", {"feed": feed, "reason": reason[:500], "n_bytes": len(message)}, message)

    def conflict(self, chunk: Chunk, reason: str) -> None:
        """Keep a chunk that contradicts what came before, or has no place."""
        head = {
            "recording": chunk.recording,
            "stream": chunk.stream,
            "session": chunk.session,
            "first_sample": chunk.first_sample,
            "n_channels": len(chunk.channels),
            "rate": str(chunk.rate),
            "device_ns": chunk.device_ns,
            "arrival_ns": chunk.arrival_ns,
            "reason": reason,
        }
        self._append("conflict", head, np.ascontiguousarray(chunk.samples, "<i4").tobytes())

    def sync(self) -> None:
        """Make what was set aside durable."""
        if self._file is not None and self._dirty:
            self._file.sync()
            self._dirty = False

    def records(self) -> Iterator[Record]:
        """Read everything that is set aside, oldest first."""
        if self._file is not None:
            self._file.flush()
        for path in self._paths():
            yield from read_ledger(path)

    def forget(self, recording: str, from_ns: int | None = None, until_ns: int | None = None) -> int:
        """Remove what of a recording arrived in a stretch of time; returns how many messages.

        Of those that could not be read, the ones that its name stands in.
        """
        self.close()
        removed = 0
        for path in self._paths():
            try:
                removed += self._keep(path, lambda record: not _is_of(record, recording, from_ns, until_ns))
            except CorruptError:
                self._disk.remove(path)  # nobody can say what it holds
        return removed

    def count(self, recording: str, from_ns: int | None = None, until_ns: int | None = None) -> int:
        """Return how many messages :meth:`forget` would remove."""
        if self._file is not None:
            self._file.flush()
        n = 0
        for path in self._paths():
            with suppress(CorruptError):
                n += sum(_is_of(record, recording, from_ns, until_ns) for record in read_ledger(path))
        return n

    def drop_before(self, time_ns: int) -> int:
        """Remove what was set aside before a time, to within :data:`SLACK_S`; returns how many messages.

        Raises
        ------
        DiskFull, SyncError
        """
        removed = 0
        for path in self._paths():
            try:
                first = next(iter(read_ledger(path)), None)
                oldest = path.stat().st_mtime_ns if first is None else first.head.get("time_ns", 0)
                if oldest < time_ns - SLACK_S * 10**9:
                    if path == self._current:
                        self.close()
                    removed += self._keep(path, lambda record: record.head.get("time_ns", 0) >= time_ns)
            except CorruptError:
                if path.stat().st_mtime_ns < time_ns:
                    self._disk.remove(path)
        return removed

    def _keep(self, path: Path, stays: Callable[[Record], bool]) -> int:
        """Keep only some messages of a closed file, which goes with the last of them; returns how many went."""
        ledger = Ledger(path, self._disk)
        try:
            records = list(ledger.records())
            kept = [(r.kind, r.head, r.body()) for r in records if stays(r)]
            if kept and len(kept) < len(records):
                ledger.compact(kept)
        finally:
            ledger.close()
        if not kept:
            self._disk.remove(path)
        return len(records) - len(kept)

    def close(self) -> None:
        """Sync and close; the next message opens a new file."""
        if self._file is not None:
            self._file.close()
            self._file, self._dirty = None, False

    def _append(self, kind: str, head: dict[str, Any], body: bytes) -> None:
        if not self._share:
            return
        if self._file is None:
            self._go_on()
        if self._file is None or self._file.size_bytes + len(body) > self._share:
            self._roll()
        if self._file is not None:
            self._file.append(kind, {"time_ns": self._clock(), **head}, body[: self._share // 2])
            self._dirty = True

    def _go_on(self) -> None:
        """Open the newest file again, unless it is damaged."""
        for path in self._paths()[-1:]:
            with suppress(CorruptError):
                self._file, self._current = Ledger(path, self._disk), path

    def _roll(self) -> None:
        self.close()
        paths = self._paths()
        for path in paths[: max(0, len(paths) - _FILES + 1)]:
            self._disk.remove(path)
        number = int(paths[-1].name[:8]) + 1 if paths else 1
        self._current = self._folder / f"{number:08d}.log"
        self._file = Ledger(self._current, self._disk)

    def _paths(self) -> list[Path]:
        return sorted(p for p in self._folder.glob("*.log") if p.name[:8].isdecimal())


def _is_of(record: Record, recording: str, from_ns: int | None, until_ns: int | None) -> bool:
    """Tell whether a message is of a recording, or names it, and arrived in a stretch of time."""
    at = record.head.get("arrival_ns", record.head.get("time_ns", 0))
    if (from_ns is not None and at < from_ns) or (until_ns is not None and at >= until_ns):
        return False
    if record.kind == "poison":
        return recording.encode() in record.body()
    return bool(record.head.get("recording") == recording)
