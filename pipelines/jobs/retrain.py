"""Train banks on what a site's archives hold, one a modality, and keep one only where it makes others smaller.

Usage: python -m pipelines.jobs.retrain --config pipelines/jobs/retrain.toml [--json]

Stretches are drawn from the archives (places from manifests alone, then only these are decoded). A bank learns from
three recordings of four; of the others, stretches are encoded with it and with the present bank, at the same bound, by
real bytes. The winner is written as TO/MODALITY-ID.sanbank. What came of a modality stands in TO/MODALITY.json: the
same question again, of the same archives, is not asked twice.
"""

# ruff: noqa: RUF009  a key's description is made once, like the field that holds it
from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import click

from pipelines.jobs.place import Folder
from pipelines.jobs.samples import Drawn, draw, examples
from pipelines.jobs.settings import key, read_job
from sanstream.archive import Archive
from sanstream.archive import open as open_archive
from sanstream.bank import Bank, named_banks
from sanstream.bank_places import choose_bank, install_banks, place_bank
from sanstream.cli.exits import main
from sanstream.cli.output import json_option, print_json, print_table
from sanstream.config_values import FLAG, MAPPING, PATH, TEXT, WORDS, choice, count, duration, share
from sanstream.encode import encode_blocks, plan_segment
from sanstream.errors import InputError
from sanstream.modality import MODALITIES
from sanstream.quality import choose_qualities
from sanstream.signal import Channel
from sanstream.train import Example, train_bank, train_kernels

_LEAST_HELD = 2
Row = dict[str, Any]


@dataclass(frozen=True)
class RetrainJob:
    """``retrain.toml``."""

    archives: tuple[str, ...] = key(WORDS, "Archives: folders, or `s3://`, `gs://`, `az://`.")
    to: Path = key(PATH, "Folder for banks and what came of each modality; made when it is not there.")
    modalities: tuple[str, ...] = key(WORDS, "Of these; default: all that the archives hold.", ())
    present: Mapping[str, str] = field(
        default_factory=dict,
        metadata={"kind": MAPPING, "help": "Banks in use, by modality; default: shipped ones.", "key": "", "shown": ""},
    )
    quality: str = key(TEXT, "What both are compared at.", "prdn=5")
    effort: str = key(
        choice("fast", "default", "thorough"), "Likewise; quick efforts take little from a bank.", "thorough"
    )
    stretch: float = key(duration("30s", "1h"), "Length of a stretch.", 300.0)
    learn: int = key(count(2, 10_000), "Stretches of a modality to learn from.", 32)
    compare: int = key(count(2, 10_000), "Stretches of a modality, of other recordings, to compare on.", 12)
    recordings: int = key(count(2, 1_000_000), "Recordings of an archive whose manifests are read.", 1000)
    least_saved: float = key(share(0.0, 0.9), "Share of the bytes that a new bank must save.", 0.02)
    install: bool = key(FLAG, "Put a bank that wins where every reader finds it, too.", False)
    seed: int = key(count(0, 1 << 31), "Of the draw and the training.", 0)


def run(job: RetrainJob) -> list[Row]:
    """Train and compare.

    Returns
    -------
    list of dict
        One a modality: stretches, bits per sample of both banks, the share saved, what was decided and, where the new
        bank won, its file.

    Raises
    ------
    InputError
        On an archive that is not there, an unknown modality or quality, or a present bank that is not there.
    """
    unknown = [m for m in (*job.modalities, *job.present) if m not in MODALITIES]
    if unknown:
        raise InputError(f"modality {unknown[0]!r} is unknown", hint=f"use {', '.join(MODALITIES)}")
    choose_qualities([job.quality], [Channel("x", "mV", 1.0)])  # says what is wrong with it
    archives = {url: open_archive(url, live=False) for url in job.archives}
    drawn = draw(
        archives.items(), n_taught=job.learn, n_held=job.compare, seconds=job.stretch, n_recordings=job.recordings,
        seed=job.seed,
    )  # fmt: skip
    wanted = job.modalities or [m for m in drawn if m not in ("trigger", "other")]
    return [_one(job, m, drawn.get(m, Drawn((), ())), archives) for m in wanted]


