"""Clause 6.3: priors are kept as finely as a rounding says, and no finer."""

from __future__ import annotations

import numpy as np
import pytest

from sanstream._loops_coder import STRETCH
from sanstream._loops_models import N_SLOTS, N_WEIGHTS, blank_models
from sanstream.bank_priors import Models, Rounding, pack_models, unpack_models


def trained(seed: int = 1) -> Models:
    rng = np.random.default_rng(seed)
    prob, count, weight = blank_models()
    used = rng.random(N_SLOTS) < 0.3
    prob[used] = rng.integers(48, 65489, int(used.sum()))
    count[used] = rng.integers(1, 61, int(used.sum()))
    return prob, count, weight + rng.integers(-9000, 9000, N_WEIGHTS).astype(np.int32)


@pytest.mark.parametrize(
    "rounding",
    [Rounding(), Rounding(1, (1,), 0), Rounding(44, (4, 8, 14, 22, 30), 7), Rounding(264, (6, 30), 9)],
    ids=str,
)
def test_each_number_is_off_by_half_a_step_at_most(rounding: Rounding) -> None:
    prob, count, weight = trained()
    new_prob, new_count, new_weight = unpack_models(pack_models((prob, count, weight), rounding), rounding)
    kept = count >= rounding.counts[0]
    odds, new_odds = STRETCH[prob >> 4].astype(int), STRETCH[new_prob >> 4].astype(int)
    within = np.abs(odds) < min(2700, 127 * rounding.step)
    assert np.abs(odds - new_odds)[kept & within].max() <= rounding.step / 2 + 32  # STRETCH itself is a table
    assert (new_prob[~kept] == 32768).all()
    assert (new_count[~kept] == 0).all()
    below = np.array([max(c for c in rounding.counts if c <= n) for n in count[kept]])
    assert (new_count[kept] == below).all()
    assert np.abs(weight - new_weight).max() <= 1 << rounding.weight_shift >> 1


def test_what_is_kept_is_kept_again() -> None:
    rounding = Rounding(132, (6, 30), 9)
    once = pack_models(trained(), rounding)
    assert pack_models(unpack_models(once, rounding), rounding) == once


@pytest.mark.parametrize(
    "values",
    [(0, (4,), 0), (2816, (4,), 0), (44, (), 0), (44, (8, 4), 0), (44, (0,), 0), (44, (61,), 0), (44, (4,), 17)],
)
def test_a_rounding_outside_its_limits_is_refused(values: tuple[int, tuple[int, ...], int]) -> None:
    with pytest.raises(ValueError, match="rounded"):
        Rounding(*values)
