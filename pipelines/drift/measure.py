"""What is measured: alarms on days without a change, delays and bits where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.drift.signals import Change, LongSignal, with_changes
from sanstream.bank import named_banks
from sanstream.daemon.sights import Glance, look
from sanstream.drift import Alarm, DriftWatch
from sanstream.drift_windows import PhiRule, phi_rule, taps_for, watched
from sanstream.encode_kernels import KernelChoice
from sanstream.encode_live import LiveStart, Part, encode_part, plan_live
from sanstream.encode_plan import Plan
from sanstream.quality import parse_quality
from sanstream.reservoir import Stretch
from sanstream.retrain import Case, challenge, coded_bytes

Row = dict[str, Any]
BLOCK_S = 60
WINDOW_S = 10
TRAIN_BLOCKS = 9
BANK = named_banks()["ecg"]


@dataclass
class Ward:
    """One stream with the kernels of its first minutes, watched and encoded block by block.

    Parameters
    ----------
    signal : LongSignal
    quality : str
    """

    signal: LongSignal
    quality: str = "prdn=5"

    def __post_init__(self) -> None:
        self.plan = self._start()
        self.rules = self._rules(self.plan.kernels)
        self.watch = DriftWatch(len(watched(self.signal.channels)))
        self.last: list[tuple[list[float], float]] = []

    def stretches(self, start_s: float, n: int) -> tuple[Stretch, ...]:
        """Return consecutive blocks."""
        starts = [start_s + BLOCK_S * i for i in range(n)]
        return tuple(Stretch(round(s * 1e9), self.signal.rate, self.signal.samples(s, BLOCK_S)) for s in starts)

    def case(self, start_s: float, quality: str, effort: str, old: Plan | None) -> Case:
        """Return what a challenge is held on."""
        s = self.signal
        qualities = tuple(parse_quality(quality, c) for c in s.channels)
        kernels, delta = (None, b"") if old is None else (old.kernels, old.coding.bank_delta)
        return Case(self.stretches(start_s, TRAIN_BLOCKS), s.channels, s.rate, qualities, effort, BANK, kernels, delta)

    def planned(self, case: Case, kernels: KernelChoice | None) -> Plan:
        """Return the plan of a segment that starts with a case's first block."""
        return plan_live(
            case.stretches[0].samples, case.channels, case.qualities, case.rate, segment_id="0" * 16,
            start=LiveStart(BANK, kernels), effort=case.effort,
        )  # fmt: skip

    def _start(self) -> Plan:
        case = self.case(0, self.quality, "fast", None)
        bare = self.planned(case, None)
        case = self.case(0, self.quality, "fast", bare)
        return self.planned(case, challenge(case).learned)

    def _rules(self, kernels: KernelChoice | None) -> tuple[PhiRule | None, ...]:
        out: list[PhiRule | None] = []
        for c in watched(self.signal.channels):
            taps = taps_for(kernels, c, BANK, self.signal.rate)
            out.append(None if taps is None else phi_rule(taps, self.signal.rate, round(WINDOW_S * self.signal.rate)))
        return tuple(out)

    def block(self, start_s: float) -> list[Alarm]:
        """Encode and watch one block."""
        s, x = self.signal, self.signal.samples(start_s, BLOCK_S)
        bits = 8 * len(encode_part(Part(self.plan, 0, x))) / x.size
        seen = look(
            Glance(
                ("bed", "250hz"),
                0,
                x,
                s.channels,
                s.rate,
                round(WINDOW_S * s.rate),
                watched(s.channels),
                self.rules,
                round(start_s * 1e9),
                bits,
            )
        )
        found = [self.watch.update(looks) for looks in seen.windows] + [self.watch.end_block(bits)]
        self.last.append((np.median([[k.phi for k in w] for w in seen.windows], axis=0).tolist(), bits))
        return [a for a in found if a is not None]


def stable_day(seed: int, hours: float) -> Row:
    """Count the alarms of hours with circadian rate, postures, noise and loose leads, and no change."""
    ward = Ward(LongSignal(seed, hours=hours))
    found = [a for minute in range(int(hours * 60)) for a in ward.block(60.0 * minute)]
    alarms = [[a.window, a.figure, round(a.shift.sigmas, 2)] for a in found]
    return {"seed": seed, "hours": hours, "windows": ward.watch.n_admitted, "alarms": alarms}


def change(seed: int, kind: str, after_minutes: int) -> Row:
    """Put one change into a signal: windows and seconds until the alarm, its size, bits before and after retraining."""
    signal = LongSignal(seed, hours=after_minutes / 60 + 1.5)
    at = 60.0 * after_minutes
    ward = Ward(with_changes(signal, [Change(at, kind)]))
    false = sum(len(ward.block(60.0 * m)) for m in range(after_minutes))
    row: Row = {"seed": seed, "kind": kind, "false": false, "delay_windows": None, "figure": None}
    before = ward.last[-20:]
    for minute in range(30):
        known = ward.watch.n_admitted
        start = ward.watch.n_windows
        alarms = ward.block(at + 60.0 * minute)
        if row["delay_windows"] is None and alarms:
            row |= {"delay_windows": alarms[0].window - after_minutes * 6, "figure": alarms[0].figure}
        row.setdefault("judged", 0)
        if minute < 5:
            row["judged"] += ward.watch.n_admitted - known
        assert ward.watch.n_windows - start == 6
    row["sigmas"] = _sigmas(before, ward.last[after_minutes : after_minutes + 10])
    for quality in ("prdn=5", "prdn=9", "lossless"):
        for effort in ("fast", "default"):
            row[f"{quality} {effort}"] = retrained(ward, at, quality, effort)
    return row


def _sigmas(before: list[tuple[list[float], float]], after: list[tuple[list[float], float]]) -> list[float]:
    """How far phi per channel and bits moved, in robust deviations of blocks before."""
    old = np.array([[*phi, bits] for phi, bits in before])
    new = np.array([[*phi, bits] for phi, bits in after])
    level = np.median(old, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(old - level), axis=0), 0.01 * level)
    return [round(float(v), 2) for v in np.abs(np.median(new, axis=0) - level) / spread]


def retrained(ward: Ward, at: float, quality: str, effort: str) -> list[float] | None:
    """Return bits per sample with the kernels of before, and with those retrained on minutes 5 to 14 of the change.

    Both are measured on the ten minutes after those, which no training saw.
    """
    first = ward.case(0, quality, effort, None)
    old = ward.planned(first, ward.plan.kernels)
    case = ward.case(at + 300, quality, effort, old)
    decision = challenge(case)
    if decision.start is None:
        return None
    new = ward.planned(case, decision.start.kernels)
    unseen = ward.stretches(at + 300 + BLOCK_S * TRAIN_BLOCKS, 10)
    n = sum(s.samples.size for s in unseen)
    return [round(8 * coded_bytes(plan, unseen) / n, 4) for plan in (old, new)]
