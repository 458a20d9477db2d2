"""A challenge as JSON, for the training process: the samples stay in the reservoir, kernels travel as deltas."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from sanstream.bank import find_bank
from sanstream.bank_delta import Delta, read_delta, write_delta
from sanstream.encode_effort import EFFORTS, Effort
from sanstream.encode_kernels import KernelChoice
from sanstream.encode_live import LiveStart
from sanstream.quality import Quality
from sanstream.reservoir import Key, Stretch, read_stretches
from sanstream.retrain import Case, Decision, challenge
from sanstream.signal import Channel

Job = dict[str, Any]


def channels_tag(channels: Sequence[Channel], rate: Fraction) -> str:
    """Name a channel set and rate: kernels fit only signals of one tag."""
    text = json.dumps([[c.to_dict() for c in channels], str(rate)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def pack_kernels(kernels: KernelChoice | None) -> str:
    """Return kernels as a delta in base64; nothing gives ``""``."""
    if kernels is None:
        return ""
    n = len(kernels.shifts)
    return base64.b64encode(write_delta(Delta(kernels=kernels.kernels, shifts=kernels.shifts), n)).decode()


def unpack_kernels(text: str, n_channels: int) -> KernelChoice | None:
    """Parse :func:`pack_kernels` output; ``n_channels`` is that of the first group.

    Raises
    ------
    CorruptError
        When it is not that.
    """
    if not text:
        return None
    delta = read_delta(base64.b64decode(text), n_channels)
    return KernelChoice(delta.kernels, delta.shifts) if delta.kernels and delta.shifts is not None else None


def effort_name(effort: Effort) -> str:
    """Name an effort; one that has no name counts as ``"fast"``."""
    return next((name for name, known in EFFORTS.items() if known == effort), "fast")


def make_job(
    folder: Path, key: Key, since_ns: int, *, channels: Sequence[Channel], rate: Fraction,
    qualities: Sequence[Quality], effort: str, start: LiveStart, delta: bytes,
) -> Job:  # fmt: skip
    """Describe a challenge.

    Parameters
    ----------
    folder : Path
        The reservoir's.
    key : (str, str)
    since_ns : int
        Stretches from before are of another signal.
    channels, rate, qualities, effort
        The stream's.
    start : LiveStart
        Bank and kernels of the segment that is written now.
    delta : bytes
        Its whole delta.
    """
    return {
        "folder": str(folder),
        "key": list(key),
        "since_ns": since_ns,
        "channels": [c.to_dict() for c in channels],
        "rate": str(rate),
        "qualities": [asdict(q) for q in qualities],
        "effort": effort,
        "bank": start.bank.id,
        "kernels": pack_kernels(start.kernels),
        "n_members": 0 if start.kernels is None else len(start.kernels.shifts),
        "delta": base64.b64encode(delta).decode(),
    }


def run_job(job: Mapping[str, Any]) -> dict[str, Any]:
    """Do a challenge; returns JSON values that :func:`decision_of` reads."""
    channels = tuple(Channel.from_dict(c) for c in job["channels"])
    rate = Fraction(job["rate"])
    tag = channels_tag(channels, rate)
    kept: list[Stretch] = [
        s
        for s in read_stretches(Path(job["folder"]), (job["key"][0], job["key"][1]))
        if s.tag == tag and s.time_ns >= job["since_ns"]
    ]
    case = Case(
        tuple(kept), channels, rate, tuple(Quality(**q) for q in job["qualities"]), job["effort"],
        find_bank(job["bank"]), unpack_kernels(job["kernels"], job["n_members"]), base64.b64decode(job["delta"]),
    )  # fmt: skip
    decision = challenge(case)
    learned = decision.learned
    return {
        "adopt": decision.adopt,
        "reason": decision.reason,
        "figures": decision.figures,
        "bank": case.bank.id,
        "kernels": pack_kernels(learned),
        "n_members": 0 if learned is None else len(learned.shifts),
    }


def decision_of(result: Mapping[str, Any]) -> Decision:
    """Read what :func:`run_job` gave."""
    learned = unpack_kernels(result["kernels"], result["n_members"])
    start = LiveStart(find_bank(result["bank"]), learned) if result["adopt"] else None
    return Decision(bool(result["adopt"]), str(result["reason"]), dict(result["figures"]), start, learned)
