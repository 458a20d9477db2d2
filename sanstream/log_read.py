"""Reading a log's frames, also while another process appends to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import google_crc32c

from sanstream.durable import OpenFile
from sanstream.errors import CorruptError, UnsupportedError
from sanstream.log import (
    FRAME,
    FRAME_BYTES,
    HEAD_BYTES,
    MAGIC,
    MARK,
    MARK_BODY,
    MAX_BODY,
    NAMES,
    PLACE,
    VERSION,
    pack_frame,
    seed_crc,
)

_WINDOW = 4 << 20
_SEARCH = 4 * MAX_BODY
"""How far behind damage a mark is looked for; one follows every sync."""


class Frame(NamedTuple):
    """One frame as it was read: offset in the file, type, body."""

    offset: int
    kind: int
    body: bytes


def read_head(handle: int, kind: int, name: str) -> int | None:
    """Return the seed of a log file; None when the file ends within its head or is all zeros there.

    Raises
    ------
    CorruptError
        When the head is damaged or another kind's.
    UnsupportedError
        When a newer version wrote it.
    """
    head = os.pread(handle, HEAD_BYTES, 0)
    ends = os.fstat(handle).st_size <= HEAD_BYTES
    if len(head) == HEAD_BYTES and head[:4] == MAGIC and _crc(head[:12]) == head[12:]:
        if head[5] > VERSION:
            raise UnsupportedError(
                f"{name}: written by a newer sanstream (log version {head[5]}, known are up to {VERSION})",
                hint="run that version's `sanstream recover STATE_DIR`, which finishes it, or install that version",
            )
        if head[4] != kind:
            raise CorruptError(f"{name}: is of kind {head[4]}, expected {kind} ({NAMES[kind]})")
        return int.from_bytes(head[6:12], "little")
    if ends:
        return None
    raise CorruptError(f"{name}: its head is damaged", hint="restore the file, or move it away: it cannot be read")


class LogReader:
    """Reads a file's frames in order, in windows; iterate once, then look at :attr:`end` and :attr:`torn`.

    Parameters
    ----------
    handle : int
        Open for reading.
    seed : int
    start : int
        Offset of the first frame wanted.

    Attributes
    ----------
    end : int
        Offset behind the last whole frame.
    torn : bool
        Whether bytes follow that are no whole frame.
    """

    def __init__(self, handle: int, seed: int, start: int = HEAD_BYTES) -> None:
        self._handle = handle
        self._seed = seed_crc(seed)
        self._window = b""
        self._base = start
        self.end = start
        self.torn = False

    def __iter__(self) -> Iterator[Frame]:
        while True:
            frame = self._next() or self._reread()
            if frame is None:
                return
            self.end = frame.offset + FRAME_BYTES + len(frame.body)
            if frame.kind != MARK:
                yield frame

    def check_end(self, name: str, *, last: bool) -> None:
        """Tell a torn tail from damage, once all frames are read.

        Raises
        ------
        CorruptError
            When bytes that were synced are no frames.
        """
        if not self.torn:
            return
        # a live writer may finish the frame, sync and mark between two looks: then it is whole by now
        if not last or (self._mark_follows() and self._reread() is None):
            raise CorruptError(
                f"{name}: the frame at byte {self.end} is damaged",
                hint="the disk changed bytes that were safe; restore the file, or move it away to lose what it holds",
            )

    def _next(self) -> Frame | None:
        """Return the frame at the end of the last one, or None when it is short or wrong."""
        at = self.end - self._base
        if len(self._window) - at < FRAME_BYTES:
            at = self._fill(FRAME_BYTES)
            if len(self._window) < FRAME_BYTES:
                self.torn = len(self._window) > 0
                return None
        length, crc, kind = FRAME.unpack_from(self._window, at)
        self.torn = True
        if length > MAX_BODY:
            return None
        stop = at + FRAME_BYTES + length
        if stop > len(self._window):
            if self.end + FRAME_BYTES + length > os.fstat(self._handle).st_size:
                return None
            at = self._fill(FRAME_BYTES + length)
            stop = at + FRAME_BYTES + length
        body = self._window[at + FRAME_BYTES : stop]
        if google_crc32c.extend(google_crc32c.extend(self._seed, PLACE.pack(self.end, kind)), body) != crc:
            return None
        self.torn = False
        return Frame(self.end, kind, body)

    def _reread(self) -> Frame | None:
        """Try once more from the file: its writer may have cut and grown it between two windows."""
        if not self.torn:
            return None
        self._window, self._base = b"", self.end
        return self._next()

    def _fill(self, need: int) -> int:
        there = max(os.fstat(self._handle).st_size - self.end, need)
        self._window = os.pread(self._handle, min(there, max(need, _WINDOW)), self.end)
        self._base = self.end
        return 0

    def _mark_follows(self) -> bool:
        base, keep = self.end, b""
        while base < self.end + _SEARCH and (data := os.pread(self._handle, _WINDOW, base)):
            text = keep + data
            start = base - len(keep)
            at = text.find(MARK_BODY)
            while at >= 0:
                offset = start + at - FRAME_BYTES
                if offset >= self.end and at >= FRAME_BYTES:
                    made = pack_frame(self._seed, offset, MARK, MARK_BODY)
                    if text[at - FRAME_BYTES : at] == made:
                        return True
                at = text.find(MARK_BODY, at + 1)
            base += len(data)
            keep = text[-(FRAME_BYTES + len(MARK_BODY)) :]
        return False


def read_frame(handle: int, seed: int, offset: int, name: str) -> Frame:
    """Read one frame.

    Raises
    ------
    CorruptError
        When there is no whole frame.
    """
    head = os.pread(handle, FRAME_BYTES, offset)
    if len(head) == FRAME_BYTES:
        length, _, kind = FRAME.unpack(head)
        if length <= MAX_BODY and offset + FRAME_BYTES + length <= os.fstat(handle).st_size:
            body = os.pread(handle, length, offset + FRAME_BYTES)
            if pack_frame(seed_crc(seed), offset, kind, body) == head:
                return Frame(offset, kind, body)
    raise CorruptError(f"{name}: no whole frame at byte {offset}", hint="the disk changed bytes that were safe")


def open_reading(path: Path) -> OpenFile:
    """Open a log for reading only."""
    return OpenFile(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def _crc(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(4, "little")
