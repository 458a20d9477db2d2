"""What stands at a re-encoding's target already: what it would make, that of an older source, or something else."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

import sanstream
from sanstream.archive import Archive
from sanstream.archive import open as open_archive
from sanstream.archive_manifest import CATALOG
from sanstream.archive_objects import local_path
from sanstream.archive_store import RemoteObjects, remote_scheme
from sanstream.errors import InputError
from sanstream.reencode_request import DEFAULT_EFFORT, Request


class ChangedError(InputError):
    """The target stands, made as asked, but its source held something else then (exit code 2)."""


def check_apart(source: str | os.PathLike[str], to: str | os.PathLike[str]) -> None:
    """Refuse a target that is the source, or lies in it.

    Raises
    ------
    InputError
    """
    if remote_scheme(os.fspath(source)) is None and remote_scheme(os.fspath(to)) is None:
        inner, outer = str(local_path(to).resolve()), str(local_path(source).resolve())
    else:
        inner, outer = os.fspath(to).rstrip("/"), os.fspath(source).rstrip("/")
    if inner == outer or inner.startswith(outer + "/"):
        where = "is the source itself" if inner == outer else "lies in the source"
        raise InputError(f"{os.fspath(to)}: {where}", hint="choose another place for the new archive")


def stands(to: str | os.PathLike[str], ids: Mapping[str, str], container: str, request: Request) -> bool:
    """Tell whether the target is there already, made of the same.

    Parameters
    ----------
    to : path
    ids : mapping of str to str
        By recording, in order: what its manifest's ``parent`` has as ``id`` if it was made of the same.
    container : str
    request : Request

    Raises
    ------
    ChangedError
        When it was made by the same request, of other content.
    InputError
        When it is something else.
    """
    text = os.fspath(to)
    there = RemoteObjects(text).exists(CATALOG) if remote_scheme(text) else (local_path(to) / CATALOG).is_file()
    if not there:
        return False
    with open_archive(to, live=False) as held:
        same = list(held.recordings) == [*ids] and held.container == container
        if same and all(held.recordings[name].manifest.parent.get("id") == id_ for name, id_ in ids.items()):
            return True
        changed = held.container == container and _was_asked(held, ids, request)
    if changed:
        raise ChangedError(
            f"{text}: made by the same request from recordings of these names, but of other content: the source has "
            "changed since, or is another",
            hint="choose another place, or remove it first; what is new in the source is not in it",
        )
    raise InputError(f"{text}: another archive stands there", hint="choose another place, or remove it first")


def _was_asked(held: Archive, names: Collection[str], request: Request) -> bool:
    """Tell whether an archive was made of recordings of these names, by the same request and version."""
    asked = {"sanstream": sanstream.__version__, **request.to_dict(), "effort": request.effort or DEFAULT_EFFORT}
    for name, reader in held.recordings.items():
        parent = reader.manifest.parent
        unused = {"effort", "bank"} if parent.get("effort") is None else set()  # nothing was encoded
        if name not in names or any(parent.get(k) != v for k, v in asked.items() if k not in unused):
            return False
    return bool(held.recordings)
