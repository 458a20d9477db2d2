"""The verdict: a sentence on quality, one on each use of the signal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sanstream.serves.assess import F1_POINTS, Served

if TYPE_CHECKING:
    from sanstream.report.findings import Findings


def verdict(found: Findings) -> str:
    """Say in a few sentences whether the quality is kept and whether the signal still serves."""
    return " ".join([_quality(found), *_uses(found)])


def _quality(found: Findings) -> str:
    n, broken = found.n_windows, len(found.figures.broken)
    asked = sorted({c.quality for s in found.figures.streams for c in s.channels})
    if broken:
        return f"Broken: {broken:,} of {n:,} windows miss the quality asked ({', '.join(asked)})."
    if found.exact:
        return f"Every sample of all {n:,} windows is exactly the original's."
    return f"Every one of {n:,} windows keeps the quality asked ({', '.join(asked)})."


def _uses(found: Findings) -> Iterator[str]:
    if found.exact:
        return
    beyond = {a.measure for a in found.attention}
    yield from _beats(found.served)
    others = [
        ("rhythm", "heart-rate variability", any(s.rhythm for s in found.served)),
        ("st", "ST level", any(s.st for s in found.served)),
        ("band power", "EEG band power", any(s.spectrum for s in found.served)),
        ("coherence", "EEG coherence", any(s.spectrum for s in found.served)),
        ("peaks", "peaks of pressure, PPG and respiration", any(s.pulses for s in found.served)),
        ("pressure", "pressure values", any(s.pulses and s.modality == "pressure" for s in found.served)),
    ]
    fine = [name for key, name, there in others if there and key not in beyond]
    odd = [name for key, name, there in others if there and key in beyond]
    if fine:
        yield f"Within limits: {', '.join(fine)}."
    if odd:
        yield f"Beyond limits in some channel: {', '.join(odd)}."
    if not any(s.beats or s.spectrum or s.pulses for s in found.served):
        yield "No channel is of a kind whose use can be measured, or long enough for it."


def _beats(served: Sequence[Served]) -> Iterator[str]:
    results = [b for s in served for b in s.beats]
    if not results:
        return
    worst = min(results, key=lambda b: b.f1_points)
    where = next(s.channel for s in served if worst in s.beats)
    n = sum(b.f1_points < -F1_POINTS - 1e-9 for b in results)
    if n:
        yield (
            f"QRS detection is worse by more than {F1_POINTS} points of F1 in {n} of {len(results)} runs "
            f"(a run is a detector on a channel). Worst: {worst.detector} on {where}, {worst.f1_points:+.2f} points "
            f"from {100 * worst.original.f1:.1f} % in the original."
        )
    else:
        yield f"Heart beats are found as well as in the original (F1 at worst {worst.f1_points:+.2f} points)."
