"""Journal files of which nothing waits any longer go."""

from __future__ import annotations

from sanstream.daemon.state import State
from sanstream.journal import FILE_BYTES, Journal

MAX_FILES = 12
"""Journal files beyond which the samples that hold up the oldest are copied to the newest."""


def free_journal(state: State, journal: Journal, *, everything: bool = False) -> int:
    """Remove journal files of which nothing waits; returns how many.

    With ``everything``, what waits is written into the current file first, so that all others go.

    A stream that fell silent in the middle of a block would hold up the journal of all others: once there are many
    files, the little that waits in the oldest is written once more, into the current one.

    Raises
    ------
    DiskFull, SyncError
    """
    for _, lane in state.lanes():
        lane.release()
    if everything:
        _carry(state, journal, journal.numbers()[:-1])
    used = {file for _, lane in state.lanes() for file in lane.waiting.files}
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
        _carry(state, journal, _sparse(state, numbers[: len(numbers) - MAX_FILES]))
    return removed


def _sparse(state: State, files: list[int]) -> list[int]:
    """Return the files that hold little of what waits: copying much of it would only make the journal longer."""
    held = dict.fromkeys(files, 0)
    for _, lane in state.lanes():
        for file, n_bytes in lane.waiting.files.items():
            if file in held:
                held[file] += n_bytes
    return [file for file, n_bytes in held.items() if n_bytes < FILE_BYTES // 4]


def _carry(state: State, journal: Journal, files: list[int]) -> None:
    if not files:
        return
    old = set(files)
    copies = [
        (lane, lane.waiting.copied(old, lambda w: journal.append_chunk(w.definition, w.chunk)))
        for _, lane in state.lanes()
        if not old.isdisjoint(lane.waiting.files)
    ]
    journal.sync()
    # not before: a full disk would leave the copies in memory alone, and the old files would go
    for lane, held in copies:
        lane.waiting.hold(held)
