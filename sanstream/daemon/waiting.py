"""Samples of the journal that no committed block holds yet, and the journal files that hold them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, replace
from typing import Any

from sanstream.chunk import Chunk

_BYTES = 2
"""Of most samples in the journal."""


@dataclass(frozen=True, eq=False)
class Waiting:
    """Samples of the journal that no committed block holds yet.

    Parameters
    ----------
    file : int
        Number of the journal's file.
    definition : object
        Definition under which the chunk was journalled.
    chunk : Chunk
    stop : int
        One past the last place on the grid that this lane needs of it.
    """

    file: int
    definition: Any
    chunk: Chunk
    stop: int

    @property
    def n_bytes(self) -> int:
        """Bytes in the journal, about."""
        return _BYTES * self.chunk.samples.size


class WaitList:
    """What one lane waits for, in the order in which it came.

    Attributes
    ----------
    files : dict of int to int
        Bytes that wait, about, by the number of the journal's file: to be asked for often, when there is much.
    """

    def __init__(self) -> None:
        self._held: deque[Waiting] = deque()
        self._released = -1
        self.files: dict[int, int] = {}

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def append(self, waiting: Waiting) -> None:
        """Wait for one more."""
        self._held.append(waiting)
        self.files[waiting.file] = self.files.get(waiting.file, 0) + waiting.n_bytes
        if waiting.stop <= self._released:
            self._released = -1

    def release(self, done: int) -> None:
        """Wait no more for what ends at or before a place on the grid."""
        if done == self._released:
            return
        self._released = done
        if any(w.stop <= done for w in self._held):
            self._take_up(deque(w for w in self._held if w.stop > done))

    def copied(self, files: Set[int], again: Callable[[Waiting], int]) -> deque[Waiting]:
        """Journal again what stands in some files, and return all that waits as it stands then.

        ``again`` returns the number of the file that holds the copy; :meth:`hold` takes it up once it is durable.
        """
        return deque(replace(w, file=again(w)) if w.file in files else w for w in self._held)

    def hold(self, held: deque[Waiting]) -> None:
        """Let other things wait."""
        self._take_up(held)

    def clear(self) -> None:
        """Wait for nothing."""
        self._take_up(deque())

    def _take_up(self, held: deque[Waiting]) -> None:
        self._held = held
        self.files = {}
        for w in held:
            self.files[w.file] = self.files.get(w.file, 0) + w.n_bytes
