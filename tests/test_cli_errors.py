"""Bad input: one clear line (what, where, found, allowed, what to do), and nothing left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import PACKAGE, Ended, Run, beats, make_recording

from sanstream import formats
from sanstream.archive_sealed import open_json, seal_json


def refused(ended: Ended, code: int, *says: str) -> None:
    """Assert one error line that says all this, and no data."""
    assert ended.code == code, ended.err
    assert ended.out == ""
    lines = ended.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert "; " in lines[0], f"no way out in: {lines[0]}"
    for words in says:
        assert words in lines[0]


def left(folder: Path) -> set[str]:
    """Name what lies in a folder, hidden things included."""
    return {p.name for p in folder.iterdir()}


@pytest.mark.parametrize("source", ["gone.edf", "gone.npy", "gone.csv", "gone.hea", "gone"])
def test_a_missing_source(run: Run, tmp_path: Path, source: str) -> None:
    refused(run("archive", tmp_path / source, "--to", tmp_path / "a.san"), 2, "gone")
    assert left(tmp_path) == set()


@pytest.mark.parametrize("command", [["info"], ["verify"], ["restore", "--to", "x"], ["records", "--to", "x.parquet"]])
def test_a_missing_archive(run: Run, tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(run(command[0], "gone.san", *command[1:]), 2, "gone.san")
    assert left(tmp_path) == set()


@pytest.mark.parametrize("kept_bytes", [0, 100, 256, 700, 2000])
def test_a_truncated_edf(run: Run, tmp_path: Path, kept_bytes: int) -> None:
    whole = formats.write(make_recording(beats(2500), source_format="edf"), tmp_path / "whole", format="edf")[0]
    short = tmp_path / "short.edf"
    short.write_bytes(whole.read_bytes()[:kept_bytes])
    refused(run("archive", short, "--to", tmp_path / "short.san"), 2, "short.edf")
    assert left(tmp_path) == {"whole", "short.edf"}


def test_a_header_without_its_data(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r1.hea").write_text("r1 1 250 1000\nr1.dat 16 200 11 1024 0 0 0 II\n")
    refused(run("archive", tmp_path / "r1", "--to", tmp_path / "r.san"), 2, "r1.dat")
    assert left(tmp_path) == {"r1.hea"}


@pytest.mark.parametrize(
    ("quality", "says"),
    [
        ("prd=5", "use prdn=5"),
        ("best", "unknown quality 'best'; use one of lossless"),
        ("rmse=10", "names no unit"),
        ("prdn=lots", "is not a number"),
        ("II=prdn=5", "a channel of this recording"),
        ("CH0=prdn=5", "names channel 'CH0', the recording has 'ch0'; write ch0=prdn=5"),
        ("prdn=-5", "a bound cannot be below 0; write prdn=5"),
    ],
)
def test_an_unusable_quality(run: Run, tmp_path: Path, beats_npy: Path, quality: str, says: str) -> None:
    before = left(tmp_path)
    refused(
        run("archive", beats_npy, "--to", tmp_path / "b.san", "--rate", "250", "--quality", quality), 2, quality, says
    )
    assert left(tmp_path) == before


def test_a_rate_that_is_missing_or_no_number(run: Run, tmp_path: Path, beats_npy: Path) -> None:
    refused(run("archive", beats_npy, "--to", tmp_path / "b.san"), 2, "rate")
    refused(run("archive", beats_npy, "--to", tmp_path / "b.san", "--rate", "fast"), 2, "'fast'", "write hertz")


def test_a_target_that_is_there(run: Run, tmp_path: Path, beats_npy: Path, archive_250: Path) -> None:
    target = tmp_path / "b.san"
    target.mkdir()
    (target / "mine").write_text("keep")
    refused(run("archive", beats_npy, "--to", target, "--rate", "250"), 2, "b.san")
    assert left(target) == {"mine"}


def test_an_archive_that_would_be_gone_with_the_command_is_refused(run: Run, tmp_path: Path, beats_npy: Path) -> None:
    live = ["ingest", "sim://ecg", "--state", tmp_path / "state"]
    for words in (["archive", beats_npy, "--rate", "250"], ["reencode", beats_npy], live):
        for target in ("memory://x", "MEMORY://x"):
            refused(run(*words, "--to", target), 2, target, "would be gone with this command")
    ended = run("archive", beats_npy, "--rate", "250", "--to", "ftp://host/x")
    refused(ended, 2, "s3://")
    assert "memory" not in ended.err


def test_a_file_that_is_there_is_not_overwritten(run: Run, tmp_path: Path, archive_250: Path) -> None:
    (tmp_path / "beats.npy").write_text("mine")
    refused(run("restore", archive_250, "--to", tmp_path), 2, "beats.npy", "exists already; choose")
    assert (tmp_path / "beats.npy").read_text() == "mine"
    assert left(tmp_path) == {"beats.npy"}


def test_a_recording_that_is_not_there(run: Run, tmp_path: Path, archive_250: Path) -> None:
    refused(run("restore", archive_250, "--to", tmp_path / "r", "--recording", "101"), 2, "'101'", "beats")
    assert left(tmp_path) == set()


@pytest.mark.parametrize("time", ["soon", "@x", "2024-05-01T12:00:00Z"])
def test_a_time_that_is_none(run: Run, tmp_path: Path, archive_250: Path, time: str) -> None:
    refused(
        run("restore", archive_250, "--to", tmp_path / "r", "--from", time), 2, time.removeprefix("@"), "write +90s"
    )
    assert left(tmp_path) == set()


def test_an_unknown_bank(run: Run, tmp_path: Path, beats_npy: Path) -> None:
    refused(
        run("archive", beats_npy, "--to", tmp_path / "b.san", "--rate", "250", "--bank", "cats"), 2, "cats", "general"
    )
    refused(run("banks", "show", "cats"), 2, "'cats'", "sanstream banks install")
    refused(run("banks", "show", tmp_path / "x.sanbank"), 2, "x.sanbank", "sanstream banks list")
    refused(run("banks", "install", tmp_path), 2, "carries no bank")


def test_a_damaged_bank_is_named(run: Run, tmp_path: Path, beats_npy: Path, archive_250: Path) -> None:
    bank = next((archive_250 / "banks").iterdir())
    (tmp_path / "mine.sanbank").write_bytes(bank.read_bytes()[:-9])
    refused(run("banks", "show", tmp_path / "mine.sanbank"), 1, "mine.sanbank: damaged", "restore it")
    refused(run("banks", "install", tmp_path / "mine.sanbank"), 1, "mine.sanbank: damaged", "restore it")
    command = ["archive", beats_npy, "--to", tmp_path / "b.san", "--rate", "250", "--bank"]
    refused(run(*command, tmp_path / "mine.sanbank"), 1, "mine.sanbank: damaged")


@pytest.mark.parametrize("words", [("records", "{archive}"), ("train", "{source}")])
def test_a_folder_that_is_not_there_is_named(
    run: Run, tmp_path: Path, beats_npy: Path, archive_250: Path, words: tuple[str, str]
) -> None:
    target = tmp_path / "nodir" / ("x.parquet" if words[0] == "records" else "x.sanbank")
    place = words[1].format(archive=archive_250, source=beats_npy)
    refused(run(words[0], place, "--to", target), 2, f"{tmp_path / 'nodir'}: no such folder; make it first")


def test_a_bank_that_is_not_here(run: Run, tmp_path: Path, archive_250: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped banks are gone and so is the archive's own copy."""
    import sanstream.bank

    copy = shutil.copytree(archive_250, tmp_path / "b.san")
    for file in (copy / "banks").iterdir():
        file.unlink()
    monkeypatch.setattr(sanstream.bank, "named_banks", dict)
    other = sanstream.bank.read_bank(sanstream.bank.write_bank("other", [], 0.0, None))
    monkeypatch.setattr(sanstream.bank, "blank_bank", lambda: other)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    refused(run("restore", copy, "--to", tmp_path / "r"), 2, "bank", "sanstream banks install")
    assert not (tmp_path / "r").exists()


