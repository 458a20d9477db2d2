"""The tables of the paper again: what was printed, interrupted runs, and rows beside the printed ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.paper.figures import draw_clouds, draw_images, draw_kernels, draw_signals
from pipelines.paper.published import ACTIVATIONS, FMNIST, MNIST, PHYSIONET, UCI, read_published
from pipelines.paper.report import beside, mean_sd, published_columns, write_csv
from pipelines.paper.runs import Runs


def test_the_published_tables_are_whole() -> None:
    assert [len(read_published(name)) for name in (PHYSIONET, UCI, MNIST, FMNIST)] == [75, 40, 30, 30]
    for name in (PHYSIONET, UCI, MNIST, FMNIST):
        rows = read_published(name)
        assert {r.activation for r in rows} == set(ACTIVATIONS)
        assert {r.acc_delta is None for r in rows} == {name == PHYSIONET}
        for r in rows:  # phi is averaged example by example, so at least the hypotenuse of the means
            assert r.phi > np.hypot(r.cr_inverse, r.rl) - 0.016


def test_a_finished_run_is_not_run_again_and_a_torn_line_is(tmp_path: Path) -> None:
    file = tmp_path / "work" / "runs.jsonl"
    made: list[int] = []

    def make(value: int) -> dict[str, float]:
        made.append(value)
        return {"value": value}

    runs = Runs(file)
    for seed in (0, 1, 0):
        assert runs.get({"seed": seed}, lambda seed=seed: make(seed)) == {"value": seed}
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    again = Runs(file)
    for seed in (0, 1):
        again.get({"seed": seed}, lambda seed=seed: make(seed))
    assert made == [0, 1, 1]
    third = Runs(file)
    assert third.get({"seed": 1}, lambda: make(9)) == {"value": 1}


def test_rows_stand_beside_the_published_ones(tmp_path: Path) -> None:
    printed = next(r for r in read_published(UCI) if r.m == 9 and r.activation == "relu")
    seeds = [{"m": 9, "cr_inverse": 2.0, "rl": 0.1, "phi": p, "acc_delta": 1.0} for p in (2.0, 2.2)]
    row = beside(printed, seeds, dataset="uci", activation="relu")
    assert row["φ"] == pytest.approx(2.1)
    assert row["φ ± sd"] == pytest.approx(np.std([2.0, 2.2], ddof=1))
    assert row["φ difference"] == pytest.approx(2.1 - 2.10)
    assert row["accuracy Δ % difference"] == pytest.approx(1 + 44.3)
    assert mean_sd([3.0]) == (3.0, None)
    write_csv(tmp_path / "out.csv", [published_columns(seeds, dataset="uci", activation="relu")])
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "dataset,activation,m,CR_inverse,RL,phi,acc_delta",
        "uci,relu,9,2.0,0.1,2.1,1.0",
    ]


def test_the_figures_are_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    draw_kernels({"a": {n: rng.standard_normal(9) for n in ACTIVATIONS}}, tmp_path / "k.png")
    draw_kernels({"a": {"relu": rng.standard_normal((2, 3, 3))}}, tmp_path / "k2.png")
    one = (rng.standard_normal(50), rng.standard_normal(50), rng.standard_normal((2, 50)))
    draw_signals({"a": dict.fromkeys(ACTIVATIONS, one)}, tmp_path / "s.png")
    images = (rng.random((2, 8, 8)), rng.random((2, 8, 8)), rng.standard_normal((2, 2, 8, 8)))
    draw_images({"relu": images, "extrema": images}, tmp_path / "i.png")
    points = [{"activation": n, "m": m, "cr_inverse": 0.1 * m, "rl": 0.4} for n in ACTIVATIONS for m in (1, 5)]
    draw_clouds({"a": points, "b": points, "c": points}, tmp_path / "c.png")
    assert all((tmp_path / f"{n}.png").stat().st_size > 1000 for n in ("k", "k2", "s", "i", "c"))
