"""The contestant of the CHORUS benchmark is faithful, and the reader it leans on keeps nothing that has changed."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archive_cases import walk

import sanstream
from pipelines.chorus import rivals, signals
from pipelines.chorus.contestant import Sanstream
from pipelines.chorus.protocol import Cell, cells, faults, length_s, timed
from sanstream import archive_kept, decode_many
from sanstream.archive_kept import KEPT, Kept
from sanstream.archive_write import ArchiveWriter
from sanstream.decode import decode_block
from sanstream.decode_many import decode_blocks
from sanstream.errors import CorruptError, InputError
from sanstream.signal import Channel, Recording, Segment, Stream
from sanstream.simulate import simulate_ecg, simulate_eeg

WAVEFORMS = signals.made_up(60)
NAMES = list(WAVEFORMS)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    target = str(tmp_path_factory.mktemp("chorus") / "wavetest")
    Sanstream().write_waveforms(target, WAVEFORMS)
    return target


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files count as settled the moment they are written."""
    monkeypatch.setattr(archive_kept, "SETTLED_NS", -(10**12))
    KEPT.clear()
    yield
    KEPT.clear()


def expected(name: str, start: float, stop: float) -> Any:
    waveform = WAVEFORMS[name]
    rate = waveform["samples_per_second"]
    out = np.full(round(stop * rate) - round(start * rate), np.nan)
    for chunk in waveform["chunks"]:
        low, high = max(round(start * rate), chunk["start_sample"]), min(round(stop * rate), chunk["end_sample"])
        if low < high:
            part = chunk["samples"][low - chunk["start_sample"] : high - chunk["start_sample"]]
            out[low - round(start * rate) : high - round(start * rate)] = part
    return out


def test_every_chunk_comes_back_gaps_and_changed_gains_included(path: str) -> None:
    assert faults(Sanstream, path, WAVEFORMS) == []


def test_values_are_exact_floats_off_the_grid_included(path: str) -> None:
    for name in NAMES:
        got = Sanstream().read_waveforms(path, 0, length_s(WAVEFORMS), [name])[name]
        assert got.ndim == 1
        assert got.flags["C_CONTIGUOUS"]
        np.testing.assert_array_equal(got.astype(np.float32), expected(name, 0, length_s(WAVEFORMS)).astype(np.float32))


@pytest.mark.parametrize(("start", "stop"), [(0.0, 0.004), (9.99, 20.01), (19.7, 21.3), (25.0, 40.0), (55.3, 60.0)])
def test_a_stretch_is_cut_where_the_benchmark_cuts_it(path: str, start: float, stop: float) -> None:
    got = Sanstream().read_waveforms(path, start, stop, NAMES)
    assert list(got) == NAMES
    for name in NAMES:
        np.testing.assert_allclose(got[name], expected(name, start, stop), atol=1e-6, equal_nan=True)


def test_time_outside_of_the_record_is_missing(path: str) -> None:
    got = Sanstream().read_waveforms(path, 58, 63, ["II"])["II"]
    assert len(got) == 1250
    assert np.isnan(got[500:]).all()
    assert not np.isnan(got[:500]).any()


def test_an_unknown_signal_is_an_error(path: str) -> None:
    with pytest.raises(KeyError, match="XYZ"):
        Sanstream().read_waveforms(path, 0, 1, ["II", "XYZ"])


def test_write_and_close_may_come_twice(tmp_path: Path) -> None:
    target = str(tmp_path / "wavetest")
    few = {"II": WAVEFORMS["II"]}
    Sanstream().write_waveforms(target, few)
    Sanstream().write_waveforms(target, few)
    assert [p.name for p in tmp_path.iterdir()] == ["wavetest"]
    contestant = Sanstream()
    opened = contestant.open_waveforms(target, ["II"])
    first = contestant.read_opened_waveforms(opened, 1, 2, ["II"])["II"]
    contestant.close_waveforms(opened)
    contestant.close_waveforms(opened)
    np.testing.assert_array_equal(contestant.open_read_close_waveforms(target, 1, 2, ["II"])["II"], first)


