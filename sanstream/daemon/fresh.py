"""Folders that were not there before: a check, or a start that is refused, leaves none of them behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sanstream.archive_live_place import read_place
from sanstream.archive_manifest import CATALOG, LIVE
from sanstream.archive_store import remote_scheme
from sanstream.config import Settings
from sanstream.errors import SanstreamError

_WRITTEN = (CATALOG, "zarr.json", LIVE)
"""All that an archive holds before the first samples."""


class Fresh:
    """The folders of some settings that are not there yet.

    Parameters
    ----------
    settings : Settings

    Attributes
    ----------
    kept : bool
        Set once a start went well: nothing is removed any more.
    """

    def __init__(self, settings: Settings) -> None:
        self._state = settings.archive.state_dir
        self._archive = None if remote_scheme(settings.archive.url) else Path(settings.archive.url)
        places = [self._state, *([self._archive] if self._archive else [])]
        missing = {folder for place in places for folder in (place, *place.parents) if not folder.exists()}
        self._missing = sorted(missing, key=lambda folder: -len(folder.parts))
        self._blank = self._archive is not None and not any((self._archive / name).exists() for name in _WRITTEN)
        self.kept = False

    def remove_empty(self) -> None:
        """Remove those that are there now and empty."""
        for folder in self._missing:
            with suppress(OSError):
                folder.rmdir()

    @contextmanager
    def unless_refused(self) -> Iterator[None]:
        """Remove what a refused start made; to be used while the state folder is locked."""
        try:
            yield
        except SanstreamError:
            if not self.kept:
                self._undo()
            raise

    def _undo(self) -> None:
        # an archive that another daemon has begun meanwhile stays
        if self._archive and self._blank and read_place(self._archive) == self._state.absolute():
            for name in _WRITTEN:
                (self._archive / name).unlink(missing_ok=True)
        if self._state in self._missing:
            shutil.rmtree(self._state, ignore_errors=True)
        self.remove_empty()
