"""The Zarr v3 codec ``sanstream``: a chunk is a shard, and a read fetches its table and the blocks it needs.

Registered under the entry point ``zarr.codecs``, so that ``zarr.open`` finds it without an import of
sanstream. Neither torch nor the compiled loops load before the first decode.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin
from zarr.abc.store import ByteRequest, RangeByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, NDBuffer

from sanstream.block_coding import SegmentCoding
from sanstream.errors import CorruptError, UnsupportedError
from sanstream.shard import ShardTable, read_table, table_bound

if TYPE_CHECKING:
    from zarr.abc.store import ByteGetter
    from zarr.core.array_spec import ArraySpec

    from sanstream.bank import Bank

NAME = "sanstream"
# a gap of fewer bytes between two wanted blocks is read over, since another request costs more
_READ_OVER_BYTES = 2**16


@dataclass(frozen=True)
class SanstreamCodec(ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin):
    """Decode shards of axes (time, channel).

    Parameters
    ----------
    coding : SegmentCoding
        The codec's configuration in ``zarr.json``.
    bank_data : bytes
        The whole bank when the archive is self-contained; empty otherwise.
    """

    is_fixed_size = False

    coding: SegmentCoding
    bank_data: bytes = field(default=b"", repr=False)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Build the codec from its entry in ``zarr.json``."""
        configuration = dict(data["configuration"])
        bank = dict(configuration["bank"])
        inline = bank.pop("data", "")
        return cls(SegmentCoding.from_dict({**configuration, "bank": bank}), base64.b64decode(inline))

    def to_dict(self) -> dict[str, Any]:
        """Return the codec's entry in ``zarr.json``."""
        configuration = self.coding.to_dict()
        if self.bank_data:
            configuration["bank"] = {**configuration["bank"], "data": base64.b64encode(self.bank_data).decode()}
        return {"name": NAME, "configuration": configuration}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Raise: the size depends on the samples."""
        raise NotImplementedError

    async def encode(self, chunks_and_specs: Iterable[tuple[NDBuffer | None, ArraySpec]]) -> Iterable[Buffer | None]:
        """Refuse: blocks are immutable and coded in batches by ``sanstream archive``.

        Raises
        ------
        UnsupportedError
        """
        raise UnsupportedError(
            "sanstream arrays are read-only in zarr", hint="write with sanstream.archive(...) or sanstream archive"
        )

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        data = chunk_data.to_bytes()
        out = np.full(chunk_spec.shape, chunk_spec.fill_value, dtype=_dtype(chunk_spec))
        table = read_table(data, coding=self.coding, chunk_samples=chunk_spec.shape[0])
        if len(data) != table.total_bytes:
            raise CorruptError(
                f"segment {self.coding.segment_id}: shard has {len(data)} bytes, {table.total_bytes} expected"
            )
        wanted = range(len(table.lengths))
        payloads = {i: data[table.offsets[i] : table.offsets[i + 1]] for i in wanted}
        await asyncio.to_thread(self._decode_into, out, payloads, table, 0, None)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(out)

    async def _decode_partial_single(
        self, byte_getter: ByteGetter, selection: Any, chunk_spec: ArraySpec
    ) -> NDBuffer | None:
        chunk_samples, n_channels = chunk_spec.shape
        step = self.coding.block_samples
        touched, time_pick = _blocks(selection[0], chunk_samples, step)
        channels, channel_pick = _channels(selection[1], n_channels)
        head = await byte_getter.get(
            prototype=chunk_spec.prototype,
            byte_range=RangeByteRequest(0, table_bound(chunk_samples, step)),
        )
        if head is None:
            return None
        prefix = head.to_bytes()
        table = read_table(prefix, coding=self.coding, chunk_samples=chunk_samples)
        _check_place(byte_getter, table, chunk_samples // step, self.coding)
        wanted = [i for i in touched if i < len(table.lengths)]
        payloads = await _fetch(byte_getter, chunk_spec.prototype, prefix, table, wanted, self.coding)
        start = touched[0] * step if touched else 0
        stop = min((touched[-1] + 1) * step, chunk_samples) if touched else 0
        shape = (stop - start, n_channels if channels is None else len(channels))
        region = np.full(shape, chunk_spec.fill_value, dtype=_dtype(chunk_spec))
        await asyncio.to_thread(self._decode_into, region, payloads, table, start, channels)
        picked = np.asarray(region[_shift(time_pick, start), channel_pick])
        return chunk_spec.prototype.nd_buffer.from_numpy_array(picked)

    def _decode_into(
        self,
        out: npt.NDArray[Any],
        payloads: dict[int, bytes],
        table: ShardTable,
        start: int,
        channels: Sequence[int] | None,
    ) -> None:
        """Decode blocks (by place in the shard) into ``out``, whose first row is the shard's sample ``start``."""
        from sanstream.decode import decode_block

        bank = _find_bank(self.coding.bank_base, self.bank_data)
        step = self.coding.block_samples
        for place, payload in payloads.items():
            number = table.first_block + place
            samples = decode_block(payload, number, self.coding, bank, channels)
            expected = min(step, table.n_samples - place * step)
            if len(samples) != expected:
                raise CorruptError(
                    f"segment {self.coding.segment_id}, block {number}: {len(samples)} samples, {expected} expected"
                )
            at = place * step - start
            out[at : at + expected] = samples


