"""Whole segments past their time, or more than there is room for, go; the oldest first."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass

from sanstream.archive_grow import GrowingArchive
from sanstream.archive_manifest import Manifest
from sanstream.archive_store import StoreError
from sanstream.config import ArchiveSettings
from sanstream.daemon.sessions import ns_of
from sanstream.daemon.state import State
from sanstream.errors import SanstreamError

_LOOKS = 20
"""Manifests read at a time, after a start; those of commits come by themselves."""
_AT_ONCE = 50
"""Recordings that are cut at a time."""


@dataclass(frozen=True)
class Held:
    """A segment that the archive holds.

    Parameters
    ----------
    stream, segment : str
    n_bytes : int
    committed_ns : int
        When its last shard came.
    start_ns, stop_ns : int
        Time of its samples.
    """

    stream: str
    segment: str
    n_bytes: int
    committed_ns: int
    start_ns: int
    stop_ns: int


class Keeper:
    """Knows the age and size of every segment, and deletes what settings do not allow any longer.

    Parameters
    ----------
    archive : GrowingArchive
    settings : ArchiveSettings
    state : State
        Segments that still grow stay.
    """

    def __init__(self, archive: GrowingArchive, settings: ArchiveSettings, state: State) -> None:
        self._archive, self._settings, self._state = archive, settings, state
        self._held: dict[str, tuple[Held, ...]] = {}
        self._unseen = archive.recordings() if self.is_needed else []

    @property
    def is_needed(self) -> bool:
        """Whether anything is ever deleted."""
        return self._settings.keep_s is not None or self._settings.max_bytes is not None

    def note(self, manifest: Manifest) -> None:
        """Take up what a recording holds now."""
        if not self.is_needed:
            return
        begin = manifest.start_ns or 0
        self._held[manifest.name] = tuple(
            Held(s.name, e.name, e.coded_bytes, e.committed_ns,
                 begin + ns_of(e.start_sample, s.rate), begin + ns_of(e.stop_sample, s.rate))
            for s in manifest.streams
            for e in s.segments
        )  # fmt: skip

    def look(self) -> None:
        """Read some of the manifests that were there before the start."""
        for _ in range(min(_LOOKS, len(self._unseen))):
            name = self._unseen.pop()
            try:
                manifest = self._archive.manifest(name) if name not in self._held else None
            except SanstreamError:
                continue  # a recording of files, or a damaged one: not ours to delete
            if manifest is not None:
                self.note(manifest)

    def forget(self, recording: str) -> None:
        """Drop a recording that was deleted."""
        self._held.pop(recording, None)

    def expired(self, now_ns: int) -> dict[str, list[Held]]:
        """List what has to go, per recording, oldest first."""
        if not self.is_needed:
            return {}
        growing = {(*lane.key, lane.name) for _, lane in self._state.lanes()}
        by_signal = self._settings.keep_by == "signal"
        aged = []
        total = 0
        for name, held in self._held.items():
            for one in held:
                total += one.n_bytes
                if (name, one.stream, one.segment) not in growing:
                    aged.append((one.stop_ns if by_signal else one.committed_ns, name, one))
        out: dict[str, list[Held]] = {}
        keep_s, most = self._settings.keep_s, self._settings.max_bytes
        for age, name, one in sorted(aged, key=lambda row: row[0]):
            too_old = keep_s is not None and age < now_ns - int(keep_s * 1e9)
            if not too_old and not (most is not None and total > most):
                break
            out.setdefault(name, []).append(one)
            total -= one.n_bytes
        return out

    def run(self, now_ns: int, tell: Callable[[int], None], busy: Container[str] = ()) -> int:
        """Delete what has to go, one commit a recording, but for recordings that are busy; returns the segments."""
        try:
            return self._run(now_ns, tell, busy)
        except StoreError:
            return 0  # the next turn tries again

    def _run(self, now_ns: int, tell: Callable[[int], None], busy: Container[str]) -> int:
        n = 0
        ready = [(name, gone) for name, gone in self.expired(now_ns).items() if name not in busy]
        for name, gone in ready[:_AT_ONCE]:
            left = [h.start_ns for h in self._held[name] if h not in gone]
            until = min(left) if left else max(h.stop_ns for h in gone)
            self._remove(name, [(h.stream, h.segment) for h in gone], until)
            tell(len(gone))
            n += len(gone)
        if self._settings.keep_s is not None:
            # events that came after the last sample: no segment takes them along
            for name in [name for name, held in self._held.items() if not held and name not in busy][:_AT_ONCE]:
                self._remove(name, [], now_ns - int(self._settings.keep_s * 1e9))
        return n

    def _remove(self, name: str, segments: list[tuple[str, str]], events_until_ns: int) -> None:
        manifest = self._archive.remove(name, segments, events_until_ns=events_until_ns)
        if manifest is None:
            self.forget(name)
        else:
            self.note(manifest)
