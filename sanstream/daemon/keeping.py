"""What is no longer needed goes: journal files, and dead records of the ledger."""

from __future__ import annotations

from sanstream.daemon.lanes import Waiting
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
