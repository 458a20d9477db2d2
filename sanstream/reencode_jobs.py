"""What a worker does: plan a segment, or encode some blocks of one; every block is kept as soon as it is there.

A block depends on its samples and on its segment's plan alone, and is encoded by one thread: whoever makes it, and
beside whatever, it comes out the same.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from sanstream.archive import RecordingReader
from sanstream.archive import open as open_archive
from sanstream.archive_reached import Reached
from sanstream.archive_read import StreamReader
from sanstream.bank import Bank, Kernel, find_bank, read_bank
from sanstream.block_coding import TABLES, SegmentCoding
from sanstream.block_lattice import on_lattices
from sanstream.decode import decode_block
from sanstream.encode import plan_segment, resolve_bits
from sanstream.encode_block import encode_block
from sanstream.encode_effort import EFFORTS
from sanstream.encode_kernels import KernelChoice
from sanstream.encode_plan import Plan, activations_of, encode_threads
from sanstream.errors import BankError, InputError
from sanstream.quality import LOSSLESS, MAX_ERROR, PRDN, RMSE, Quality
from sanstream.reencode_bounds import against_original, allowances, lost_before
from sanstream.reencode_excerpt import excerpt
from sanstream.reencode_request import RETRAIN, is_lossy, wanted_qualities
from sanstream.reencode_store import Checkpoints, open_checkpoints, pack, unpack
from sanstream.reencode_targets import Target

BANKS = "banks"
_JOB_VALUES = {"fast": 1 << 23, "default": 1 << 23, "thorough": 1 << 20}
"""Samples, all channels, of a job: some seconds of work on one core, less than a minute on a slow one."""


@dataclass(frozen=True)
class Work:
    """A segment to encode, as every job on it needs it.

    Parameters
    ----------
    source : str
        The source archive's address.
    manifest : str
        Digest of the recording's manifest there: a worker that lives long must not go by an older one.
    checkpoints : str
        See :func:`sanstream.reencode_store.checkpoints_of`.
    target : Target
    id : str
        Names its checkpoints: a hash of all that decides its bytes.
    effort : str
    bank : str or None
        As in :class:`~sanstream.reencode_request.Request`.
    device : str
        ``"cpu"`` or ``"cuda"``.
    """

    source: str
    manifest: str
    checkpoints: str
    target: Target
    id: str
    effort: str
    bank: str | None
    device: str


@dataclass(frozen=True)
class Job:
    """Blocks ``first`` to ``stop`` of a segment; none: its plan."""

    work: Work
    first: int = 0
    stop: int = 0
    n_values: int = 0
    """Samples of all channels that it encodes."""

    @property
    def key(self) -> str:
        """Of its checkpoint."""
        return f"{self.work.id}/{self.first:08}-{self.stop:08}" if self.stop else f"{self.work.id}/plan"

    @property
    def where(self) -> str:
        """Names it in messages."""
        head = self.work.target.where
        return f"{head}, blocks {self.first} to {self.stop - 1}" if self.stop else f"{head}, its plan"


def run_job(job: Job) -> str:
    """Do one job, on a worker; what it makes is a checkpoint, and its key is returned."""
    store = open_checkpoints(job.work.checkpoints)
    with encode_threads(1):
        if job.stop:
            _encode(job, store)
        else:
            _plan(job, store)
    return job.key


def _one_thread() -> None:
    """Keep torch to one thread where it is used at all: importing it takes longer than many a block."""
    import torch

    torch.set_num_threads(1)


@lru_cache(maxsize=4)
def _recording(source: str, name: str, manifest: str) -> RecordingReader:
    return open_archive(source, live=False).recordings[name]


def _stream(work: Work) -> StreamReader:
    return _recording(work.source, work.target.recording, work.manifest).streams[work.target.stream]


def _plan(job: Job, store: Checkpoints) -> None:
    """Plan a segment from its samples, or from evenly spaced runs of a long one."""
    work, target = job.work, job.work.target
    if work.effort != "fast":
        _one_thread()
    reader = _stream(work)
    entry = target.pieces[0].entry
    own = reader.bank(entry)
    retrain = work.bank == RETRAIN
    bank = None if retrain else own if work.bank is None else own_bank(work.bank, store)
    wanted = wanted_qualities(target.qualities, target.channels)
    samples, extent = excerpt(reader, target, wanted, work.effort)
    options: dict[str, Any] = {
        "effort": work.effort,
        "bank": bank,
        "banks": (own,) if retrain else (),
        "extent": extent,
    }
    resolved = resolve_bits(samples, target.channels, wanted, target.rate, **options)
    trial = _tightened(resolved, target) if is_lossy(entry) else resolved
    plan = plan_segment(
        samples, target.channels, trial, target.rate, segment_id=work.id[:16], device=work.device, **options
    )
    lattices = plan.coding.lattices or (None,) * len(trial)
    exact = [plan.qualities[c] if lattice is not None else resolved[c] for c, lattice in enumerate(lattices)]
    _keep_bank(plan.bank, store)
    store.put(job.key, pack({"plan": _plan_values(replace(plan, qualities=tuple(exact)), resolved)}))


def _tightened(wanted: Sequence[Quality], target: Target) -> tuple[Quality, ...]:
    """Return about what will be left of each quality when the source's own losses are taken off, to plan with."""
    out = []
    for quality, figures in zip(wanted, target.pieces[0].entry.reached, strict=True):
        lost = {PRDN: figures[0], RMSE: figures[2], MAX_ERROR: figures[3]}.get(quality.kind, 0.0)
        left = quality.value * (1 - lost / 100) - lost if quality.kind == PRDN else quality.value - lost
        kind = LOSSLESS if quality.kind == MAX_ERROR and left < 1 else quality.kind
        out.append(quality if not lost else replace(quality, kind=kind, value=max(left, 0.0), text=""))
    return tuple(out)


