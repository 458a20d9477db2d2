"""A learned rival: a small autoencoder with rounded, entropy-coded latents, by its bytes and in use.

Usage: python -m pipelines.codes.autoencoder [--data ../shared/data] [--work work/autoencoder] [--steps 1000]
           [--seeds 3] [--device cpu] [--quick]

MIT-BIH lead 1, three folds by records as in pipelines.benchmark: for each record the step of rounding is bisected until
its PRDN is what was asked and bytes are written; one record a fold is measured as read back. Bonn: seizures classified
from latents. Resumable. Rows go to docs/measured/autoencoder.jsonl (rate, beside sanstream's measured rows) and
autoencoder-seizures.jsonl.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.benchmark import cases
from pipelines.benchmark.measure import losses
from pipelines.benchmark.own import PACED
from pipelines.codes import coder, latents
from pipelines.codes.autoencoder_seizures import seizure_rows
from pipelines.paper.report import MEASURED, ROOT, Row, mean_sd, write_measured
from pipelines.paper.runs import Runs

ASKED = (20.0, 9.0)
SIDE_BYTES = 16
"""Mean, deviation, gain and length of a record, four bytes each."""
_BISECTIONS, _MOST_GAIN = 9, 16.0
_CLOSE = 0.995
"""Share of the PRDN asked for at which a step is coarse enough."""


@dataclass(frozen=True)
class Lead:
    """Lead 1 of a record.

    Parameters
    ----------
    name : str
    x : Tensor, shape (n,), float32
        Of mean 0 and deviation 1.
    case : Case
    mean, deviation : float
        In digital steps.
    """

    name: str
    x: Tensor
    case: cases.Case
    mean: float
    deviation: float


def leads(data: Path, most_s: float | None = None) -> Iterator[Lead]:
    """Read lead 1 of every record of MIT-BIH."""
    for name in cases.records("mitdb", data):
        case = cases.load("mitdb", name, data, most_s=most_s)
        ((_, segment),) = cases.segments(case.recording)
        x = torch.from_numpy(segment.samples[:, 0].astype(np.float32))
        yield Lead(name, (x - x.mean()) / x.std(), case, float(x.mean()), float(x.std()))


@dataclass(frozen=True)
class Held:
    """What a decoder holds: the network and the tables that rows of the coder start from."""

    trained: latents.Trained
    prior: coder.Prior

    @property
    def n_bytes(self) -> int:
        """Bytes of weights (float16) and tables."""
        return self.trained.n_bytes + self.prior.n_bytes


def held(file: Path, signals: list[Tensor], prdn: float, n_steps: int, seed: int, device: str) -> Held:
    """Train an autoencoder and count its latents, or take both from the work folder."""
    if not file.is_file():
        trained = latents.train(signals, prdn=prdn, n_steps=n_steps, seed=seed, device=device)
        counted = [steps(latents.quantised(trained.model, s[None].to(device), 1.0)) for s in signals]
        kept = {k: v for k, v in asdict(trained).items() if k != "model"}
        state = {k: v.cpu() for k, v in trained.model.state_dict().items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        prior = coder.fit(counted)
        torch.save({"kept": kept, "state": state, "counts": torch.from_numpy(prior.counts)}, file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)
    found = torch.load(file, weights_only=True)
    model = latents.Autoencoder()
    model.load_state_dict(found["state"])
    trained = latents.Trained(model.to(device).eval(), **found["kept"])
    return Held(trained, coder.Prior(found["counts"].numpy(), latents.STRIDE))


def steps(quantised: Tensor) -> latents.Ints:
    """Return latents (1, lanes, steps) as the coder takes them, (steps, lanes)."""
    return quantised[0].T.cpu().numpy().astype(np.int64)


def coded(lead: Lead, own: Held, prdn: float, device: str, *, read_back: bool) -> dict[str, Any]:
    """Write one record at the coarsest rounding that keeps its PRDN.

    Parameters
    ----------
    lead : Lead
    own : Held
    prdn : float
        Per cent.
    device : str
    read_back : bool
        Measure what is read from the bytes, which takes numpy a while, and not what was written.

    Returns
    -------
    dict
        ``reached`` is false where no rounding up to a 16th of a step keeps it; the finest tried is then measured.
    """
    x, model = lead.x[None].to(device), own.trained.model
    ((_, segment),) = cases.segments(lead.case.recording)
    original = segment.samples[:, 0].astype(np.float64)

    def lost(values: Tensor, gain: float) -> dict[str, float]:
        y = latents.reconstructed(model, values, x.shape[1], gain)[0].cpu().numpy().astype(np.float64)
        return losses(original, y * lead.deviation + lead.mean, segment.channels[0])

    def at(gain: float) -> float:
        return lost(latents.quantised(model, x, gain), gain)["prdn"]

    low, high = 1 / _MOST_GAIN, _MOST_GAIN
    reached = at(high) <= prdn
    for _ in range(_BISECTIONS if reached else 0):
        middle = float(np.sqrt(low * high))
        found_prdn = at(middle)
        low, high = (low, middle) if found_prdn <= prdn else (middle, high)
        if _CLOSE * prdn <= found_prdn <= prdn:
            break
    values = steps(latents.quantised(model, x, high))
    data = coder.encode(values, own.prior)
    if read_back:
        values = coder.decode(data, own.prior)
    found = lost(torch.from_numpy(values.T.astype(np.float32))[None].to(device), high)
    return {
        "bits_per_sample": 8 * (len(data) + SIDE_BYTES) / len(original),
        "n_samples": len(original),
        "gain": high,
        "reached": reached,
        "bank_bytes": own.n_bytes,
        **found,
    }


def rate_rows(found: dict[float, list[dict[str, Any]]], measured: Path = MEASURED) -> list[Row]:
    """Return means over records, each beside sanstream's row."""
    rows = []
    for prdn, records in found.items():
        figure = f"lead 1, PRDN {prdn:g} %"
        bits = mean_sd([r["bits_per_sample"] for r in records])[0]
        bank = max(r["bank_bytes"] for r in records)
        extra = 8 * bank / float(np.mean([r["n_samples"] for r in records]))
        reached = [r for r in records if r["reached"]]
        rows.append(
            {
                "figure": figure,
                "codec": "autoencoder",
                "records": len(records),
                "that reach it": len(reached),
                "coded bit/sample": bits,
                "of those that reach it": mean_sd([r["bits_per_sample"] for r in reached])[0] if reached else None,
                "bank bytes": bank,
                "with a bank for each record": bits + extra,
                "PRDN %": mean_sd([r["prdn"] for r in records])[0],
                "maximum error": round(max(r["max_error"] for r in records)),
            }
        )
        rows += _sanstream(figure, measured)
    return rows


