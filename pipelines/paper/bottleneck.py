"""How many inputs pass k tanh units: the largest n for which an n-k-n network learns "input i fires output i+1".

Usage: python -m pipelines.paper.bottleneck [--work work/bottleneck] [--steps 4000] [--restarts 8] [--device cpu]
           [--quick]

n rises by a tenth at a time until two sizes in a row fail or it passes --most; restarts train as one batch. Success:
some restart gives every input its output as the argmax. Resumable; rows go to docs/measured/bottleneck.jsonl.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.paper.report import MEASURED, ROOT, Row, write_measured
from pipelines.paper.runs import Runs

REPORTED = {2: "11", 3: "about 30", 4: "over 100"}
FIRST = {2: 6, 3: 12, 4: 24}
"""Where the search begins, by k."""
OPTIMISERS = {"gradient descent": 1.0, "Adam": 0.02}
"""Learning rates; gradient descent has all n inputs as one batch, no momentum."""
START_STD, CHECK_EVERY, FAILURES = 0.5, 50, 2


def attempt(
    n: int, k: int, optimiser: str, *, n_steps: int, n_restarts: int, seed: int = 0, device: str = "cpu"
) -> dict[str, Any]:
    """Train restarts of one network together until one is right everywhere or the steps are over.

    Parameters
    ----------
    n, k : int
        Inputs and outputs; hidden units.
    optimiser : str
        A key of :data:`OPTIMISERS`.
    n_steps, n_restarts : int
    seed : int
    device : str

    Returns
    -------
    dict
        ``right``: share of inputs right in the best restart (looked at every 50 steps, the last look counts);
        ``steps`` taken; ``restarts`` that were wholly right at the end.
    """
    start = torch.Generator().manual_seed(seed)
    shapes = ((n_restarts, n, k), (n_restarts, n, k), (n_restarts, 1, n))
    weights = [(START_STD * torch.randn(s, generator=start)).to(device).requires_grad_() for s in shapes]
    kind = torch.optim.Adam if optimiser == "Adam" else torch.optim.SGD
    descent = kind(weights, lr=OPTIMISERS[optimiser])
    wanted = (torch.arange(n, device=device) + 1) % n
    step, right = 0, torch.zeros(n_restarts)
    while step < n_steps and float(right.max()) < 1:
        for _ in range(CHECK_EVERY):
            descent.zero_grad()
            # a sum over restarts leaves each its own gradient, as if it were alone
            loss: Any = functional.cross_entropy(
                _logits(weights).reshape(-1, n), wanted.repeat(n_restarts), reduction="sum"
            )
            (loss / n).backward()
            descent.step()
        step += CHECK_EVERY
        with torch.no_grad():
            right = (_logits(weights).argmax(dim=2) == wanted).float().mean(dim=1).cpu()
    return {"right": float(right.max()), "steps": step, "restarts": int((right == 1).sum())}


def _logits(weights: list[Tensor]) -> Tensor:
    """Give outputs (restarts, n, n) of all one-hot inputs: the first layer, its bias included, is a row an input."""
    hidden, out, bias = weights
    return torch.tanh(hidden) @ out.transpose(1, 2) + bias


def largest(k: int, optimiser: str, runs: Runs, *, most: int, **budget: Any) -> Row:
    """Raise n until it fails twice in a row, or passes ``most``; then no next n is given."""
    n, reached = FIRST[k], 0
    failed: list[tuple[int, float]] = []
    while len(failed) < FAILURES and n <= most:
        key = {"k": k, "optimiser": optimiser, "n": n, **budget}
        found = runs.get(key, partial(attempt, n, k, optimiser, **budget))
        if found["right"] == 1:
            reached, failed = n, []
        else:
            failed.append((n, found["right"]))
        n = max(n + 1, round(1.1 * n))
    first, share = failed[0] if failed else (None, None)
    return {
        "k": k,
        "optimiser": optimiser,
        "largest n learned": reached,
        "reported elsewhere": REPORTED[k],
        "next n tried": first,
        "of it right %": None if share is None else round(100 * share, 1),
        "steps": budget["n_steps"],
        "restarts": budget["n_restarts"],
    }


def main() -> None:
    """Search every k with both optimisers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "bottleneck")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--restarts", type=int, default=8)
    parser.add_argument("--most", type=int, default=460, help="largest n tried")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="k = 2, 300 steps, 4 restarts; writes into --work")
    options = parser.parse_args()
    torch.set_num_threads(1)
    budget = {"n_steps": options.steps, "n_restarts": options.restarts, "seed": options.seed, "device": options.device}
    if options.quick:
        budget |= {"n_steps": 300, "n_restarts": 4}
    runs = Runs(options.work / "runs.jsonl")
    rows = [
        largest(k, name, runs, most=options.most, **budget)
        for k in (REPORTED if not options.quick else (2,))
        for name in OPTIMISERS
    ]
    file = write_measured("bottleneck", rows, seed=options.seed, folder=options.work if options.quick else MEASURED)
    print(file.read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()
