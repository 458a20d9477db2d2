"""Installing the banks that an archive carries, wherever it stands."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from sanstream.archive_objects import local_path
from sanstream.archive_store import RemoteObjects, remote_scheme
from sanstream.bank import SUFFIX
from sanstream.bank_places import install_banks


def install_from(url: str | os.PathLike[str], folder: Path | None = None) -> list[Path]:
    """Do what :func:`~sanstream.bank_places.install_banks` does, for an archive in an object store too."""
    text = os.fspath(url)
    if not remote_scheme(text):
        return install_banks(local_path(url), folder)
    objects = RemoteObjects(text)
    with tempfile.TemporaryDirectory(prefix="sanstream-") as made:
        place = Path(made) / objects.name
        (place / "banks").mkdir(parents=True)
        for key in objects.keys("banks"):
            if key.endswith(SUFFIX):
                (place / key).write_bytes(objects.read(key))
        return install_banks(place, folder)