def _sanstream(figure: str, measured: Path) -> Iterator[Row]:
    for line in (measured / "benchmark-peers.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if (row["database"], row["figure"], row["codec"]) != ("mitdb", figure, "sanstream"):
            continue
        yield {
            "figure": figure,
            "codec": f"sanstream {row['effort']}",
            "records": row["records"],
            "that reach it": row["records"],
            "coded bit/sample": row["coded bit/sample"],
            "of those that reach it": row["coded bit/sample"],
            "bank bytes": None,
            "with a bank for each record": row["stored bit/sample"],
            "PRDN %": row["PRDN %"],
            "maximum error": row["maximum error"],
        }


def _mitdb(options: argparse.Namespace, runs: Runs) -> dict[float, list[dict[str, Any]]]:
    everything = list(leads(options.data, 60 if options.quick else None))
    found: dict[float, list[dict[str, Any]]] = {}
    for prdn in ASKED[:1] if options.quick else ASKED:
        for fold in range(cases.N_FOLDS):
            signals = [e.x for e in everything if e.case.fold != fold and e.name not in PACED]
            file = options.work / f"fold{fold}-prdn{prdn:g}-{options.steps}{'-quick' * options.quick}.pt"
            own = held(file, signals, prdn, options.steps, fold, options.device)
            mine = [e for e in everything if e.case.fold == fold]
            for lead in mine:
                key = {"record": lead.name, "prdn": prdn, "steps": options.steps, "quick": options.quick}
                make = partial(coded, lead, own, prdn, options.device, read_back=lead is mine[0])
                found.setdefault(prdn, []).append(runs.get(key, make))
    return found


def main() -> None:
    """Train, code and classify what is missing; write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "autoencoder")
    parser.add_argument("--steps", type=int, default=1000, help="of training")
    parser.add_argument("--seeds", type=int, default=3, help="of classifiers")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="a minute of each record, 20 steps; writes into --work")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.quick:
        options.steps, options.seeds = 20, 1
    folder = options.work if options.quick else MEASURED
    runs = Runs(options.work / "runs.jsonl")
    write_measured("autoencoder", rate_rows(_mitdb(options, runs)), folder=folder)
    write_measured("autoencoder-seizures", seizure_rows(options, runs), folder=folder)


if __name__ == "__main__":
    main()
