"""How much a channel takes from the channels before it: what saves bits, not what saves energy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from sanstream._loops_cross import weigh
from sanstream.encode import encode_blocks, plan_segment
from sanstream.encode_effort import TRAINING, Effort, effort_named
from sanstream.encode_run import leaning_room
from sanstream.quality import parse_quality
from sanstream.signal import Channel

N, STEP = 2500, 200.0
Floats = npt.NDArray[np.float64]


def weights_of(own: Floats, *refs: Floats, step: float = STEP) -> list[int]:
    """Weights (1/32) of references for a window's coefficients."""
    room = leaning_room(len(refs), len(own) + 2)
    room.own[: len(own)] = own
    for j, ref in enumerate(refs):
        room.refs[j, : len(own)] = ref
    weigh(room, len(refs), len(own), step)
    return [int(v) for v in room.weights[: len(refs)]]


def waves(seed: int, size: float, n: int = N) -> Floats:
    return np.asarray(size * np.random.default_rng(seed).standard_normal(n))


def test_a_lead_that_two_others_make_up_takes_both() -> None:
    one, two = waves(1, 3000), waves(2, 3000)
    assert weights_of(two - one + waves(3, 20), one, two) == [-32, 32]


def test_one_of_two_that_tell_the_same_is_enough() -> None:
    one = waves(1, 3000)
    found = weights_of(one + waves(2, 20), one, one + waves(3, 100))
    assert found == [32, 0]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_loud_wander_does_not_bring_a_neighbours_noise_in(count: int) -> None:
    """Wander fills a few coefficients, which cost little; least squares of energy would take half of the noise, too."""
    wander = np.zeros(N)
    wander[:12] = waves(1, 40_000, 12)
    own = wander + waves(2, 2 * STEP)
    refs = [-2 * wander + waves(3 + j, 6 * STEP) for j in range(count)]
    share = float(own @ refs[0] / (refs[0] @ refs[0]))
    assert abs(round(32 * share)) >= 4  # what least squares would take
    assert weights_of(own, *refs) == [0] * count


def test_common_noise_is_taken_under_loud_wander_of_ones_own() -> None:
    wander = np.zeros(N)
    wander[:12] = waves(1, 400_000, 12)
    common = waves(2, 4 * STEP)
    assert weights_of(common + wander, common)[0] in range(30, 35)


def test_what_stays_below_the_step_is_left_alone() -> None:
    ref = waves(1, 0.02 * STEP)
    assert weights_of(ref + waves(2, 0.004 * STEP), ref) == [0]
    ref = waves(1, 0.06 * STEP)  # saves some 40 bits
    assert weights_of(ref + waves(2, 0.004 * STEP), ref) == [32]


def test_what_is_gained_in_most_places_weighs_more_than_what_is_lost_in_others() -> None:
    """From no weight at all the places where the channel is quiet would never let the reference in."""
    ref, quiet = waves(1, 30 * STEP), np.random.default_rng(2).random(N) < 0.4
    assert weights_of(np.where(quiet, waves(3, 0.1 * STEP), ref), ref) == [32]


def test_weights_are_rounded_one_after_the_other() -> None:
    one = waves(1, 30 * STEP)
    two = one + waves(2, 0.5 * STEP)
    assert sum(weights_of(0.484 * (one + two), one, two)) == 31  # each alone would be 15


def bits(left: Floats) -> float:
    """What coefficients cost, about: the codec's own rule of thumb."""
    return float(0.72 * np.log1p((left / (0.4 * STEP)) ** 2).sum())


def best_weights(own: Floats, refs: Floats) -> Floats:
    """Reweighted least squares from several starts until nothing moves, one after the other rounded best."""
    found, least = np.zeros(len(refs)), bits(own)
    for start in (np.linalg.lstsq(refs.T, own, rcond=None)[0], np.zeros(len(refs))):
        share = start
        for _ in range(50):
            scale = 1 / ((0.4 * STEP) ** 2 + (own - share @ refs) ** 2)
            share = np.linalg.solve((refs * scale) @ refs.T, (refs * scale) @ own)
        if bits(own - share @ refs) < least:
            found, least = share, bits(own - share @ refs)
    return found


