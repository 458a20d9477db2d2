"""The demo: needs nothing, checks everything, replaces only itself."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, beats

from sanstream.demo import PICTURE, QUALITIES, run_demo
from sanstream.demo_peers import measure_peers
from sanstream.errors import InputError


def test_the_demo_prints_its_table_and_draws_its_picture(tmp_path: Path) -> None:
    said: list[str] = []
    report = run_demo(tmp_path / "demo", ecg_s=20, eeg_s=12, say=said.append)
    assert (tmp_path / "demo" / PICTURE).read_bytes()[:4] == b"\x89PNG"
    for signal in ("ecg", "eeg"):
        own = {r.quality: r for r in report.rows if r.signal == signal and r.codec == "sanstream"}
        assert tuple(own) == QUALITIES
        assert own["lossless"].prdn_max == 0
        assert 0 < own["prdn=5"].prdn_max <= 5
        assert 0 < own["prdn=9"].prdn_max <= 9
        assert own["lossless"].bits_per_sample > own["prdn=5"].bits_per_sample >= own["prdn=9"].bits_per_sample > 0
        others = {r.codec.split()[0] for r in report.rows if r.signal == signal} - {"sanstream"}
        assert {"FLAC", "delta", "zstd"} <= others
    assert json.loads(json.dumps(report.to_dict()))["rows"]
    assert any("prdn=9" in line for line in said)
    again = run_demo(tmp_path / "demo", ecg_s=20, eeg_s=12)
    assert again.rows == report.rows, "the same seed gives the same figures"


def test_the_demo_replaces_only_a_demo(tmp_path: Path, run: Run) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"holds thesis.tex; name another folder with --to"):
        run_demo(tmp_path)
    assert run("demo", "--to", tmp_path).code == 2
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_peers_are_measured_on_what_they_can_hold() -> None:
    found = measure_peers(beats(4000, 3))
    assert {"FLAC -8", "delta + xz -9", "zstd -19"} <= set(found)
    assert ("pcodec 12" in found) == (importlib.util.find_spec("pcodec") is not None)
    assert all(1 < bits < 16 for bits in found.values())
    wide = measure_peers(beats(4000, 1) * 2**14)
    assert "FLAC -8" not in measure_peers(np.array([[2**30], [-(2**30)]] * 500, dtype=np.int32))
    assert wide["FLAC -8"] > 0
