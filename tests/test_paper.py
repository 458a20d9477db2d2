"""The tables of the paper again: what was printed, interrupted runs, and rows beside the printed ones."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.paper import signals, speed, sweep, table1, table3
from pipelines.paper.classifier import accuracies
from pipelines.paper.figures import draw_clouds, draw_images, draw_kernels, draw_signals
from pipelines.paper.images import load_images
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


def signal() -> signals.Signal:
    t = np.arange(12_000)
    noise = np.random.default_rng(0).standard_normal(12_000)
    return signals.Signal("mitdb", np.where(t % 97 < 9, 1.0, 0.0) + 0.05 * noise)


def test_table_one_chooses_on_validation_or_on_test_and_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "N_EPOCHS", 2)
    form = table1.Form(("paper", "adjoint"), (0, 1), (1, 5, 9))
    file = tmp_path / "runs.jsonl"
    sweeps = table1.run_sweeps(Runs(file), [signal()], form)
    assert len(file.read_text().splitlines()) == 2 * 5 * 2
    run = sweeps["mitdb", "extrema", "paper"][1]
    on_test, on_validation = sweep.chosen_on_test(run), sweep.chosen_on_validation(run)
    assert on_test["phi"] == min(run["last"]["phi"])
    place = run["m"].index(on_validation["m"])
    assert run["validation"][place] == min(run["validation"])
    assert on_validation["phi"] == run["best"]["phi"][place]
    assert len(run["kernel"]) == on_validation["m"]
    rows = table1.rows_of(sweeps, "paper")
    assert [r["m selected on"] for r in rows] == ["test", "validation"] * 5
    assert rows[-1]["φ published"] == 0.45
    assert rows[-1]["seeds"] == 2
    again = table1.run_sweeps(Runs(file), [signal()], form)
    assert again == sweeps
    table1.write_published(sweeps, tmp_path)
    assert len((tmp_path / "table1-adjoint-validation-selected.csv").read_text().splitlines()) == 6
    table1.draw(sweeps, [signal()], tmp_path)
    assert (tmp_path / "table1-signals.png").is_file()


def test_a_signal_that_is_not_to_be_had_is_left_out_and_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert signals.load_signal("wrist", tmp_path, tmp_path) is None
    assert "wrist: not in" in capsys.readouterr().err

    def unreachable(dataset: str) -> None:
        raise OSError("no network")

    monkeypatch.setattr(signals, "_fetch", unreachable)
    assert signals.load_signal("wrist", tmp_path, tmp_path, fetch=True) is None
    assert "wrist: left out, OSError: no network" in capsys.readouterr().err
    (tmp_path / "paper").mkdir()
    values = [*(str(v) for v in range(11_999)), "nan"]
    (tmp_path / "paper" / "bidmc01_RESP.csv").write_text("RESP\n" + "\n".join(values) + "\n")
    found = signals.load_signal("bidmc", tmp_path, tmp_path)
    assert found is not None
    assert found.windows.shape == (12, 1000)
    assert found.samples[-1] == 11_998  # what is missing is interpolated


def write_idx(file: Path, values: np.ndarray) -> None:
    head = struct.pack(f">BBBB{values.ndim}i", 0, 0, 8, values.ndim, *values.shape)
    file.write_bytes(gzip.compress(head + values.astype(np.uint8).tobytes()))


def images_in(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 10_150), ("t10k", 40)):
        y = np.arange(count) % 10
        x = np.zeros((count, 28, 28))
        for i, digit in enumerate(y):
            x[i, 4:20, 2 * digit + 3 : 2 * digit + 5] = 150 + rng.integers(100)
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", x)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", y)
    return folder


def test_table_three_trains_kernels_then_classifiers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_images(images_in(tmp_path))
    assert (len(whole.learn.x), len(whole.check.x), len(whole.test.x)) == (150, 10_000, 40)
    assert float(whole.learn.x.max()) <= 1
    images = load_images(tmp_path, most=100)
    assert (len(images.learn.x), len(images.check.x), len(images.test.x)) == (100, 20, 20)
    monkeypatch.setattr(table3, "ACTIVATIONS", ("topk_absolutes", "extrema"))
    monkeypatch.setattr(table3, "N_EPOCHS", 2)
    form = table3.Form("mnist", (0, 1))
    found, raw = table3.run_all(Runs(tmp_path / "runs.jsonl"), images, form)
    rows = table3.rows_of(found, raw, "mnist")
    assert len(rows) == 6 * 2
    for row in rows:
        assert row["φ with q·m²"] >= row["φ"]
        assert row["φ published"] is not None
    run = found["extrema"][0]
    assert run["best"]["cr_inverse"][5] - run["best"]["cr_inverse_printed"][5] == pytest.approx(60 / 784, abs=2e-5)
    table3.draw(found, images, form, tmp_path)
    assert (tmp_path / "table3-mnist-images.png").is_file()


def test_classifiers_of_several_models_learn_as_if_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 10, (600,), generator=generator)
    good = torch.nn.functional.one_hot(y, 30).float()
    both = torch.stack([good, torch.zeros_like(good)], dim=1)
    parts = [(both[i : i + 200], y[i : i + 200]) for i in (0, 200, 400)]
    best, last = accuracies(*parts, seed=1)
    assert best[0] > 70
    assert best[1] < 25
    alone = accuracies(*[(x[:, :1], c) for x, c in parts], seed=1)
    assert alone == (best[:1], last[:1])


def test_all_forms_of_extrema_that_are_timed_agree() -> None:
    row = speed.measure(4, 200, 9, 1)
    assert row["distance"] == 6
    s = speed.similarities(1, 200, 9)[0, 0].numpy()
    np.testing.assert_array_equal(speed.published_form(s, 6), speed.tight_form(s, 6))
