"""Priors and kernels of a bank from examples: the encoder's decisions, replayed into models that keep adapting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from sanstream._loops_models import blank_models
from sanstream.bank import Bank, Kernel, blank_bank, kernel_id, read_bank, write_bank
from sanstream.bank_priors import Models
from sanstream.block_lattice import on_lattices
from sanstream.encode import plan_segment
from sanstream.encode_block import find_gaps, group_coders
from sanstream.encode_effort import TRAINING, Effort
from sanstream.encode_plan import Plan, activations_of
from sanstream.encode_run import GroupCoder
from sanstream.errors import InputError
from sanstream.group_state import Decoded, adapted_models, fresh_models
from sanstream.quality import choose_qualities
from sanstream.signal import SIGNAL, Channel, Recording
from sanstream.train_priors import Aside, keep

QUALITIES = ("lossless", "prdn=2", "prdn=5", "prdn=9", "max-error=4adu")
"""What priors are trained at."""
_ASIDE = 5
"""One block of so many is kept aside: it decides how finely priors are kept."""
_TAUGHT = 40
"""About so many blocks are kept to retrain what pruning leaves."""
_STRIP_S = 10.0
"""Length of the short recordings for which priors matter most."""
_ARCHIVE_S = 86_400.0
"""A bank should make an archive of one stream's day smallest, itself counted."""


@dataclass(frozen=True)
class Example:
    """One recording to learn from.

    Parameters
    ----------
    name : str
    samples : ndarray, shape (n_samples, n_channels), int32
    channels : tuple of Channel
    rate : Fraction
    """

    name: str
    samples: npt.NDArray[np.int32]
    channels: tuple[Channel, ...]
    rate: Fraction


def examples_of(recording: Recording) -> list[Example]:
    """Return a recording's segments of at least ten seconds as examples, trigger channels left out."""
    found = []
    for stream in recording.streams:
        for segment in stream.segments:
            places = [i for i, c in enumerate(segment.channels) if c.kind == SIGNAL]
            if places and segment.n_samples >= 10 * stream.rate:
                channels = tuple(segment.channels[i] for i in places)
                samples = np.ascontiguousarray(segment.samples[:, places])
                found.append(Example(f"{recording.name}/{stream.name}", samples, channels, stream.rate))
    return found


def train_bank(
    name: str,
    examples: Sequence[Example],
    *,
    qualities: Sequence[str] = QUALITIES,
    n_blocks: int = 6,
    effort: Effort = TRAINING,
    kernels: Sequence[Kernel] = (),
    rate_hz: float = 0.0,
    seed: int = 0,
    notes: str = "",
) -> Bank:
    """Train priors on blocks of all examples at several qualities, in random order.

    Parameters
    ----------
    name : str
    examples : sequence of Example
    qualities : sequence of str
    n_blocks : int
        Blocks per example and quality.
    effort : Effort
        Its coder must be mixing.
    kernels : sequence of Kernel
    rate_hz : float
        Rate of ``kernels``.
    seed : int
    notes : str

    Returns
    -------
    Bank
    """
    start = read_bank(write_bank(name, kernels, rate_hz, None)) if kernels else blank_bank()
    found = learned(examples, start, qualities=qualities, n_blocks=n_blocks, effort=effort, seed=seed)
    kept = keep(found.models, found.aside, found.taught, archive_s=_ARCHIVE_S)
    return read_bank(write_bank(name, kernels, rate_hz, kept.models, notes, rounding=kept.rounding))


@dataclass(frozen=True)
class Learned:
    """What training gave.

    Parameters
    ----------
    models : Models
        Neither pruned nor rounded.
    aside : list of Aside
        Every fifth block, decided, which the models have not seen; and its first ten seconds as a block of their own.
    taught : list of GroupCoder
        Some of the blocks that the models learned from, decided.
    """

    models: Models
    aside: list[Aside]
    taught: list[GroupCoder]


