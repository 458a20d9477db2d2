"""What a bank's bytes buy: banks of every size, each with the archive bytes that it leads to.

Usage: python -m pipelines.banks [--quick] [--data ../shared/data] [--work work/banks]

Priors and kernels learn from two thirds of MIT-BIH, held-out records of the other third (five minutes, both leads) are
encoded at effort thorough; without the data folder simulated ECGs stand in. Variants of priors keep the segment's plan,
variants of kernels plan anew. Resumable. Rows go to docs/measured/banks.jsonl.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.benchmark import cases
from pipelines.paper.report import ROOT, write_measured
from pipelines.paper.runs import Runs
from pipelines.pretrain.corpora import examples_of, mitdb
from sanstream._loops_models import blank_models
from sanstream.bank import Bank, Kernel, named_banks, read_bank, write_bank
from sanstream.bank_priors import Models, Rounding
from sanstream.encode import plan_segment
from sanstream.encode_kernels import resampled
from sanstream.encode_plan import Plan, encode_numbers
from sanstream.quality import choose_qualities
from sanstream.simulate import simulate_ecg
from sanstream.train import Example, learned, train_kernels
from sanstream.train_priors import keep

RATE_HZ = 360.0
SECONDS = 300
FOLD = 0
QUALITIES = ("lossless", "prdn=9")
DAY_S = 86_400.0
Build = Callable[[], Bank]


def corpora(data: Path, quick: bool) -> tuple[list[Example], list[Example]]:
    """Return what banks learn from, and held-out extracts."""
    if (data / "mitdb").is_dir():
        names = [n for n in cases.records("mitdb", data) if n not in ("102", "104")]
        aside = [n for i, n in enumerate(names) if i % cases.N_FOLDS == FOLD]
        taught = [n for n in names if n not in aside]
        learn, test = mitdb(data, taught[:3] if quick else taught), mitdb(data, aside[:1] if quick else aside[:4])
    else:
        learn = [e for s in range(3) for e in examples_of(simulate_ecg(600, seed=s))]
        test = examples_of(simulate_ecg(600, seed=9))
    cut = round(SECONDS * RATE_HZ) // (5 if quick else 1)
    return learn, [replace(e, samples=e.samples[:cut]) for e in test]


def planned(example: Example, quality: str, bank: Bank) -> Plan:
    """Plan a held-out extract with a bank."""
    qualities = choose_qualities([quality], example.channels)
    return plan_segment(
        example.samples, example.channels, qualities, example.rate, segment_id="0" * 16, effort="thorough", bank=bank
    )


def coded_bytes(example: Example, plan: Plan, bank: Bank) -> int:
    """Encode an extract by a plan, but with another bank of the same kernels."""
    plan = replace(plan, bank=bank, coding=replace(plan.coding, bank_base=bank.id))
    numbers = range(plan.coding.n_blocks(len(example.samples)))
    return sum(map(len, encode_numbers(example.samples, plan, list(numbers)))) + len(plan.coding.bank_delta)


def prior_variants(kernels: list[Kernel], models: Models, kept: Bank) -> dict[str, Build]:
    """Banks of the same kernels whose priors are kept more or less finely."""

    def build(rounding: Rounding, least: int = 1, *, weights: bool = True, slots: bool = True) -> Build:
        prob, count, weight = models
        start = blank_models()
        count = np.where(count >= least, count, 0).astype(np.uint8) if slots else start[1]
        chosen = prob, count, weight if weights else start[2]
        return lambda: read_bank(write_bank("ecg", kernels, RATE_HZ, chosen, rounding=rounding))

    first = build(Rounding(44, (4, 8, 14, 22, 30), 7))
    out: dict[str, Build] = {"priors as kept": lambda: kept, "priors rounded finely, nothing pruned": first}
    out |= {f"seen at least {n} times": build(Rounding(200, (10,), 9), n) for n in (12, 30, 60, 120, 250)}
    out |= {f"log-odds in steps of {s}/256": build(Rounding(s, (10,), 9), 30) for s in (66, 132, 264, 528)}
    out |= {f"slots start as if seen {c} times": build(Rounding(200, (c,), 9), 30) for c in (4, 16, 30)}
    out["no mixing weights"] = build(Rounding(200, (10,), 9), 30, weights=False)
    out["mixing weights alone"] = build(Rounding(200, (10,), 9), slots=False)
    out["no priors"] = lambda: read_bank(write_bank("ecg", kernels, RATE_HZ, None))
    return out


def kernel_variants(learn: list[Example], kernels: list[Kernel], kept: Bank, rounding: Rounding) -> dict[str, Build]:
    """Banks of the same priors with other kernels; the shared one is all modalities' bank."""

    def build(make: Callable[[], list[Kernel]]) -> Build:
        return lambda: read_bank(write_bank("ecg", make(), RATE_HZ, kept.models, rounding=rounding))

    def at_half(kernel: Kernel) -> Kernel:
        half = replace(kernel, taps=resampled(kernel, 0.5).round().astype(np.int16)[None])
        return replace(kernel, taps=resampled(half, 2.0).round().astype(np.int16)[None])

    def coarse(kernel: Kernel, bits: int) -> Kernel:
        unit = 1024 >> bits
        return replace(kernel, taps=(np.round(kernel.taps / unit) * unit).astype(np.int16))

    out = {"kernels as kept, planned anew": build(lambda: kernels), "no kernels": build(list)}
    for n in (1, 2, 8):
        out[f"at most {n} kernels"] = build(partial(train_kernels, learn, RATE_HZ, n_kernels=n))
    for s in (0.4, 0.8):
        out[f"kernels of {s} s"] = build(partial(train_kernels, learn, RATE_HZ, seconds=s))
    for b in (4, 6):
        out[f"taps of {b} bits"] = build(lambda b=b: [coarse(k, b) for k in kernels])  # type: ignore[misc]
    out["every second tap"] = build(lambda: [at_half(k) for k in kernels])
    return out | {"the general bank, shared": lambda: named_banks()["general"]}


