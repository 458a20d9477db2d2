"""Train the shipped banks.

Usage: python -m pipelines.pretrain [--data ../shared/data] [--only ecg,eeg,general] [--kernels-only]

Without the data folder the banks are trained on simulated signals alone.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from pipelines.pretrain.corpora import corpus
from sanstream.bank import read_bank, write_bank
from sanstream.train import train_bank, train_kernels

ROOT = Path(__file__).resolve().parents[2]
RATE_HZ = {"ecg": 360.0, "eeg": 160.0, "general": 124.945}
KERNEL_S = {"ecg": 0.65, "eeg": 0.4, "general": 0.65}
BLOCKS = {"ecg": 2, "eeg": 4, "general": 10}


def main() -> None:
    """Train the banks asked for and write them into the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--only", default="ecg,eeg,general")
    parser.add_argument("--kernels-only", action="store_true", help="keep the priors that the bank has")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, default=ROOT / "sanstream" / "banks")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    for name in options.only.split(","):
        began = time.perf_counter()
        examples = corpus(name, options.data)
        file = options.to / f"{name}.sanbank"
        kernels = train_kernels(examples, RATE_HZ[name], seconds=KERNEL_S[name])
        rate_hz = RATE_HZ[name] if kernels else 0.0
        notes = f"{len(examples)} examples, seed {options.seed}"
        if options.kernels_only:
            models = read_bank(file.read_bytes()).models
            bank = read_bank(write_bank(name, kernels, rate_hz, models, notes))
        else:
            bank = train_bank(
                name, examples, n_blocks=BLOCKS[name], kernels=kernels, rate_hz=rate_hz, seed=options.seed, notes=notes
            )
        file.write_bytes(bank.data)
        print(f"{name}: {len(examples)} examples, {len(kernels)} kernels, {len(bank.data)} bytes, "
              f"{time.perf_counter() - began:.0f} s")  # fmt: skip


if __name__ == "__main__":
    main()
