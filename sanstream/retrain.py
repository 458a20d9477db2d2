"""Champion against challenger: kernels trained on recent samples, taken only if windows unseen get smaller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from sanstream.bank import Bank, Kernel
from sanstream.encode_components import errors_anyway, with_components
from sanstream.encode_kernels import KernelChoice, adapt, lineage
from sanstream.encode_live import LiveStart, Part, encode_part, plan_live
from sanstream.encode_plan import Plan
from sanstream.quality import Quality
from sanstream.reservoir import Stretch
from sanstream.signal import Channel, IntSamples

KERNEL_SECONDS = (0.8, 0.65, 0.95)
N_KERNELS = 4
N_COMPONENTS = (2, 3, 4)
_WORTH = 0.998
"""More components are taken if the trial stretches shrink to less than this share; their taps are bytes, too."""
_ROUNDS = 5
_DAY_S = 86400
_METADATA_BYTES = 2048
"""What a new segment costs beside its delta: its zarr.json, its entry in the manifest, a shorter last shard."""
_MARGIN = 1.5
_LEAST_SHARE = 0.03
_HELD_SHARE = 3
_TRAIN_SECONDS = 600
_LEAST_STRETCHES = 3


@dataclass(frozen=True)
class Case:
    """A stream that may get other kernels.

    Parameters
    ----------
    stretches : tuple of Stretch
        Recent samples, oldest first, of one channel set.
    channels : tuple of Channel
    rate : Fraction
    qualities : tuple of Quality
    effort : str
    bank : Bank
        Of the segment that is written now.
    kernels : KernelChoice or None
        Likewise.
    delta : bytes
        Likewise: the segment's whole delta, predictor starts included.
    """

    stretches: tuple[Stretch, ...]
    channels: tuple[Channel, ...]
    rate: Fraction
    qualities: tuple[Quality, ...]
    effort: str
    bank: Bank
    kernels: KernelChoice | None = None
    delta: bytes = b""


@dataclass(frozen=True)
class Decision:
    """What came of a challenge.

    Parameters
    ----------
    adopt : bool
    reason : str
        One of ``"repays"``, ``"saves too little"``, ``"does not repay its bytes in a day"``, ``"nothing repeats"``,
        ``"too few windows"``.
    figures : dict
        JSON values: bits per sample of both on held-out samples, bytes saved a day, bytes that the segment costs.
    start : LiveStart or None
        What the next segment starts from, when adopted.
    learned : KernelChoice or None
        The best kernels found, adopted or not: phi is measured with them from now on.
    """

    adopt: bool
    reason: str
    figures: dict[str, float | int | str] = field(default_factory=dict)
    start: LiveStart | None = None
    learned: KernelChoice | None = None


def challenge(case: Case, *, seconds: Sequence[float] | None = None, n_kernels: int = N_KERNELS) -> Decision:
    """Train kernels on some of the stretches and weigh them, by real bytes at the same bound, on the others.

    Parameters
    ----------
    case : Case
    seconds : sequence of float, optional
        Kernel lengths tried; default :data:`KERNEL_SECONDS`.
    n_kernels : int
        Kernels at most.

    Returns
    -------
    Decision
    """
    if len(case.stretches) < _LEAST_STRETCHES:
        return Decision(False, "too few windows", {"stretches": len(case.stretches)})
    held = case.stretches[_HELD_SHARE - 1 :: _HELD_SHARE]
    trained = tuple(s for i, s in enumerate(case.stretches) if i % _HELD_SHARE != _HELD_SHARE - 1)
    samples = np.concatenate([s.samples for s in trained])
    samples = samples[-max(1, round(_TRAIN_SECONDS * float(case.rate))) :]
    champion = _plan(case, samples, LiveStart(case.bank, case.kernels))
    champion = replace(champion, kernels=case.kernels, coding=replace(champion.coding, bank_delta=case.delta))
    choice = _best(case, samples, trained[-2:], champion, seconds or KERNEL_SECONDS, n_kernels)
    if choice is None:
        return Decision(False, "nothing repeats", {"trained_s": round(len(samples) / float(case.rate), 1)})
    start = LiveStart(case.bank, choice)
    challenger = _plan(case, samples, start)
    return _decide(case, champion, challenger, held, start, len(samples) / float(case.rate))


def _decide(
    case: Case, champion: Plan, challenger: Plan, held: Sequence[Stretch], start: LiveStart, trained_s: float
) -> Decision:
    old, new = coded_bytes(champion, held), coded_bytes(challenger, held)
    held_s = sum(len(s.samples) for s in held) / float(case.rate)
    n_values = sum(s.samples.size for s in held)
    cost = 4 / 3 * len(challenger.coding.bank_delta) + _METADATA_BYTES
    saved = (old - new) * _DAY_S / held_s
    figures: dict[str, float | int | str] = {
        "champion_bits": round(8 * old / n_values, 4),
        "challenger_bits": round(8 * new / n_values, 4),
        "saved_share": round(1 - new / old, 4) if old else 0.0,
        "saved_bytes_a_day": round(saved),
        "cost_bytes": round(cost),
        "held_s": round(held_s, 1),
        "trained_s": round(trained_s, 1),
        "n_kernels": start.kernels.n_leading if start.kernels is not None else 0,
        "n_components": len(start.kernels.kernels) - start.kernels.n_leading if start.kernels is not None else 0,
    }
    if old - new < _LEAST_SHARE * old:
        return Decision(False, "saves too little", figures, None, start.kernels)
    if saved < _MARGIN * cost:
        return Decision(False, "does not repay its bytes in a day", figures, None, start.kernels)
    return Decision(True, "repays", figures, start, start.kernels)


def coded_bytes(plan: Plan, stretches: Sequence[Stretch]) -> int:
    """Return the bytes of stretches as blocks of a segment, each coded alone."""
    size, total = plan.coding.block_samples, 0
    for stretch in stretches:
        for first in range(0, len(stretch.samples), size):
            total += len(encode_part(Part(plan, 0, stretch.samples[first : first + size]))) + 2
    return total


def _plan(case: Case, samples: IntSamples, start: LiveStart) -> Plan:
    return plan_live(
        samples, case.channels, case.qualities, case.rate, segment_id="0" * 16, start=start, effort=case.effort
    )


def _best(
    case: Case, samples: IntSamples, trial: Sequence[Stretch], champion: Plan, seconds: Sequence[float], n_kernels: int
) -> KernelChoice | None:
    """Train from every start and length; return what makes the trial stretches, which are not held out, smallest."""
    members = list(champion.coding.groups[0].channels)
    part, present = samples[:, members], _present(samples[:, members], [case.channels[c] for c in members])
    best, least = None, 0
    for length in seconds:
        for bank in _starts(case):
            found = adapt(
                part, present, case.rate, bank, seconds=length, n_kernels=n_kernels, n_rounds=_ROUNDS, device="cpu"
            )
            if found is None:
                continue
            plan = _plan(case, samples, LiveStart(case.bank, found))
            if plan.kernels is None:
                continue
            size = coded_bytes(plan, trial)
            if best is None or size < least:
                best, least = found, size
    if best is None:
        return None
    best = _descended(best, case)
    errors = errors_anyway(part, present, [case.qualities[c] for c in members], case.rate)
    for n in N_COMPONENTS:
        found = with_components(part, present, best, errors, n)
        plan = _plan(case, samples, LiveStart(case.bank, found)) if found is not None else champion
        if found is None or plan.kernels is None:
            break
        size = coded_bytes(plan, trial)
        if size >= _WORTH * least:
            break
        best, least = found, size
    return best


def _descended(choice: KernelChoice, case: Case) -> KernelChoice:
    """Give kernels that resemble the segment's own their ids, whatever they started from."""
    own = _starts(case)[0]
    known = {k.uid for k in own.kernels}
    used = {k.uid for k in choice.kernels} & known
    kernels = []
    for kernel in choice.kernels:
        uid = kernel.uid if kernel.uid in known else lineage(kernel.taps, own, case.rate, used)
        used.add(uid)
        kernels.append(replace(kernel, uid=uid if uid in known else kernel.uid))
    return replace(choice, kernels=tuple(kernels))


def _starts(case: Case) -> list[Bank]:
    """Return banks to start from: kernels that descend from the segment's keep their lineage ids."""
    if case.kernels is None:
        return [case.bank]
    own = tuple(Kernel(k.uid, k.taps[:1], k.fiducial) for k in case.kernels.leading().kernels)
    return [replace(case.bank, kernels=own, rate_hz=float(case.rate)), case.bank]


def _present(samples: IntSamples, channels: Sequence[Channel]) -> npt.NDArray[np.bool_]:
    gone = np.zeros(len(samples), np.bool_)
    for c, channel in enumerate(channels):
        if channel.missing is not None:
            gone |= samples[:, c] == channel.missing
    return ~gone
