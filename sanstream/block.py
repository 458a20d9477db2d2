"""The byte layout of a block (FORMAT.md clause 4)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import google_crc32c

from sanstream.block_coding import SegmentCoding
from sanstream.errors import CorruptError

_SHORT, _GAPS = 1, 2
_HEADER = struct.Struct("<IBB")

Gaps = tuple[tuple[tuple[int, int], ...], ...]
"""Per channel, the (start, length) runs of missing samples, ascending."""


@dataclass(frozen=True)
class BlockParts:
    """A block, taken apart.

    Parameters
    ----------
    n_samples : int
    gaps : Gaps
        Empty tuple when no sample is missing.
    runs : tuple of (int, int)
        First byte and one past the last of each group's entropy-coder run within the payload.
    """

    n_samples: int
    gaps: Gaps
    runs: tuple[tuple[int, int], ...]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append((value & 127) | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _checksum(body: bytes, number: int, coding: SegmentCoding) -> int:
    return int(google_crc32c.extend(google_crc32c.value(coding.seal + struct.pack("<Q", number)), body))


def write_block(number: int, coding: SegmentCoding, n_samples: int, gaps: Gaps, runs: Sequence[bytes]) -> bytes:
    """Assemble a block from its groups' runs.

    Parameters
    ----------
    number : int
        Position of the block in its segment.
    coding : SegmentCoding
    n_samples : int
    gaps : Gaps
    runs : sequence of bytes
        One per group.
    """
    flags = (_SHORT if n_samples != coding.block_samples else 0) | (_GAPS if any(gaps) else 0)
    parts = [bytes([flags, number & 0xFF])]
    if flags & _SHORT:
        parts.append(_varint(n_samples))
    if flags & _GAPS:
        before: tuple[tuple[int, int], ...] = ()
        for channel in gaps:
            if channel and channel == before:
                parts.append(_varint(1))
                continue
            parts.append(_varint(len(channel) + 1 if channel else 0))
            end = 0
            for start, length in channel:
                parts += [_varint(start - end), _varint(length - 1)]
                end = start + length
            before = channel
    parts += [_varint(len(run)) for run in runs[:-1]]
    body = b"".join([*parts, *runs])
    return struct.pack("<I", _checksum(body, number, coding)) + body


class _Reader:
    def __init__(self, payload: bytes, pos: int, where: str) -> None:
        self.payload, self.pos, self.where = payload, pos, where

    def varint(self, limit: int) -> int:
        value = shift = 0
        while True:
            if self.pos >= len(self.payload) or shift > 35:
                raise CorruptError(f"{self.where}: header ends early")
            byte = self.payload[self.pos]
            self.pos += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        if byte == 0 and shift > 7:
            raise CorruptError(f"{self.where}: header holds a number in more bytes than it needs")
        if value > limit:
            raise CorruptError(f"{self.where}: header holds {value}, at most {limit} is allowed")
        return value


def name_block(number: int, coding: SegmentCoding) -> str:
    """Name a block in an error: segment and number."""
    return f"segment {coding.segment_id}, block {number}"


def read_block(payload: bytes, number: int, coding: SegmentCoding) -> BlockParts:
    """Check a block's checksum and take its header apart.

    Raises
    ------
    CorruptError
        Naming segment and block, when anything is not as FORMAT.md says.
    """
    where = name_block(number, coding)
    payload = bytes(payload)
    if len(payload) < _HEADER.size:
        raise CorruptError(f"{where}: {len(payload)} bytes are too few for a block")
    crc, flags, low = _HEADER.unpack_from(payload)
    if crc != _checksum(payload[4:], number, coding):
        raise CorruptError(f"{where}: checksum differs", hint="restore the file from a copy of the archive")
    if flags & ~(_SHORT | _GAPS) or low != number & 0xFF:
        raise CorruptError(f"{where}: header flags {flags:#x} or number {low} are not allowed here")
    if flags == 0 and len(coding.groups) == 1:
        return BlockParts(coding.block_samples, (), ((_HEADER.size, len(payload)),))
    reader = _Reader(payload, _HEADER.size, where)
    n_samples = reader.varint(coding.block_samples) if flags & _SHORT else coding.block_samples
    if n_samples == 0:
        raise CorruptError(f"{where}: block without samples")
    gaps = _read_gaps(reader, coding.n_channels, n_samples) if flags & _GAPS else ()
    for channel, runs_of_channel in enumerate(gaps):
        if runs_of_channel and coding.missing[channel] is None:
            raise CorruptError(f"{where}: channel {channel} has gaps but no missing code")
    lengths = [reader.varint(len(payload)) for _ in coding.groups[:-1]]
    start = reader.pos
    lengths.append(len(payload) - start - sum(lengths))
    if lengths[-1] < 0:
        raise CorruptError(f"{where}: groups are longer than the block")
    runs = []
    for length in lengths:
        runs.append((start, start + length))
        start += length
    return BlockParts(n_samples, gaps, tuple(runs))


def _read_gaps(reader: _Reader, n_channels: int, n_samples: int) -> Gaps:
    gaps: list[tuple[tuple[int, int], ...]] = []
    for _ in range(n_channels):
        code = reader.varint(n_samples + 1)
        if code == 1:
            if not gaps:
                raise CorruptError(f"{reader.where}: the first channel's gaps refer to none before")
            gaps.append(gaps[-1])
            continue
        channel = []
        end = 0
        for _ in range(max(0, code - 1)):
            start = end + reader.varint(n_samples)
            end = start + reader.varint(n_samples) + 1
            if end > n_samples:
                raise CorruptError(f"{reader.where}: a gap reaches past the block's end")
            channel.append((start, end - start))
        gaps.append(tuple(channel))
    return tuple(gaps)
