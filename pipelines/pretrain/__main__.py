"""Train the shipped banks.

Usage: python -m pipelines.pretrain [--data ../shared/data] [--only ecg,eeg,general]

Without the data folder the banks are trained on simulated signals alone.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from pipelines.pretrain.corpora import corpus
from sanstream.train import train_bank, train_kernels

ROOT = Path(__file__).resolve().parents[2]
RATE_HZ = {"ecg": 360.0, "eeg": 160.0, "general": 62.5}
BLOCKS = {"ecg": 2, "eeg": 4, "general": 10}


def main() -> None:
    """Train the banks asked for and write them into the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--only", default="ecg,eeg,general")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, default=ROOT / "sanstream" / "banks")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    for name in options.only.split(","):
        began = time.perf_counter()
        examples = corpus(name, options.data)
        kernels = train_kernels(examples, RATE_HZ[name]) if name == "ecg" else []
        bank = train_bank(
            name, examples, n_blocks=BLOCKS[name], kernels=kernels, rate_hz=RATE_HZ[name] if kernels else 0.0,
            seed=options.seed, notes=f"{len(examples)} examples, seed {options.seed}",
        )  # fmt: skip
        (options.to / f"{name}.sanbank").write_bytes(bank.data)
        print(f"{name}: {len(examples)} examples, {len(kernels)} kernels, {len(bank.data)} bytes, "
              f"{time.perf_counter() - began:.0f} s")  # fmt: skip


if __name__ == "__main__":
    main()
