"""The reservoir: bounded on disk, under retention, and a torn file costs one stretch."""

from __future__ import annotations

import stat
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sanstream.errors import CorruptError, InputError
from sanstream.reservoir import Reservoir, Stretch, pack_stretch, read_stretches, unpack_stretch

KEY, OTHER = ("bed1", "250hz"), ("bed2", "250hz")
RATE, NS = Fraction(250), 10**9


def stretch(start_s: float, n: int = 500, *, wide: bool = False, tag: str = "a") -> Stretch:
    rng = np.random.default_rng(int(start_s))
    limit = 1 << 20 if wide else 1 << 12
    return Stretch(int(start_s * NS), RATE, rng.integers(-limit, limit, (n, 2)).astype(np.int32), tag)


def starts(reservoir: Reservoir, key: tuple[str, str] = KEY) -> list[float]:
    return [a / NS for a, _ in reservoir.times(key)]


@pytest.mark.parametrize("wide", [False, True])
def test_a_stretch_comes_back_equal(tmp_path: Path, wide: bool) -> None:
    reservoir, given = Reservoir(tmp_path / "r"), stretch(7, wide=wide)
    assert reservoir.put(KEY, given)
    (found,) = read_stretches(reservoir.folder, KEY)
    assert (found.time_ns, found.rate, found.tag, found.end_ns) == (7 * NS, RATE, "a", 9 * NS)
    assert np.array_equal(found.samples, given.samples)


def test_two_bytes_a_sample_where_they_suffice() -> None:
    assert len(pack_stretch(stretch(1))) < 0.6 * len(pack_stretch(stretch(1, wide=True)))


def test_a_streams_bound_is_kept_and_the_oldest_goes_first(tmp_path: Path) -> None:
    size = len(pack_stretch(stretch(1)))
    reservoir = Reservoir(tmp_path / "r", stream_bytes=4 * size + 50)
    for i in range(10):
        assert reservoir.put(KEY, stretch(2 * i))
        assert reservoir.size_bytes <= 4 * size + 50
    assert starts(reservoir) == [12, 14, 16, 18]


def test_at_most_so_many_stretches_a_stream(tmp_path: Path) -> None:
    reservoir = Reservoir(tmp_path / "r", stream_stretches=3)
    for i in range(5):
        reservoir.put(KEY, stretch(2 * i))
    assert starts(reservoir) == [4, 6, 8]


def test_the_bound_in_all_takes_from_the_stream_that_holds_most(tmp_path: Path) -> None:
    size = len(pack_stretch(stretch(1)))
    reservoir = Reservoir(tmp_path / "r", total_bytes=6 * size + 60)
    reservoir.put(OTHER, stretch(1))
    for i in range(9):
        reservoir.put(KEY, stretch(2 * i))
    assert starts(reservoir, OTHER) == [1]
    assert starts(reservoir) == [8, 10, 12, 14, 16]
    assert sum(f.stat().st_size for f in reservoir.folder.glob("*/*/*")) == reservoir.size_bytes <= 6 * size + 60


def test_a_stretch_over_the_bound_is_not_kept(tmp_path: Path) -> None:
    assert not Reservoir(tmp_path / "r", stream_bytes=100).put(KEY, stretch(1))


def test_a_new_process_finds_what_is_there_and_keeps_the_bounds(tmp_path: Path) -> None:
    size = len(pack_stretch(stretch(1)))
    first = Reservoir(tmp_path / "r")
    for i in range(5):
        first.put(KEY, stretch(2 * i))
    second = Reservoir(tmp_path / "r", stream_bytes=5 * size + 50)
    assert second.size_bytes == first.size_bytes
    second.put(KEY, stretch(10))
    assert starts(second) == [2, 4, 6, 8, 10]


def test_a_crash_leaves_a_draft_that_the_next_process_removes(tmp_path: Path) -> None:
    reservoir = Reservoir(tmp_path / "r")
    reservoir.put(KEY, stretch(1))
    draft = reservoir.folder / "bed1" / "250hz" / "5_6.draft"
    draft.write_bytes(b"half")
    assert starts(Reservoir(tmp_path / "r")) == [1]
    assert not draft.exists()


def test_a_torn_file_costs_only_itself(tmp_path: Path) -> None:
    reservoir = Reservoir(tmp_path / "r")
    for i in range(3):
        reservoir.put(KEY, stretch(2 * i))
    torn = sorted(reservoir.folder.glob("*/*/*.raw"))[1]
    torn.write_bytes(torn.read_bytes()[:-7])
    assert len(read_stretches(reservoir.folder, KEY)) == 2


def test_every_cut_and_flip_of_a_file_is_noticed() -> None:
    data = pack_stretch(stretch(1, n=3))
    for n in range(len(data)):
        with pytest.raises(CorruptError, match="not a whole stretch"):
            unpack_stretch(data[:n], "x")
        broken = bytearray(data)
        broken[n] ^= 1
        with pytest.raises(CorruptError):
            unpack_stretch(bytes(broken), "x")


def test_retention_drops_what_begins_before_a_time(tmp_path: Path) -> None:
    reservoir = Reservoir(tmp_path / "r")
    for i in range(5):
        reservoir.put(KEY, stretch(2 * i))
    assert reservoir.drop_before(5 * NS) == 3
    assert starts(reservoir) == [6, 8]
    assert len(read_stretches(reservoir.folder, KEY)) == 2


def test_a_deleted_stretch_of_time_is_gone_from_disk(tmp_path: Path) -> None:
    reservoir = Reservoir(tmp_path / "r")
    for i in range(5):
        reservoir.put(KEY, stretch(2 * i))
        reservoir.put(OTHER, stretch(2 * i))
    assert reservoir.delete("bed1", 3 * NS, 6 * NS) == 2
    assert starts(reservoir) == [0, 6, 8]
    assert reservoir.delete("bed1") == 3
    assert not (reservoir.folder / "bed1").exists()
    assert len(starts(reservoir, OTHER)) == 5


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    reservoir = Reservoir(tmp_path / "r")
    reservoir.put(KEY, stretch(1))
    (file,) = reservoir.folder.glob("*/*/*.raw")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o700 for p in (reservoir.folder, file.parent, file.parent.parent))


def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be a folder"):
        Reservoir(tmp_path / "r").put(("..", "x"), stretch(1))