def measured(bank: Bank, test: list[Example], plans: dict[tuple[str, str], Plan] | None) -> dict[str, Any]:
    """Weigh a bank: its own bytes and those of the extracts, with plans given or made anew."""
    row: dict[str, Any] = {"bank bytes": len(bank.data)}
    hours = sum(len(e.samples) / float(e.rate) for e in test) / 3600
    for quality in QUALITIES:
        total = 0
        for e in test:
            plan = plans[e.name, quality] if plans is not None else planned(e, quality, bank)
            total += coded_bytes(e, plan, bank)
        row[f"{quality}, bytes an hour"] = round(total / hours)
        row[f"{quality}, day and bank"] = round(total / hours * 24 + len(bank.data))
    return row


def main() -> None:
    """Measure every variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "banks")
    options = parser.parse_args()
    learn, test = corpora(options.data, options.quick)
    options.work.mkdir(parents=True, exist_ok=True)
    file = options.work / f"learned{'-quick' if options.quick else ''}.pickle"
    if not file.is_file():
        kernels = train_kernels(learn, RATE_HZ)
        start = read_bank(write_bank("ecg", kernels, RATE_HZ, None))
        taught = learned(learn, start, n_blocks=1 if options.quick else 2)
        found = keep(taught.models, taught.aside, taught.taught, archive_s=DAY_S)
        file.write_bytes(pickle.dumps((kernels, taught.models, found.models, found.rounding)))
    kernels, models, chosen, rounding = pickle.loads(file.read_bytes())
    kept = read_bank(write_bank("ecg", kernels, RATE_HZ, chosen, rounding=rounding))
    runs = Runs(options.work / "rows.jsonl")
    plans = {(e.name, q): planned(e, q, kept) for e in test for q in QUALITIES}
    rows = []
    for same, variants in (
        (True, prior_variants(kernels, models, kept)),
        (False, kernel_variants(learn, kernels, kept, rounding)),
    ):
        for name, make in list(variants.items())[: 3 if options.quick else None]:
            bank = make()
            key = {"variant": name, "bank": bank.id, "quick": options.quick}
            result = runs.get(key, partial(measured, bank, test, plans if same else None))
            rows.append({"bank": name, **result})
    write_measured("banks-quick" if options.quick else "banks", rows)


if __name__ == "__main__":
    main()