def learned(
    examples: Sequence[Example],
    start: Bank,
    *,
    qualities: Sequence[str] = QUALITIES,
    n_blocks: int = 6,
    effort: Effort = TRAINING,
    seed: int = 0,
) -> Learned:
    """Let untrained models learn from four blocks of five; parameters as in :func:`train_bank`."""
    work: list[tuple[Example, Plan, int]] = []
    rng = np.random.default_rng(seed)
    for example in examples:
        for quality in qualities:
            chosen = choose_qualities([quality], example.channels)
            plan = plan_segment(
                example.samples, example.channels, chosen, example.rate, segment_id="0" * 16, effort=effort, bank=start
            )
            coded = replace(example, samples=on_lattices(example.samples, plan.coding.lattices, plan.coding.missing))
            total = plan.coding.n_blocks(len(example.samples))
            wanted = min(total, n_blocks)
            work += [(coded, plan, int(n)) for n in rng.choice(total, wanted, replace=False)]
    order = rng.permutation(len(work))
    aside: list[Aside] = []
    for i in order[::_ASIDE]:
        example, plan, number = work[int(i)]
        whole = _decided(example, plan, number, plan.coding.block_samples)
        strip = _decided(example, plan, number, min(whole[0].n, round(_STRIP_S * float(example.rate))))
        aside += [Aside(coder) for coder in whole] + [Aside(coder, whole[0].n / strip[0].n) for coder in strip]
    models = fresh_models(blank_models())
    taught: list[GroupCoder] = []
    for place, i in enumerate(order):
        if place % _ASIDE:
            coders = _decided(*work[int(i)], work[int(i)][1].coding.block_samples)
            for coder in coders:
                coder.train(models)
            taught += coders if len(taught) < _TAUGHT else []
    return Learned(adapted_models(models), aside, taught)


def _decided(example: Example, plan: Plan, number: int, n_samples: int) -> list[GroupCoder]:
    """Return the coders of the groups of a block's first samples, all decisions made."""
    start = number * plan.coding.block_samples
    part = example.samples[start : start + n_samples]
    (activated,) = activations_of(part, plan, [0])
    gaps = find_gaps(part, plan.coding)
    done: dict[int, Decoded] = {}
    coders = []
    for coder in group_coders(part, gaps, plan.coding, plan.bank, plan.effort, plan.qualities, activated, done):
        done[coder.number] = coder.code()
        coders.append(coder)
    return coders


def train_kernels(
    examples: Sequence[Example], rate_hz: float, *, seconds: float = 0.65, n_kernels: int = 4
) -> list[Kernel]:
    """Learn kernels that several recordings share: windows scaled to unit deviation, all channels alike."""
    import torch

    from sanstream.san.matching import adapt_kernels

    size = round(rate_hz * 10)
    windows = []
    for example in examples:
        if abs(float(example.rate) / rate_hz - 1) > 0.01:
            continue
        for start in np.linspace(0, len(example.samples) - size, 6).astype(int):
            part = example.samples[start : start + size].T.astype(np.float32)
            part = part - part.mean(axis=1, keepdims=True)
            deviation = part.std(axis=1)
            windows += [row / s for row, s in zip(part, deviation, strict=True) if s > 0]
    if not windows:
        return []
    batch = torch.from_numpy(np.stack(windows)[:, None, :])
    learned = adapt_kernels(
        batch, n_kernels=n_kernels, kernel_samples=round(rate_hz * seconds), n_rounds=8, max_windows=400
    ).numpy()
    out = []
    for shape in learned:
        taps = np.round(shape / np.abs(shape).max() * 512).astype(np.int16)
        out.append(Kernel(kernel_id(taps), taps, int(np.abs(taps[0]).argmax())))
    return out


def train_on(name: str, recordings: Sequence[Recording], *, n_kernels: int = 4, seed: int = 0) -> Bank:
    """Train a bank on recordings: kernels at the rate that most of them have, priors from all.

    Parameters
    ----------
    name : str
    recordings : sequence of Recording
    n_kernels : int
        At most; 0 for priors alone.
    seed : int

    Returns
    -------
    Bank

    Raises
    ------
    InputError
        When no recording has a stretch of ten seconds to learn from.
    """
    examples = [example for recording in recordings for example in examples_of(recording)]
    if not examples:
        names = ", ".join(r.name for r in recordings) or "none"
        raise InputError(f"no recording of {names} has ten seconds of signal", hint="give longer recordings")
    rate_hz = float(Counter(e.rate for e in examples).most_common(1)[0][0])
    kernels = train_kernels(examples, rate_hz, n_kernels=n_kernels) if n_kernels else []
    return train_bank(name, examples, kernels=kernels, rate_hz=rate_hz if kernels else 0.0, seed=seed)
