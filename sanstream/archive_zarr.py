"""The Zarr v3 container: one array a segment, one shard a chunk."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import islice

import numpy as np

from sanstream.archive_manifest import Manifest, SegmentEntry, StreamEntry
from sanstream.archive_objects import Objects, read_checked
from sanstream.archive_sealed import compact_json
from sanstream.bank import Bank
from sanstream.block_coding import SegmentCoding
from sanstream.errors import CorruptError
from sanstream.shard import ShardTable, pack_shard, read_table, table_bound

ROOT_GROUP = b'{"zarr_format":3,"node_type":"group","attributes":{"sanstream":"see catalog.json"}}'
GROUP = b'{"zarr_format":3,"node_type":"group"}'
META = "zarr.json"
_MAX_TABLES = 1024
"""Tables of shards that are held of one recording."""


def array_type(coding: SegmentCoding) -> tuple[str, int]:
    """Choose an array's data type and fill value.

    The fill value is what a lost chunk reads as: the missing code where all channels share one, else
    a number that no sample can be.

    Parameters
    ----------
    coding : SegmentCoding

    Returns
    -------
    data_type : str
        ``"int16"`` when every sample and the fill value fit, else ``"int32"``.
    fill_value : int
    """
    ranges = [coding.sample_range(c) for c in range(coding.n_channels)]
    low, high = min(a for a, _ in ranges), max(b for _, b in ranges)
    codes = [m for m in coding.missing if m is not None]
    low, high = min([low, *codes]), max([high, *codes])
    narrow, wide = np.iinfo(np.int16), np.iinfo(np.int32)
    fits = narrow.min <= low and high <= narrow.max
    if codes and len(codes) == coding.n_channels and len(set(codes)) == 1:
        return ("int16" if fits else "int32"), codes[0]
    if fits and narrow.min < low:
        return "int16", int(narrow.min)
    return "int32", int(wide.min)


def missing_codes(coding: SegmentCoding) -> tuple[int, ...]:
    """Return per channel what stands for "no sample here": its missing code, or the array's fill value."""
    fill = array_type(coding)[1]
    return tuple(fill if m is None else m for m in coding.missing)


class ZarrWriter:
    """Writes the arrays and groups of one recording.

    Parameters
    ----------
    put : callable
        Takes a key below the recording's folder and the object's bytes.
    self_contained : bool
        Put the whole bank into every array's codec configuration.
    keeps_delta : bool
        The manifest leaves a segment's delta to its array's metadata, where it stands in any case.
    """

    def __init__(
        self, put: Callable[[str, bytes], None], *, self_contained: bool = False, keeps_delta: bool = True
    ) -> None:
        self._put, self.keeps_delta = put, keeps_delta
        self._self_contained = self_contained

    def add_segment(self, stream: str, rate: Fraction, entry: SegmentEntry, bank: Bank, blocks: Iterable[bytes]) -> int:
        """Write one array.

        Returns
        -------
        int
            Coded bytes: shards and the bank's delta.
        """
        coding = entry.coding
        per_shard = entry.shard_samples // coding.block_samples
        source = iter(blocks)
        coded = len(coding.bank_delta)
        for first in range(0, entry.n_blocks, per_shard):
            start = first * coding.block_samples
            data = pack_shard(
                list(islice(source, per_shard)),
                first_block=first,
                n_samples=min(entry.n_samples - start, entry.shard_samples),
                coding=coding,
            )
            self._put(f"{stream}/{entry.name}/c/{first // per_shard}/0", data)
            coded += len(data)
        meta = array_meta(entry, bank.data if self._self_contained else b"")
        self._put(f"{stream}/{entry.name}/{META}", meta)
        return coded

    def finish(self, head: Manifest, streams: tuple[StreamEntry, ...]) -> None:
        """Write the groups."""
        for stream in streams:
            self._put(f"{stream.name}/{META}", GROUP)
        self._put(META, recording_group(head))

    def close(self) -> None:
        """Do nothing: every object is whole when it is put."""


