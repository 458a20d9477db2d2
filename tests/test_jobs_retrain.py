"""A bank trained on an archive is kept where it makes recordings smaller that it has not seen, and only there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import sanstream
from pipelines.jobs import retrain as retrain_job
from pipelines.jobs.retrain import RetrainJob, retrain, run
from pipelines.jobs.samples import draw, is_held_out
from sanstream.archive import ArchiveWriter
from sanstream.bank import Bank, named_banks, read_bank, write_bank
from sanstream.cli.exits import run as run_command
from sanstream.errors import InputError
from sanstream.simulate import simulate_ecg
from sanstream.train import Example

SEED = 1


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recordings of a minute, of which at least two are held out."""
    path = tmp_path_factory.mktemp("ward") / "a.san"
    taught = [n for n in map("bed{}".format, range(40)) if not is_held_out(n, SEED)][:4]
    held = [n for n in map("bed{}".format, range(40)) if is_held_out(n, SEED)][:2]
    with ArchiveWriter(path) as writer:
        for number, name in enumerate([*taught, *held]):
            made = simulate_ecg(60, rate_hz=125, n_leads=1, seed=number, heart_rate_bpm=60 + 5 * number)
            writer.add(replace(made, name=name, annotations=()), effort="fast")
        writer.commit()
    return path


def job(ward: Path, to: Path, **options: object) -> RetrainJob:
    blank = ward.parent / "blank.sanbank"
    blank.write_bytes(write_bank("blank", [], 0.0, None))
    known = {
        "stretch": 30.0,
        "learn": 3,
        "compare": 2,
        "seed": SEED,
        "effort": "thorough",
        "present": {"ecg": str(blank)},
        **options,
    }
    return RetrainJob((str(ward),), to, **known)  # type: ignore[arg-type]


def test_a_bank_that_wins_is_written_and_serves_the_archive(
    ward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # training priors is tests/test_train.py's matter, and takes half a minute; what it gives is weighed by real bytes
    taught: list[int] = []

    def shipped(name: str, examples: Sequence[Example], **_: object) -> Bank:
        taught.append(len(examples))
        return named_banks()[name]

    monkeypatch.setattr(retrain_job, "train_bank", shipped)
    (row,) = run(job(ward, tmp_path / "banks"))
    assert row["decision"] == "wins", row
    assert row["saved_share"] >= 0.02
    assert (row["learned_from"], row["compared_on"]) == (3, 2)
    bank = read_bank(Path(row["file"]).read_bytes())
    assert Path(row["file"]).name == f"ecg-{bank.id[:12]}.sanbank"
    assert bank.kernels
    before = Path(row["file"]).stat().st_mtime_ns
    assert taught == [3]
    assert run(job(ward, tmp_path / "banks")) == [row], "the same question has the same answer"
    assert Path(row["file"]).stat().st_mtime_ns == before
    assert taught == [3]
    (again,) = run(job(ward, tmp_path / "banks", present={"ecg": row["file"]}))
    assert again["decision"] == "saves too little", "against itself it saves nothing"
    assert abs(again["saved_share"]) < 0.01
    assert again["file"] == ""


def test_what_is_compared_on_was_not_learned_from(ward: Path) -> None:
    opened = sanstream.open(ward)
    names = list(opened.recordings)
    found = draw([("a", opened)], n_taught=100, n_held=100, seconds=30.0, n_recordings=99, seed=SEED)
    assert list(found) == ["ecg"]
    assert {s.recording for s in found["ecg"].taught} == {n for n in names if not is_held_out(n, SEED)}
    assert {s.recording for s in found["ecg"].held} == {n for n in names if is_held_out(n, SEED)}
    assert all(s.stop - s.first == 30 * 125 for s in found["ecg"].taught)
    few = draw([("a", opened)], n_taught=2, n_held=1, seconds=30.0, n_recordings=99, seed=SEED)["ecg"]
    assert (len(few.taught), len(few.held)) == (2, 1)
    assert few.digest != found["ecg"].digest


def test_too_little_signal_is_said(ward: Path, tmp_path: Path) -> None:
    rows = run(job(ward, tmp_path / "banks", modalities=("eeg",)))
    assert rows[0]["decision"].startswith("too little signal")
    assert not list((tmp_path / "banks").glob("*.sanbank"))


def test_messages(ward: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="modality 'ekg' is unknown; use ecg, eeg"):
        run(job(ward, tmp_path, modalities=("ekg",)))
    config = tmp_path / "retrain.toml"
    config.write_text(f'archives = ["{ward}"]\nto = "{tmp_path}/b"\nmodalities = ["eeg"]\n')
    assert run_command(["--config", str(config), "--json"], command=retrain) == 0
    assert json.loads(capsys.readouterr().out)[0]["modality"] == "eeg"
    config.write_text(f'archives = ["{ward}"]\nto = "{tmp_path}/b"\nefort = "fast"\n')
    assert run_command(["--config", str(config)], command=retrain) == 2
    assert "retrain.toml: unknown key 'efort'; did you mean 'effort'?" in capsys.readouterr().err
