"""Which encoder's activations make the fewest bytes: the codec's own selection beside pursuits.

Usage: python -m pipelines.matching [--quick] [--data ../shared/data]

Held-out records of MIT-BIH (simulated ECGs without the data folder), five minutes of both leads, kernels adapted and
all else planned as effort thorough does; only the activations offered to the encoder differ, which keeps those that
earn their bits. Rows go to docs/measured/matching.jsonl.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipelines.banks import QUALITIES, corpora, planned
from pipelines.paper.report import ROOT, Row, write_measured
from sanstream.bank import named_banks
from sanstream.encode_block import encode_block
from sanstream.encode_kernels import Activated, KernelChoice, match
from sanstream.encode_plan import Plan
from sanstream.san.matching import Activations, omp, refit, select, synthesize
from sanstream.san.selection import merged
from sanstream.train import Example

Offer = Callable[[npt.NDArray[np.float32], KernelChoice], Activated]


def own(block: npt.NDArray[np.float32], choice: KernelChoice) -> Activated:
    """Offer what the codec offers: greedy selection, kernels at least half their length apart, refitted."""
    return match(block[None], choice, "cpu")[0]


def passes(
    block: npt.NDArray[np.float32], choice: KernelChoice, *, n: int, explained: float, apart: float
) -> Activated:
    """Select again on what is left over, so that kernels may overlap, all amplitudes refitted after each pass."""
    kernels, x = _tensors(block, choice)
    chosen = select(x, kernels, min_explained=0.5, min_distance=kernels.shape[2] // 2, sharpness=2.0)
    chosen = chosen.with_amplitude(refit(x, kernels, chosen))
    for _ in range(n - 1):
        left = x - synthesize(chosen, kernels, 1, x.shape[2])
        distance = max(1, int(kernels.shape[2] * apart))
        chosen = merged(chosen, select(left, kernels, min_explained=explained, min_distance=distance, sharpness=2.0))
        chosen = chosen.with_amplitude(refit(x, kernels, chosen))
    return _quantised(chosen)


def pursued(block: npt.NDArray[np.float32], choice: KernelChoice) -> Activated:
    """Orthogonal matching pursuit of least phi over the block."""
    kernels, x = _tensors(block, choice)
    return _quantised(omp(x, kernels).activations)


def _tensors(block: npt.NDArray[np.float32], choice: KernelChoice) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.from_numpy(block[None])
    return torch.from_numpy(choice.digital()), x - x.mean(dim=2, keepdim=True)


def _quantised(chosen: Activations) -> Activated:
    kernel, index, amplitude = chosen.of_window(0)
    order = np.argsort(index, kind="stable")
    steps = np.clip(np.round(amplitude[order] * 32), -(1 << 15), 1 << 15).astype(np.int64)
    return kernel[order].astype(np.int64), index[order].astype(np.int64), steps


OFFERS: dict[str, Offer] = {
    "selection (the codec's)": own,
    "selection, a second pass over what is left": partial(passes, n=2, explained=0.5, apart=0.5),
    "selection, two more passes, closer": partial(passes, n=3, explained=0.4, apart=0.3),
    "orthogonal matching pursuit, least φ": pursued,
}


def coded_bytes(example: Example, plan: Plan, offer: Offer) -> tuple[int, int]:
    """Encode an extract with other activations; returns bytes and how many activations were offered."""
    size, total, offered = plan.coding.block_samples, 0, 0
    channels = list(plan.coding.groups[0].channels)
    for number in range(plan.coding.n_blocks(len(example.samples))):
        part = example.samples[number * size : (number + 1) * size]
        activated = None
        if plan.kernels is not None:
            activated = offer(np.ascontiguousarray(part[:, channels].T.astype(np.float32)), plan.kernels)
            offered += len(activated[0])
        block = encode_block(part, number, plan.coding, plan.bank, plan.effort, plan.qualities, activated)
        total += len(block)
    return total, offered


def main() -> None:
    """Encode with every encoder's activations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    options = parser.parse_args()
    torch.set_num_threads(1)
    _, test = corpora(options.data, options.quick)
    plans = {(e.name, q): planned(e, q, named_banks()["general"]) for e in test for q in QUALITIES}
    plans = {key: plan for key, plan in plans.items() if plan.coding.coder == "mixing"}
    rows: list[Row] = []
    for name, offer in OFFERS.items():
        row: Row = {"activations by": name}
        for quality in QUALITIES:
            found = [coded_bytes(e, plans[e.name, quality], offer) for e in test if (e.name, quality) in plans]
            row |= {f"{quality}, bytes": sum(f[0] for f in found), f"{quality}, offered": sum(f[1] for f in found)}
        rows.append(row)
        print(row, flush=True)
    if not options.quick:
        write_measured("matching", rows)


if __name__ == "__main__":
    main()
