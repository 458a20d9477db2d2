"""An archive that a daemon grows: whole shards in, whole segments out, and never a manifest that says too much."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sanstream.archive_commit import explained
from sanstream.archive_grow_folder import GrowingFolder, Moved, Place
from sanstream.archive_grow_heal import open_folder, stray_keys
from sanstream.archive_grow_held import HeldManifests
from sanstream.archive_grow_parts import Changes, add_events, add_segment, drop_events, drop_segments
from sanstream.archive_grow_remote import open_remote
from sanstream.archive_grow_shared import SharedFolder
from sanstream.archive_growth import Growth
from sanstream.archive_live_place import is_shared
from sanstream.archive_manifest import MANIFEST, Manifest
from sanstream.archive_objects import local_path
from sanstream.archive_places import PLACES, Places
from sanstream.archive_store import remote_scheme
from sanstream.chunk import check_name
from sanstream.errors import CorruptError, InputError, UnsupportedError

ALL_EVENTS = (1 << 63) - 1
"""A time that no event reaches."""


class GrowingArchive:
    """An archive to which one process adds shards, and from which it drops segments.

    The manifest of a recording is replaced last and is the commit point. Everything may be done again after a crash
    or a failure: the same growth, committed twice, gives the same archive. Readers need no lock. What a commit that
    was cut off left is removed when its recording is first touched again. Of a folder, one process at a time, unless
    it is shared; the daemon's lock on its state folder sees to that. In an object store, and in a shared folder,
    several daemons may add to one archive, and to one recording: a manifest is replaced only where it is still the one
    that was read. Threads may commit to different recordings at a time.

    Parameters
    ----------
    url : str or path
        The archive's folder, made when it is missing, or its address in an object store.
    container : str
        Only ``"zarr"`` can grow.
    state_dir : Path or None
        The daemon's state folder, where readers find what is not in the archive yet; None for none.
    clock : callable
        Returns nanoseconds since 1970 (UTC).
    shared : bool
        Other daemons may write to the folder at the same time; they must all say so. Readers then see only what is
        sealed.

    Attributes
    ----------
    is_remote : bool
        It is in an object store.
    is_shared : bool
        Other daemons may write to it.

    Raises
    ------
    InputError
        When something else stands there, or a running daemon with another state folder writes to it.
    UnsupportedError
        When the archive or the container asked for cannot grow.
    CorruptError
        When its catalog has changed.
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        *,
        container: str = "zarr",
        state_dir: Path | None = None,
        clock: Callable[[], int] = time.time_ns,
        shared: bool = False,
    ) -> None:
        if container != "zarr":
            raise UnsupportedError(
                f"a {container} archive cannot grow",
                hint="use the zarr container; sanstream convert makes the other of it",
            )
        text = os.fspath(url)
        self.is_remote = remote_scheme(text) is not None
        self._folder: Place
        if self.is_remote:
            self.where = text.rstrip("/")
            self._folder = open_remote(self.where)
        else:
            root = local_path(url)
            self.where = str(root)
            with explained(root):
                open_folder(root, state_dir, shared=shared)
            self._folder = SharedFolder(root) if shared or is_shared(root) else GrowingFolder(root)
        self.is_shared = not isinstance(self._folder, GrowingFolder) or isinstance(self._folder, SharedFolder)
        self.name = self._folder.name
        self._clock = clock
        self._listing = threading.Lock()
        self._held = HeldManifests()
        self._healed: set[str] = set()
        # what a killed process renamed last may be seen, but not on the disk yet
        self._folder.settle()
        self._listed = set(self.recordings())

    @property
    def root(self) -> Path:
        """The folder of a local archive."""
        if not isinstance(self._folder, GrowingFolder):
            raise UnsupportedError(f"{self.where}: is in no folder")
        return self._folder.root

    @property
    def bank_folders(self) -> tuple[Path, ...]:
        """Where the archive keeps its banks, when that is on this machine."""
        return () if self.is_remote else (self.root / "banks",)

    def has(self, recording: str) -> bool:
        """Tell whether something stands under a recording's name."""
        return self._folder.exists(f"{recording}/{MANIFEST}" if self.is_shared else recording)

    def agree(self, recording: str, change: Callable[[Places | None], Places | None]) -> Places | None:
        """Change where the sessions of a recording lie, so that no other daemon's change is undone.

        Parameters
        ----------
        recording : str
        change : callable
            Gets what stands there and returns what shall stand, or None to leave it; called again where another
            daemon was faster.

        Returns
        -------
        Places or None
            What stands there now.

        Raises
        ------
        InputError
            When the folder or store cannot be written to.
        CorruptError
            When what stands there has changed.
        """
        where = f"{self.name}: {recording}/{PLACES}"

        def on_bytes(data: bytes | None) -> bytes | None:
            new = change(None if data is None else Places.from_bytes(data, where))
            return None if new is None else new.to_bytes()

        with explained(self.where):
            data = self._folder.agree(f"{recording}/{PLACES}", on_bytes)
        return None if data is None else Places.from_bytes(data, where)

    def manifest(self, recording: str, *, fresh: bool = False) -> Manifest | None:
        """Return a recording's manifest as it is committed; None when there is no such recording.

        With ``fresh``, what other daemons committed meanwhile is in it, too.

        Raises
        ------
        InputError
            When the recording is one that no daemon wrote.
        CorruptError
            When the manifest has changed.
        """
        held = self._held.pop(recording)
        if held is None or fresh:
            data = self._folder.read_manifest(recording)
            if data is None:
                return None
            held = Manifest.from_bytes(data, f"{self.name}: {recording}/{MANIFEST}")
            if not held.grows:
                raise UnsupportedError(
                    f"{self.where}: recording {recording!r} was archived from files and cannot grow",
                    hint="give the feed's recording another name",
                )
        self._held.put(held)
        return held

    def recordings(self) -> list[str]:
        """Return the names of all recordings, in order of arrival."""
        return self._folder.recordings()

    def commit(self, growth: Growth) -> Manifest:
        """Add shards and events to a recording.

        Returns
        -------
        Manifest
            As it is now; unchanged when everything was there already.

        Raises
        ------
        InputError
            When the growth does not fit what is there, or the disk is full. What was committed stays as it was.
        """
        check_name("recording", growth.recording)
        while True:
            try:
                with self._unless_moved(growth.recording):
                    return self._commit(growth)
            except Moved:
                self._held.pop(growth.recording)

    def _commit(self, growth: Growth) -> Manifest:
        before = self.manifest(growth.recording)
        with explained(self.where):
            if growth.recording not in self._healed:
                self._remove_strays(growth.recording, before)
            changes = Changes(before or _new(growth), self._folder, self._clock)
            if changes.manifest.start_ns != growth.start_ns:
                raise InputError(
                    f"recording {growth.recording!r} starts at {changes.manifest.start_ns} ns, not {growth.start_ns}",
                    hint="give the feed's recording another name",
                )
            for segment in growth.segments:
                check_name("stream", segment.stream)
                add_segment(changes, segment.stream, segment.rate, segment.entry, segment.bank,
                            segment.first_block, segment.blocks)  # fmt: skip
            if growth.events:
                add_events(changes, growth.events)
            if growth.attributes:
                changes.set(attributes={**changes.manifest.attributes, **growth.attributes})
            return self._finish(before, changes)

    def remove(
        self, recording: str, segments: Sequence[tuple[str, str]] = (), events_until_ns: int | None = None
    ) -> Manifest | None:
        """Drop whole segments, and the parts of the events that lie wholly before a time.

        Parameters
        ----------
        recording : str
        segments : sequence of (str, str)
            Stream and name of each; what is gone already is passed over.
        events_until_ns : int, optional
            Nanoseconds since 1970 (UTC).

        Returns
        -------
        Manifest or None
            As it is now; None when nothing is left, and the recording with it.
        """
        while True:
            try:
                with self._unless_moved(recording):
                    return self._remove(recording, segments, events_until_ns)
            except Moved:
                self._held.pop(recording)

    def _remove(
        self, recording: str, segments: Sequence[tuple[str, str]], events_until_ns: int | None
    ) -> Manifest | None:
        before = self.manifest(recording)
        with explained(self.where):
            if recording not in self._healed:
                self._remove_strays(recording, before)
            if before is None:
                return None
            changes = Changes(before, self._folder, self._clock)
            drop_segments(changes, segments)
            if events_until_ns is not None:
                drop_events(changes, events_until_ns)
            now = changes.manifest
            if now.streams or now.annotations:
                return self._finish(before, changes)
            self._forget(before)
            return None

    @contextmanager
    def _unless_moved(self, recording: str) -> Iterator[None]:
        """Raise Moved for what is missing because another daemon has committed meanwhile."""
        try:
            yield
        except CorruptError as error:
            held = self._held.get(recording)
            data = self._folder.read_manifest(recording) if self.is_shared else None
            if held is not None and data is not None and data != held.to_bytes():
                raise Moved(recording) from error
            raise

    def heal(self) -> None:
        """Remove what cut-off commits and removals left of any recording of a daemon's."""
        for name in self.recordings():
            manifest = Manifest.from_bytes(self._folder.read(f"{name}/{MANIFEST}"), f"{self.name}: {name}/{MANIFEST}")
            if manifest.grows:
                self._remove_strays(name, manifest)

    def _finish(self, before: Manifest | None, changes: Changes) -> Manifest:
        """Replace the manifest, drop what it names no more, and list a new recording."""
        now = changes.manifest
        if now != before:
            self._folder.put_manifest(now.name, now.to_bytes(), new=before is None)
            self._held.put(now)
            self._folder.remove(f"{now.name}/{key}" for key in changes.let_go())
        if now.name not in self._listed:
            self._list(lambda names: [*names, now.name] if now.name not in names else names)
            self._listed.add(now.name)
        return now

    def _list(self, change: Callable[[list[str]], list[str]]) -> None:
        """Change the catalog."""
        with self._listing:
            self._folder.change_catalog(change)

    def _forget(self, manifest: Manifest) -> None:
        """Unlist a recording, then drop its manifest, then everything else."""
        recording = manifest.name
        self._held.pop(recording)
        self._listed.discard(recording)
        self._list(lambda names: [n for n in names if n != recording])
        self._folder.remove([f"{recording}/{MANIFEST}", f"{recording}/{PLACES}"])
        self._folder.forget(recording)
        if self.is_shared:
            self._folder.remove(f"{recording}/{key}" for key in manifest.objects)
        self._remove_strays(recording, None)

    def _remove_strays(self, recording: str, manifest: Manifest | None) -> None:
        """Remove what no manifest names; where daemons share, that may be another's, which is about to commit."""
        if not self.is_shared:
            if manifest is not None:  # it may be seen, but not on the disk yet, when its writer was killed
                self._folder.settle(recording)
            strays = stray_keys(self._folder.keys(recording), manifest)
            self._folder.remove(f"{recording}/{key}" for key in strays)
        self._healed.add(recording)


def _new(growth: Growth) -> Manifest:
    return Manifest(
        growth.recording,
        growth.start_ns,
        growth.timezone,
        growth.source_format,
        {},
        "zarr",
        (),
        grows=True,
    )
