"""Opening an archive that grows: made when missing, told where the daemon's state is, rid of what crashes left."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from sanstream.archive_commit import clear_partials
from sanstream.archive_draft import heal
from sanstream.archive_grow_folder import GrowingFolder, is_partial, locked_patiently
from sanstream.archive_live_place import is_shared, read_place
from sanstream.archive_manifest import CATALOG, LIVE, MANIFEST, Manifest, catalog_bytes, read_catalog
from sanstream.archive_objects import PARTIAL
from sanstream.archive_pending import is_growing_key
from sanstream.archive_sealed import compact_json
from sanstream.archive_zarr import ROOT_GROUP
from sanstream.durable import current_disk
from sanstream.errors import InputError, UnsupportedError


def open_folder(root: Path, state_dir: Path | None, *, shared: bool = False) -> None:
    """Make an archive, or take over the one that stands there, and name the daemon's state folder in it.

    Parameters
    ----------
    root : Path
    state_dir : Path or None
        None for no daemon, or one that does not want to be found.
    shared : bool
        Other daemons may write to it, and say so, too.

    Raises
    ------
    InputError
        When something else stands there, or a running daemon writes to it which does not share it, or others share
        it which this one does not.
    UnsupportedError
        When it is no Zarr archive.
    """
    current_disk().make_folder(root, site="seal.folder")
    folder = GrowingFolder(root)
    with locked_patiently(root):
        if not (root / CATALOG).exists():
            _make(root, folder)
        container, _ = read_catalog((root / CATALOG).read_bytes(), f"{root.name}: {CATALOG}")
        if container != "zarr":
            raise UnsupportedError(f"{root}: a {container} archive cannot grow", hint="choose another folder")
        clear_partials(root)
        heal(root)
        if shared:
            _name_shared(root, folder)
        elif state_dir is not None:
            _name_state(root, folder, state_dir)
        if is_shared(root):
            return  # what looks cut off may be another daemon's commit under way
        for path in root.iterdir():
            if path.is_dir() and not path.name.startswith(".") and path.name != "banks":
                _clear_uncommitted(folder, path.name)


def stray_keys(keys: Iterable[str], manifest: Manifest | None) -> list[str]:
    """Return what cut-off commits left among the objects of a growing recording: what its manifest does not name.

    Parameters
    ----------
    keys : iterable of str
        Objects below the recording's folder.
    manifest : Manifest or None
        None when nothing of it is committed.
    """
    held = {} if manifest is None else manifest.objects
    return [k for k in keys if k not in held and k != MANIFEST and (is_growing_key(k) or is_partial(k))]


def _make(root: Path, folder: GrowingFolder) -> None:
    odd = [p.name for p in root.iterdir() if p.name not in ("zarr.json", LIVE) and PARTIAL not in p.name]
    if odd:
        raise InputError(f"{root}: is not empty and no archive ({odd[0]} stands there)", hint="choose another folder")
    folder.put("zarr.json", ROOT_GROUP, "meta")
    folder.put(CATALOG, catalog_bytes("zarr", []), "catalog")


def _name_shared(root: Path, folder: GrowingFolder) -> None:
    before = read_place(root)
    if before is not None and _is_held(before):
        raise InputError(
            f"{root}: a running daemon with its state in {before} has it for itself",
            hint="let that one say [archive] shared = true, too, and start it again",
        )
    data = compact_json({"shared": True, "archive": str(root.absolute())})
    if not is_shared(root):
        folder.put(LIVE, data, "catalog")


def _name_state(root: Path, folder: GrowingFolder, state_dir: Path) -> None:
    if is_shared(root):
        raise InputError(
            f"{root}: daemons share it, and this one is not told so",
            hint=f"set [archive] shared = true; when no other is left, remove {LIVE} there",
        )
    state = state_dir.resolve()  # a folder has many spellings, and one lock
    before = read_place(root)
    if before is not None and before.resolve() != state and _is_held(before):
        raise InputError(
            f"{root}: a running daemon with its state in {before} writes to it",
            hint="give each daemon its own archive, or let each say [archive] shared = true",
        )
    data = compact_json({"state_dir": str(state), "archive": str(root.absolute())})
    if not (root / LIVE).exists() or (root / LIVE).read_bytes() != data:
        folder.put(LIVE, data, "catalog")


def _is_held(state_dir: Path) -> bool:
    """Tell whether a daemon holds the lock of a state folder."""
    try:
        handle = os.open(state_dir / "lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    finally:
        os.close(handle)
    return False


def _clear_uncommitted(folder: GrowingFolder, name: str) -> None:
    """Remove a recording that a first commit, or a removal, left without a manifest."""
    if (folder.root / name / MANIFEST).exists():
        return
    keys = list(folder.keys(name))
    if all(is_growing_key(k) or is_partial(k) for k in keys):
        folder.remove(f"{name}/{k}" for k in keys)
