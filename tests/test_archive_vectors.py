"""Clause 14: the golden archives open, everywhere and for ever, and hold what their listings say."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import google_crc32c
import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from archive_cases import assert_same
from archive_vectors import FOLDER, listing

import sanstream
from sanstream.archive_objects import LocalObjects
from sanstream.archive_verify import find_problems

NAMES = (
    "grown parquet parquet_kernels parquet_wide reencoded shared zarr zarr_kernels zarr_self_contained zarr_sparse "
    "zarr_thorough zarr_wide"
).split()
N_FIRST, FIRST = 24, "d1dd54e4c93ed8fdf19b969fa2f2ecd07a9ca85af244f1ba2040b2ed2ec97efd"
"""Files that containers were frozen with as version 1, and the checksum of their list."""
each_archive = pytest.mark.parametrize("name", NAMES)


def unpacked(name: str, tmp_path: Path) -> Path:
    """Unpack an archive; a missing one is a failure."""
    with zipfile.ZipFile(FOLDER / f"{name}.zip") as packed:
        packed.extractall(tmp_path / name)
    return tmp_path / name


def test_the_archives_are_these() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.zip")) == NAMES
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == NAMES


def test_clause_14_the_archives_are_frozen() -> None:
    lines = (FOLDER / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    sums = dict(reversed(line.split("  ")) for line in lines)
    files = [path for path in FOLDER.iterdir() if path.name != "SHA256SUMS"]
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files} == sums
    # the list itself: lines may be added at its end, none may change
    first = "".join(line + "\n" for line in lines[:N_FIRST])
    assert hashlib.sha256(first.encode()).hexdigest() == FIRST


@each_archive
def test_an_archive_holds_what_its_listing_says(name: str, tmp_path: Path) -> None:
    path = unpacked(name, tmp_path)
    assert listing(path) == json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert find_problems(LocalObjects(path), deep=True) == []


@each_archive
def test_an_archive_opens_where_people_work(name: str, tmp_path: Path) -> None:
    path = unpacked(name, tmp_path)
    with sanstream.open(path) as archive:
        for recording in archive.recordings.values():
            for stream in recording.manifest.streams:
                for entry in stream.segments:
                    if archive.container == "zarr":
                        y = zarr.open_array(path / recording.name / stream.name / entry.name, mode="r")[:]
                        assert google_crc32c.value(np.ascontiguousarray(y, "<i4").tobytes()) == entry.samples_crc
            if archive.container == "parquet":
                table = pq.read_table(path / recording.name / "blocks.parquet")
                n_blocks = sum(e.n_blocks for s in recording.manifest.streams for e in s.segments)
                assert table.num_rows == n_blocks


@pytest.mark.parametrize("container", ["zarr", "parquet"])
def test_an_old_archive_can_be_added_to_and_converted(container: str, tmp_path: Path) -> None:
    path = unpacked(container, tmp_path)
    with sanstream.open(path) as archive:
        before = {name: reader.read() for name, reader in archive.recordings.items()}
    other = "parquet" if container == "zarr" else "zarr"
    from sanstream.transfer import convert

    convert(path, to=tmp_path / "other", container=other)
    with sanstream.open(tmp_path / "other") as archive:
        for name, reader in archive.recordings.items():
            assert_same(reader.read(), before[name])
