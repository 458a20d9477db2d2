"""The Zarr plug-in: partial reads equal slices, few requests, damage is an error."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.registry import register_codec
from zarr.storage import LocalStore

from sanstream.block_coding import Group, PredictorShape, SegmentCoding
from sanstream.encode import encode_blocks, plan_segment
from sanstream.errors import CorruptError, InputError, UnsupportedError
from sanstream.quality import choose_qualities
from sanstream.shard import pack_shard, read_table, table_bound
from sanstream.signal import Channel
from sanstream.zarr_codec import SanstreamCodec

register_codec("sanstream", SanstreamCodec)
RATE = Fraction(10)
SEGMENT = "00112233445566aa"


def samples(n: int, n_channels: int = 3, seed: int = 1) -> np.ndarray:
    steps = np.random.default_rng(seed).integers(-5, 6, (n, n_channels))
    return np.cumsum(steps, axis=0).clip(-2000, 2000).astype(np.int32)


def write_array(folder: Path, x: np.ndarray, blocks_per_shard: int = 4) -> SanstreamCodec:
    channels = [Channel(f"c{i}", digital_min=-2048, digital_max=2047) for i in range(x.shape[1])]
    plan = plan_segment(x, channels, choose_qualities([], channels), RATE, segment_id=SEGMENT, effort="fast")
    codec = SanstreamCodec(plan.coding)
    step = plan.coding.block_samples
    chunk = step * blocks_per_shard
    meta = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(x.shape),
        "data_type": "int16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk, x.shape[1]]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": -32768,
        "codecs": [codec.to_dict()],
        "dimension_names": ["time", "channel"],
        "attributes": {},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "zarr.json").write_text(json.dumps(meta))
    blocks = list(encode_blocks(x, plan))
    for i in range(0, len(blocks), blocks_per_shard):
        part = blocks[i : i + blocks_per_shard]
        n = min(len(x), (i + len(part)) * step) - i * step
        file = folder / "c" / str(i // blocks_per_shard) / "0"
        file.parent.mkdir(parents=True)
        file.write_bytes(pack_shard(part, first_block=i, n_samples=n, coding=plan.coding))
    return codec


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, SanstreamCodec]:
    folder = tmp_path_factory.mktemp("array")
    x = samples(11_000)
    return folder, x, write_array(folder, x)


class CountingStore(LocalStore):
    """Counts what is asked of it."""

    requests: list[tuple[str, Any]]

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        self.__dict__.setdefault("requests", []).append((key, byte_range))
        return await super().get(key, prototype, byte_range)


def bounds(n: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(0, n), st.integers(0, n)).map(lambda p: (min(p), max(p)))


def test_whole_read_gives_the_samples(stored: tuple[Path, np.ndarray, SanstreamCodec]) -> None:
    folder, x, _ = stored
    array = zarr.open_array(folder, mode="r")
    assert array.metadata.dimension_names == ("time", "channel")
    assert array.dtype == np.int16
    assert np.array_equal(array[...], x)


@settings(max_examples=60, deadline=None)
@given(bounds(11_000), st.sampled_from([1, 1, 3, 700]), bounds(3))
def test_partial_reads_equal_slices(
    stored: tuple[Path, np.ndarray, SanstreamCodec], times: tuple[int, int], step: int, channels: tuple[int, int]
) -> None:
    folder, x, _ = stored
    array = zarr.open_array(folder, mode="r")
    pick = (slice(*times, step), slice(*channels))
    assert np.array_equal(array[pick], x[pick])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 10_999), min_size=1, max_size=9), st.lists(st.integers(0, 2), min_size=1, max_size=4))
def test_fancy_reads_equal_fancy_slices(
    stored: tuple[Path, np.ndarray, SanstreamCodec], times: list[int], channels: list[int]
) -> None:
    folder, x, _ = stored
    array = zarr.open_array(folder, mode="r")
    assert np.array_equal(array.oindex[times, channels], x[np.ix_(times, channels)])
    assert np.array_equal(array[5, :], x[5])
    assert array[times[0], channels[0]] == x[times[0], channels[0]]
    k = min(len(times), len(channels))
    assert np.array_equal(array.vindex[times[:k], channels[:k]], x[times[:k], channels[:k]])


def test_a_short_read_takes_two_requests_and_few_bytes(tmp_path: Path) -> None:
    x = samples(60_000, 2)
    codec = write_array(tmp_path, x, blocks_per_shard=40)
    store = CountingStore(tmp_path, read_only=True)
    array = zarr.open_array(store, mode="r")
    store.requests.clear()
    step = codec.coding.block_samples
    low = 41 * step + 3 * step + 7
    assert np.array_equal(array[low : low + 50, 1], x[low : low + 50, 1])
    assert [key for key, _ in store.requests] == ["c/1/0", "c/1/0"]
    table, blocks = (r for _, r in store.requests)
    assert table.end == table_bound(40 * step, step)
    assert blocks.end - blocks.start < (tmp_path / "c/1/0").stat().st_size / 10


def test_a_lost_chunk_reads_as_the_missing_code(tmp_path: Path) -> None:
    x = samples(6000, 2)
    codec = write_array(tmp_path, x, blocks_per_shard=2)
    (tmp_path / "c/1/0").unlink()
    chunk = codec.coding.block_samples * 2
    got = zarr.open_array(tmp_path, mode="r")[...]
    assert (got[chunk : 2 * chunk] == -32768).all()
    assert np.array_equal(got[:chunk], x[:chunk])


def test_a_chunk_under_another_chunks_key_is_an_error(tmp_path: Path) -> None:
    write_array(tmp_path, samples(6000, 2), blocks_per_shard=2)
    (tmp_path / "c/0/0").write_bytes((tmp_path / "c/1/0").read_bytes())
    with pytest.raises(CorruptError, match="begins with block 2"):
        zarr.open_array(tmp_path, mode="r")[:100]


def test_writing_through_zarr_is_refused(tmp_path: Path) -> None:
    write_array(tmp_path, samples(3000, 2))
    before = (tmp_path / "c/0/0").read_bytes()
    for value in (7, -32768):
        with pytest.raises(UnsupportedError, match="read-only in zarr"):
            zarr.open_array(tmp_path, mode="r+")[...] = value
    assert (tmp_path / "c/0/0").read_bytes() == before


def test_the_whole_bank_may_stand_in_the_configuration(
    stored: tuple[Path, np.ndarray, SanstreamCodec], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, codec = stored
    inlined = SanstreamCodec(codec.coding, b"a bank")
    assert SanstreamCodec.from_dict(json.loads(json.dumps(inlined.to_dict()))) == inlined
    assert SanstreamCodec.from_dict(json.loads(json.dumps(codec.to_dict()))) == codec


CODING = SegmentCoding(
    SEGMENT, RATE, (0,), (9,), (None,), 50, 100, (Group((0,)),), "ab" * 32, predictor=PredictorShape(8, 2, 32)
)
CHANGES: dict[str, Any] = {
    "segment_id": "00112233445566ab", "rate": "11", "digital_max": [2047, 2047, 2046], "missing": [None, None, -9],
    "predictor": [16, 6, 3, 0, 16], "coder": "mixing",
}  # fmt: skip


@pytest.mark.parametrize("key", CHANGES)
def test_a_changed_configuration_is_an_error_never_wrong_samples(tmp_path: Path, key: str) -> None:
    write_array(tmp_path / "a", samples(1100))
    file = tmp_path / "a" / "zarr.json"
    meta = json.loads(file.read_text())
    assert meta["codecs"][0]["configuration"][key] != CHANGES[key]
    meta["codecs"][0]["configuration"][key] = CHANGES[key]
    file.write_text(json.dumps(meta))
    with pytest.raises((CorruptError, InputError)):
        zarr.open_array(tmp_path / "a")[:5]


PACKED = pack_shard([b"abc", b"defgh"], first_block=6, n_samples=150, coding=CODING)


def test_table_says_where_each_block_lies() -> None:
    table = read_table(PACKED, coding=CODING, chunk_samples=400)
    assert (table.first_block, table.n_samples, table.lengths) == (6, 150, (3, 5))
    assert [PACKED[a:b] for a, b in zip(table.offsets, table.offsets[1:], strict=False)] == [b"abc", b"defgh"]
    assert table.total_bytes == len(PACKED) == 18 + 2 * 2 + 4 + 8


@pytest.mark.parametrize(("size", "width"), [(65_535, 2), (65_536, 3), (2**24, 4)])
def test_entries_are_as_wide_as_the_longest_block_needs(size: int, width: int) -> None:
    packed = pack_shard([b"a", bytes(size)], first_block=0, n_samples=150, coding=CODING)
    assert packed[5] == width
    assert read_table(packed, coding=CODING, chunk_samples=400).lengths == (1, size)


def test_every_bit_flip_in_a_table_is_an_error() -> None:
    for bit in range(8 * (18 + 4 + 4)):
        broken = bytearray(PACKED)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptError):
            read_table(bytes(broken), coding=CODING, chunk_samples=400)


def test_every_truncation_of_a_table_is_an_error() -> None:
    for length in range(18 + 4 + 4):
        with pytest.raises(CorruptError):
            read_table(PACKED[:length], coding=CODING, chunk_samples=400)


def test_another_segments_table_is_an_error() -> None:
    with pytest.raises(CorruptError, match="checksum"):
        read_table(PACKED, coding=replace(CODING, segment_id="ff" * 8), chunk_samples=400)


def test_an_absurd_number_of_blocks_is_refused_before_it_is_used() -> None:
    absurd = struct.pack("<4sBBIII", b"SNSH", 0, 4, 2**32 - 1, 2**32 - 1, 0) + bytes(64)
    with pytest.raises(CorruptError, match="4294967295 blocks"):
        read_table(absurd, coding=CODING, chunk_samples=400)
