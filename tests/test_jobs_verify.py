"""Many archives verified: a line a recording, what is bad named, and going on where a run was cut off."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_cases import patient, tiny, write
from s3_server import BUCKET, Proxy, s3_server, use_s3

from pipelines.jobs import verify as verify_job
from pipelines.jobs.verify import VerifyJob, archives_below, read_report, run, verify
from sanstream.cli.exits import run as run_command
from sanstream.errors import InputError
from sanstream.transfer import convert


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wards")
    write(folder / "east.san", [patient(), tiny()])
    write(folder / "west.san", [tiny("u")], container="parquet")
    return folder


@pytest.fixture
def wards(master: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(master, tmp_path / "wards"))


def job(wards: Path, **options: object) -> VerifyJob:
    return VerifyJob(wards.parent / "report.jsonl", below=(str(wards),), **options)  # type: ignore[arg-type]


def lines(wards: Path) -> list[tuple[str, str, list[str]]]:
    return [
        (Path(r["archive"]).name, r["recording"], r["problems"]) for r in read_report(wards.parent / "report.jsonl")
    ]


def test_every_recording_has_a_line(wards: Path) -> None:
    done = run(job(wards, deep=True))
    assert (done["archives"], done["recordings"], done["skipped"], done["bad"]) == (2, 3, 0, [])
    assert lines(wards) == [
        ("east.san", "bed1", []), ("east.san", "t", []), ("east.san", "", []),
        ("west.san", "u", []), ("west.san", "", []),
    ]  # fmt: skip


def test_what_is_bad_is_named_and_ends_with_1(wards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = next((wards / "east.san" / "bed1" / "100hz").glob("*/c/0/0"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    (wards / "west.san" / "u" / "blocks.parquet").unlink()
    (wards / "west.san" / "stray.bin").write_bytes(b"?")
    config = tmp_path / "verify.toml"
    config.write_text(f'report = "{tmp_path}/report.jsonl"\nbelow = ["{wards}"]\n')
    assert run_command(["--config", str(config), "--json"], command=verify) == 1
    captured = capsys.readouterr()
    bad = {(line["recording"], *line["problems"]) for line in json.loads(captured.out)["bad"]}
    key = shard.relative_to(wards / "east.san").as_posix()
    assert bad == {
        ("bed1", f"{key}: has changed (SHA-256 differs)"),
        ("u", "u/blocks.parquet: is missing"),
        ("", "stray.bin: no manifest names it"),
    }
    assert f"bad: {wards}/east.san: {key}: has changed" in captured.err


def test_a_run_goes_on_where_the_report_ends(wards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner, seen = verify_job.find_recording_problems, list[str]()

    def watched(objects: object, name: str, *rest: object, **options: bool) -> object:
        seen.append(name)
        if name == "t" and seen.count("t") == 1:
            raise KeyboardInterrupt
        return inner(objects, name, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(verify_job, "find_recording_problems", watched)
    with pytest.raises(KeyboardInterrupt):
        run(job(wards))
    with (wards.parent / "report.jsonl").open("a") as report:
        report.write('{"archive": "cut o')
    done = run(job(wards))
    assert (done["recordings"], done["skipped"], done["bad"]) == (3, 1, [])
    assert seen == ["bed1", "t", "t", "u"]
    assert sorted(lines(wards)) == [
        ("east.san", "", []), ("east.san", "bed1", []), ("east.san", "t", []),
        ("west.san", "", []), ("west.san", "u", []),
    ]  # fmt: skip
    assert run(job(wards, deep=True))["skipped"] == 0, "a shallow look is no deep one"


def test_what_was_bad_or_has_changed_is_read_again(wards: Path) -> None:
    lost = wards / "west.san" / "u" / "blocks.parquet"
    data = lost.read_bytes()
    lost.unlink()
    assert len(run(job(wards))["bad"]) == 1
    lost.write_bytes(data)
    assert run(job(wards))["bad"] == []
    write(wards / "east.san", [tiny("new")], append=True)
    done = run(job(wards))
    assert (done["recordings"], done["skipped"], done["bad"]) == (4, 3, [])


def test_archives_below_a_prefix_by_several_processes(master: Path, tmp_path: Path, s3: str) -> None:
    for name in ("east.san", "west.san"):
        convert(master / name, to=f"{s3}/wards/{name}", container="zarr" if name == "east.san" else "parquet")
    assert list(archives_below(f"{s3}/wards")) == [f"{s3}/wards/east.san", f"{s3}/wards/west.san"]
    done = run(VerifyJob(tmp_path / "r.jsonl", below=(f"{s3}/wards",), workers=2))
    assert (done["archives"], done["recordings"], done["bad"]) == (2, 3, [])
    assert run(VerifyJob(tmp_path / "r.jsonl", below=(f"{s3}/wards",)))["skipped"] == 3


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3_server() as endpoint:
        proxy = Proxy(endpoint)
        use_s3(monkeypatch, proxy.endpoint)
        yield f"s3://{BUCKET}"
        proxy.close()


def test_messages(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no archive to verify; name archives"):
        run(VerifyJob(tmp_path / "r.jsonl", below=(str(tmp_path),)))
    with pytest.raises(InputError, match="no archive stands here"):
        run(VerifyJob(tmp_path / "r.jsonl", archives=(str(tmp_path),)))