def test_an_archive_from_a_newer_version(run: Run, tmp_path: Path, archive_250: Path) -> None:
    copy = shutil.copytree(archive_250, tmp_path / "b.san")
    for file in copy.rglob("*.json"):
        text = file.read_text()
        file.write_text(text.replace('"format_version":1', '"format_version":9'))
    refused(run("info", copy), 2, "version 9", "install a newer sanstream")


@pytest.mark.parametrize("name", ["catalog.json", "beats/manifest.json"])
def test_a_sound_but_newer_file_is_no_damage(run: Run, tmp_path: Path, archive_250: Path, name: str) -> None:
    copy = shutil.copytree(archive_250, tmp_path / "b.san")
    values = open_json((copy / name).read_bytes(), name)
    values.pop("sha256")
    (copy / name).write_bytes(seal_json({**values, "format_version": 9}))
    refused(run("verify", copy), 2, "version 9", "install a newer sanstream")
    refused(run("restore", copy, "--to", tmp_path / "r"), 2, "version 9", "install a newer sanstream")


def test_a_changed_version_number_is_damage(run: Run, tmp_path: Path, archive_250: Path) -> None:
    copy = shutil.copytree(archive_250, tmp_path / "b.san")
    text = (copy / "beats/manifest.json").read_text()
    (copy / "beats/manifest.json").write_text(text.replace('"format_version":1', '"format_version":2'))
    ended = run("verify", copy)
    assert ended.code == 1
    assert "beats/manifest.json: written in format version 2" in ended.out
    assert "(or changed since: checksum differs); install a newer sanstream" in ended.out