@lru_cache(maxsize=16)
def _find_bank(bank_id: str, inline: bytes) -> Bank:
    from sanstream.bank import find_bank, read_bank

    if not inline:
        return find_bank(bank_id)
    bank = read_bank(inline, f"bank {bank_id[:12]} in the codec's configuration")
    if bank.id != bank_id:
        raise CorruptError(f"bank {bank_id[:12]} in the codec's configuration is not what its name says")
    return bank


def _check_place(byte_getter: ByteGetter, table: ShardTable, blocks_per_shard: int, coding: SegmentCoding) -> None:
    """Refuse a shard that lies under another shard's key, where the store tells the key."""
    parts = str(getattr(byte_getter, "path", "")).split("/")
    if len(parts) < 3 or parts[-3] != "c" or not parts[-2].isdigit():
        return
    expected = int(parts[-2]) * blocks_per_shard
    if table.first_block != expected:
        raise CorruptError(
            f"segment {coding.segment_id}: the shard for block {expected} begins with block {table.first_block}"
        )


async def _fetch(
    byte_getter: ByteGetter,
    prototype: BufferPrototype,
    prefix: bytes,
    table: ShardTable,
    wanted: Sequence[int],
    coding: SegmentCoding,
) -> dict[int, bytes]:
    """Fetch blocks by place: one request per run, and none for what came with the table."""
    offsets = table.offsets
    runs: list[list[int]] = []
    for place in wanted:
        if runs and offsets[place] - offsets[runs[-1][-1] + 1] < _READ_OVER_BYTES:
            runs[-1].append(place)
        else:
            runs.append([place])

    async def fetch_run(run: list[int]) -> tuple[int, bytes]:
        low, high = offsets[run[0]], offsets[run[-1] + 1]
        if high <= len(prefix):
            return 0, prefix
        request: ByteRequest = RangeByteRequest(low, high)
        found = await byte_getter.get(prototype=prototype, byte_range=request)
        return low, b"" if found is None else found.to_bytes()

    payloads: dict[int, bytes] = {}
    for run, (base, data) in zip(runs, await asyncio.gather(*map(fetch_run, runs)), strict=True):
        if base + len(data) < offsets[run[-1] + 1]:
            number = table.first_block + run[-1]
            raise CorruptError(f"segment {coding.segment_id}, block {number}: the shard ends before it")
        for place in run:
            payloads[place] = data[offsets[place] - base : offsets[place + 1] - base]
    return payloads


def _dtype(chunk_spec: ArraySpec) -> np.dtype[Any]:
    return chunk_spec.dtype.to_native_dtype()


def _indices(pick: Any) -> npt.NDArray[np.int64]:
    array = np.asarray(pick)
    return np.flatnonzero(array) if array.dtype == np.bool_ else array.astype(np.int64)


def _blocks(pick: Any, n_samples: int, step: int) -> tuple[Sequence[int], Any]:
    """Return the places of the blocks that a selection along time touches, and the selection in plain indices."""
    if isinstance(pick, slice):
        first, stop, stride = pick.indices(n_samples)
        return range(first // step, (stop - 1) // step + 1) if first < stop else (), slice(first, stop, stride)
    array = _indices(pick)
    return [int(i) for i in np.unique(array // step)], array


def _channels(pick: Any, n_channels: int) -> tuple[Sequence[int] | None, Any]:
    """Return the channels to decode (None for all) and where the selection finds them among those."""
    if isinstance(pick, slice):
        wanted = range(*pick.indices(n_channels))
        return None if len(wanted) == n_channels else wanted, slice(None)
    array = _indices(pick)
    unique = np.unique(array)
    return [int(c) for c in unique], np.searchsorted(unique, array)


def _shift(pick: Any, start: int) -> Any:
    return slice(pick.start - start, pick.stop - start, pick.step) if isinstance(pick, slice) else pick - start