@pytest.mark.parametrize("kind", [rivals.Flac, rivals.Zarr, rivals.Parquet])
def test_rivals_are_run_as_they_should_be(kind: type[Any], tmp_path: Path) -> None:
    plain = signals.plain(WAVEFORMS)
    target = str(tmp_path / "wavetest")
    kind().write_waveforms(target, plain)
    assert faults(kind, target, plain) == []
    for cell in (Cell(2, 5), Cell(2, 5, once=True)):
        assert min(timed(kind, target, list(plain), 60, cell, 0)) >= 0


def test_the_columns_are_those_of_the_benchmark() -> None:
    assert [c.name for c in cells()][:4] == ["all: whole", "all: 5 x 500 s", "all: 50 x 50 s", "all: 500 x 5 s"]
    assert len({c.name for c in cells()}) == 16


def test_block_length_and_apart_shape_the_archive(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "a") as writer:
        writer.add(simulate_eeg(40, n_channels=3, rate_hz=100), effort="fast", block_s=5, apart=True)
        writer.commit()
    with sanstream.open(tmp_path / "a") as archive:
        (stream,) = next(iter(archive.recordings.values())).streams.values()
        coding = stream.coding(stream.entry.segments[0])
    assert (coding.window_samples, coding.block_samples) == (500, 500)
    assert [(g.channels, g.parent) for g in coding.groups] == [((0,), -1), ((1,), -1), ((2,), -1)]


@pytest.mark.parametrize("seconds", [0, 0.5, 61, -3])
def test_a_block_length_out_of_range_is_refused_before_work(tmp_path: Path, seconds: float) -> None:
    with ArchiveWriter(tmp_path / "a") as writer, pytest.raises(InputError, match="1 to 60"):
        writer.add(simulate_ecg(5), block_s=seconds)


@pytest.mark.parametrize(("effort", "quality"), [("fast", "lossless"), ("default", "lossless"), ("fast", "prdn=5")])
def test_many_blocks_at_once_give_what_one_by_one_gives(tmp_path: Path, effort: str, quality: str) -> None:
    with ArchiveWriter(tmp_path / "a") as writer:
        writer.add(simulate_ecg(47, rate_hz=128, n_leads=3), [quality], effort=effort, block_s=10)
        writer.commit()
    with sanstream.open(tmp_path / "a") as archive:
        (stream,) = next(iter(archive.recordings.values())).streams.values()
        segment = stream.entry.segments[0]
        coding, bank = stream.coding(segment), stream.bank(segment)
        payloads = stream.blocks(segment, 0, segment.n_blocks)
    one_by_one = np.concatenate([decode_block(p, i, coding, bank) for i, p in enumerate(payloads)])
    np.testing.assert_array_equal(decode_blocks(payloads, 0, coding, bank).T, one_by_one)
    for channels in ([2], [1, 0]):
        got = decode_blocks(payloads[1:4], 1, coding, bank, channels, need=100)
        low = coding.block_samples
        np.testing.assert_array_equal(got.T[: 2 * low + 100], one_by_one[low : 3 * low + 100, channels])


def test_a_flipped_bit_names_its_block_wherever_it_is_read_from(path: str) -> None:
    with sanstream.open(path) as archive:
        stream = archive.recordings["wavetest"].streams["250hz"]
        segment = stream.entry.segments[0]
        coding, bank = stream.coding(segment), stream.bank(segment)
        payloads = stream.blocks(segment, 0, 4)
    for at in range(0, len(payloads[2]), 97):
        broken = bytearray(payloads[2])
        broken[at] ^= 4
        with pytest.raises(CorruptError, match="block 2"):
            decode_blocks([*payloads[:2], bytes(broken), payloads[3]], 0, coding, bank)


def test_what_was_read_is_kept_only_while_the_file_stays_as_it_is(tmp_path: Path, settled: None) -> None:
    file, kept, made = tmp_path / "x", Kept(), []

    def read() -> str:
        made.append(1)
        return file.read_text()

    file.write_text("one")
    assert [kept.get(str(file), "text", read) for _ in range(3)] == ["one"] * 3
    assert len(made) == 1
    other = tmp_path / "y"
    other.write_text("two")
    other.replace(file)
    assert kept.get(str(file), "text", read) == "two"
    file.unlink()
    with pytest.raises(FileNotFoundError):
        kept.get(str(file), "text", read)


