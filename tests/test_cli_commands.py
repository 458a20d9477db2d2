"""Commands on sound input: what they write, what they print, and that --json keeps its contract."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Run, beats

from sanstream.bank import Bank
from sanstream.bank_places import choose_bank
from sanstream.cli import root
from sanstream.signal import Recording
from sanstream.transfer_records import export_records


def archive_beats(run: Run, source: Path, target: Path, *options: str) -> None:
    ended = run("archive", source, "--to", target, "--rate", "250", "--unit", "mV", *options)
    assert ended.code == 0, ended.err
    assert ended.out == ""


@pytest.mark.parametrize("container", ["zarr", "parquet"])
def test_lossless_is_the_default_and_restores_every_sample(
    run: Run, tmp_path: Path, beats_npy: Path, container: str
) -> None:
    archive_beats(run, beats_npy, tmp_path / "b.san", "--container", container)
    ended = run("restore", tmp_path / "b.san", "--to", tmp_path / "out")
    assert ended.code == 0, ended.err
    files = [Path(line) for line in ended.out.splitlines()]
    assert all(f.is_file() for f in files)
    assert np.array_equal(np.load(next(f for f in files if f.suffix == ".npy")), np.load(beats_npy))
    assert run("verify", tmp_path / "b.san", "--deep").code == 0


def test_info_json_is_the_contract(run: Run, archive_250: Path) -> None:
    ended = run("info", archive_250, "--json")
    assert ended.code == 0
    assert ended.err == ""
    found = json.loads(ended.out)
    assert set(found) == {"format_version", "container", "coded_bytes", "stored_bytes", "recordings"}
    assert set(found["stored_bytes"]) == {"total", "signal", "bank", "metadata", "annotations"}
    recording = found["recordings"][0]
    assert set(recording) == {"name", "start_ns", "streams"}
    stream = recording["streams"][0]
    assert set(stream) == {"name", "rate_hz", "n_samples", "coded_bytes", "bits_per_sample", "channels", "segments"}
    channel = stream["channels"][0]
    assert set(channel) == {"name", "unit", "gain", "baseline", "quality", "reached"}
    assert set(channel["reached"]) == {"prdn_mean", "prdn_max", "rmse_adu", "max_error_adu", "phi_mean"}
    assert set(stream["segments"][0]) == {"bank", "n_blocks", "n_windows"}
    assert (recording["name"], stream["n_samples"], channel["quality"]) == ("beats", 7500, "prdn=5")
    assert channel["reached"]["prdn_max"] <= 5
    assert stream["bits_per_sample"] == pytest.approx(8 * found["coded_bytes"] / (7500 * 2))


def test_stored_bytes_are_everything_on_disk(run: Run, archive_250: Path) -> None:
    stored = json.loads(run("info", archive_250, "--json").out)["stored_bytes"]
    on_disk = sum(p.stat().st_size for p in archive_250.rglob("*") if p.is_file())
    assert stored["total"] == on_disk == sum(v for k, v in stored.items() if k != "total")


def test_info_is_a_table_for_people(run: Run, archive_250: Path) -> None:
    lines = run("info", archive_250).out.splitlines()
    assert "container zarr, format 1" in lines[0]
    assert lines[3].split()[:3] == ["recording", "stream", "channel"]
    assert len(lines) == 6


def test_verify_says_sound(run: Run, archive_250: Path) -> None:
    ended = run("verify", archive_250)
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.endswith("sound\n")
    assert json.loads(run("verify", archive_250, "--json").out) == {"sound": True, "problems": []}


def test_several_sources_and_append(run: Run, tmp_path: Path) -> None:
    for i, name in enumerate(["a", "b", "c"]):
        np.save(tmp_path / f"{name}.npy", beats(1000, seed=i).astype(np.int16))
    target = tmp_path / "all.san"
    assert run("archive", tmp_path / "a.npy", tmp_path / "b.npy", "--to", target, "--rate", "250").code == 0
    assert run("archive", tmp_path / "c.npy", "--to", target, "--rate", "250", "--append").code == 0
    found = json.loads(run("info", target, "--json").out)
    assert [r["name"] for r in found["recordings"]] == ["a", "b", "c"]
    one = run("restore", target, "--to", tmp_path / "one", "--recording", "b")
    assert one.code == 0
    assert {p.stem for p in (tmp_path / "one").iterdir() if p.suffix == ".npy"} == {"b"}


@pytest.mark.parametrize(("start", "until"), [("+10s", "+20s"), ("@2500", "@5000"), ("+10s", "+20000ms")])
def test_a_stretch_is_restored(run: Run, tmp_path: Path, beats_npy: Path, start: str, until: str) -> None:
    archive_beats(run, beats_npy, tmp_path / "b.san", "--effort", "fast")
    ended = run("restore", tmp_path / "b.san", "--to", tmp_path / "out", "--from", start, "--until", until)
    assert ended.code == 0, ended.err
    found = np.load(next(p for p in (tmp_path / "out").iterdir() if p.suffix == ".npy"))
    assert np.array_equal(found, np.load(beats_npy)[2500:5000])


@pytest.mark.parametrize("format_", ["wfdb", "edf", "bdf", "csv", "parquet", "npy"])
def test_every_format_is_written(run: Run, tmp_path: Path, archive_250: Path, format_: str) -> None:
    ended = run("restore", archive_250, "--to", tmp_path / "out", "--format", format_)
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()


def test_records_are_a_parquet_table(run: Run, tmp_path: Path, archive_250: Path) -> None:
    target = tmp_path / "records.parquet"
    ended = run("records", archive_250, "--to", target, "--from", "+5s", "--until", "+10s")
    assert ended.code == 0, ended.err
    assert {"recording", "stream", "kernel_uid"} <= set(pq.read_schema(target).names)
    assert run("records", archive_250, "--to", target).code == 2, "a target that is there is not overwritten"


def test_records_go_to_standard_output(
    archive_250: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr("sys.stdout", out)
    export_records(archive_250, to="-")
    monkeypatch.undo()
    assert run("records", archive_250, "--to", tmp_path / "r.parquet").code == 0
    assert pq.read_table(io.BytesIO(out.buffer.getvalue())).equals(pq.read_table(tmp_path / "r.parquet"))  # type: ignore[attr-defined]


@pytest.mark.parametrize("quality", ["lossless", "prdn=5", "prdn=9", "rmse=2adu", "max-error=4adu", "sparse"])
def test_evaluate_finds_every_bound_kept(run: Run, tmp_path: Path, beats_npy: Path, quality: str) -> None:
    archive_beats(run, beats_npy, tmp_path / "b.san", "--quality", quality)
    ended = run("evaluate", beats_npy, tmp_path / "b.san", "--rate", "250", "--unit", "mV", "--json")
    assert ended.code == 0, ended.err
    report = json.loads(ended.out)
    assert report["broken"] == []
    channel = report["streams"][0]["channels"][0]
    assert {"prdn", "prd_1024", "prd", "rmse_adu", "max_error_adu", "snr_db", "phi", "bits"} <= set(channel["windows"])


def test_evaluate_fails_against_another_source(run: Run, tmp_path: Path, archive_250: Path) -> None:
    np.save(tmp_path / "beats.npy", beats(7500, seed=5).astype(np.int16))
    ended = run("evaluate", tmp_path / "beats.npy", archive_250, "--rate", "250", "--unit", "mV")
    assert ended.code == 1
    assert "asked prdn=5" in ended.err
    assert ended.out.splitlines()[0].split()[0] == "stream"


def test_deidentified_archives_name_no_calendar_date(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r1.hea").write_text("r1 1 250 500 10:00:00 24/12/1999\nr1.dat 16 200 11 1024 0 0 0 II\n# Jane Doe\n")
    beats(500, 1).astype("<i2").tofile(tmp_path / "r1.dat")
    assert run("archive", tmp_path / "r1", "--to", tmp_path / "d.san", "--deidentify").code == 0
    text = b"".join(p.read_bytes() for p in (tmp_path / "d.san").rglob("*") if p.is_file())
    assert b"Jane" not in text
    assert json.loads(run("info", tmp_path / "d.san", "--json").out)["recordings"][0]["start_ns"] == 36_000 * 10**9


def test_banks_are_listed_shown_drawn_and_installed(
    run: Run, tmp_path: Path, archive_250: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    listed = json.loads(run("banks", "list", "--json").out)["banks"]
    assert "general" in {b["name"] for b in listed}
    assert run("banks", "list").out.startswith("name")
    shown = json.loads(run("banks", "show", "general", "--json").out)
    assert shown["id"] == next(b["id"] for b in listed if b["name"] == "general")
    assert json.loads(run("banks", "show", shown["id"][:12], "--json").out)["id"] == shown["id"]
    assert run("banks", "plot", "general", "--to", tmp_path / "bank.png").code == 0
    assert (tmp_path / "bank.png").read_bytes()[:4] == b"\x89PNG"
    ended = run("banks", "install", archive_250)
    assert ended.code == 0, ended.err
    assert all(Path(line).is_file() for line in ended.out.splitlines())
    assert run("banks", "install", archive_250).code == 0, "installing twice is no error"


def test_a_generated_recording_is_the_same_for_the_same_seed(run: Run, tmp_path: Path) -> None:
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        ended = run("simulate", "ecg", "--seconds", "5", "--seed", seed, "--format", "npy", "--to", tmp_path / name)
        assert ended.code == 0, ended.err
    a, b, c = (np.load(next((tmp_path / n).glob("*.npy"))) for n in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_interrupting_leaves_nothing(
    run: Run, tmp_path: Path, beats_npy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sanstream.archive_commit

    def stop(point: str) -> None:
        if point == "object_written":
            raise KeyboardInterrupt

    monkeypatch.setattr(sanstream.archive_commit, "reach", stop)
    before = {p.name for p in tmp_path.iterdir()}
    ended = run("archive", beats_npy, "--to", tmp_path / "b.san", "--rate", "250", "--effort", "fast")
    assert (ended.code, ended.err) == (130, "error: interrupted\n")
    assert {p.name for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("words", [["verify", "--deep"], ["info"], ["restore", "--to", "out"]], ids=" ".join)
def test_reading_does_not_load_torch(tmp_path: Path, run_python: Run, archive_250: Path, words: list[str]) -> None:
    code = (
        "import sys; from sanstream.cli import run; s = run(sys.argv[1:]); print('torch' in sys.modules); sys.exit(s)"
    )
    ended = run_python(code, *words, archive_250, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1] == "False"


def test_reading_commands_take_json() -> None:
    for name in ("info", "verify", "evaluate"):
        assert "--json" in [o for p in root.commands[name].params for o in p.opts]


def test_evaluate_never_guesses_the_recording(run: Run, tmp_path: Path, archive_250: Path) -> None:
    np.save(tmp_path / "other.npy", beats(7500).astype(np.int16))
    command = ["evaluate", tmp_path / "other.npy", archive_250, "--rate", "250", "--unit", "mV"]
    ended = run(*command)
    assert (ended.code, ended.out) == (2, "")
    assert "the source is 'other', the archive holds no recording of that name; name one with --recording: beats" in (
        ended.err
    )
    assert run(*command, "--recording", "beats").code == 0


def test_archive_says_where_a_wfdb_header_contradicts_its_samples(run: Run, tmp_path: Path) -> None:
    np.arange(40, dtype="<i2").tofile(tmp_path / "r.dat")
    (tmp_path / "r.hea").write_text("r 2 100 15\nr.dat 16 200 12 0 0 210 0 I\nr.dat 16 200 12 0 1 7 0 II\n")
    ended = run("archive", tmp_path / "r", "--to", tmp_path / "r.san")
    assert ended.code == 0
    assert [line for line in ended.err.splitlines() if line.startswith("note: ")] == [
        "note: r, r.hea: the checksum of signal 1 (II) is not that of its samples; both are kept as they are",
        "note: r, r.hea: 15 frames announced, r.dat holds 20; those announced are kept",
    ]
    assert run("restore", tmp_path / "r.san", "--to", tmp_path / "out").code == 0
    assert (tmp_path / "out/r.hea").read_bytes() == (tmp_path / "r.hea").read_bytes()
    assert (tmp_path / "out/r.dat").read_bytes() == (tmp_path / "r.dat").read_bytes()[:60]


def test_a_record_named_by_all_its_files_is_learned_from_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[list[str]] = []

    def train_on(name: str, recordings: list[Recording], **_: object) -> Bank:
        given.append([recording.name for recording in recordings])
        return choose_bank("ecg").bank

    monkeypatch.setattr("sanstream.train.train_on", train_on)
    assert run("simulate", "ecg", "--seconds", "20", "--to", tmp_path / "signals").code == 0
    files = sorted((tmp_path / "signals").iterdir())
    assert len(files) == 3
    assert run("train", *files, "--to", tmp_path / "own.sanbank").code == 0
    assert given == [["ecg"]]
