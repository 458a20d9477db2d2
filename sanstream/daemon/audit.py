"""Every decision about kernels as one JSON line, kept in two files of bounded size."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sanstream.durable import Disk, OpenFile
from sanstream.retrain_audit import NEWER, OLDER, audit_rows

MAX_BYTES = 8 << 20


class Audit:
    """``audit.jsonl`` and, once that is full, ``audit.1.jsonl``: the older half goes when the newer is full.

    Parameters
    ----------
    folder : Path
        The state folder.
    disk : Disk
    max_bytes : int
        Of each file.
    """

    def __init__(self, folder: Path, disk: Disk, *, max_bytes: int = MAX_BYTES) -> None:
        self.path, self._disk, self._max_bytes = folder / NEWER, disk, max_bytes
        self._file: OpenFile | None = None

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row; durable on return.

        Raises
        ------
        DiskFull, SyncError
        """
        data = json.dumps(row, separators=(",", ":"), sort_keys=True).encode() + b"\n"
        if self._file is None:
            self._file = self._open()
        elif self.path.stat().st_size + len(data) > self._max_bytes:
            self.close()
            self._disk.rename(self.path, self.path.with_name(OLDER))
            self._file = self._open()
        self._disk.append(self._file, data)
        self._disk.sync(self._file, "audit.data")

    def rows(self) -> list[dict[str, Any]]:
        """Return all rows, oldest first; a last one that a crash cut is left out."""
        return audit_rows(self.path.parent)

    def keep(self, wanted: Callable[[Mapping[str, Any]], bool]) -> None:
        """Keep only some of the rows."""
        rows = self.rows()
        left = [r for r in rows if wanted(r)]
        if len(left) < len(rows):
            self.close()
            text = "".join(json.dumps(r, separators=(",", ":"), sort_keys=True) + "\n" for r in left)
            self._disk.replace(self.path, text.encode(), "audit.kept", mode=0o600)
            older = self.path.with_name(OLDER)
            if older.exists():
                self._disk.remove(older)
                self._disk.sync_folder(self.path.parent, "audit.folder")  # else a power cut brings it back

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> OpenFile:
        if self.path.exists():
            file = self._disk.open_log(self.path)
            if not self._whole():
                self._disk.append(file, b"\n")  # after a row that a crash cut
            return file
        file = self._disk.create_log(self.path, mode=0o600)
        self._disk.sync_folder(self.path.parent, "audit.folder")
        return file

    def _whole(self) -> bool:
        data = self.path.read_bytes()[-1:]
        return data in (b"", b"\n")
