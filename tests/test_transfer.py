"""archive, restore and convert: files in, the same files out."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from archive_cases import CONTAINERS, LEADS, assert_same, events, patient, tiny, walk, write
from pyarrow import csv

import sanstream
from sanstream import archive_commit, formats
from sanstream.cli.exits import run
from sanstream.errors import BankError, CorruptError, InputError, RestoreError, UnsupportedError
from sanstream.feeds.floats import FloatLattice
from sanstream.signal import Annotations, Channel, Recording, Segment, Stream
from sanstream.transfer import archive, convert, restore
from sanstream.transfer_deidentify import deidentify


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "walk.npy"
    np.save(path, np.stack([walk(900), walk(900, seed=1)], axis=1).astype(np.int16))
    return path


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_file_comes_back(tmp_path: Path, source: Path, container: str) -> None:
    seen: list[tuple[str, int, int]] = []
    done = archive(
        source,
        to=tmp_path / "a",
        rate=Fraction(100),
        unit="mV",
        container=container,
        effort="fast",
        progress=lambda *p: seen.append(p),
    )
    assert done["recordings"] == ["walk"]
    assert done["n_samples"] == 1800
    assert seen[-1] == ("walk", 1800, 1800)
    (file,) = restore(tmp_path / "a", to=tmp_path / "out")
    assert np.array_equal(np.load(file), np.load(source))


@pytest.mark.shared
@pytest.mark.parametrize("container", CONTAINERS)
def test_real_recordings_come_back_with_headers_and_annotations(
    tmp_path: Path, shared_data: Path, container: str
) -> None:
    sources = [shared_data / "wfdb-formats/03700181", shared_data / "edf-bdf/short_psg.edf"]
    sources = [s for s in sources if s.exists() or s.with_suffix(".hea").exists()]
    archive(sources, to=tmp_path / "a", effort="fast", container=container)
    restore(tmp_path / "a", to=tmp_path / "out")
    with sanstream.open(tmp_path / "a") as held:
        for path, reader in zip(sources, held.recordings.values(), strict=True):
            assert_same(reader.read(), formats.read(path))


def test_a_stretch_may_be_restored(tmp_path: Path, source: Path) -> None:
    archive([source], to=tmp_path / "a", rate=Fraction(100), effort="fast")
    (file,) = restore(tmp_path / "a", to=tmp_path / "out", t0="+2s", t1="@500")
    assert np.array_equal(np.load(file), np.load(source)[200:500])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"effort": "heroic"}, InputError, "effort 'heroic' is unknown; use fast, default, thorough"),
        ({"quality": "prdn=x"}, InputError, "'x' is not a number"),
        ({"quality": "II=lossless"}, InputError, "names channel 'II'"),
        ({"bank": "nobank"}, BankError, "no bank 'nobank'"),
        ({"bank": "none.sanbank"}, BankError, "not there"),
        ({"container": "tar"}, InputError, "container 'tar' is unknown"),
    ],
)
def test_bad_requests_leave_nothing(
    tmp_path: Path, source: Path, change: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        archive(source, to=tmp_path / "new" / "a", rate=Fraction(100), **change)  # type: ignore[arg-type]
    assert [p.name for p in tmp_path.iterdir()] == ["walk.npy"]


def test_one_bad_source_of_many_leaves_nothing(tmp_path: Path, source: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        archive([source, tmp_path / "none.npy"], to=tmp_path / "a", rate=Fraction(100), effort="fast")
    with pytest.raises(InputError, match="holds a recording 'walk' already"):
        archive([source, source], to=tmp_path / "a", rate=Fraction(100), effort="fast")
    assert [p.name for p in tmp_path.iterdir()] == ["walk.npy"]


def test_a_name_of_other_letters_is_said_and_two_that_come_to_one_are_refused_by_file(tmp_path: Path) -> None:
    for name in ("Müller Jürgen", "日本", "東京", "plain-1"):
        np.save(tmp_path / f"{name}.npy", walk(400))
    done = archive(tmp_path / "Müller Jürgen.npy", to=tmp_path / "a", rate=Fraction(100), effort="fast")
    assert done["recordings"] == ["M_ller_J_rgen"]
    assert any("so named since 'Müller Jürgen'" in note for note in done["notes"])
    assert archive(tmp_path / "plain-1.npy", to=tmp_path / "b", rate=Fraction(100), effort="fast")["notes"] == []
    both = [tmp_path / "日本.npy", tmp_path / "東京.npy"]
    with pytest.raises(InputError, match=r"東京\.npy: the archive holds a recording 'recording' already"):
        archive(both, to=tmp_path / "c", rate=Fraction(100), effort="fast")
    assert not (tmp_path / "c").exists()


def test_a_full_disk_leaves_nothing(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(point: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archive_commit, "watcher", full)
    with pytest.raises(InputError, match="no space left"):
        archive(source, to=tmp_path / "a", rate=Fraction(100), effort="fast")
    assert [p.name for p in tmp_path.iterdir()] == ["walk.npy"]


def test_what_is_not_in_the_archive_is_one_clear_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [tiny("t")])
    with pytest.raises(InputError, match="holds no recording 'u'; it holds t"):
        restore(path, to=tmp_path / "out", recording="u")
    with pytest.raises(InputError, match="format 'mp3' is unknown"):
        restore(path, to=tmp_path / "out", format="mp3")
    (path / "t/10hz/0/c/0/0").write_bytes(b"")
    with pytest.raises(CorruptError):
        restore(path, to=tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_one_recording_that_cannot_be_written_holds_up_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = replace(tiny("odd"), start_ns=-1071946063593245952094)
    path = write(tmp_path / "a", [odd, tiny("t"), tiny("gone"), tiny("u")])
    (path / "gone/10hz/0/c/0/0").write_bytes(b"")
    with pytest.raises(RestoreError, match="2 recordings were not restored: odd: the recording's start") as caught:
        restore(path, to=tmp_path / "out", format="wfdb")
    files = sorted(p for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert {p.stem for p in files} == {"t", "u"}
    assert {p.resolve() for p in caught.value.written} == {p.resolve() for p in files}
    assert isinstance(caught.value.failures["gone"], CorruptError)
    assert run(["restore", str(path), "--to", str(tmp_path / "cli"), "--format", "wfdb"]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == len(files)
    assert [line.split(":")[:2] for line in err.splitlines()] == [["error", " odd"], ["error", " gone"]]
    assert run(["restore", str(path), "--to", str(tmp_path / "cli"), "--recording", "odd", "--format", "edf"]) == 2


def test_converting_there_and_back_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write(tmp_path / "zarr", [patient("a"), tiny("b")])
    assert convert(first, to=tmp_path / "parquet", container="parquet") == ["a", "b"]
    convert(tmp_path / "parquet", to=tmp_path / "again", container="zarr")
    for path in (tmp_path / "parquet", tmp_path / "again"):
        with sanstream.open(path) as held:
            assert held.verify(deep=True) == []
            assert_same(held.recordings["a"].read(), patient("a"))
    files = [f.relative_to(first) for f in first.rglob("*") if f.is_file()]
    assert all((first / f).read_bytes() == (tmp_path / "again" / f).read_bytes() for f in files)
    assert convert(first, to=tmp_path / "parquet2", container="parquet", recording="b") == ["b"]


def test_deidentified_recordings_name_nobody() -> None:
    header = {
        "format": "212",
        "skew": 2,
        "label": "II",
        "serial": "Jane",
        "edf": {"transducer": "Jane", "prefilter": "HP"},
    }
    channel = Channel("II", header=header)
    stream = Stream("s", Fraction(10), (Segment(0, (channel,), walk(40)[:, None]),))
    notes = events(4)
    notes.columns["aux_note"] = np.array(["(AFIB\0", "Jane Doe", "T1", ""], object)  # type: ignore[index]
    own = Recording("jane", (stream,), 1_700_000_000 * 10**9, "utc", (notes,), "wfdb", {"comments": ["Jane"]})
    got = deidentify(own, name="recording1")
    assert "jane" not in repr(got).lower()
    assert (got.name, got.start_ns, got.attributes) == ("recording1", 80_000 * 10**9, {})
    assert got.streams[0].segments[0].channels[0].header == {
        "format": "212",
        "skew": 2,
        "label": "II",
        "edf": {"prefilter": "HP"},
    }
    assert got.annotations[0].columns["aux_note"].tolist() == ["(AFIB\0", "", "T1", ""]
    assert np.array_equal(got.streams[0].segments[0].samples, stream.segments[0].samples)


def test_deidentified_sources_are_numbered(tmp_path: Path, source: Path) -> None:
    other = tmp_path / "john.npy"
    other.write_bytes(source.read_bytes())
    options = {"rate": Fraction(100), "effort": "fast", "deidentify": True}
    assert archive([source, other], to=tmp_path / "a", **options)["recordings"] == ["recording1", "recording2"]
    assert archive([other], to=tmp_path / "a", append=True, **options)["recordings"] == ["recording1-2"]
    assert not [f for f in (tmp_path / "a").rglob("*") if f.is_file() and b"john" in f.read_bytes()]


def test_a_recording_without_samples_or_streams_comes_back(tmp_path: Path) -> None:
    nothing = Recording("none", (), attributes={"why": "empty"})
    path = write(tmp_path / "a", [nothing])
    with sanstream.open(path) as held:
        assert_same(held.recordings["none"].read(), nothing)
        assert held.info()["recordings"][0]["streams"] == []


def test_header_and_lead_names_are_kept_by_default(tmp_path: Path) -> None:
    stream = Stream("s", Fraction(100), (Segment(0, LEADS[:1], walk(50)[:, None]),))
    own = Recording("r", (stream,), attributes={"comments": ["Jane"]})
    assert_same(sanstream.open(write(tmp_path / "a", [own])).recordings["r"].read(), own)


def test_all_files_of_a_record_are_one_recording(tmp_path: Path) -> None:
    from sanstream.simulate import simulate_ecg

    written = formats.write(simulate_ecg(20, seed=1), tmp_path / "in", format="wfdb")
    done = archive(written, to=tmp_path / "a", effort="fast")
    assert len(written) > 1
    assert len(done["recordings"]) == 1


def exact_floats_archive(folder: Path) -> np.ndarray:
    """Archive what a live feed keeps bit for bit; returns the floats."""
    values = np.random.default_rng(1).normal(0, 1e-5, (400, 1)).astype(np.float32)
    values[7] = np.nan
    (channel,), samples = FloatLattice((Channel("x", "V"),), resolution="exact").convert(values)
    stream = Stream("100hz", Fraction(100), (Segment(0, (channel,), samples),))
    write(folder, [Recording("bed", (stream,), source_format="wfdb")])
    return values


def test_floats_kept_bit_for_bit_are_floats_again(tmp_path: Path) -> None:
    values = exact_floats_archive(tmp_path / "a")
    with sanstream.open(tmp_path / "a") as archive:
        np.testing.assert_array_equal(archive.recordings["bed"].streams["100hz"].read(physical=True), values)
    (table,) = restore(tmp_path / "a", to=tmp_path / "p", format="parquet")
    np.testing.assert_array_equal(pq.read_table(table)["x"].to_numpy(), values[:, 0])
    (text,) = restore(tmp_path / "a", to=tmp_path / "c", format="csv")
    cells = text.read_text().splitlines()[2:]
    np.testing.assert_array_equal(np.array([c or "nan" for c in cells], np.float32), values[:, 0])
    (array,) = restore(tmp_path / "a", to=tmp_path / "n", format="npy")
    np.testing.assert_array_equal(np.load(array).reshape(-1, 1), values)


@pytest.mark.parametrize("format", ["wfdb", "edf", "bdf"])
def test_formats_of_integers_refuse_floats_on_no_step(tmp_path: Path, format: str) -> None:
    exact_floats_archive(tmp_path / "a")
    with pytest.raises(UnsupportedError, match=r"'x' holds floats that lie on no step.*restore as --format parquet"):
        restore(tmp_path / "a", to=tmp_path / "r", format=format)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("format", [None, "edf", "csv"])
def test_a_recording_of_events_alone_is_restored_as_a_table(tmp_path: Path, format: str | None) -> None:
    marks = Annotations("events", {"time_ns": np.array([0, 10**9]), "kind": np.array(["mark", "alarm"], object)})
    write(tmp_path / "a", [Recording("marks", (), annotations=(marks,), source_format="wfdb"), tiny()])
    written = restore(tmp_path / "a", to=tmp_path / "r", format=format)
    table = csv.read_csv(tmp_path / "r" / "marks_events.csv")
    assert table.to_pydict() == {"time_ns": [0, 10**9], "kind": ["mark", "alarm"]}
    assert len(written) > 1
