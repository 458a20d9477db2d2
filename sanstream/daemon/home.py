"""The state folder: one daemon at a time, one version, and what a recovery needs to know."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from sanstream.archive import open as open_archive
from sanstream.archive_live_place import is_shared
from sanstream.archive_objects import local_path
from sanstream.archive_store import remote_scheme
from sanstream.config import ArchiveSettings, HttpSettings, RetrainSettings, Settings
from sanstream.durable import Disk
from sanstream.errors import InputError, UnsupportedError
from sanstream.ledger import read_ledger

STATE_VERSION = 1
_VERSION, _LOCK = "version", "lock"


class Home:
    """A locked state folder; the lock ends with the process.

    Parameters
    ----------
    folder : Path
        Made when missing, mode 0700.
    disk : Disk

    Raises
    ------
    InputError
        When another process holds it.
    UnsupportedError
        When a newer sanstream wrote it.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder, self._disk = folder, disk
        disk.make_folder(folder, mode=0o700, site="state.folder")
        self._lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            read_version(folder)
        except BlockingIOError:
            os.close(self._lock)
            raise InputError(
                f"{folder}: another sanstream uses this state folder",
                hint="stop it first, or give this one another --state",
            ) from None
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def remember(self, settings: Settings) -> None:
        """Write down the version, and what ``sanstream recover`` needs."""
        archive = settings.archive
        values = {
            "state_version": STATE_VERSION,
            "archive": str(Path(archive.url).absolute()) if "://" not in archive.url else archive.url,
            "effort": archive.effort,
            "quality": dict(settings.quality),
            **({"shared": True} if archive.shared else {}),
        }
        data = json.dumps(values).encode()
        path = self.folder / _VERSION
        if not path.exists() or path.read_bytes() != data:
            self._disk.replace(path, data, "state.version", mode=0o600)


def read_version(folder: Path) -> Mapping[str, Any]:
    """Return what the state folder says of itself; empty when it is new.

    Raises
    ------
    UnsupportedError
        When a newer sanstream wrote it.
    InputError
        When the file cannot be read.
    """
    try:
        values = json.loads((folder / _VERSION).read_text(encoding="utf-8"))
        version = values["state_version"]
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}/{_VERSION}: not readable ({error})",
            hint='restore it; for state version 1 it holds {"state_version": 1}',
        ) from None
    if not isinstance(version, int) or version > STATE_VERSION:
        raise UnsupportedError(
            f"{folder}: state version {version}, this sanstream knows {STATE_VERSION}",
            hint="run `sanstream recover` of the version that wrote it, or install that version",
        )
    return dict(values)


def is_locked(folder: Path) -> bool:
    """Tell whether a daemon uses a state folder."""
    try:
        handle = os.open(folder / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _joins(url: str) -> bool:
    """Tell whether an archive is one that daemons share: whoever finishes a state folder there must, too."""
    return remote_scheme(url) is None and is_shared(local_path(url))


def check_archive(folder: Path, archive: str) -> None:
    """Refuse an archive that the state folder does not name and that has none of its recordings.

    Raises
    ------
    InputError
    """
    named = str(read_version(folder).get("archive", ""))
    given = archive if remote_scheme(archive) else str(local_path(archive).absolute())
    if given.rstrip("/") == named.rstrip("/"):
        return
    own = {str(r.head.get("recording")) for r in read_ledger(folder / "ledger.log") if r.kind == "recording"}
    try:
        with open_archive(archive, live=False) as opened:
            there = {*opened.recordings}
    except InputError:
        there = set()
    if not own & there:
        what = "has none of the recordings" if there else "holds no archive with the recordings"
        raise InputError(
            f"{archive}: {what} of {folder}, which names {named or 'no archive'}",
            hint="check --to; if it is right, add --elsewhere",
        )


def remembered_settings(folder: Path, archive: str | None) -> Settings:
    """Return settings without feeds that finish a state folder.

    Raises
    ------
    InputError
        When there is none, or it names no archive and none is given.
    """
    values = read_version(folder) if folder.is_dir() else {}
    url = archive or values.get("archive")
    if not values or not url:
        raise InputError(
            f"{folder}: not a state folder of sanstream ingest",
            hint="give the folder that holds journal and ledger.log",
        )
    return Settings(
        ArchiveSettings(
            str(url), folder, effort=values.get("effort", "default"), shared=values.get("shared", False) or _joins(url)
        ),
        values.get("quality", {"default": "lossless"}),
        retrain=RetrainSettings(mode="off"),
        http=HttpSettings(listen=""),
    )
