"""Random lives of an engine: whatever comes and breaks, what was acknowledged is there once, equal, in its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.faults.devices import SESSION, STEP, identity_of, values_of
from pipelines.faults.lives import live
from pipelines.faults.witness import Broken, Witness, identities


@pytest.mark.parametrize("seed", [3, 8, 9, 22])
def test_a_random_life_keeps_what_it_acknowledged(tmp_path: Path, seed: int) -> None:
    """Also: nothing deleted comes back, the overlay shows what the archive will hold, and no state is left over."""
    life = live(seed, tmp_path, turns=25)
    assert life.witness.n_acknowledged > 0


def test_every_sample_says_who_it_is_within_the_bound() -> None:
    who = np.array([identity_of(s, n) for s in (0, 1, 7) for n in (0, 1, SESSION - 2)])
    values = values_of(who, 2).astype(np.int64)
    for error in (-4, 0, 4):
        assert np.array_equal(identities(values[:, 0] + error), who)
        assert np.array_equal(identities(values[:, 1] + error), who)
    assert STEP > 4 + 4 + 3


def test_the_witness_sees_what_is_lost_doubled_changed_or_back(tmp_path: Path) -> None:
    """What looks for broken promises finds each kind."""
    from live_cases import chunk

    witness = Witness(tmp_path / "none", lossy=False, keep_s=None)
    x = values_of(identity_of(1, 0) + np.arange(10), 2)
    given = chunk(x)
    witness.gave(given)
    witness.acknowledged(given, 0)

    def check(*columns: np.ndarray) -> None:
        pieces = [
            ("250hz", given.rate, label, np.asarray(c, np.int64))
            for label, c in zip(("lead0", "lead1"), columns, strict=True)
        ]
        witness._check("bed1", [("here", pieces)], 0)

    check(x[:, 0], x[:, 1])
    changed = x[:, 0].copy()
    changed[3] += 1
    for columns, said in [
        ((x[:9, 0], x[:, 1]), "1 samples are lost"),
        ((np.append(x[:, 0], x[0, 0]), x[:, 1]), "there twice"),
        ((changed, x[:, 1]), "stands in here"),
    ]:
        with pytest.raises(Broken, match=said):
            check(*columns)
    witness.deleted("bed1")
    with pytest.raises(Broken, match="deleted"):
        check(x[:, 0], x[:, 1])
