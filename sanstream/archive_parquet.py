"""The Parquet container: one table a recording, one row a block, the same payloads as in Zarr."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sanstream.archive_manifest import Manifest, SegmentEntry, StreamEntry
from sanstream.archive_objects import ObjectFile, Objects
from sanstream.bank import Bank
from sanstream.block_coding import SegmentCoding
from sanstream.errors import CorruptError

BLOCKS = "blocks.parquet"
SCHEMA = pa.schema(
    [
        ("recording", pa.string()),
        ("stream", pa.string()),
        ("segment", pa.string()),
        ("block", pa.int32()),
        ("start_ns", pa.int64()),
        ("n_samples", pa.int32()),
        ("bank", pa.string()),
        ("payload", pa.binary()),
    ]
)
_INDEX = ["stream", "segment", "block"]
_NAMES = ["recording", "stream", "segment", "bank"]
_ROW_GROUP_BYTES = 2**20


class ParquetWriter:
    """Writes the blocks of one recording.

    Parameters
    ----------
    path : Path
        The new file.
    head : Manifest
        Gives the name, and the start that ``start_ns`` counts from: 1970 when the recording has a
        start, else the recording's first sample.
    """

    keeps_delta = False

    def __init__(self, path: Path, head: Manifest) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._head = head
        self._writer = pq.ParquetWriter(
            path,
            SCHEMA,
            compression={n: "NONE" if n == "payload" else "ZSTD" for n in SCHEMA.names},
            use_dictionary=_NAMES,
            column_encoding=dict.fromkeys(("block", "start_ns", "n_samples"), "DELTA_BINARY_PACKED"),
            write_statistics=["block", "start_ns"],
            store_schema=False,
        )
        self._rows: list[dict[str, Any]] = []
        self._pending_bytes = 0

    def add_segment(self, stream: str, rate: Fraction, entry: SegmentEntry, bank: Bank, blocks: Iterable[bytes]) -> int:
        """Write the rows of one segment.

        Returns
        -------
        int
            Coded bytes: payloads and the bank's delta.
        """
        step = entry.coding.block_samples
        coded = len(entry.coding.bank_delta)
        for number, payload in enumerate(blocks):
            elapsed = math.floor((entry.start_sample + number * step) * 10**9 / rate)
            self._rows.append(
                {
                    "recording": self._head.name,
                    "stream": stream,
                    "segment": entry.name,
                    "block": number,
                    "start_ns": (self._head.start_ns or 0) + elapsed,
                    "n_samples": min(step, entry.n_samples - number * step),
                    "bank": entry.coding.bank_base,
                    "payload": payload,
                }
            )
            coded += len(payload)
            self._pending_bytes += len(payload)
            if self._pending_bytes >= _ROW_GROUP_BYTES:
                self._flush()
        return coded

    def finish(self, head: Manifest, streams: tuple[StreamEntry, ...]) -> None:
        """Write what is left and the file's footer."""
        if self._rows:
            self._flush()
        self._writer.close()

    def close(self) -> None:
        """Let go of the file, after a failure too."""
        self._rows.clear()
        if self._writer.is_open:
            self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA), row_group_size=len(self._rows))
        self._rows.clear()
        self._pending_bytes = 0


class ParquetReader:
    """Reads the blocks of one recording, by row groups.

    Parameters
    ----------
    objects : Objects
    manifest : Manifest
    """

    def __init__(self, objects: Objects, manifest: Manifest) -> None:
        self._key = f"{manifest.name}/{BLOCKS}"
        self._objects = objects
        self._size = manifest.objects.get(BLOCKS, (0, ""))[0]
        self._file: pq.ParquetFile | None = None
        self._places: dict[tuple[str, str], list[tuple[int, int]]] = {}
        self._last: tuple[int, pa.ChunkedArray] | None = None

    def coding(self, stream: str, entry: SegmentEntry) -> SegmentCoding:
        """Return the segment's coding; the manifest holds it whole."""
        return entry.coding

    def blocks(self, stream: str, entry: SegmentEntry, first: int, stop: int) -> list[bytes]:
        """Return the payloads of blocks ``first`` to ``stop``.

        Raises
        ------
        CorruptError
            When the table is missing, unreadable or lacks a block.
        """
        try:
            places = self._index().get((stream, entry.name), [])
            if len(places) != entry.n_blocks:
                raise CorruptError(
                    f"{self._key}: {len(places)} blocks of segment {stream}/{entry.name}, {entry.n_blocks} expected"
                )
            return [self._payload(group, row) for group, row in places[first:stop]]
        except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
            raise CorruptError(f"{self._key}: not readable as Parquet ({error})") from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close(force=True)
            self._file = None

    def _index(self) -> dict[tuple[str, str], list[tuple[int, int]]]:
        """Return row group and row of every block, by stream and segment."""
        if self._file is None:
            self._file = pq.ParquetFile(ObjectFile(self._objects, self._key, self._size))
            for group in range(self._file.num_row_groups):
                rows = self._file.read_row_group(group, columns=_INDEX).to_pylist()
                for row, values in enumerate(rows):
                    places = self._places.setdefault((values["stream"], values["segment"]), [])
                    if values["block"] != len(places):
                        raise CorruptError(f"{self._key}: block {values['block']} where {len(places)} is expected")
                    places.append((group, row))
        return self._places

    def _payload(self, group: int, row: int) -> bytes:
        assert self._file is not None
        if self._last is None or self._last[0] != group:
            self._last = (group, self._file.read_row_group(group, columns=["payload"])["payload"])
        return bytes(self._last[1][row].as_py())
