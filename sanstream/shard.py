"""A shard: consecutive blocks of one segment behind a table of their lengths; one Zarr chunk, one object.

Layout (little-endian; FORMAT.md clause 11)::

    0   4  magic "SNSH"
    4   1  version, 0
    5   1  width of a table entry in bytes: 2, 3 or 4
    6   4  number of blocks
    10  4  number of samples per channel
    14  4  number of the first block, counted in the segment
    18  .  one length per block, `width` bytes each
        4  CRC32C of the coding's seal (8 bytes) and everything above
        .  the blocks, one after another
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import google_crc32c

from sanstream.block_coding import SegmentCoding
from sanstream.errors import CorruptError, UnsupportedError

MAGIC = b"SNSH"
VERSION = 1
_HEADER = struct.Struct("<4sBBIII")
_CRC_BYTES = 4
_WIDTHS = (2, 3, 4)
_SHARD_SAMPLES = 8 * 2**20 // 2
_SHARD_SECONDS = 3600


@dataclass(frozen=True)
class ShardTable:
    """What the head of a shard says.

    Parameters
    ----------
    first_block : int
        Number of the first block in its segment.
    n_samples : int
        Samples per channel in this shard.
    lengths : tuple of int
        Bytes of each block.
    table_bytes : int
        Bytes before the first block.
    """

    first_block: int
    n_samples: int
    lengths: tuple[int, ...]
    table_bytes: int

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Byte offset of each block from the shard's start, and the shard's end."""
        return tuple(accumulate(self.lengths, initial=self.table_bytes))

    @property
    def total_bytes(self) -> int:
        """Size of the whole shard."""
        return self.table_bytes + sum(self.lengths)


def shard_samples(rate_hz: float, n_channels: int, block_samples: int, *, seconds: float | None = None) -> int:
    """Choose the samples of a full shard: whole blocks, at most an hour or 8 MiB of 16-bit samples.

    Parameters
    ----------
    rate_hz : float
    n_channels : int
    block_samples : int
    seconds : float, optional
        In place of an hour.

    Returns
    -------
    int
        A multiple of ``block_samples``, at least one block.
    """
    most = min(rate_hz * (_SHARD_SECONDS if seconds is None else seconds), _SHARD_SAMPLES / max(1, n_channels))
    return max(1, int(most) // block_samples) * block_samples


def table_bound(chunk_samples: int, block_samples: int) -> int:
    """Return the most bytes that the table of a shard of ``chunk_samples`` can take."""
    return _HEADER.size + -(-chunk_samples // block_samples) * _WIDTHS[-1] + _CRC_BYTES


def pack_shard(blocks: Sequence[bytes], *, first_block: int, n_samples: int, coding: SegmentCoding) -> bytes:
    """Join blocks behind their table.

    Parameters
    ----------
    blocks : sequence of bytes
        Payloads in order, at least one.
    first_block : int
        Number of the first in its segment.
    n_samples : int
        Samples per channel in all of them.
    coding : SegmentCoding
        Its seal starts the table's checksum.

    Returns
    -------
    bytes

    Raises
    ------
    UnsupportedError
        When a block has 4 GiB or more.
    """
    longest = max(map(len, blocks), default=0)
    width = next((w for w in _WIDTHS if longest < 1 << (8 * w)), None)
    if width is None:
        raise UnsupportedError(
            f"segment {coding.segment_id}: a block has {longest} bytes, a shard holds less than 4 GiB each"
        )
    head = _HEADER.pack(MAGIC, VERSION, width, len(blocks), n_samples, first_block)
    head += b"".join(len(b).to_bytes(width, "little") for b in blocks)
    return b"".join([head, struct.pack("<I", _checksum(head, coding)), *blocks])


def read_table(data: bytes, *, coding: SegmentCoding, chunk_samples: int) -> ShardTable:
    """Read and check a shard's table.

    Parameters
    ----------
    data : bytes
        The shard, or its first :func:`table_bound` bytes.
    coding : SegmentCoding
    chunk_samples : int
        Samples of a full shard of this segment.

    Returns
    -------
    ShardTable

    Raises
    ------
    CorruptError
        When anything in the table contradicts the rest. Sizes are checked before they are used.
    """
    where = f"segment {coding.segment_id}, shard table"
    if len(data) < _HEADER.size + _CRC_BYTES:
        raise CorruptError(f"{where}: {len(data)} bytes, at least {_HEADER.size + _CRC_BYTES} expected")
    magic, version, width, n_blocks, n_samples, first_block = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise CorruptError(f"{where}: begins with {magic!r}, {MAGIC!r} expected")
    if width not in _WIDTHS:
        raise CorruptError(f"{where}: entries of {width} bytes, allowed are 2, 3 and 4")
    if not 0 < n_samples <= chunk_samples or n_blocks != coding.n_blocks(n_samples):
        raise CorruptError(
            f"{where}: {n_blocks} blocks for {n_samples} samples; a full shard has {chunk_samples} samples "
            f"in blocks of {coding.block_samples}"
        )
    end = _HEADER.size + n_blocks * width
    if len(data) < end + _CRC_BYTES:
        raise CorruptError(f"{where}: ends after {len(data)} bytes, {end + _CRC_BYTES} expected")
    (crc,) = struct.unpack_from("<I", data, end)
    if crc != _checksum(bytes(data[:end]), coding):
        raise CorruptError(f"{where}: checksum differs")
    if version > VERSION:
        raise UnsupportedError(
            f"{where}: version {version}, this sanstream reads up to {VERSION}", hint="install a newer sanstream"
        )
    entries = data[_HEADER.size : end]
    lengths = tuple(int.from_bytes(entries[i : i + width], "little") for i in range(0, len(entries), width))
    if not all(lengths):
        raise CorruptError(f"{where}: block {first_block + lengths.index(0)} has no bytes")
    return ShardTable(first_block, n_samples, lengths, end + _CRC_BYTES)


def _checksum(head: bytes, coding: SegmentCoding) -> int:
    return int(google_crc32c.value(coding.seal + head))
