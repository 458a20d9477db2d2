"""Finished rows: small JSON files, each under a digest of all that decided it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pipelines.benchmark import cases
from sanstream.signal import Recording

HERE = Path(__file__).resolve().parent


def samples_digest(recording: Recording) -> str:
    """Hash a recording's samples and how they are to be treated."""
    digest = hashlib.sha256()
    for stream, segment in cases.segments(recording):
        digest.update(f"{stream.name} {stream.rate} {segment.channels}".encode())
        digest.update(segment.samples.tobytes())
    return digest.hexdigest()


def files_digest(names: Iterable[str]) -> str:
    """Hash files of this folder."""
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()


class Rows:
    """Rows that are kept from run to run.

    Parameters
    ----------
    folder : Path
        Where they stand; made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str, decided_by: Iterable[str], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return a row: from its file, or made now and kept.

        Parameters
        ----------
        name : str
            Read by people; it becomes part of the file's name.
        decided_by : iterable of str
            All that the row depends on; another value makes another row.
        make : callable
            Makes the row.
        """
        key = hashlib.sha256("\0".join(decided_by).encode()).hexdigest()[:12]
        file = self.folder / f"{re.sub('[^A-Za-z0-9.]+', '-', name)}-{key}.json"
        if not file.is_file():
            row = make()
            file.parent.mkdir(parents=True, exist_ok=True)
            draft = file.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps(row), encoding="utf-8")
            draft.replace(file)
        row = json.loads(file.read_text(encoding="utf-8"))
        assert isinstance(row, dict)
        return row
