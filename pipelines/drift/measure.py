"""What is measured: alarms on days without a change, delays and bits where there is one."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.drift.signals import Change, LongSignal, with_changes
from sanstream.bank import named_banks
from sanstream.daemon.sights import Glance, look
from sanstream.drift import Alarm, DriftWatch, Look, Loop
from sanstream.drift_windows import PhiRule, phi_rule, taps_for, watched
from sanstream.encode_kernels import KernelChoice
from sanstream.encode_live import LiveStart, Part, encode_part, plan_live
from sanstream.encode_plan import Plan
from sanstream.quality import parse_quality
from sanstream.reservoir import Stretch
from sanstream.retrain import Case, challenge, coded_bytes
from sanstream.signal import Channel, IntSamples

Row = dict[str, Any]
BLOCK_S = 60
WINDOW_S = 10
TRAIN_BLOCKS = 9
BANK = named_banks()["ecg"]


class Signal(Protocol):
    """What can be looked at: samples (n, C) int32 of any stretch."""

    @property
    def rate(self) -> Fraction:
        """Hz."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """In the samples' order."""

    def samples(self, start_s: float, duration_s: float) -> IntSamples:
        """Return a stretch."""


@dataclass
class Ward:
    """One stream with the kernels of its first minutes, looked at and encoded block by block.

    Parameters
    ----------
    signal : Signal
    quality : str
    """

    signal: Signal
    quality: str = "prdn=5"

    def __post_init__(self) -> None:
        self.plan = self._start()
        self.rules = self._rules(self.plan.kernels)

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

    def series(self, start_s: float, minutes: int) -> Row:
        """Encode and look at consecutive blocks: figures of every window, rounded, and bits per sample."""
        s, looks, loops, bits = self.signal, [], [], []
        for minute in range(minutes):
            x = s.samples(start_s + BLOCK_S * minute, BLOCK_S)
            bits.append(round(8 * len(encode_part(Part(self.plan, 0, x))) / x.size, 5))
            seen = look(
                Glance(
                    ("bed", "250hz"), 0, x, s.channels, s.rate, round(WINDOW_S * s.rate), watched(s.channels),
                    self.rules, 0, bits[-1],
                )
            )  # fmt: skip
            looks.append([[[round(float(v), 4) for v in astuple(k)] for k in w] for w in seen.windows])
            loops.append([None if p is None else [round(p.axis, 2), round(p.roundness, 4)] for p in seen.loops])
        return {"looks": looks, "loops": loops, "bits": bits}


def stable(seed: int, minutes: int) -> Row:
    """Look at hours with circadian rate, postures, noise and loose leads, and no change."""
    return Ward(LongSignal(seed, hours=minutes / 60)).series(0, minutes)


def changed(seed: int, kind: str, at_minute: int, minutes: int) -> Row:
    """Look at the minutes after a change, with the kernels of before."""
    return _changed(seed, kind, at_minute).series(60.0 * at_minute, minutes)


def _changed(seed: int, kind: str, at_minute: int) -> Ward:
    signal = LongSignal(seed, hours=at_minute / 60 + 1.5)
    ward = Ward(signal)
    ward.signal = with_changes(signal, [Change(60.0 * at_minute, kind)])
    return ward


def base(seed: int, at_minute: int) -> Row:
    """Look at the minutes before any change of :func:`changed`."""
    return Ward(LongSignal(seed, hours=at_minute / 60 + 1.5)).series(0, at_minute)


@dataclass(frozen=True)
class Heard:
    """An alarm, its minute, and how many windows of its series the watch had judged until then."""

    minute: int
    alarm: Alarm
    n_judged: int


def watched_over(*parts: Row) -> list[Heard]:
    """Let a watch see series one after the other."""
    watch, out = DriftWatch(len(parts[0]["looks"][0][0])), []
    minute = 0
    for part in parts:
        before = watch.n_admitted
        for windows, loops, bits in zip(part["looks"], part["loops"], part["bits"], strict=True):
            for w, p in zip(windows, loops, strict=True):
                alarm = watch.update([Look(v[0], bool(v[1]), *v[2:]) for v in w], None if p is None else Loop(*p))
                out += [] if alarm is None else [Heard(minute, alarm, watch.n_admitted - before)]
            alarm = watch.end_block(bits)
            out += [] if alarm is None else [Heard(minute, alarm, watch.n_admitted - before)]
            minute += 1
    return out


def sigmas(before: Row, after: Row) -> list[float]:
    """How far phi per channel and bits moved in ten minutes, in robust deviations of the twenty before."""
    old, new = _levels(before, slice(-20, None)), _levels(after, slice(0, 10))
    level = np.median(old, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(old - level), axis=0), 0.01 * level)
    return [round(float(v), 2) for v in np.abs(np.median(new, axis=0) - level) / spread]


def _levels(part: Row, some: slice) -> npt.NDArray[np.float64]:
    phi = [np.array(w)[..., 0] for w in part["looks"][some]]
    bits = np.repeat(part["bits"][some], len(phi[0]))
    return np.concatenate([np.concatenate(phi), bits[:, None]], axis=1)


def usable(part: Row, minutes: int) -> bool:
    """Tell whether the first minutes can be judged on some channel."""
    flags = np.array(part["looks"][:minutes])[..., 1]
    return bool((flags.mean(axis=(0, 1)) > 0.9).any())


def retrained(seed: int, kind: str, at_minute: int) -> Row:
    """Bits per sample with the kernels of before, and with those retrained on minutes 5 to 14 of the change.

    Both are measured on the ten minutes after those, which no training saw.
    """
    ward, at, row = _changed(seed, kind, at_minute), 60.0 * at_minute, {}
    for quality in ("prdn=5", "prdn=9", "lossless"):
        for effort in ("fast", "default"):
            old = ward.planned(ward.case(at - 60 * TRAIN_BLOCKS, quality, effort, None), ward.plan.kernels)
            case = ward.case(at + 300, quality, effort, old)
            start = challenge(case).start
            unseen = ward.stretches(at + 300 + BLOCK_S * TRAIN_BLOCKS, 10)
            n = sum(s.samples.size for s in unseen)
            plans = (old, old if start is None else ward.planned(case, start.kernels))
            row[f"{quality} {effort}"] = [round(8 * coded_bytes(plan, unseen) / n, 4) for plan in plans]
    return row