@pytest.mark.parametrize("seed", range(12))
def test_weights_come_near_the_best_that_can_be_found(seed: int) -> None:
    """Leads with shared sources of many sizes, events of their own, and wander that says another thing."""
    rng = np.random.default_rng(seed)
    sources = rng.laplace(size=(3, N)) * (rng.random((3, N)) < 0.3) * 60 * STEP
    refs = rng.uniform(-1, 1, (3, 3)) @ sources + rng.standard_normal((3, N)) * STEP
    own = rng.uniform(-1, 1, 3) @ refs + rng.laplace(size=N) * (rng.random(N) < 0.1) * 200 * STEP
    own += rng.standard_normal(N) * 0.2 * STEP
    wander = rng.standard_normal((2, 8)) * 4000 * STEP
    own[:8] += wander[0]
    refs[:, :8] += wander[1] - 0.5 * wander[0]
    found = bits(own - np.array(weights_of(own, *refs)) / 32 @ refs)
    best = best_weights(own, refs)
    coarse = min(bits(own - np.round(32 * best) / 32 @ refs), bits(own))
    assert found <= 1.01 * coarse


@pytest.mark.parametrize("size", [0.0, 1.0, 3e11])
@pytest.mark.parametrize("step", [0.0, 1e-30, STEP, 1e12])
def test_weights_of_anything_are_bounded(size: float, step: float) -> None:
    own, ref = waves(1, size), waves(2, size)
    for n in (1, 7, N):
        for refs in ([ref], [ref, ref], [np.zeros(N), own], [1e-9 * own, ref, own], [own] * 8):
            found = weights_of(own[:n], *(r[:n] for r in refs), step=step)
            assert all(-2048 <= v <= 2048 for v in found)


def limb_leads(n: int) -> npt.NDArray[np.int32]:
    """Three leads of which the third is the second less the first, under wander of their own."""
    rng = np.random.default_rng(4)
    noise = np.round(25 * rng.standard_normal((n, 2)))
    wander = np.cumsum(rng.standard_normal((n, 2)), axis=0)
    two = np.round(noise + wander - wander.mean(axis=0))
    return np.column_stack([two, two[:, 1] - two[:, 0]]).astype(np.int32)


@pytest.mark.parametrize("effort", [effort_named("fast"), TRAINING], ids=["tables", "mixing"])
@pytest.mark.parametrize("quality", ["prdn=5", "max-error=3adu"])
def test_a_third_limb_lead_costs_little(effort: Effort, quality: str) -> None:
    x = limb_leads(15_000)
    channels = tuple(Channel(k, "mV", 200.0, 0, -32768, 32767) for k in ("I", "II", "III"))

    def size(n: int) -> int:
        qualities = [parse_quality(quality, c) for c in channels[:n]]
        part = np.ascontiguousarray(x[:, :n])
        plan = plan_segment(part, channels[:n], qualities, Fraction(250), segment_id="0" * 16, effort=effort)
        return sum(len(b) for b in encode_blocks(part, plan))

    assert size(3) < 1.25 * size(2)


@pytest.mark.parametrize("effort", [effort_named("fast"), TRAINING], ids=["tables", "mixing"])
def test_leads_that_share_little_but_wander_cost_no_more_together(effort: Effort) -> None:
    rng = np.random.default_rng(5)
    wander = 400 * np.sin(np.arange(15_000) / 400)
    noise = rng.standard_normal((15_000, 2)) @ [[1, 0.2], [0, 1]]  # enough in common for one to refer to the other
    x = np.round(np.column_stack([wander, -0.8 * wander]) + [9, 6] * noise).astype(np.int32)

    def size(*which: int) -> int:
        channels = tuple(Channel(str(c), "mV", 200.0, 0, -32768, 32767) for c in which)
        part, qualities = np.ascontiguousarray(x[:, which]), [parse_quality("rmse=3adu", c) for c in channels]
        plan = plan_segment(part, channels, qualities, Fraction(250), segment_id="0" * 16, effort=effort)
        return sum(len(b) for b in encode_blocks(part, plan))

    assert size(0, 1) < 1.02 * (size(0) + size(1))
