"""Seizures classified from records alone, (kernel, index, amplitude), without decoding; beside raw and decoded signals.

Usage: python -m pipelines.codes.seizures [--data ../shared/data] [--work work/seizures] [--seeds 3] [--device cpu]
           [--quick]

Codings: of CHOICES, for each way of reading, that of greatest validation accuracy (seed 0); the test part is looked at
with these alone. Resumable. Rows go to docs/measured/seizures.jsonl and seizures-choices.jsonl.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.codes.classifiers import DECAY, LEARNING_RATE, N_EPOCHS, compressed, judged
from pipelines.codes.records import Records, as_features, as_map, decoded, learn_kernels, record
from pipelines.codes.segments import Segments, load
from pipelines.paper.bonn_classifier import Labelled, classify, published_cnn
from pipelines.paper.report import MEASURED, ROOT, Row, mean_sd, write_measured
from pipelines.paper.runs import Runs


@dataclass(frozen=True)
class Choice:
    """How segments are coded.

    Parameters
    ----------
    n_kernels, kernel_samples : int
    stop : int or None
        Activations a segment; None: the number of least phi.
    """

    n_kernels: int
    kernel_samples: int
    stop: int | None


CHOICES = (
    Choice(8, 32, None),
    Choice(8, 32, 24),
    Choice(8, 32, 40),
    Choice(2, 16, 40),
    Choice(2, 16, 56),
)
MAP, FEATURES = "records, sparse map and CNN", "records, counts and intervals and MLP"
RAW, DECODED = "raw signals, CNN", "reconstructions, CNN"
RAW_PUBLISHED, DECODED_PUBLISHED = "raw signals, published CNN", "reconstructions, published CNN"


class Codes:
    """Records of all segments for a choice, made once for all that reads them.

    Parameters
    ----------
    data : Segments
    """

    def __init__(self, data: Segments) -> None:
        self.data = data
        self._made: dict[tuple[Choice, int], tuple[Tensor, list[Records]]] = {}

    def of(self, choice: Choice, seed: int) -> tuple[Tensor, list[Records]]:
        """Return kernels learned from the training segments and the records of the three parts."""
        if (choice, seed) not in self._made:
            kernels = learn_kernels(self.data.x[0], choice.n_kernels, choice.kernel_samples, seed=seed)
            made = [record(x, kernels, stop=choice.stop) for x in self.data.x]
            self._made = {(choice, seed): (kernels, made)}
        return self._made[choice, seed]

    def inputs(self, what: str, choice: Choice, seed: int) -> list[Tensor]:
        """Return what a classifier reads of the three parts."""
        if what in (RAW, RAW_PUBLISHED):
            signals: Sequence[Tensor] = self.data.x
        else:
            kernels, made = self.of(choice, seed)
            if what == FEATURES:
                return [as_features(r) for r in made]
            if what == MAP:
                return [compressed(as_map(r)) for r in made]
            signals = [decoded(r, kernels) for r in made]
        if what in (RAW_PUBLISHED, DECODED_PUBLISHED):
            return list(signals)
        return [compressed(x)[:, None] for x in signals]

    def run(self, what: str, choice: Choice, seed: int) -> dict[str, Any]:
        """Classify; of codes tell what they take too."""
        inputs = self.inputs(what, choice, seed)
        if what in (RAW_PUBLISHED, DECODED_PUBLISHED):
            sides = [Labelled(x, y) for x, y in zip(inputs, self.data.y, strict=True)]
            found = classify(
                published_cnn,
                *sides,
                seed=seed,
                n_epochs=N_EPOCHS,
                learning_rate=LEARNING_RATE,
                decay=DECAY,
                choose=True,
            )
        else:
            found = judged(inputs, self.data.y, seed=seed)
        out = asdict(found)
        return out if what in (RAW, RAW_PUBLISHED) else out | self.cost(choice, seed)

    def cost(self, choice: Choice, seed: int) -> dict[str, float]:
        """Mean numbers, bits, RL and phi of the test records; W is shared by all segments of the set.

        Bits are what plain fields would take: kernel, position and an amplitude of 12 bits.
        """
        kernels, made = self.of(choice, seed)
        x, own = self.data.x[2], made[2]
        rl = (decoded(own, kernels) - x).abs().mean(dim=1) / (x - x.mean(dim=1, keepdim=True)).abs().mean(dim=1)
        total = sum(len(part) for part in self.data.x)
        cr = (kernels.numel() / total + own.numbers) / x.shape[1]
        places = choice.n_kernels * (x.shape[1] + choice.kernel_samples - 1)
        bits = own.counts.double().mean() * ((places - 1).bit_length() + 12) + 12
        return {
            "numbers": float(own.numbers.double().mean()),
            "bits": float(bits),
            "rl": float(rl.mean()),
            "phi": float(torch.hypot(cr, rl).mean()),
        }


Find = Callable[[str, Choice, int], dict[str, Any]]


def choose(find: Find) -> tuple[dict[str, Choice], list[Row]]:
    """Return the coding of greatest validation accuracy (first of equals) for each way of reading, and all tried."""
    rows: list[Row] = []
    best: dict[str, tuple[float, Choice]] = {}
    for choice in CHOICES:
        for what in (FEATURES, MAP, DECODED):
            found = find(what, choice, 0)
            rows.append(
                {
                    "kernels": choice.n_kernels,
                    "samples each": choice.kernel_samples,
                    "activations": "least φ" if choice.stop is None else choice.stop,
                    "read": what,
                    "validation accuracy %": 100 * found["validation"],
                    "numbers a segment": found["numbers"],
                    "RL": found["rl"],
                    "φ": found["phi"],
                }
            )
            if what not in best or found["validation"] > best[what][0]:
                best[what] = (found["validation"], choice)
    return {what: choice for what, (_, choice) in best.items()}, rows


def test_rows(find: Find, chosen: dict[str, Choice], seeds: Sequence[int]) -> list[Row]:
    """Return test accuracies of all that is compared, each from its chosen coding."""
    rows: list[Row] = []
    raw: dict[bool, float] = {}
    for what in (RAW, DECODED, MAP, FEATURES, RAW_PUBLISHED, DECODED_PUBLISHED):
        choice = chosen[DECODED if what == DECODED_PUBLISHED or what not in chosen else what]
        found = [find(what, choice, seed) for seed in seeds]
        mean, deviation = mean_sd([100 * f["test"] for f in found])
        raw.setdefault("published" in what, mean)
        coded = "numbers" in found[0]
        rows.append(
            {
                "classified": what,
                "kernels × samples": f"{choice.n_kernels} × {choice.kernel_samples}" if coded else None,
                "accuracy %": mean,
                "± sd": deviation,
                "below raw": raw["published" in what] - mean,
                "numbers a segment": mean_sd([f["numbers"] for f in found])[0] if coded else 178,
                "bits a segment": round(mean_sd([f["bits"] for f in found])[0]) if coded else 178 * 12,
                "RL": mean_sd([f["rl"] for f in found])[0] if coded else 0.0,
                "φ": mean_sd([f["phi"] for f in found])[0] if coded else 1.0,
                "seeds": len(found),
                "_each": [round(f["test"], 4) for f in found],
            }
        )
    return rows


def main() -> None:
    """Choose on validation, measure on test, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "seizures")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="a tenth of the recordings, a seed; writes into --work")
    options = parser.parse_args()
    torch.set_num_threads(1)
    codes = Codes(load(options.data, quick=options.quick, device=options.device))
    runs = Runs(options.work / "runs.jsonl")

    def find(what: str, choice: Choice, seed: int) -> dict[str, Any]:
        coding = {} if what in (RAW, RAW_PUBLISHED) else asdict(choice)
        key = {"what": what, **coding, "seed": seed, "segments": len(codes.data.x[0])}
        return runs.get(key, partial(codes.run, what, choice, seed))

    chosen, compared = choose(find)
    folder = options.work if options.quick else MEASURED
    write_measured("seizures-choices", compared, folder=folder)
    seeds = range(1 if options.quick else options.seeds)
    write_measured("seizures", test_rows(find, chosen, seeds), folder=folder)


if __name__ == "__main__":
    main()
