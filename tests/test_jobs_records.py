"""The dataset of activations: what it holds, what is written again, what the queries find, and that nothing decodes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from archive_cases import patient, write
from jobs_cases import BIGEMINY_S, CUT_S, END_S, START_NS, STREAM, two_banks
from s3_server import BUCKET, s3_server, use_s3

import sanstream
from pipelines.jobs.dataset import parts_of
from pipelines.jobs.query import ask, connect, query
from pipelines.jobs.records import RecordsJob, records, run
from sanstream import decode
from sanstream.archive_grow import GrowingArchive
from sanstream.cli.exits import run as run_command
from sanstream.errors import InputError
from sanstream.group_run import WHOLE
from sanstream.transfer import convert

Ward = tuple[Path, np.ndarray, list[set[str]]]
"""An archive, its R peaks in seconds, and the kernel ids of its two segments."""


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    path = tmp_path_factory.mktemp("ward") / "a.san"
    return path, *two_banks(path)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("other") / "a.san", [patient()])


@pytest.fixture
def dataset(ward: Ward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The dataset, written while decoding any sample fails."""
    forbid_decoding(monkeypatch)
    to = str(tmp_path / "records")
    done = run(RecordsJob(str(ward[0]), to))
    assert (done["recordings"], done["parts"], done["failed"]) == (1, 2, [])
    return to


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything that decodes samples fail: the decoder by its name, and the loops by what they are asked for."""

    def refuse(*_: object, **__: object) -> object:
        raise AssertionError("samples were decoded")

    monkeypatch.setattr("sanstream.archive_read.decode_blocks", refuse)
    for module in ("decode", "decode_many", "archive_verify", "archive_reached"):
        monkeypatch.setattr(f"sanstream.{module}.decode_block", refuse)
    for name in ("run_group", "run_tables"):
        inner = getattr(decode, name)
        monkeypatch.setattr(decode, name, lambda *a, _inner=inner, **k: refuse() if a[-1] == WHOLE else _inner(*a, **k))


def test_decoding_is_forbidden_where_the_dataset_is_written(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = sanstream.open(ward[0]).recordings["bed-7"].streams[STREAM]
    segment = stream.entry.segments[0]
    (payload,) = stream.blocks(segment, 0, 1)
    forbid_decoding(monkeypatch)
    with pytest.raises(AssertionError, match="samples were decoded"):
        stream.read(0, 10)
    monkeypatch.undo()
    whole = decode.decode_block  # the loops refuse by themselves
    forbid_decoding(monkeypatch)
    with pytest.raises(AssertionError, match="samples were decoded"):
        whole(payload, 0, stream.coding(segment), stream.bank(segment))


def test_the_dataset_is_the_archive_s_records_by_day(ward: Ward, dataset: str) -> None:
    found = ds.dataset(f"{dataset}/activations", partitioning="hive").to_table()
    assert {(str(r["date"]), r["stream"]) for r in found.select(["date", "stream"]).to_pylist()} == {
        ("2024-04-30", STREAM),
        ("2024-05-01", STREAM),
    }
    times = found["fiducial_time_ns"].to_numpy()
    midnight = START_NS + CUT_S * 10**9
    assert np.array_equal(times >= midnight, np.array(found["date"].to_pylist()).astype(str) == "2024-05-01")
    records = sanstream.open(ward[0]).recordings["bed-7"].streams[STREAM].records()
    order = [("fiducial_time_ns", "ascending"), ("sample", "ascending")]
    wanted = records.sort_by(order)
    assert found.select(wanted.column_names).cast(wanted.schema).sort_by(order).equals(wanted)
    assert records.num_rows > 200


def test_windows_tile_the_recording(dataset: str) -> None:
    rows = connect(dataset).execute(
        "SELECT channel, sum(n_samples), count(*), max(modality), bool_and(rmse > 0 OR lossless) "
        "FROM windows GROUP BY 1"
    )
    found = rows.fetchall()
    assert sorted(r[0] for r in found) == ["MLII", "V5"]
    for _, n_samples, n_windows, modality, bounded in found:
        assert (n_samples, n_windows, modality, bounded) == (END_S * 250, END_S // 10, "ecg", True)


def test_beats_are_found_across_a_change_of_bank(ward: Ward, dataset: str) -> None:
    _, peaks, (first, second) = ward
    assert first & second, "no lineage was kept: the case is of no use"
    beats = ask(connect(dataset), "beats")
    times = (beats["time_ns"].to_numpy() - START_NS) / 1e9
    wanted = peaks[(peaks > 0.3) & (peaks < END_S - 0.3)]
    nearest = np.abs(times[:, None] - wanted[None, :])
    assert (nearest.min(axis=0) < 0.15).all(), "a beat is missed"
    assert (nearest.min(axis=1) < 0.15).sum() >= len(times) - 2, "a beat is made up"
    assert len(times) <= len(wanted) + 2
    across = (times > CUT_S - 5) & (times < CUT_S + 5)
    assert np.all(beats["rr_ms"].to_numpy()[across] < 1600)
    assert set(beats["kernel_uid"].to_pylist()) <= first | second


def test_a_run_of_bigeminy_is_one_across_a_change_of_bank(dataset: str) -> None:
    (run_found,) = ask(connect(dataset), "bigeminy").to_pylist()
    start, stop = ((run_found[k] - START_NS) / 1e9 for k in ("start_ns", "stop_ns"))
    assert abs(start - BIGEMINY_S[0]) < 2.5
    assert abs(stop - BIGEMINY_S[1]) < 2.5
    assert run_found["coupling_ms"] < 0.85 * run_found["pause_ms"]


def test_what_is_there_is_not_written_again(ward: Ward, dataset: str) -> None:
    before = {p: p.stat().st_mtime_ns for p in Path(dataset).rglob("*") if p.is_file()}
    again = run(RecordsJob(str(ward[0]), dataset))
    assert (again["parts"], again["skipped"]) == (0, 2)
    assert {p: p.stat().st_mtime_ns for p in Path(dataset).rglob("*") if p.is_file()} == before


def test_another_archive_s_dataset_is_left_alone(
    ward: Ward, other: Path, dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.read_bytes() for p in Path(dataset).rglob("*") if p.is_file()}
    job = tmp_path / "records.toml"
    job.write_text(f'archive = "{other}"\nto = "{dataset}"\n')
    assert run_command(["--config", str(job)], command=records) == 2
    message = capsys.readouterr().err
    assert f"the dataset belongs to {ward[0]}, not to {other}; choose another `to`" in message
    assert {p: p.read_bytes() for p in Path(dataset).rglob("*") if p.is_file()} == before
    (Path(dataset) / "_archive.json").unlink()
    with pytest.raises(InputError, match="does not say of which archive it is"):
        run(RecordsJob(str(other), dataset))


def test_a_part_that_was_cut_off_is_written_again(ward: Ward, dataset: str) -> None:
    state = next((Path(dataset) / "_parts").iterdir())
    values = json.loads(state.read_text())
    del values["parts"][f"date=2024-05-01/stream={STREAM}"]
    state.write_text(json.dumps(values))
    done = run(RecordsJob(str(ward[0]), dataset))
    assert (done["parts"], done["skipped"]) == (1, 1)


def move(dataset: str, archive: Path) -> None:
    """Do what the refusal says is to be done when an archive has moved."""
    Path(dataset, "_archive.json").write_text(json.dumps({"archive": str(archive)}))


def test_a_changed_segment_is_written_again_and_a_dropped_one_removed(ward: Ward, dataset: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.san"
    shutil.copytree(ward[0], copy)
    move(dataset, copy)
    assert run(RecordsJob(str(copy), dataset))["parts"] == 0, "another place, the same blocks"
    GrowingArchive(copy).remove("bed-7", [(STREAM, "0")])
    done = run(RecordsJob(str(copy), dataset))
    # of the next day, an activation at the edge may have been the dropped segment's
    assert (done["parts"], done["skipped"], done["removed"]) == (2, 0, 3)
    assert {p.name for p in Path(dataset, "activations").iterdir()} == {"date=2024-05-01"}


def test_a_day_that_grows_leaves_the_days_before_as_they_are(ward: Ward) -> None:
    recording = sanstream.open(ward[0]).recordings["bed-7"]
    reader = recording.streams[STREAM]
    first, second = reader.entry.segments
    before = parts_of(reader, recording.manifest)
    reader.entry = replace(reader.entry, segments=(first, replace(second, n_samples=5000, samples_crc=1)))
    after = parts_of(reader, recording.manifest)
    assert [p.date for p in before] == [p.date for p in after] == ["2024-04-30", "2024-05-01"]
    assert before[0] == after[0]
    assert before[1].digest != after[1].digest


def test_a_recording_that_is_gone_leaves_nothing(other: Path, dataset: str) -> None:
    move(dataset, other)
    done = run(RecordsJob(str(other), dataset))
    assert done["removed"] == 6
    assert not list(Path(dataset).rglob("bed-7*"))


def test_a_dataset_without_activations_answers(other: Path, tmp_path: Path) -> None:
    assert run(RecordsJob(str(other), str(tmp_path / "d")))["failed"] == []
    connection = connect(str(tmp_path / "d"))
    assert ask(connection, "bigeminy").num_rows == 0
    hours: pa.Table = ask(connection, "artefact_hours")
    assert hours.num_rows >= 2


def test_a_dataset_without_activations_says_so(other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = tmp_path / "records.toml"
    job.write_text(f'archive = "{other}"\nto = "{tmp_path / "d"}"\n')
    for _ in ("written", "kept"):
        assert run_command(["--config", str(job)], command=records) == 0
        assert "a.san: no activations: the archive was made at effort fast" in capsys.readouterr().err
    assert run_command([str(tmp_path / "d"), "beats", "--json"], command=query) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == []
    assert "d: no activations:" in said.err
    assert run_command([str(tmp_path / "d"), "artefact_hours", "--json"], command=query) == 0
    assert not capsys.readouterr().err


def test_a_mistake_in_the_sql_is_one_line(dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "my.sql"
    for text, said in (
        ("SELECT * FROM beets", "beets does not exist"),
        ("SELEC 1", "syntax error"),
        ("SELECT CAST(stream AS INTEGER) FROM windows", "Could not convert"),
        ("-- nothing", "its last statement gives no rows"),
    ):
        file.write_text(text)
        assert run_command([dataset, str(file)], command=query) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {file}: ")
        assert said in line
        assert "the tables are activations, windows, kernels" in line or "SELECT" in line
    file.write_text("CREATE TABLE t AS SELECT 1 AS x; SELECT x FROM t")
    assert run_command([dataset, str(file), "--json"], command=query) == 0
    said = capsys.readouterr()
    assert (json.loads(said.out), said.err) == ([{"x": 1}], "")


def test_archive_and_dataset_in_an_object_store(ward: Ward, dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as endpoint:
        use_s3(monkeypatch, endpoint)
        monkeypatch.undo()
        use_s3(monkeypatch, endpoint)
        archive, to = f"s3://{BUCKET}/a.san", f"s3://{BUCKET}/records"
        convert(ward[0], to=archive, container="zarr")
        assert run(RecordsJob(archive, to))["parts"] == 2
        again = run(RecordsJob(archive, to))
        assert (again["parts"], again["skipped"], again["failed"]) == (0, 2, [])
        for name in ("beats", "bigeminy", "artefact_hours"):
            here, there = (ask(connect(place), name) for place in (dataset, to))
            assert there.num_rows
            assert there.equals(here.cast(there.schema))


def test_messages(tmp_path: Path, ward: Ward) -> None:
    with pytest.raises(InputError, match="no dataset stands here"):
        connect(str(tmp_path))
    config = tmp_path / "records.toml"
    config.write_text(f'archive = "{ward[0]}"\nto = "{tmp_path / "d"}"\nworker = 2\n')
    assert run_command(["--config", str(config)], command=records) == 2
    with pytest.raises(InputError, match="holds no recording 'x'"):
        run(RecordsJob(str(ward[0]), str(tmp_path / "d"), ("x",)))
