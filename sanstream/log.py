"""Append-only files of checksummed frames: the one framing that journal and ledger share.

File: head of 16 bytes (``"SNLG"``, kind u8, version u8, seed u48, CRC32C u32 of the twelve bytes before), then frames:
body length u32, CRC32C u32 over (seed u64, offset u64, type u8, body), type u8, body; little-endian. The seed (number
of a journal file, epoch of a ledger) and the offset keep a stale block of another file from passing for a frame.

A frame of type 0 is a mark: all before it was on the disk when it was written. What is broken after the last mark of
the last file is a torn tail, which a power cut may leave; what is broken before a mark was synced, and is corruption.
"""

from __future__ import annotations

import struct

import google_crc32c

from sanstream.durable import Disk, DiskFull, OpenFile, SyncError
from sanstream.errors import InputError

JOURNAL = 1
LEDGER = 2
VERSION = 1
MARK = 0
HEAD_BYTES = 16
FRAME_BYTES = 9
"""What a frame takes beside its body."""
MAX_BODY = 64 << 20
"""Bytes of the largest body; checked before anything is allocated."""
BUFFER_BYTES = 1 << 20
"""Frames wait in memory until a sync, or until they are this many bytes."""

MAGIC = b"SNLG"
MARK_BODY = b"SNSYNCED"
FRAME = struct.Struct("<IIB")
PLACE = struct.Struct("<QB")
NAMES = {JOURNAL: "journal", LEDGER: "ledger"}


def pack_head(kind: int, seed: int) -> bytes:
    """Return the first :data:`HEAD_BYTES` bytes of a file."""
    head = MAGIC + bytes((kind, VERSION)) + seed.to_bytes(6, "little")
    return head + int(google_crc32c.value(head)).to_bytes(4, "little")


class LogWriter:
    """Appends frames to a file: buffered, written at a sync or when a megabyte waits.

    Parameters
    ----------
    disk : Disk
    file : OpenFile
    seed : int
    size : int
        Bytes of the file, all whole frames; 0 for a new one, whose head is then written and synced first.
    kind : int
        :data:`JOURNAL` or :data:`LEDGER`; with ``".data"`` it names the site of :meth:`sync`.

    Raises
    ------
    DiskFull, SyncError
    """

    def __init__(self, disk: Disk, file: OpenFile, seed: int, size: int, kind: int) -> None:
        self._disk = disk
        self._file = file
        self._seed = seed_crc(seed)
        self._name = NAMES[kind]
        self._buffer = bytearray()
        self._written = self._synced = size
        self._mark_due = size > HEAD_BYTES
        self._broken = False
        if size == 0:
            disk.append(file, pack_head(kind, seed))
            disk.sync(file, f"{self._name}.head")
            self._written = self._synced = HEAD_BYTES

    @property
    def size(self) -> int:
        """Bytes of the file once all is written."""
        return self._written + len(self._buffer)

    @property
    def written(self) -> int:
        """Bytes that other readers can see."""
        return self._written

    def append(self, kind: int, body: bytes) -> int:
        """Take a frame; it is durable after the next :meth:`sync`.

        Returns
        -------
        int
            The frame's offset.

        Raises
        ------
        DiskFull
            When a full buffer cannot be written: the frame is not taken, those before it are kept and wait.
        SyncError
        InputError
            When the body is over :data:`MAX_BODY`.
        """
        if self._broken:
            self._check()
        if len(body) > MAX_BODY:
            raise InputError(f"{self._name}: a record of {len(body)} bytes, allowed are {MAX_BODY}")
        if len(self._buffer) >= BUFFER_BYTES:
            self.flush()
        if self._mark_due:
            self._buffer += pack_frame(self._seed, self.size, MARK, MARK_BODY) + MARK_BODY
            self._mark_due = False
        offset = self._written + len(self._buffer)
        self._buffer += pack_frame(self._seed, offset, kind, body)
        self._buffer += body
        return offset

    def flush(self) -> None:
        """Write what waits, so that readers see it; durable only after :meth:`sync`.

        Raises
        ------
        DiskFull
            All that waits still waits, and the file ends with a whole frame; call again later.
        SyncError
        """
        self._check()
        if not self._buffer:
            return
        self._broken = True
        try:
            self._disk.append(self._file, self._buffer)
        except DiskFull:
            self._disk.truncate(self._file, self._written)
            self._broken = False
            raise
        self._broken = False
        self._written += len(self._buffer)
        self._buffer.clear()
        self._disk.reach(f"{self._name}.append")

    def sync(self) -> None:
        """Bring all that was appended to the disk.

        Raises
        ------
        DiskFull
            As :meth:`flush`.
        SyncError
            The writer then takes nothing more.
        """
        self.flush()
        if self._synced == self._written:
            return
        self._broken = True
        self._disk.sync(self._file, f"{self._name}.data")
        self._broken = False
        self._synced = self._written
        self._mark_due = True
        self._disk.reach(f"{self._name}.synced")

    def take_back(self, size: int) -> None:
        """Drop all frames from a place on, none of them synced.

        Parameters
        ----------
        size : int
            What :attr:`size` was when they were to come.

        Raises
        ------
        SyncError
        """
        self._check()
        if not self._synced <= size <= self.size:
            raise InputError(f"{self._name}: frames from byte {size} on cannot be dropped", hint="report this as a bug")
        if size < self._written:
            self._disk.truncate(self._file, size)
            self._written = size
        del self._buffer[size - self._written :]
        # their first frame may have been a mark of the last sync
        self._mark_due |= size == self._synced > HEAD_BYTES

    def seal(self) -> None:
        """End the file with a mark, so that damage to its last frames is told from a torn tail; sync and close."""
        try:
            self.sync()
            if self._mark_due:
                self._buffer += pack_frame(self._seed, self.size, MARK, MARK_BODY) + MARK_BODY
                self.flush()
        finally:
            self.close()

    def give_up(self) -> None:
        """Take nothing more: a write or fsync near this file has failed."""
        self._broken = True

    def close(self) -> None:
        """Close the file; what waits is dropped."""
        self._file.close()

    def _check(self) -> None:
        if self._broken:
            raise SyncError(f"{self._name}: not usable", "an earlier write or fsync failed")


def pack_frame(seed: int, offset: int, kind: int, body: bytes) -> bytes:
    """Return what stands before a frame's body.

    Parameters
    ----------
    seed : int
        :func:`seed_crc` of the file's seed.
    offset : int
        Of the frame in its file.
    kind : int
    body : bytes
    """
    crc = google_crc32c.extend(google_crc32c.extend(seed, PLACE.pack(offset, kind)), body)
    return FRAME.pack(len(body), crc, kind)


def seed_crc(seed: int) -> int:
    """Return the CRC32C of a file's seed as u64, from which the CRC of each frame goes on."""
    return int(google_crc32c.value(seed.to_bytes(8, "little")))