def recording_group(head: Manifest) -> bytes:
    """Return the ``zarr.json`` of a recording's group."""
    attributes = {k: getattr(head, k) for k in ("start_ns", "timezone", "source_format")}
    return compact_json({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def array_meta(entry: SegmentEntry, inline_bank: bytes = b"") -> bytes:
    """Return the ``zarr.json`` of a segment's array, with the whole bank where it is given."""
    channels, coding = entry.channels, entry.coding
    data_type, fill = array_type(coding)
    configuration = coding.to_dict()
    if inline_bank:
        data = base64.b64encode(inline_bank).decode()
        configuration["bank"] = {**configuration["bank"], "data": data}
    units = [c.unit for c in channels]
    meta = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [entry.n_samples, len(channels)],
        "data_type": data_type,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [entry.shard_samples, max(1, len(channels))]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": [{"name": "sanstream", "configuration": configuration}],
        "dimension_names": ["time", "channel"],
        "attributes": {
            "start_sample": entry.start_sample,
            "labels": [c.label for c in channels],
            "units": units[0] if len(set(units)) == 1 else units,
            "gain": [c.gain for c in channels],
            "baseline": [c.baseline for c in channels],
        },
    }
    return compact_json(meta)


class ZarrReader:
    """Reads the blocks of one recording, by ranges.

    Parameters
    ----------
    objects : Objects
    manifest : Manifest
    """

    def __init__(self, objects: Objects, manifest: Manifest) -> None:
        self._objects = objects
        self._manifest = manifest
        self._tables: dict[str, ShardTable] = manifest.memo.tables
        self._codings = manifest.memo.codings

    def coding(self, stream: str, entry: SegmentEntry) -> SegmentCoding:
        """Return the segment's coding with its bank delta, which only the array's own metadata holds."""
        if not entry.has_delta:
            return entry.coding
        key = f"{stream}/{entry.name}/{META}"
        if key in self._codings:
            return self._codings[key]
        data = read_checked(self._objects, self._manifest.name, key, self._manifest.objects)
        try:
            configuration = json.loads(data)["codecs"][0]["configuration"]
            coding = SegmentCoding.from_dict(configuration)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise CorruptError(f"{self._manifest.name}/{key}: not the metadata of an array ({error!r})") from error
        if coding.to_dict() != {**entry.coding.to_dict(), "bank": coding.to_dict()["bank"]}:
            raise CorruptError(f"{self._manifest.name}/{key}: differs from the manifest")
        self._codings[key] = coding
        return coding

    def blocks(self, stream: str, entry: SegmentEntry, first: int, stop: int) -> list[bytes]:
        """Return the payloads of blocks ``first`` to ``stop``.

        Raises
        ------
        CorruptError
            When a shard is missing or is not what the manifest says.
        """
        per_shard = entry.shard_samples // entry.coding.block_samples
        payloads: list[bytes] = []
        for shard in range(first // per_shard, -(-stop // per_shard)):
            key = f"{self._manifest.name}/{stream}/{entry.name}/c/{shard}/0"
            table = self._table(key, shard * per_shard, entry, self.coding(stream, entry))
            low, high = max(first - table.first_block, 0), min(stop - table.first_block, len(table.lengths))
            offsets = table.offsets
            data = self._objects.read_range(key, offsets[low], offsets[high])
            if len(data) != offsets[high] - offsets[low]:
                raise CorruptError(f"{key}: ends before block {table.first_block + high - 1}")
            payloads += [data[offsets[i] - offsets[low] : offsets[i + 1] - offsets[low]] for i in range(low, high)]
        return payloads

    def _table(self, key: str, first_block: int, entry: SegmentEntry, coding: SegmentCoding) -> ShardTable:
        if key in self._tables:
            return self._tables[key]
        step = entry.coding.block_samples
        table = read_table(
            self._objects.read_range(key, 0, table_bound(entry.shard_samples, step)),
            coding=coding,
            chunk_samples=entry.shard_samples,
        )
        expected = min(entry.n_samples - first_block * step, entry.shard_samples)
        if (table.first_block, table.n_samples) != (first_block, expected):
            raise CorruptError(
                f"{key}: holds {table.n_samples} samples from block {table.first_block}, "
                f"{expected} from block {first_block} expected"
            )
        held, _ = self._manifest.objects.get(key.partition("/")[2], (0, ""))
        if held != table.total_bytes:
            raise CorruptError(f"{key}: its table says {table.total_bytes} bytes, the manifest {held}")
        if len(self._tables) >= _MAX_TABLES:
            self._tables.clear()
        self._tables[key] = table
        return table
