"""What a ledger's frames hold: a kind, a head of JSON values and, some, a payload."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sanstream.durable import OpenFile
from sanstream.errors import CorruptError
from sanstream.log_read import Frame, LogReader, read_frame

RECORD = 1
_HEAD = struct.Struct("<BI")


@dataclass(frozen=True)
class Place:
    """Where a record's body is, until the next compaction.

    Parameters
    ----------
    offset : int
        Of the record's frame in the file.
    length : int
        Bytes of the body.
    epoch : int
        Counts compactions; a place of another epoch is refused.
    """

    offset: int
    length: int
    epoch: int


@dataclass(frozen=True)
class Record:
    """One record; its body is read when asked for.

    Parameters
    ----------
    kind : str
    head : dict
        JSON values.
    place : Place
    """

    kind: str
    head: dict[str, Any]
    place: Place
    _file: OpenFile = field(repr=False, compare=False)

    def body(self) -> bytes:
        """Read the body, also after a compaction has replaced the file.

        Raises
        ------
        CorruptError
            When it has changed on the disk.
        """
        return read_body(self._file, self.place)


def read_records(file: OpenFile, epoch: int, name: str) -> Iterator[Record]:
    """Yield the records of a ledger's file."""
    reader = LogReader(file.handle, epoch)
    for frame in reader:
        kind, head, start = unpack_record(frame, name)
        yield Record(kind, head, Place(frame.offset, len(frame.body) - start, epoch), file)
    reader.check_end(name, last=True)


def read_body(file: OpenFile, place: Place) -> bytes:
    """Read a record's body."""
    frame = read_frame(file.handle, place.epoch, place.offset, file.path.name)
    return frame.body[unpack_record(frame, file.path.name)[2] :]


def pack_record(kind: str, head: dict[str, Any], body: bytes) -> bytes:
    """Return a record as a frame's body."""
    name = kind.encode()
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
    return b"".join((_HEAD.pack(len(name), len(text)), name, text, body))


def unpack_record(frame: Frame, name: str) -> tuple[str, dict[str, Any], int]:
    """Return kind, head and where the body begins."""
    try:
        if frame.kind != RECORD:
            raise ValueError(f"of unknown type {frame.kind}")
        n_kind, n_head = _HEAD.unpack_from(frame.body)
        middle = _HEAD.size + n_kind
        stop = middle + n_head
        if stop > len(frame.body):
            raise ValueError("its head is longer than the record")
        head = json.loads(frame.body[middle:stop])
        if not isinstance(head, dict):
            raise ValueError("its head is no JSON object")
        return frame.body[_HEAD.size : middle].decode(), head, stop
    except (ValueError, struct.error) as error:
        raise CorruptError(f"{name}: the record at byte {frame.offset} cannot be read ({error})") from error
