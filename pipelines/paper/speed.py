"""How much quicker batched extrema are than loops over examples in Python and numpy, by the same definition.

Usage: python -m pipelines.paper.speed [--quick] [--batch 256] [--samples 1000] [--kernel 10] [--rounds 7]

All are timed in turn in one process on one thread and must agree sample by sample; ratios are those of the best times.
*batched* is compiled, *rounds* the parallel form in torch, *CUDA* the same on a device where there is one (transfers
left out). The row goes to docs/measured/paper-speed.jsonl.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipelines.paper.report import Row, write_measured
from sanstream.san.activations import extrema, extrema_mask, minimum_extrema_distance
from sanstream.san.model import San

Floats = npt.NDArray[np.float32]


def _ordered(s: Floats) -> npt.NDArray[np.int64]:
    """Candidates of one row (n,) in falling order of magnitude."""
    step = np.diff(s)
    forward, backward = np.append(step, 0), np.insert(step, 0, 0)
    candidate = ((forward > 0) & (backward <= 0) & (s <= 0)) | ((forward <= 0) & (backward > 0) & (s > 0))
    places = np.flatnonzero(candidate)
    return places[np.argsort(-np.abs(s[places]), kind="stable")]


def published_form(s: Floats, distance: int) -> Floats:
    """Keep extrema of one row: each kept candidate is compared with all, as in the authors' code."""
    order = _ordered(s)
    secondary = np.zeros(len(order), dtype=bool)
    for i, place in enumerate(order):
        if not secondary[i]:
            secondary |= (order >= place - distance) & (order <= place + distance)
            secondary[i] = False
    out = np.zeros_like(s)
    kept = order[~secondary]
    out[kept] = s[kept]
    return out


def tight_form(s: Floats, distance: int) -> Floats:
    """Keep extrema of one row: each kept candidate blanks a slice, the least that Python can do."""
    out = np.zeros_like(s)
    taken = np.zeros(len(s), dtype=bool)
    for place in _ordered(s):
        if not taken[place]:
            out[place] = s[place]
            taken[max(0, place - distance) : place + distance + 1] = True
    return out


def similarities(batch: int, n_samples: int, kernel: int) -> torch.Tensor:
    """Similarities of noise to a smooth kernel, (batch, 1, n), float32."""
    x = torch.randn(batch, n_samples, generator=torch.Generator().manual_seed(0))
    net = San([kernel], activation="identity")
    net.kernels[0].data = torch.hann_window(kernel + 2)[1:-1]
    with torch.no_grad():
        return net.similarity(x)


def measure(batch: int, n_samples: int, kernel: int, rounds: int) -> Row:
    """Time all forms in turn, ``rounds`` times each, and keep the best of each.

    Raises
    ------
    SystemExit
        When two forms keep different extrema.
    """
    s, distance = similarities(batch, n_samples, kernel), minimum_extrema_distance(kernel)
    forms: dict[str, Callable[[], Any]] = {
        "published loop": lambda: np.stack([published_form(row, distance) for row in s[:, 0].numpy()]),
        "tight loop": lambda: np.stack([tight_form(row, distance) for row in s[:, 0].numpy()]),
        "batched": lambda: extrema(s, distance),
        "rounds": lambda: torch.where(extrema_mask(s, distance), s, 0.0),
    }
    if torch.cuda.is_available():
        there = s.cuda()
        forms["CUDA"] = lambda: _on_device(there, distance)
    kept = {name: torch.as_tensor(form()).cpu().reshape(batch, n_samples) for name, form in forms.items()}
    for name, values in kept.items():
        if not torch.equal(values, kept["published loop"]):
            raise SystemExit(f"{name}: other extrema than those of the published loop")
    best = dict.fromkeys(forms, float("inf"))
    for _ in range(rounds):
        for name, form in forms.items():
            start = time.perf_counter()
            form()
            best[name] = min(best[name], time.perf_counter() - start)
    row: Row = {"rows": batch, "samples": n_samples, "kernel": kernel, "distance": distance}
    row |= {f"{name} M samples/s": batch * n_samples / seconds / 1e6 for name, seconds in best.items()}
    loop = best["published loop"]
    return row | {f"{name} / published loop": loop / best[name] for name in forms if name != "published loop"}


def _on_device(s: torch.Tensor, distance: int) -> torch.Tensor:
    out = extrema(s, distance)
    torch.cuda.synchronize()
    return out


def main() -> None:
    """Measure, print the row and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--kernel", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a smaller batch; docs stay as they are")
    options = parser.parse_args()
    torch.set_num_threads(1)
    row = measure(32 if options.quick else options.batch, options.samples, options.kernel, options.rounds)
    print(" ".join(f"{name}: {v:.3f}" if isinstance(v, float) else f"{name}: {v}" for name, v in row.items()))
    if not options.quick:
        write_measured("paper-speed", [row])


if __name__ == "__main__":
    main()
