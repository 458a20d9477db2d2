"""Signals, looks and blocks that the tests of drift and retraining share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.drift.signals import Change, LongSignal, with_changes
from sanstream.bank import named_banks
from sanstream.config import RetrainSettings
from sanstream.daemon.adaptation import Adaptation, Adopted, ObservedBlock
from sanstream.drift import Look
from sanstream.drift_windows import PhiRule, bridged, look_at, phi_of, phi_rule, taps_for
from sanstream.durable import Disk
from sanstream.encode_kernels import KernelChoice, adapt
from sanstream.encode_live import Part, encode_part, plan_live
from sanstream.encode_plan import Plan
from sanstream.quality import Quality, parse_quality
from sanstream.reservoir import Stretch
from sanstream.signal import IntSamples

WINDOW = 2500
BANK = named_banks()["ecg"]
KEY = ("bed1", "250hz")
BEGIN_NS = 1_700_000_000 * 10**9
torch.set_num_threads(1)


@cache
def signal(seed: int, *, hours: float = 3.0, restless: bool = True) -> LongSignal:
    return LongSignal(seed, hours=hours, restless=restless)


def changed(seed: int, at_s: float, kind: str, *, restless: bool = False) -> LongSignal:
    return with_changes(signal(seed, restless=restless), [Change(at_s, kind)])


@cache
def own_kernels(seed: int) -> KernelChoice:
    found = signal(seed, restless=False)
    x = found.samples(0, 180)
    choice = adapt(x, np.ones(len(x), np.bool_), found.rate, BANK, seconds=0.8, n_kernels=2, n_rounds=3, device="cpu")
    assert choice is not None
    return choice


def rules(seed: int) -> list[PhiRule]:
    rate = signal(seed, restless=False).rate
    taps = [taps_for(own_kernels(seed), c, BANK, rate) for c in (0, 1)]
    return [phi_rule(t, rate, WINDOW) for t in taps if t is not None]


def looks(found: LongSignal, x: IntSamples, by: list[PhiRule]) -> list[tuple[Look, ...]]:
    columns = []
    for c, rule in enumerate(by):
        windows = np.ascontiguousarray(x[: len(x) // WINDOW * WINDOW, c]).reshape(-1, WINDOW)
        sight = look_at(windows, found.channels[c], found.rate)
        phi = phi_of(bridged(windows, found.channels[c]), rule)
        figures = (phi, sight.usable, sight.noise, sight.sway, sight.reach, sight.tempo)
        columns.append([Look(*v) for v in zip(*(f.tolist() for f in figures), strict=True)])
    return list(zip(*columns, strict=True))


def qualities(found: LongSignal, text: str) -> tuple[Quality, ...]:
    return tuple(parse_quality(text, c) for c in found.channels)


def stretches(found: LongSignal, start_s: float, n: int, tag: str = "") -> tuple[Stretch, ...]:
    starts = [start_s + 60 * i for i in range(n)]
    return tuple(Stretch(BEGIN_NS + int(s * 1e9), found.rate, found.samples(s, 60), tag) for s in starts)


class StubTraining:
    """Gives at once what a test wants."""

    def __init__(self, result: Callable[[Mapping[str, Any]], Mapping[str, Any] | None]) -> None:
        self.busy = False
        self.jobs: list[Mapping[str, Any]] = []
        self._result = result

    def begin(self, job: dict[str, Any]) -> None:
        self.busy = True
        self.jobs.append(job)

    def result(self) -> Mapping[str, Any] | None:
        found = self._result(self.jobs[-1]) if self.busy else None
        self.busy = self.busy and found is None
        return found

    def close(self) -> None:
        self.busy = False


class Bed:
    """A stream that is encoded minute by minute under an adaptation, as the engine does it."""

    def __init__(
        self, folder: Path, found: LongSignal, *, quality: str = "prdn=5", training: Any = None,
        disk: Disk | None = None, **settings: Any,
    ) -> None:  # fmt: skip
        self.folder, self.signal, self.now_ns = folder, found, BEGIN_NS
        self.qualities = qualities(found, quality)
        self.settings = RetrainSettings(**{"warm_up_s": 180.0, **settings})
        self.training, self.disk = training, disk or Disk()
        self.plan: Plan | None = None
        self.minute = 0
        self.bits: list[float] = []
        self.open()

    def open(self) -> None:
        self.adaptation = Adaptation(
            self.settings, self.folder, self.disk, lambda: self.now_ns, inline=True, training=self.training
        )
        self.plan = None

    def run(self, minutes: int) -> list[Adopted]:
        """Encode so many minutes; returns what was adopted."""
        out = []
        for _ in range(minutes):
            x = self.signal.samples(60.0 * self.minute, 60)
            if self.plan is None:
                s = self.signal
                start = self.adaptation.start_for(KEY, s.channels, s.rate, self.qualities)
                self.plan = plan_live(
                    x, s.channels, self.qualities, s.rate, segment_id="0" * 16, start=start, effort="fast"
                )
            bits = x.size if self.training else 8 * len(encode_part(Part(self.plan, 0, x)))  # nobody looks at a stub's
            self.bits.append(bits / x.size)
            self.adaptation.observe(KEY, self.block(x, bits))
            self.minute += 1
            self.now_ns = BEGIN_NS + self.minute * 60 * 10**9
            adopted = self.adaptation.poll()
            if adopted:
                self.plan = None
            out += adopted
        return out

    def block(self, x: IntSamples, bits: int) -> ObservedBlock:
        assert self.plan is not None
        s, size = self.signal, self.plan.coding.window_samples
        return ObservedBlock(x, s.channels, s.rate, self.qualities, self.now_ns, bits, size, self.plan)

    @property
    def state(self) -> dict[str, Any]:
        return self.adaptation.state(KEY)
