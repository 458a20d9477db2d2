"""Training a bank: kernels and priors that archives can start from."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Run, beats, make_recording

from sanstream import formats
from sanstream._loops_models import blank_models
from sanstream.bank import blank_bank, read_bank
from sanstream.errors import InputError
from sanstream.train import examples_of, learned, train_on
from sanstream.train_priors import cost, keep


def test_a_trained_bank_serves_an_archive(run: Run, tmp_path: Path) -> None:
    source = formats.write(make_recording(beats(5000), source_format="wfdb"), tmp_path / "s", format="wfdb")[0]
    bank = tmp_path / "own.sanbank"
    ended = run("train", source, "--to", bank, "--kernels", "2")
    assert ended.code == 0, ended.err
    trained = read_bank(bank.read_bytes())
    assert (trained.name, trained.rate_hz) == ("own", 250.0)
    assert 1 <= len(trained.kernels) <= 2
    ended = run("archive", source, "--to", tmp_path / "b.san", "--bank", bank, "--quality", "prdn=9")
    assert ended.code == 0, ended.err
    assert run("evaluate", source, tmp_path / "b.san").code == 0
    assert run("train", source, "--to", bank).code == 2, "a bank that is there is not overwritten"
    assert run("train", source, "--to", tmp_path / "own.bin").code == 2


def test_too_little_to_learn_from_is_refused() -> None:
    short = make_recording(beats(500))
    assert examples_of(short) == []
    with pytest.raises(InputError, match="no recording of beats has ten seconds of signal; give longer recordings"):
        train_on("x", [short])


def test_priors_are_kept_as_finely_as_they_repay() -> None:
    examples = examples_of(make_recording(beats(40_000)))
    found = learned(examples, blank_bank(), qualities=("lossless", "prdn=9"), n_blocks=3)
    aside = found.aside
    assert len(aside) == 4
    assert not {id(a.block) for a in aside} & {id(block) for block in found.taught}
    assert [a.seconds for a in aside[::2]] == [a.seconds for a in aside[1::2]], "strips stand for as much signal"
    assert {a.block.n for a in aside[1::2]} == {2500}
    dear, cheap = (keep(found.models, aside, found.taught, archive_s=s) for s in (1e9, 1e-3))
    assert cheap.n_bytes < dear.n_bytes
    assert dear.bits < cheap.bits
    assert dear.bits < cost(aside, blank_models())