def test_a_lost_catalog_is_damage(run: Run, tmp_path: Path, archive_250: Path) -> None:
    copy = shutil.copytree(archive_250, tmp_path / "b.san")
    (copy / "catalog.json").unlink()
    ended = run("verify", copy)
    assert (ended.code, ended.out) == (1, "catalog.json: is missing\n")
    assert json.loads(run("verify", copy, "--json").out)["sound"] is False
    refused(run("info", copy), 1, "catalog.json is missing, though recordings stand there; run: sanstream verify")


def test_no_archive_at_all(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.san").mkdir()
    refused(run("info", tmp_path / "a.san"), 2, "a.san")
    refused(run("verify", tmp_path / "a.san"), 2, "a.san: not an archive")
    (tmp_path / "file").write_text("not an archive")
    refused(run("info", tmp_path / "file"), 2, "file")


def test_a_changed_file_is_found_and_named(run: Run, tmp_path: Path, archive_250: Path) -> None:
    copy = shutil.copytree(archive_250, tmp_path / "b.san")
    shard = max((p for p in copy.rglob("c/*/*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 16
    shard.write_bytes(bytes(data))
    ended = run("verify", copy)
    assert ended.code == 1
    assert str(shard.relative_to(copy)) in ended.out
    assert ended.err.startswith("error: ")
    found = json.loads(run("verify", copy, "--deep", "--json").out)
    assert found["sound"] is False
    assert found["problems"]
    refused(run("restore", copy, "--to", tmp_path / "r"), 1, "block")
    assert not (tmp_path / "r").exists()


def test_a_full_disk_leaves_nothing(tmp_path: Path, run_python: Run) -> None:
    """A limit on file sizes stands in for a disk that fills up while an archive is written."""
    rng = np.random.default_rng(1)
    np.save(tmp_path / "noise.npy", rng.integers(-30000, 30000, (50_000, 2)).astype(np.int16))
    code = (
        "import resource, signal, sys; from sanstream.cli import run; import sanstream.transfer, sanstream.encode;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); sys.exit(run(sys.argv[1:]))"
    )
    arguments = ["archive", "noise.npy", "--to", "n.san", "--rate", "250", "--effort", "fast"]
    ended = run_python(code, *arguments, cwd=tmp_path)
    refused(ended, 2, "n.san", "space")
    assert left(tmp_path) == {"noise.npy"}


def test_no_home_and_a_read_only_installation(tmp_path: Path, archive_250: Path, run_process: Run) -> None:
    """Without a place for compiled loops there is a warning, and the samples all the same."""
    package = shutil.copytree(PACKAGE, tmp_path / "site" / "sanstream", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [package, *(p for p in package.rglob("*") if p.is_dir())]:
        # a file of that name: nobody, root included, can make the folder
        (folder / "__pycache__").touch()
    nowhere = dict.fromkeys(["HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT"])
    ended = run_process(
        "restore", archive_250, "--to", tmp_path / "r", env={**nowhere, "PYTHONPATH": str(package.parent)}
    )
    assert ended.code == 0, ended.err
    assert all(line.startswith("warning: ") for line in ended.err.splitlines())
    assert left(tmp_path / "r") == {"beats.npy"}
