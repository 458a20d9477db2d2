"""The benchmark is fair to its peers, counts what breaks, and measures nothing twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SHARED, beats, make_recording

from pipelines.benchmark import cases, own, plots, summary
from pipelines.benchmark.campaign import Options, measure
from pipelines.benchmark.codec import CannotHold, Lossless
from pipelines.benchmark.lossless import LOSSLESS
from pipelines.benchmark.lossy import LOSSY, Lossy
from pipelines.benchmark.peers import peer_row
from pipelines.benchmark.rows import Rows
from pipelines.benchmark.wavelet import forward, inverse, wave
from pipelines.benchmark.wavelet_coder import code_length

PRDN_9 = cases.Figure("PRDN 9 %", cases.PRDN, 9)
MAXIMUM_4 = cases.Figure("maximum error 4 adu", cases.MAX_ERROR, 4)


def row_or_skip(peer: Lossless | Lossy, figure: cases.Figure, samples: np.ndarray) -> dict[str, Any]:
    try:
        return peer_row(peer, make_recording(samples), figure)
    except ImportError as error:
        pytest.skip(f"a peer is not installed: {error}")


def test_the_wavelet_of_any_length_comes_back() -> None:
    for n in (2, 13, 1000, 4097):
        x = np.random.default_rng(n).normal(size=n)
        np.testing.assert_allclose(inverse(forward(x)), x, atol=1e-9)


def test_the_wavelet_lies_just_below_its_bound() -> None:
    x = beats(20000)[:, 0].astype(np.float64)
    waved = wave(x, 0.09 * float(x.std()))
    reached = 100 * float(np.sqrt(np.mean((waved.decoded - x) ** 2))) / float(x.std())
    assert 8.99 < reached <= 9.0
    assert waved.bits / len(x) < 0.6


def test_a_code_length_is_the_entropy_of_what_has_none_of_its_contexts() -> None:
    rng = np.random.default_rng(0)
    q = (rng.random(60000) < 0.1) * rng.choice([-1, 1], 60000)
    share = float(np.mean(q != 0))
    more_than_one = 0.02  # learning that no magnitude exceeds one
    entropy = -share * np.log2(share) - (1 - share) * np.log2(1 - share) + share
    length = code_length(q.astype(np.int64), np.array([60000])) / 60000
    assert entropy < length < entropy + more_than_one


@pytest.mark.parametrize("peer", LOSSLESS, ids=lambda p: p.name)
@pytest.mark.parametrize("scale", [1, 2**12])
def test_a_lossless_peer_gives_the_samples_back(peer: Lossless, scale: int) -> None:
    samples = beats(1500, 3) * scale
    try:
        packed, _ = peer.best(samples)
    except ImportError as error:
        pytest.skip(f"a peer is not installed: {error}")
    except CannotHold:
        assert peer.name.startswith("WFDB")
        assert scale > 1
        return
    assert 0 < packed.coded_bytes <= packed.stored_bytes
    assert np.array_equal(peer.decode(packed.payload), samples)


@pytest.mark.parametrize("peer", LOSSY, ids=lambda p: p.name)
def test_a_lossy_peer_stands_at_the_quality_asked(peer: Lossy) -> None:
    row = row_or_skip(peer, PRDN_9, beats(6000))
    assert 8.8 < row["prdn"] <= 9.0
    if peer.at_maximum is not None:
        assert row_or_skip(peer, MAXIMUM_4, beats(6000))["max_error"] in (3, 4)


def test_channels_that_may_lose_nothing_and_missing_samples_do_not_spoil_a_quality() -> None:
    samples = beats(4000, 3)
    samples[:, 2] = 7
    samples[100:300, 0] = -(2**15)
    recording = make_recording(samples)
    (segment,) = recording.streams[0].segments
    channels = (replace(segment.channels[0], missing=-(2**15)), *segment.channels[1:])
    stream = replace(recording.streams[0], segments=(replace(segment, channels=channels),))
    recording = replace(recording, streams=(stream,))
    asked = own.requests(recording, PRDN_9)
    assert asked[2] == "lead2=lossless"
    assert float(asked[0].removeprefix("lead0=rmse=").removesuffix("adu")) < 50, "not that of the missing code"
    (rounding,) = (p for p in LOSSY if p.name.startswith("rounding"))
    try:
        assert 8.8 < peer_row(rounding, recording, PRDN_9)["prdn"] <= 9.0
    except ImportError as error:
        pytest.skip(f"a peer is not installed: {error}")
    assert own.own_row(recording, PRDN_9, "fast", None)["broken"] == 0


def test_a_row_is_made_once_until_something_changes(tmp_path: Path) -> None:
    made: list[str] = []

    def make() -> dict[str, Any]:
        made.append("x")
        return {"n": len(made)}

    rows = Rows(tmp_path)
    assert [rows.get("a", ("1",), make), Rows(tmp_path).get("a", ("1",), make)] == [{"n": 1}, {"n": 1}]
    assert rows.get("a", ("2",), make) == {"n": 2}


def test_a_finished_record_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(tmp_path, tmp_path / "work", ("fast",), ("lossless",), most_s=3.0)
    first = measure(options, [(cases.SIMULATED, "ecg")])

    def forbidden(*_: object) -> None:
        raise ImportError("measured again")

    monkeypatch.setattr("pipelines.benchmark.campaign.own_row", forbidden)
    monkeypatch.setattr("pipelines.benchmark.campaign.peer_row", forbidden)
    again = measure(options, [(cases.SIMULATED, "ecg")])
    assert [r for r in again if "missing" not in r] == [r for r in first if "missing" not in r]
    assert {r["codec"] for r in first} >= {"sanstream", "FLAC -8", "delta + xz -9e"}


def test_a_broken_window_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = make_recording(beats(2500))
    exact = own.own_row(recording, cases.Figure("lossless", cases.LOSSLESS), "fast", None)
    assert (exact["broken"], exact["max_error"]) == (0, 0)
    assert exact["stored_bytes"] == exact["stored_signal"] + exact["stored_bank"] + exact["stored_metadata"]
    monkeypatch.setattr(own, "requests", lambda *_: ["max-error=8adu"])
    loose = own.own_row(recording, cases.Figure("PRDN 1 %", cases.PRDN, 1), "fast", None)
    assert loose["broken"] == 2, "both leads are further off than 1 %"


def line(codec: str, size: float | None, effort: str = "", **changes: Any) -> dict[str, Any]:
    row = {"database": "bonn", "record": "A", "figure": "PRDN 9 %", "codec": codec, "effort": effort, "n_samples": 800}
    sizes = {"coded_bytes": size, "stored_bytes": size, "prdn": 9.0, "max_error": 1.0, "broken": 0, "seconds": 1.0}
    return {**row, **sizes, **changes}


def test_the_table_names_the_smallest_peer() -> None:
    rows = [line("sanstream", 80, "thorough"), line("sanstream", 90, "default", broken=3)]
    rows += [line("SZ3", 200), line("ZFP", 100), line("FLAC -8", None), {**line("x", 1), "missing": "pip"}]
    (row,) = summary.table(summary.aggregate(rows))
    assert (row["which"], row["best peer"], row["ratio"]) == ("ZFP", 1.0, 0.8)
    assert (row["sanstream thorough"], row["sanstream default"], row["broken windows"]) == (0.8, 0.9, 3)


def test_what_was_measured_before_is_kept(tmp_path: Path) -> None:
    summary.record(summary.aggregate([line("sanstream", 80, "thorough"), line("SZ3", 200)]), tmp_path)
    summary.record(summary.aggregate([line("sanstream", 60, "thorough")]), tmp_path)
    (row,) = summary.read(tmp_path / summary.TABLE_FILE)
    assert (row["sanstream thorough"], row["best peer"]) == (0.6, 2.0)


def test_plots_are_drawn_from_the_lines_alone(tmp_path: Path) -> None:
    rows = [line("sanstream", 80, "thorough"), line("SZ3", 200), line("SZ3", 300, figure="PRDN 5 %")]
    rows += [line("FLAC -8", 400, figure="lossless"), line("sanstream", 350, "thorough", figure="lossless")]
    summary.record(summary.aggregate(rows), tmp_path)
    speeds = [
        {"signals": "x", "quality": "lossless", "codec": name, "bit/sample": 4.0, "decode M/s": speed}
        for name, speed in (("FLAC -8", 90.0), ("sanstream fast", 30.0))
    ]
    summary.write(tmp_path / "speed.jsonl", speeds)
    plots.draw(tmp_path)
    for name in (plots.SIZE_PLOT, plots.SPEED_PLOT):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
def test_what_a_bank_has_seen_is_left_out() -> None:
    case = cases.load("eegmmidb", "S001R03.edf", SHARED)
    assert case.recording.streams[0].n_samples == 15000
    folds = [cases.load("mitdb", r, SHARED, most_s=1).fold for r in cases.records("mitdb", SHARED)[:4]]
    assert folds == [0, 1, 2, 0]
    assert len(cases.records("bonn", SHARED)) == 100
    assert cases.records("bonn", SHARED) == cases.records("bonn", SHARED)
