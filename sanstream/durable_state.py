"""The state folder of a daemon: private, on a local disk, and of a version that this program can finish."""

from __future__ import annotations

import json
from pathlib import Path

from sanstream.durable import Disk, current_disk, usable
from sanstream.errors import CorruptError, UnsupportedError

STATE_VERSION = 1
VERSION = "version"


def prepare_state(folder: Path, disk: Disk | None = None) -> int:
    """Make a state folder, or check the one that stands there; durable on return.

    Parameters
    ----------
    folder : Path
        Made with mode 0700 when missing.
    disk : Disk, optional
        Default: the one in use.

    Returns
    -------
    int
        Version of the state that was found, or :data:`STATE_VERSION` for a new one.

    Raises
    ------
    UnsupportedError
        When a newer version wrote it.
    CorruptError
        When its version cannot be read.
    InputError
        When the folder cannot be used.
    DiskFull, SyncError
    """
    disk = disk or current_disk()
    with usable(folder):
        disk.make_folder(folder, mode=0o700, site="state.parent")
        found = state_version(folder)
        if found is None:
            data = json.dumps({"state_version": STATE_VERSION}).encode() + b"\n"
            disk.replace(folder / VERSION, data, "state.version", mode=0o600)
    return STATE_VERSION if found is None else found


def state_version(folder: Path) -> int | None:
    """Return the version of a state folder; None when it has none yet.

    Raises
    ------
    UnsupportedError, CorruptError
        As :func:`prepare_state`.
    """
    try:
        data = (folder / VERSION).read_bytes()
    except FileNotFoundError:
        return None
    try:
        version = json.loads(data)["state_version"]
    except (ValueError, TypeError, KeyError):
        version = None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CorruptError(f"{folder / VERSION}: names no version", hint='it should read {"state_version": 1}')
    if version > STATE_VERSION:
        raise UnsupportedError(
            f"{folder}: state of version {version}, known are up to {STATE_VERSION}",
            hint="run the newer sanstream, or its `sanstream recover STATE_DIR`, which moves it all to the archive",
        )
    return version
