"""What is looked at: an archive, opened anew while it grows, and originals to compare it with."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sanstream.archive import Archive
from sanstream.archive import open as open_archive
from sanstream.archive_live_place import read_place
from sanstream.archive_manifest import CATALOG
from sanstream.archive_objects import local_path
from sanstream.archive_read import StreamReader
from sanstream.archive_recording import RecordingReader
from sanstream.archive_store import remote_scheme
from sanstream.errors import InputError
from sanstream.signal import Recording, Stream

_LOCAL_S, _REMOTE_S = 1.0, 10.0
_SHARE = 20
"""An archive that takes long to open is opened less often: a twentieth of the time at most goes into it."""
MOST_NAMES = 200
_AT_ONCE = 3
"""Snapshots of a live archive that are held, one a recording that is looked at."""


@dataclass(frozen=True)
class _Opened:
    """An archive, what told that it had changed, and when to look again."""

    archive: Archive
    state: tuple[int, int, int] | None
    due: float


class Library:
    """An archive and its originals. One thread at a time reads: hold :attr:`lock` from finding a reader to its use.

    Parameters
    ----------
    url : str
        The archive.
    originals : sequence of Recording
        What was archived, by name.
    """

    def __init__(self, url: str, originals: Sequence[Recording] = ()) -> None:
        self.url = url
        self.lock = threading.RLock()
        self._originals: Mapping[str, Recording] = {r.name: r for r in originals}
        self._opened: dict[str, _Opened] = {}

    def archive(self, recording: str = "") -> Archive:
        """Return the archive as it was a moment ago.

        Parameters
        ----------
        recording : str
            Whose samples will be read; of the others those that a daemon has not sealed yet are left where they are.

        Raises
        ------
        InputError
            When no archive stands there.
        """
        now = time.monotonic()
        name = recording if self.is_live() else ""
        held = self._opened.pop(name, None)
        if held is None or now >= held.due:
            state = self._state()
            if held is None or state is None or state != held.state:
                opened = open_archive(self.url, only=name)
                if held is not None:
                    held.archive.close()
            else:
                opened = held.archive
            least = _REMOTE_S if remote_scheme(self.url) else _LOCAL_S
            held = _Opened(opened, state, now + max(least, _SHARE * (time.monotonic() - now)))
        self._opened[name] = held
        while len(self._opened) > _AT_ONCE:
            self._opened.pop(next(iter(self._opened))).archive.close()
        return held.archive

    def _state(self) -> tuple[int, int, int] | None:
        """Return what changes with the archive's list of recordings; None where that tells nothing."""
        if remote_scheme(self.url) or self.is_live():
            return None
        try:
            found = (local_path(self.url) / CATALOG).stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def names(self, *, find: str = "", start: int = 0, limit: int = MOST_NAMES) -> dict[str, Any]:
        """List recordings whose name holds a text.

        Returns
        -------
        dict
            ``{"names": [...], "start": int, "total": int, "found": int}``.
        """
        every = list(self.archive().recordings)
        found = [n for n in every if find.lower() in n.lower()] if find else every
        return {
            "names": list(islice(found, start, start + limit)),
            "start": start,
            "found": len(found),
            "total": len(every),
        }

    def recording(self, name: str) -> RecordingReader:
        """Return a recording.

        Raises
        ------
        InputError
            When there is none of this name.
        """
        try:
            return self.archive(name).recordings[name]
        except KeyError:
            raise InputError("the archive holds no recording of this name", hint="choose one of the list") from None

    def stream(self, recording: str, name: str) -> tuple[RecordingReader, StreamReader]:
        """Return a recording and one of its streams.

        Raises
        ------
        InputError
            When there is none of this name.
        """
        reader = self.recording(recording)
        if name not in reader.streams:
            raise InputError("the recording holds no stream of this name", hint="choose one of the list")
        return reader, reader.streams[name]

    def original(self, recording: str, stream: str) -> Stream | None:
        """Return what a stream was made from, where it was given."""
        held = self._originals.get(recording)
        return None if held is None else next((s for s in held.streams if s.name == stream), None)

    def check_originals(self) -> None:
        """See that every original is of a recording, and a stream, of the archive.

        Raises
        ------
        InputError
            When one is not, or when no archive stands there.
        """
        held = self.archive().recordings
        next(iter(held), None)  # of an archive in a store only now something is read
        for name, original in self._originals.items():
            if name not in held:
                some = ", ".join(islice(held, 3))
                raise InputError(
                    f"the original is {name!r}, the archive holds no recording of that name", hint=f"it holds {some}"
                )
            if not {s.name for s in original.streams} & set(held[name].streams):
                raise InputError(
                    f"the original {name!r} has no stream of the archive's recording of that name",
                    hint="give what was archived",
                )

    def is_live(self) -> bool:
        """Tell whether a daemon on this machine writes to the archive."""
        return not remote_scheme(self.url) and read_place(local_path(self.url)) is not None
