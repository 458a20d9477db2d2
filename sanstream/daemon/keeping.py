"""What is no longer needed goes: journal files, dead records of the ledger, segments past their time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sanstream.archive_grow import GrowingArchive
from sanstream.config import ArchiveSettings
from sanstream.daemon.lanes import Waiting
from sanstream.daemon.sessions import ns_of
from sanstream.daemon.state import State
from sanstream.journal import Journal
from sanstream.ledger import Ledger

MAX_FILES = 12
"""Journal files beyond which the samples that hold up the oldest are copied to the newest."""
COMPACT_BYTES = 64 << 20


def free_journal(state: State, journal: Journal, *, everything: bool = False) -> int:
    """Remove journal files of which nothing waits; returns how many.

    With ``everything``, what waits is written into the current file first, so that all others go.

    A stream that fell silent in the middle of a block would hold up the journal of all others: once there are many
    files, what waits in the oldest is written once more, into the current one.

    Raises
    ------
    DiskFull, SyncError
    """
    for _, lane in state.lanes():
        lane.released()
    if everything:
        _carry(state, journal, journal.numbers()[:-1])
    used = {w.file for _, lane in state.lanes() for w in lane.waiting}
    if state.unwritten:
        used.update(state.event_files)
    else:
        state.event_files.clear()
    removed = 0
    for number in journal.numbers()[:-1]:
        if number in used:
            continue
        journal.remove(number)
        removed += 1
    numbers = journal.numbers()
    if len(numbers) > MAX_FILES:
        _carry(state, journal, numbers[: len(numbers) - MAX_FILES])
    return removed


def _carry(state: State, journal: Journal, files: list[int]) -> None:
    old = set(files)
    for _, lane in state.lanes():
        if not any(w.file in old for w in lane.waiting):
            continue
        for i, w in enumerate(lane.waiting):
            if w.file in old:
                lane.waiting[i] = Waiting(journal.append_chunk(w.definition, w.chunk), w.definition, w.chunk, w.stop)
    journal.sync()


def compact_ledger(state: State, ledger: Ledger, *, always: bool = False) -> bool:
    """Write the ledger anew when most of it is dead; tells whether it did.

    Raises
    ------
    DiskFull
        The old one then stays.
    SyncError
    """
    alive = sum(place.length + 600 for _, lane in state.lanes() for place, _ in lane.places)
    if not always and ledger.size_bytes < max(COMPACT_BYTES, 2 * alive):
        return False
    places = iter(ledger.compact(state.rows(ledger.read_body)))
    state.replace_places(places)
    return True


@dataclass(frozen=True)
class Expired:
    """A segment past its time.

    Parameters
    ----------
    recording, stream, segment : str
    n_bytes : int
    """

    recording: str
    stream: str
    segment: str
    n_bytes: int


def find_expired(archive: GrowingArchive, settings: ArchiveSettings, state: State, now_ns: int) -> list[Expired]:
    """List the whole segments that ``keep`` and ``max_bytes`` do not allow any longer, oldest first.

    Parameters
    ----------
    archive : GrowingArchive
    settings : ArchiveSettings
    state : State
        Segments that still grow stay.
    now_ns : int

    Returns
    -------
    list of Expired
    """
    open_names = {(*lane.key, lane.name) for _, lane in state.lanes()}
    ages: list[tuple[int, Expired]] = []
    total = 0
    for name in archive.recordings():
        try:
            manifest = archive.manifest(name)
        except Exception:  # a recording of files, or a damaged one: not ours to delete
            continue
        if manifest is None:
            continue
        for stream in manifest.streams:
            for entry in stream.segments:
                total += entry.coded_bytes
                if (name, stream.name, entry.name) in open_names:
                    continue
                age = entry.committed_ns
                if settings.keep_by == "signal":
                    age = (manifest.start_ns or 0) + ns_of(entry.stop_sample, stream.rate)
                ages.append((age, Expired(name, stream.name, entry.name, entry.coded_bytes)))
    out = []
    for age, one in sorted(ages, key=lambda pair: pair[0]):
        too_old = settings.keep_s is not None and age < now_ns - int(settings.keep_s * 1e9)
        too_much = settings.max_bytes is not None and total > settings.max_bytes
        if not (too_old or too_much):
            break
        out.append(one)
        total -= one.n_bytes
    return out


def remove_expired(archive: GrowingArchive, expired: list[Expired], tell: Callable[[int], None]) -> None:
    """Remove segments, one commit a recording."""
    for name in dict.fromkeys(e.recording for e in expired):
        gone = [(e.stream, e.segment) for e in expired if e.recording == name]
        manifest = archive.manifest(name)
        if manifest is None:
            continue
        left = [
            (manifest.start_ns or 0) + ns_of(entry.start_sample, s.rate)
            for s in manifest.streams
            for entry in s.segments
            if (s.name, entry.name) not in gone
        ]
        archive.remove(name, gone, events_until_ns=min(left) if left else None)
        tell(len(gone))
