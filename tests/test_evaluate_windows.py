"""Figures of windows agree with their plain definitions, and a broken promise is found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanstream import quality as q
from sanstream.evaluate_windows import WindowFigures, find_broken, measure_windows
from sanstream.quality import Quality
from sanstream.signal import Channel

CHANNEL = Channel("II", unit="mV", gain=200.0, missing=-32768)


def measure(x: np.ndarray, y: np.ndarray, window: int = 100, n_activations: int = 3) -> WindowFigures:
    n = -(-len(x) // window)
    return measure_windows(
        x.astype(np.int32),
        y.astype(np.int32),
        CHANNEL,
        window_samples=window,
        n_activations=np.full(n, n_activations),
        bits=np.full(n, 64.0),
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 450), st.integers(1, 120))
def test_figures_follow_their_definitions(seed: int, n: int, window: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-2000, 2000, n)
    y = x + rng.integers(-3, 4, n)
    gaps = rng.random(n) < 0.1
    x[gaps] = y[gaps] = -32768
    found = measure(x, y, window)
    for i, start in enumerate(range(0, n, window)):
        keep = ~gaps[start : start + window]
        a, b = x[start : start + window][keep], y[start : start + window][keep]
        assert found.n_missing[i] == (~keep).sum()
        assert found.prdn[i] == pytest.approx(q.prdn(a, b), rel=1e-9)
        assert found.prd[i] == pytest.approx(q.prd(a, b), rel=1e-9)
        assert found.prd_1024[i] == pytest.approx(q.prd(a, b, offset=1024), rel=1e-9)
        assert found.rmse_adu[i] == pytest.approx(q.rmse(a, b), rel=1e-9)
        assert found.max_error_adu[i] == (np.abs(a - b).max() if len(a) else 0)
        assert found.snr_db[i] == pytest.approx(q.snr_db(a, b))
        assert found.phi[i] == pytest.approx(q.phi(0, 3, max(1, len(a)), q.relative_loss(a, b)))
        assert found.exact[i] == np.array_equal(a, b)
        assert found.gaps_kept[i]


@pytest.mark.parametrize(
    ("kind", "value", "broken"),
    [
        (q.LOSSLESS, 0, True),
        (q.RMSE, 1.0, False),
        (q.RMSE, 0.999999, True),
        (q.MAX_ERROR, 1, False),
        (q.PRDN, 1.73, True),
        (q.SPARSE, 0, False),
    ],
)
def test_a_bound_is_checked_without_tolerance_beyond_rounding(kind: str, value: float, broken: bool) -> None:
    x = np.arange(100) * 2
    assert find_broken(measure(x, x + 1), Quality(kind, value)).tolist() == [broken]


def test_prdn_at_its_bound_is_kept() -> None:
    x = np.arange(100)
    figures = measure(x, x + 1)
    exactly = 100 * np.sqrt(100) / np.sqrt(((x - x.mean()) ** 2).sum())
    assert not find_broken(figures, Quality(q.PRDN, exactly)).any()
    assert find_broken(figures, Quality(q.PRDN, exactly * (1 - 1e-6))).all()


@pytest.mark.parametrize("kind", [q.PRDN, q.RMSE, q.MAX_ERROR])
def test_a_constant_window_must_be_exact(kind: str) -> None:
    x = np.full(200, 7)
    y = x.copy()
    y[150] += 1
    assert find_broken(measure(x, y), Quality(kind, 1000.0)).tolist() == [False, True]


@pytest.mark.parametrize("kind", [q.LOSSLESS, q.PRDN, q.SPARSE])
def test_an_invented_or_lost_gap_breaks_every_promise(kind: str) -> None:
    x = np.arange(300)
    y = x.copy()
    y[50] = -32768
    x[150] = -32768
    assert find_broken(measure(x, y), Quality(kind, 1000.0)).tolist() == [True, True, False]


def test_full_range_samples_do_not_overflow() -> None:
    x = np.array([2**31 - 1, -(2**31)] * 50)
    found = measure(x, x[::-1])
    assert found.max_error_adu[0] == 2**32 - 1
    assert found.rmse_adu[0] == pytest.approx(2**32 - 1)


def test_a_window_of_nothing_but_gaps_keeps_every_promise() -> None:
    x = np.full(100, -32768)
    figures = measure(x, x, n_activations=0)
    assert not find_broken(figures, Quality(q.PRDN, 5)).any()
    assert (figures.prdn[0], figures.phi[0]) == (0, 0)
