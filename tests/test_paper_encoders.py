"""The encoders' pipeline: transforms that pay for no kernels, what is counted, and who chooses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.paper import encoder_data, encoders
from pipelines.paper.encoder_fixed import _transform, by_coefficients
from pipelines.paper.encoder_kernels import SIGNALS, geometric
from pipelines.paper.encoder_runs import ENCODERS

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.mark.parametrize("name", ["bior4.4", "db4", "DCT"])
def test_all_coefficients_together_are_the_window(name: str) -> None:
    x = np.random.default_rng(0).normal(size=178)
    coefficients, basis = _transform(x, name)
    np.testing.assert_allclose(coefficients @ basis, x, atol=1e-9)


def test_as_many_coefficients_are_kept_as_make_phi_least() -> None:
    x = np.random.default_rng(0).normal(size=(2, 6, 7))
    counts, rl = by_coefficients(x, "DCT")
    for b in range(2):
        coefficients, basis = _transform(x[b], "DCT")
        order = np.argsort(-np.abs(coefficients))
        phi = []
        for k in range(15):
            drawn = coefficients[order[:k]] @ basis[order[:k]]
            phi.append(np.hypot(3 * k / 42, np.abs(x[b].ravel() - drawn).sum() / np.abs(x[b]).sum()))
        assert int(counts[b]) == int(np.argmin(phi))
        assert np.hypot(3 * counts[b] / 42, rl[b]) == pytest.approx(min(phi))


def test_scales_are_geometric_and_kernels_start_as_they_are_named() -> None:
    assert geometric(5, 40, 2) == (5, 10, 20, 40)
    for kernels in SIGNALS:
        start = kernels.start(1, seed=0)
        assert len(start.members) == len(kernels.free) + len(kernels.numbers) * len(kernels.scales)
        same, other = kernels.start(1, seed=0), kernels.start(1, seed=1)
        assert bool((same.prototypes[0] == start.prototypes[0]).all())
        assert bool((other.prototypes[0] == start.prototypes[0]).all()) != kernels.learned


def run(name: str, seed: int, validation: float, phi: float) -> encoders.Row:
    figures = {"phi": phi, "A": 10.0, "cost": 0.1, "rl": 0.2}
    row = {"database": "mitdb", "table": "learned", "name": name, "seed": seed, "W": 20, "T": 1}
    return row | {"validation": validation, "encoders": dict.fromkeys(ENCODERS, figures)}


def test_validation_chooses_and_seeds_are_averaged() -> None:
    runs = [run("a", 0, 0.3, 0.1), run("a", 1, 0.3, 0.3), run("b", 0, 0.2, 0.5), run("b", 1, 0.2, 0.5)]
    first, second = encoders.summary(runs)
    assert (first["φ"], first["sd"]) == (pytest.approx(0.2), pytest.approx(0.02**0.5))
    assert "chosen" not in first
    assert second["chosen"] == "by validation"


@pytest.mark.shared
@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data")
def test_windows_are_those_of_the_paper() -> None:
    record = encoder_data.load("mitdb", DATA)
    assert [len(x) for x in (record.training, record.validation, record.test)] == [6, 2, 4]
    assert float(record.test.std(dim=1).max()) == pytest.approx(1)
    segments = encoder_data.load("bonn", DATA)
    assert [len(x) for x in (segments.training, segments.validation, segments.test)] == [8740, 1380, 1380]
    assert (float(segments.training.min()), segments.share) == (-1.0, 1380)
