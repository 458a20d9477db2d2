"""The ledger is written anew once most of it is dead: at once while it is small, else in steps beside the loop."""

from __future__ import annotations

from sanstream.daemon.state import State
from sanstream.durable import DiskFull
from sanstream.ledger import Ledger, Place
from sanstream.ledger_rewrite import KeptRow, Rewriting

COMPACT_BYTES = 64 << 20
"""A shorter ledger is left alone."""
AT_ONCE_BYTES = 8 << 20
"""So much is copied in one turn."""
_LOOK_NS, _AGAIN_NS = 10 * 10**9, 60 * 10**9
_HEAD_BYTES = 600
"""Of a block's record, about."""


class Compactor:
    """Keeps the ledger short; lives in the engine's thread.

    Parameters
    ----------
    state : State
    ledger : Ledger
    """

    def __init__(self, state: State, ledger: Ledger) -> None:
        self._state, self._ledger = state, ledger
        self._rewriting: Rewriting | None = None
        self._next_ns: int | None = None

    def run(self, now_ns: int) -> bool:
        """Do one step, where there is something to do; tells whether the ledger was replaced.

        Raises
        ------
        SyncError
        CorruptError
            When what is kept has changed on the disk.
        """
        if self._rewriting is None:
            if self._next_ns is not None and 0 <= self._next_ns - now_ns <= _AGAIN_NS:
                return False
            self._next_ns = now_ns + _LOOK_NS
            if not self._is_due():
                return False
        try:
            return self._step()
        except DiskFull:
            # the old one goes on growing; once there is room again, so is it for the new one
            self.drop()
            self._next_ns = now_ns + _AGAIN_NS
            return False

    def all(self) -> None:
        """Write it anew now, whatever it holds.

        Raises
        ------
        DiskFull
            The old one then stays.
        SyncError
        """
        self.drop()
        places = iter(self._ledger.compact(self._state.rows(self._ledger.read_body)))
        self._state.replace_places(places)

    def drop(self) -> None:
        """Give up what is not finished."""
        rewriting, self._rewriting = self._rewriting, None
        if rewriting is not None:
            rewriting.drop()

    def _is_due(self) -> bool:
        size = self._ledger.size_bytes
        if size < COMPACT_BYTES:
            return False
        alive = sum(place.length + _HEAD_BYTES for _, lane in self._state.lanes() for place, _ in lane.places)
        return bool(size >= 2 * alive)

    def _step(self) -> bool:
        if self._rewriting is None:
            self._rewriting = self._ledger.rewrite(self._rows())
        if not self._ledger.adopt(self._rewriting, AT_ONCE_BYTES):
            return False
        moved, self._rewriting = self._rewriting.moved, None
        self._state.move_places(moved, self._ledger.epoch)
        return True

    def _rows(self) -> list[KeptRow]:
        rows = self._state.rows(lambda place: place)
        return [(kind, head, body if isinstance(body, Place) else None) for kind, head, body in rows]