def _one(job: RetrainJob, modality: str, drawn: Drawn, archives: dict[str, Archive]) -> Row:
    present = _present(job, modality)
    asked = f"{drawn.digest} {present.id} {job.quality} {job.effort} {job.least_saved} {job.seed}"
    question = sha256(asked.encode()).hexdigest()
    place = Folder(job.to)
    before = json.loads(place.read(f"{modality}.json") or b"{}")
    if before.get("question") == question and (not before["file"] or Path(before["file"]).is_file()):
        row: Row = before
    else:
        row = {
            "modality": modality,
            "question": question,
            "file": "",
            **_compared(job, modality, drawn, archives, present),
        }
        bank = row.pop("bank", None)
        if bank is not None:
            job.to.mkdir(parents=True, exist_ok=True)
            file = job.to / f"{modality}-{bank.id[:12]}.sanbank"
            if not file.is_file():
                place_bank(bank, file)
            row["file"] = str(file)
        place.put(f"{modality}.json", json.dumps(row, indent=1).encode())
    if row["file"] and job.install:
        install_banks(row["file"])
    return row


def _present(job: RetrainJob, modality: str) -> Bank:
    shipped = named_banks()
    return (
        choose_bank(job.present[modality]).bank
        if modality in job.present
        else shipped.get(modality, shipped["general"])
    )


def _compared(job: RetrainJob, modality: str, drawn: Drawn, archives: dict[str, Archive], present: Bank) -> Row:
    taught, held = examples(drawn.taught, archives), examples(drawn.held, archives)
    row: Row = {"learned_from": len(taught), "compared_on": len(held), "present": present.id}
    if len(taught) < _LEAST_HELD or len(held) < _LEAST_HELD:
        return {**row, "decision": "too little signal: archive more recordings, or ask for shorter stretches"}
    rate_hz = float(Counter(e.rate for e in taught).most_common(1)[0][0])
    kernels = train_kernels(taught, rate_hz)
    bank = train_bank(
        modality, taught, kernels=kernels, rate_hz=rate_hz if kernels else 0.0, n_blocks=2, seed=job.seed,
        notes=f"{len(taught)} stretches, seed {job.seed}",
    )  # fmt: skip
    old, new = (coded_bytes(held, b, job.quality, job.effort) for b in (present, bank))
    n_values = sum(e.samples.size for e in held)
    saved = 1 - new / old
    row |= {
        "n_kernels": len(kernels),
        "bank_bytes": len(bank.data),
        "present_bits": round(8 * old / n_values, 4),
        "new_bits": round(8 * new / n_values, 4),
        "saved_share": round(saved, 4),
    }
    if saved < job.least_saved:
        return {**row, "decision": "saves too little"}
    return {**row, "decision": "wins", "bank": bank}


def coded_bytes(held: Sequence[Example], bank: Bank, quality: str, effort: str) -> int:
    """Encode every stretch as a segment of its own; returns its blocks, their lengths, and what it adds to its bank."""
    total = 0.0
    for example in held:
        qualities = choose_qualities([quality], example.channels)
        plan = plan_segment(
            example.samples, example.channels, qualities, example.rate, segment_id="0" * 16, effort=effort, bank=bank,
        )  # fmt: skip
        total += sum(len(payload) + 2 for payload in encode_blocks(example.samples, plan))
        total += 4 / 3 * len(plan.coding.bank_delta)
    return round(total)


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The job's TOML file.")
@json_option
def retrain(config: Path, as_json: bool) -> None:
    """Train a bank for each modality, and keep it where it makes recordings smaller that it has not seen."""
    rows = run(read_job(config, RetrainJob))
    if as_json:
        print_json(rows)
        return
    columns = ("modality", "learned_from", "compared_on", "present_bits", "new_bits", "saved_share", "decision", "file")
    print_table(columns, [[row.get(c, "-") for c in columns] for row in rows])


if __name__ == "__main__":
    main(retrain, "python -m pipelines.jobs.retrain")
