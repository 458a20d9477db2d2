"""Which samples are there: disjoint half-open intervals of sample numbers, in order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable


class Coverage:
    """A set of sample numbers, kept as few intervals.

    Parameters
    ----------
    intervals : iterable of (int, int)
        Half-open, in any order.
    """

    def __init__(self, intervals: Iterable[Iterable[int]] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in intervals:
            self.add(start, stop)

    @property
    def end(self) -> int:
        """One past the greatest number; 0 when empty."""
        return self._stops[-1] if self._stops else 0

    def add(self, start: int, stop: int) -> None:
        """Add ``start`` to ``stop``."""
        if start >= stop:
            return
        stops = self._stops
        if stops and self._starts[-1] <= start <= stops[-1]:  # the usual case: the next samples of a feed
            stops[-1] = max(stops[-1], stop)
            return
        low = bisect_left(stops, start)
        high = bisect_right(self._starts, stop)
        if low < high:
            start, stop = min(start, self._starts[low]), max(stop, stops[high - 1])
        self._starts[low:high] = [start]
        stops[low:high] = [stop]

    def free(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the parts of ``start`` to ``stop`` that are not in the set, in order."""
        if start >= stop:
            return []
        if not self._stops or start >= self._stops[-1]:
            return [(start, stop)]
        out = []
        at = start
        for i in range(bisect_right(self._stops, start), len(self._starts)):
            if self._starts[i] >= stop:
                break
            if self._starts[i] > at:
                out.append((at, self._starts[i]))
            at = max(at, self._stops[i])
        if at < stop:
            out.append((at, stop))
        return out

    def overlaps(self, start: int, stop: int) -> bool:
        """Tell whether any of ``start`` to ``stop`` is in the set."""
        return start < stop and self.free(start, stop) != [(start, stop)]

    def next_after(self, position: int) -> int | None:
        """Return the first number at or after ``position`` that is in the set."""
        i = bisect_right(self._stops, position)
        return None if i == len(self._starts) else max(position, self._starts[i])

    def to_list(self) -> list[list[int]]:
        """Return the intervals as JSON values."""
        return [list(pair) for pair in zip(self._starts, self._stops, strict=True)]