def _plan_values(plan: Plan, wanted: Sequence[Quality]) -> dict[str, Any]:
    kernels = None
    if plan.kernels is not None:
        kernels = {
            "shifts": plan.kernels.shifts.tolist(),
            "kernels": [[k.uid, k.taps.tolist(), k.fiducial] for k in plan.kernels.kernels],
        }
    return {
        "coding": plan.coding.to_dict(),
        "effort": next(name for name, effort in EFFORTS.items() if effort == plan.effort),
        "qualities": [[q.kind, q.value, q.text] for q in plan.qualities],
        "wanted": [[q.kind, q.value, q.text] for q in wanted],
        "kernels": kernels,
    }


@dataclass(frozen=True)
class KeptPlan:
    """A plan as its checkpoint has it, and the qualities that the manifest will name."""

    plan: Plan
    wanted: tuple[Quality, ...]


def kept_plan(work: Work, store: Checkpoints) -> KeptPlan | None:
    """Return a segment's plan; None when it is not there."""
    found = unpack(store.get(f"{work.id}/plan"))
    if found is None:
        return None
    values = found[0]["plan"]
    coding = SegmentCoding.from_dict(values["coding"])
    kernels = None
    if values["kernels"] is not None:
        rows = tuple(Kernel(u, np.array(t, np.int16), f) for u, t, f in values["kernels"]["kernels"])
        kernels = KernelChoice(rows, np.array(values["kernels"]["shifts"], np.int64))
    qualities, wanted = (tuple(Quality(*q) for q in values[k]) for k in ("qualities", "wanted"))
    bank = own_bank(coding.bank_base, store)
    plan = Plan(coding, bank, EFFORTS[values["effort"]], qualities, kernels, work.device)
    return KeptPlan(plan, wanted)


def _keep_bank(bank: Bank, store: Checkpoints) -> None:
    store.put(f"{BANKS}/{bank.id}", bank.data)


def own_bank(bank_id: str, store: Checkpoints) -> Bank:
    """Find a bank on this machine, or among the checkpoints."""
    try:
        return find_bank(bank_id)
    except BankError:
        data = store.get(f"{BANKS}/{bank_id}")
        if data is None:
            raise
        return read_bank(data, f"bank {bank_id[:12]}")


def jobs_of(work: Work, plan: Plan) -> list[Job]:
    """Divide a segment's blocks into jobs; how many workers there are has no say in it."""
    size = plan.coding.block_samples * plan.coding.n_channels
    step = max(1, _JOB_VALUES[work.effort] // size)
    n = plan.coding.n_blocks(work.target.n_samples)
    stops = [min(n, first + step) for first in range(0, n, step)]
    values = [
        min(work.target.n_values, stop * size) - first * size
        for first, stop in zip(range(0, n, step), stops, strict=True)
    ]
    return [Job(work, *job) for job in zip(range(0, n, step), stops, values, strict=True)]


def _encode(job: Job, store: Checkpoints) -> None:
    """Encode a job's blocks; those that stand already are taken as they are."""
    kept = kept_plan(job.work, store)
    if kept is None:
        raise InputError(f"{job.where}: the segment's plan is missing", hint="run the command again")
    if kept.plan.kernels is not None and kept.plan.coding.coder != TABLES:
        _one_thread()
    own, states, payloads = f"{job.key}.blocks/", [], []
    there = set(store.keys(own))
    for number in range(job.first, job.stop):
        key = f"{own}{number:08}"
        found = unpack(store.get(key)) if key in there else None
        if found is None:
            found = _block(job.work, kept, number)
            store.put(key, pack(found[0], found[1]))
        states.append(found[0]["state"])
        payloads += found[1]
    store.put(job.key, pack({"states": states}, payloads))
    store.remove(store.keys(own))


def _block(work: Work, kept: KeptPlan, number: int) -> tuple[dict[str, Any], list[bytes]]:
    """Encode one block, decode it as a reader will, and say what it reached."""
    plan, target, reader = kept.plan, work.target, _stream(work)
    coding, size = plan.coding, plan.coding.block_samples
    first = number * size
    samples = target.read(reader, first, min(target.n_samples, first + size))
    lost = lost_before(reader, target, first, samples, coding.window_samples)
    allowed = None if lost is None else allowances(lost, kept.wanted, f"{target.where}, block {number}")
    placed = on_lattices(samples, coding.lattices, coding.missing)
    (activated,) = activations_of(placed, plan, [0])
    payload = encode_block(placed, number, coding, plan.bank, plan.effort, plan.qualities, activated, allowed)
    reached = Reached(coding, plan.bank, kept.wanted)
    reached.add(payload, number, samples)
    state = reached.state()
    if lost is not None:
        decoded = decode_block(payload, number, coding, plan.bank)
        state["original"] = against_original(lost, samples, decoded, coding.missing, coding.window_samples)
    return {"state": state}, [payload]


def job_done(job: Job, store: Checkpoints) -> tuple[list[dict[str, Any]], list[bytes]] | None:
    """Return what a job kept, state and payload per block; None when it is not there."""
    found = unpack(store.get(job.key))
    return None if found is None else (found[0]["states"], found[1])


def source_address(source: str | os.PathLike[str]) -> str:
    """Return the source's address as every worker can use it."""
    text = os.fspath(source)
    return text if "://" in text else os.path.abspath(text)
