"""verify finds any changed, truncated, missing or extra file, metadata and banks included."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from archive_cases import CONTAINERS, patient, tiny, write

import sanstream
from sanstream.archive import ArchiveWriter
from sanstream.archive_annotations import pack_annotations, unpack_annotations
from sanstream.archive_manifest import Manifest, catalog_bytes
from sanstream.archive_objects import LocalObjects
from sanstream.archive_sealed import open_json, seal_json
from sanstream.archive_verify import find_problems
from sanstream.errors import CorruptError, SanstreamError, UnsupportedError

WHOLE_UP_TO = 4096
SAMPLED = 300


@pytest.fixture(scope="module", params=CONTAINERS)
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sound") / "a.san", [tiny()], request.param)


def files(path: Path) -> list[Path]:
    return sorted(f for f in path.rglob("*") if f.is_file())


def problems(path: Path, deep: bool = False) -> list[str]:
    return [p.path for p in find_problems(LocalObjects(path), deep=deep)]


def places(size: int) -> list[int]:
    """Every byte of a small file, a fixed sample of a larger one."""
    if size <= WHOLE_UP_TO:
        return list(range(size))
    return sorted({0, size - 1, *np.random.default_rng(size).integers(0, size, SAMPLED).tolist()})


def test_a_sound_archive_has_no_problem(tmp_path: Path) -> None:
    for container in CONTAINERS:
        path = write(tmp_path / container, [patient("a"), tiny("b")], container)
        with sanstream.open(path) as archive:
            assert archive.verify() == []
            assert archive.verify(deep=True) == []


def test_every_changed_byte_of_every_file_is_found(sound: Path) -> None:
    for file in files(sound):
        data = file.read_bytes()
        key = file.relative_to(sound).as_posix()
        for at in places(len(data)):
            broken = bytearray(data)
            broken[at] ^= 1 << at % 8
            file.write_bytes(broken)
            assert key in problems(sound), f"{key}: byte {at}"
        file.write_bytes(data)
    assert problems(sound) == []


def test_every_truncated_or_longer_file_is_found(sound: Path) -> None:
    for file in files(sound):
        data = file.read_bytes()
        key = file.relative_to(sound).as_posix()
        for length in [*places(len(data))[::7], len(data) - 1]:
            file.write_bytes(data[:length])
            assert key in problems(sound)
        file.write_bytes(data + b"\0")
        assert key in problems(sound)
        file.write_bytes(data)


def test_every_missing_file_is_found(sound: Path, tmp_path: Path) -> None:
    for file in files(sound):
        copy = tmp_path / "copy"
        shutil.copytree(sound, copy)
        key = file.relative_to(sound).as_posix()
        (copy / key).unlink()
        assert key in problems(copy)
        shutil.rmtree(copy)


@pytest.mark.parametrize("key", ["extra", "t/extra", "banks/00.sanbank", "other/deep/x", "t/annotations/b.parquet"])
def test_every_extra_file_is_found(sound: Path, key: str) -> None:
    extra = sound / key
    extra.parent.mkdir(parents=True, exist_ok=True)
    extra.write_bytes(b"x")
    assert problems(sound) == [key]
    extra.unlink()


def test_no_changed_byte_is_ever_read(sound: Path) -> None:
    want = tiny().streams[0].segments[0].samples
    for file in files(sound):
        data = file.read_bytes()
        for at in places(len(data))[::5]:
            broken = bytearray(data)
            broken[at] ^= 1 << at % 8
            file.write_bytes(broken)
            try:
                with sanstream.open(sound) as archive:
                    reader = archive.recordings["t"]
                    got = reader.streams["10hz"].read_segment(reader.streams["10hz"].entry.segments[0], 0, len(want))
                assert np.array_equal(got, want), f"{file.name}: byte {at} gives wrong samples"
            except (SanstreamError, KeyError):
                pass
        file.write_bytes(data)


def test_no_changed_byte_of_an_annotation_is_ever_read(sound: Path) -> None:
    file = sound / "t/annotations/atr.parquet"
    data = file.read_bytes()
    for at in places(len(data)):
        broken = bytearray(data)
        broken[at] ^= 1 << at % 8
        file.write_bytes(broken)
        with sanstream.open(sound) as archive:
            with pytest.raises(CorruptError, match=r"t/annotations/atr.parquet: has changed"):
                _ = archive.recordings["t"].annotations
            with pytest.raises(CorruptError):
                archive.recordings["t"].read()
    file.write_bytes(data[:-1])
    with sanstream.open(sound) as archive, pytest.raises(CorruptError, match=f"{len(data)} were written"):
        _ = archive.recordings["t"].annotations
    file.write_bytes(data)


def test_what_is_no_annotation_file_is_an_error() -> None:
    data = pack_annotations(tiny().annotations[0])
    with pytest.raises(CorruptError, match="'attributes'"):
        unpack_annotations(data.replace(b'"attributes"', b'"attribXtes"'), "atr")


def test_swapped_recordings_are_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [tiny("a"), tiny("b")])
    (path / "a").rename(path / "x")
    (path / "b").rename(path / "a")
    (path / "x").rename(path / "b")
    assert {"a/manifest.json", "b/manifest.json"} <= set(problems(path))
    with pytest.raises(CorruptError, match="describes zarr recording 'b'"):
        sanstream.open(path).recordings["a"]


def test_a_sound_manifest_for_other_samples_is_found_when_deep(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [tiny()])
    values = open_json((path / "t/manifest.json").read_bytes(), "")
    values.pop("sha256")
    values["streams"][0]["segments"][0]["samples_crc"] ^= 1
    (path / "t/manifest.json").write_bytes(seal_json(values))
    assert problems(path) == []
    found = find_problems(LocalObjects(path), deep=True)
    assert [str(p) for p in found] == ["t/10hz/0: decodes to other samples than it was written with"]


def test_unfinished_writes_are_no_part_of_an_archive(sound: Path) -> None:
    left = sound / ".recordings.partial-1-ab"
    (left / "b").mkdir(parents=True)
    (left / "b" / "manifest.json").write_bytes(b"{}")
    assert problems(sound) == []
    shutil.rmtree(left)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'{"a":1}', b"\xff\xfe", b'{"sha256":"' + b"0" * 64 + b'","a":1}']
)
def test_what_is_no_manifest_is_an_error(data: bytes) -> None:
    with pytest.raises(CorruptError):
        Manifest.from_bytes(data, "m")


def test_a_sealed_manifest_without_its_fields_is_an_error() -> None:
    with pytest.raises(CorruptError, match="not a manifest"):
        Manifest.from_bytes(seal_json({"format_version": 1, "streams": [{}]}), "m")
    with pytest.raises(UnsupportedError):
        Manifest.from_bytes(seal_json({"format_version": 2}), "m")
    with pytest.raises(CorruptError, match="not a catalog"):
        from sanstream.archive_manifest import read_catalog

        read_catalog(catalog_bytes("tar", []), "c")


@pytest.mark.parametrize("effort", ["fast", "default"])
def test_windows_that_are_wholly_missing_do_not_count(tmp_path: Path, effort: str) -> None:
    whole = patient("a")
    (segment,) = whole.streams[0].segments[:1]
    x = segment.samples.copy()
    x[len(x) // 2 :, 1] = segment.channels[1].missing
    one = replace(whole.streams[0], segments=(replace(segment, samples=x),), n_samples=len(x))
    with ArchiveWriter(tmp_path / "a") as writer:
        writer.add(replace(whole, streams=(one,), annotations=()), ["prdn=5"], effort=effort)
        writer.commit()
    assert problems(tmp_path / "a", deep=True) == []
