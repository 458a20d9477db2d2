"""Priors that repay their bytes: pruned and rounded by what blocks aside then cost, and learned again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sanstream.bank import read_bank, write_bank
from sanstream.bank_priors import Models, Rounding
from sanstream.encode_run import GroupCoder
from sanstream.group_state import fresh_models

STEPS = (132, 200, 264, 330)
LEASTS = (12, 30, 60, 120)
COUNTS = (6, 10, 16)
N_RETRAININGS = 3


@dataclass(frozen=True)
class Kept:
    """What is kept of trained models.

    Parameters
    ----------
    models : Models
        As a decoder will read them.
    rounding : Rounding
    n_bytes : int
        A bank's, with these and no kernels.
    bits : float
        What the blocks aside cost with them.
    """

    models: Models
    rounding: Rounding
    n_bytes: int
    bits: float


@dataclass(frozen=True)
class Aside:
    """A decided block that training did not see.

    Parameters
    ----------
    block : GroupCoder
    weight : float
        How often it counts: short blocks stand for as much signal as long ones.
    """

    block: GroupCoder
    weight: float = 1.0

    @property
    def seconds(self) -> float:
        """Signal that it stands for; 0 for groups after the first, which share their block's time."""
        return self.weight * self.block.n / float(self.block.coding.rate) if self.block.number == 0 else 0.0


def cost(blocks: Sequence[Aside], models: Models) -> float:
    """Bits of decided blocks that each start from ``models``, times their weights."""
    return sum(aside.weight * aside.block.train(fresh_models(models)) for aside in blocks)


def keep(models: Models, blocks: Sequence[Aside], taught: Sequence[GroupCoder], *, archive_s: float) -> Kept:
    """Prune and round trained models so that bank and archive together are smallest, then retrain what is left.

    The granularity of log-odds, the count that slots start with and how often a slot must have been seen are chosen
    one after the other (the published pruning recipe: prune, then retrain what is left, with the rounding in place).

    Parameters
    ----------
    models : Models
        Trained.
    blocks : sequence of Aside
    taught : sequence of GroupCoder
        Decided blocks that the models have seen: what is left is retrained on them, as long as the blocks aside gain.
    archive_s : float
        Seconds of the archive that pays for the bank.

    Returns
    -------
    Kept
    """
    tried: dict[tuple[int, int, int], Kept] = {}
    share = archive_s / max(1.0, sum(aside.seconds for aside in blocks))

    def at(step: int, count: int, least: int) -> float:
        key = step, count, least
        if key not in tried:
            tried[key] = _kept(_pruned(models, least), Rounding(step, (count,), 9), blocks)
        return tried[key].n_bytes * 8 + tried[key].bits * share

    step, count, least = STEPS[0], COUNTS[1], LEASTS[1]
    step = min(STEPS, key=lambda s: at(s, count, least))
    least = min(LEASTS, key=lambda n: at(step, count, n))
    count = min(COUNTS, key=lambda c: at(step, c, least))
    best = tried[step, count, least]
    for _ in range(N_RETRAININGS):
        again = _kept(_with_moved_weights(best.models, taught), best.rounding, blocks)
        if again.bits * share + again.n_bytes * 8 >= best.bits * share + best.n_bytes * 8:
            break
        best = again
    return best


def _pruned(models: Models, least: int) -> Models:
    """Forget what slots seen fewer than ``least`` times learned."""
    prob, count, weight = models
    return prob, np.where(count >= least, count, 0).astype(np.uint8), weight


def _kept(models: Models, rounding: Rounding, blocks: Sequence[Aside]) -> Kept:
    bank = read_bank(write_bank("", (), 0.0, models, rounding=rounding))
    return Kept(bank.models, rounding, len(bank.data), cost(blocks, bank.models))


def _with_moved_weights(models: Models, taught: Sequence[GroupCoder]) -> Models:
    """Move the mixing weights to where blocks that start from these very priors take them, on average."""
    prob, count, weight = models
    moved = np.zeros(len(weight))
    for block in taught:
        adapting = fresh_models(models)
        block.train(adapting)
        moved += adapting[1].astype(np.int64) - weight
    return prob, count, (weight + np.round(moved / max(1, len(taught)))).astype(np.int32)