def test_nothing_is_kept_of_a_file_that_was_written_just_now(tmp_path: Path) -> None:
    file, kept, made = tmp_path / "x", Kept(), []
    file.write_text("one")
    for _ in range(2):
        kept.get(str(file), "text", lambda: made.append(1))
    assert len(made) == 2


def test_what_is_kept_is_bounded(tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_kept, "MAX_KEPT", 3)
    kept = Kept()
    for i in range(5):
        (tmp_path / f"{i}").write_text("x")
        kept.get(str(tmp_path / f"{i}"), "text", lambda: 0)
    assert len(kept._held) == 3


def test_a_rewritten_archive_is_read_anew(tmp_path: Path, settled: None) -> None:
    target = str(tmp_path / "wavetest")
    shifted = {"II": {**WAVEFORMS["II"], "chunks": [dict(WAVEFORMS["II"]["chunks"][0])]}}
    shifted["II"]["chunks"][0]["samples"] = shifted["II"]["chunks"][0]["samples"] + np.float32(1)
    for waveforms in ({"II": WAVEFORMS["II"]}, shifted, {"II": WAVEFORMS["II"]}):
        Sanstream().write_waveforms(target, waveforms)
        for _ in range(2):
            assert faults(Sanstream, target, waveforms) == []


def test_a_manifest_damaged_in_place_is_found_by_the_next_who_opens(tmp_path: Path, settled: None) -> None:
    target = tmp_path / "wavetest"
    Sanstream().write_waveforms(str(target), {"II": WAVEFORMS["II"]})
    Sanstream().read_waveforms(str(target), 0, 1, ["II"])
    manifest = target / "wavetest" / "manifest.json"
    data = bytearray(manifest.read_bytes())
    data[len(data) // 2] ^= 1
    manifest.write_bytes(data)
    with pytest.raises(CorruptError):
        Sanstream().read_waveforms(str(target), 0, 1, ["II"])


def test_a_block_damaged_in_place_is_found_though_the_table_is_kept(tmp_path: Path, settled: None) -> None:
    target = tmp_path / "wavetest"
    Sanstream().write_waveforms(str(target), {"II": WAVEFORMS["II"]})
    Sanstream().read_waveforms(str(target), 0, 60, ["II"])
    (shard,) = (target / "wavetest").rglob("c/0/0")
    data = bytearray(shard.read_bytes())
    data[-20] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CorruptError, match="block 5"):
        Sanstream().read_waveforms(str(target), 52, 58, ["II"])


def test_recordings_added_later_are_seen(tmp_path: Path, settled: None) -> None:
    for name in ("first", "second"):
        with ArchiveWriter(tmp_path / "a", append=name == "second") as writer:
            writer.add(simulate_ecg(10, name=name), effort="fast")
            writer.commit()
        with sanstream.open(tmp_path / "a") as archive:
            assert name in archive.recordings
            assert [s.n_samples for s in archive.recordings[name].streams.values()] == [3600]


def test_long_reads_by_threads_equal_short_ones(tmp_path: Path) -> None:
    samples = np.stack([walk(300_000, seed=i) for i in range(4)], axis=1).astype(np.int32)
    channels = tuple(Channel(f"c{i}") for i in range(4))
    stream = Stream("500hz", Fraction(500), (Segment(0, channels, samples),))
    with ArchiveWriter(tmp_path / "a") as writer:
        writer.add(Recording("r", (stream,)), effort="fast", block_s=20)
        writer.commit()
    with sanstream.open(tmp_path / "a") as archive:
        read = archive.recordings["r"].streams["500hz"].read
        np.testing.assert_array_equal(read(), samples)
        np.testing.assert_array_equal(read(12_345, 290_001, ["c2"]), samples[12_345:290_001, 2:3])


def test_no_more_threads_decode_than_the_environment_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_many.os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    for given, threads in (("", 4), ("1", 1), ("3", 3), ("64", 4), ("many", 4)):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert decode_many._most_threads() == threads, given
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert decode_many._most_threads() == 4
