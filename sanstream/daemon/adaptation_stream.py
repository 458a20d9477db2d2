"""One stream under watch: what it runs, what it waits for, and when it may train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from sanstream.bank import find_bank
from sanstream.daemon.sights import Glance, Seen
from sanstream.drift import Alarm, DriftWatch
from sanstream.drift_windows import PhiRule, phi_rule, taps_for, watched
from sanstream.encode_kernels import KernelChoice
from sanstream.encode_live import LiveStart
from sanstream.encode_plan import Plan
from sanstream.errors import SanstreamError
from sanstream.quality import Quality
from sanstream.reservoir import Key, Stretch
from sanstream.retrain_job import Job, channels_tag, effort_name, make_job, pack_kernels, unpack_kernels
from sanstream.signal import Channel, IntSamples

NEW, ALARM, DAILY = "new", "alarm", "daily"
_DAY_NS = 86400 * 10**9
_RETRY_NS = 3600 * 10**9
_MOST_PREVIOUS, _MOST_COUNTED = 3, 100
_ONE_IN = 5
"""Once a stream's reservoir is full, every so many blocks one is kept, so that it reaches back further."""
_FULL = 10
_LEAST_USABLE = 0.5


class Limits(Protocol):
    """What is needed of :class:`sanstream.config.RetrainSettings`."""

    @property
    def mode(self) -> str: ...  # noqa: D102
    @property
    def reservoir_bytes(self) -> int: ...  # noqa: D102
    @property
    def max_per_day(self) -> int: ...  # noqa: D102
    @property
    def cooldown_s(self) -> float: ...  # noqa: D102
    @property
    def warm_up_s(self) -> float: ...  # noqa: D102
    @property
    def delta(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class ObservedBlock:
    """A committed block, as the engine shows it.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels), int32
    channels : tuple of Channel
    rate : Fraction
    qualities : tuple of Quality
    time_ns : int
        Signal time of the first sample.
    payload_bits : int
    window_samples : int
    plan : Plan
        Of the segment: bank and kernels in use.
    """

    samples: IntSamples
    channels: tuple[Channel, ...]
    rate: Fraction
    qualities: tuple[Quality, ...]
    time_ns: int
    payload_bits: int
    window_samples: int
    plan: Plan

    @property
    def end_ns(self) -> int:
        """Signal time just after the last sample."""
        return self.time_ns + int(len(self.samples) * 10**9 / self.rate)


@dataclass(frozen=True)
class Wanted:
    """A challenge that should happen, and the first time whose samples describe the present signal."""

    why: str
    since_ns: int
    alarm: Alarm | None = None


@dataclass(eq=False)
class StreamWatch:
    """A stream.

    Parameters
    ----------
    key : (str, str)
    tag : str
        Of its channels and rate.
    delta : float
        ADWIN's confidence.
    """

    key: Key
    tag: str
    delta: float
    adopted: LiveStart | None = None
    previous: list[LiveStart] = field(default_factory=list)
    adoptions: list[int] = field(default_factory=list)
    n_alarms: int = 0
    n_retrained: int = 0
    n_rolled: int = 0
    n_adopted: int = 0
    challenged_ns: int | None = None
    settled: bool = False
    pinned: str = ""
    wanted: Wanted | None = None
    training: bool = False
    now_ns: int = 0
    since_ns: int | None = None
    generation: int = 0
    learned: KernelChoice | None = None
    watch: DriftWatch | None = None
    plan: Plan | None = None
    block: ObservedBlock | None = None
    running: str = ""
    n_blocks: int = 0
    rules: tuple[PhiRule | None, ...] = ()

    @property
    def name(self) -> str:
        """``RECORDING/STREAM``."""
        return f"{self.key[0]}/{self.key[1]}"

    @property
    def has_changed(self) -> bool:
        """Whether the signal changed and no training has ended since; one that is pinned waits for none."""
        return not self.pinned and self.wanted is not None and self.wanted.why == ALARM

    # --- what comes in

    def glance(self, block: ObservedBlock) -> Glance:
        """Take note of a block and say how it is to be looked at."""
        if self.since_ns is None:
            self.since_ns = block.time_ns
        self.now_ns = max(self.now_ns, block.end_ns)
        chosen = watched(block.channels)
        if self.watch is None:
            self.watch = DriftWatch(len(chosen), delta=self.delta)
        if self.plan is not block.plan:
            self._follow(block)
        self.block = replace(block, samples=np.zeros((0, block.samples.shape[1]), np.int32))  # not to hold them
        return Glance(
            self.key, self.generation, block.samples, block.channels, block.rate, block.window_samples, chosen,
            self.rules, block.time_ns, block.payload_bits / max(1, block.samples.size),
        )  # fmt: skip

    def _follow(self, block: ObservedBlock) -> None:
        """Take over what a new segment runs; other kernels make another phi and other bits."""
        assert self.watch is not None
        first, self.plan = self.plan is None, block.plan
        running = pack_kernels(block.plan.kernels)
        if not first and running != self.running:
            self.watch.restart_bits()
        self.running = running
        if block.plan.kernels is not None and self.learned is None:
            self.learned = block.plan.kernels
        self._make_rules(block)

    def _make_rules(self, block: ObservedBlock) -> None:
        members = list(block.plan.coding.groups[0].channels)
        rules: list[PhiRule | None] = []
        for c in watched(block.channels):
            own = self.learned if c in members else None
            taps = taps_for(own, members.index(c) if c in members else 0, block.plan.bank, block.rate)
            rules.append(None if taps is None else phi_rule(taps, block.rate, block.window_samples))
        self.rules = tuple(rules)

    def learn(self, kernels: KernelChoice | None) -> None:
        """Measure phi by other kernels from now on: what comes next is the new normal."""
        if kernels is None or self.block is None or self.watch is None:
            return
        self.learned = kernels
        self.generation += 1
        self.watch.restart()
        self._make_rules(self.block)

    def take(self, seen: Seen) -> Alarm | None:
        """Take what a look at a block gave; says whether the signal changed."""
        if self.watch is None or seen.glance.generation != self.generation or not seen.windows:
            return None
        alarm = None
        for looks, loop in zip(seen.windows, seen.loops, strict=True):
            alarm = self.watch.update(looks, loop) or alarm
        alarm = self.watch.end_block(seen.glance.bits_per_sample) or alarm
        if alarm is not None:
            self.n_alarms += 1
            # samples from before the alarm may be of the old signal
            self.since_ns = seen.glance.time_ns
            self.wanted = Wanted(ALARM, seen.glance.time_ns, alarm)
        return alarm

    def stretch(self, seen: Seen, n_kept: int) -> Stretch | None:
        """Return what of a block goes into the reservoir: nothing of one that cannot be judged, few of many."""
        if seen.usable < _LEAST_USABLE:
            return None
        self.n_blocks += 1
        if self.wanted is None and n_kept >= _FULL and self.n_blocks % _ONE_IN:
            return None
        return Stretch(seen.glance.time_ns, seen.glance.rate, seen.glance.samples, self.tag)

    # --- when it may train

    def want(self) -> None:
        """Ask for a challenge where one is due: of a new stream, after a failed first one, and once a day."""
        if self.wanted is not None or self.since_ns is None:
            return
        if self.challenged_ns is None:
            self.wanted = Wanted(NEW, self.since_ns)
        elif not self.settled and self.now_ns - self.challenged_ns > _RETRY_NS:
            self.wanted = Wanted(NEW, self.challenged_ns)
        elif self.now_ns - self.challenged_ns > _DAY_NS:
            self.wanted = Wanted(DAILY, self.since_ns)

    def may_train(self, limits: Limits, times: Sequence[tuple[int, int]]) -> bool:
        """Tell whether a wanted challenge can begin, given the times of stretches in the reservoir."""
        wanted = self.wanted
        if wanted is None or self.training or self.pinned or self.block is None:
            return False
        signal_ns = sum(b - a for a, b in times if a >= wanted.since_ns)
        return signal_ns >= limits.warm_up_s * 1e9 and not self.cooling(limits)

    def cooling(self, limits: Limits) -> bool:
        """Tell whether limits forbid another adoption now; the first of a new stream starts no cool-down."""
        today = [t for t in self.adoptions if self.now_ns - t < _DAY_NS]
        if len(today) >= limits.max_per_day:
            return True
        return self.n_adopted > 1 and self.now_ns - self.adoptions[-1] < limits.cooldown_s * 1e9

    def job(self, folder: Any) -> Job:
        """Describe the challenge that is wanted."""
        assert self.wanted is not None
        assert self.block is not None
        plan = self.block.plan
        return make_job(
            folder, self.key, self.wanted.since_ns, channels=self.block.channels, rate=self.block.rate,
            qualities=self.block.qualities, effort=effort_name(plan.effort), start=LiveStart(plan.bank, plan.kernels),
            delta=plan.coding.bank_delta,
        )  # fmt: skip

    def adopt(self, start: LiveStart, running: LiveStart) -> None:
        """Run other kernels from the next segment on; what ran is kept to go back to."""
        self.previous = [*self.previous, running][-_MOST_PREVIOUS:]
        self.adopted = start
        self.count()

    def count(self) -> None:
        """Count an adoption, or what would have been one, for the limits."""
        self.n_adopted += 1
        self.adoptions = [*(t for t in self.adoptions if self.now_ns - t < _DAY_NS), self.now_ns][-_MOST_COUNTED:]

    # --- what is kept

    def to_dict(self) -> dict[str, Any]:
        """Return what must survive a restart, as JSON values."""
        return {
            "tag": self.tag,
            "adopted": _start_to_dict(self.adopted),
            "previous": [_start_to_dict(s) for s in self.previous],
            "learned": [pack_kernels(self.learned), 0 if self.learned is None else len(self.learned.shifts)],
            "adoptions": self.adoptions,
            "counts": [self.n_alarms, self.n_retrained, self.n_adopted],
            "rolled": self.n_rolled,
            "challenged_ns": self.challenged_ns,
            "settled": self.settled,
            "since_ns": self.since_ns,
            "now_ns": self.now_ns,
            "wanted": None if self.wanted is None else [self.wanted.why, self.wanted.since_ns],
        }

    @classmethod
    def from_dict(cls, key: Key, data: Mapping[str, Any], delta: float) -> StreamWatch:
        """Go on from :meth:`to_dict`."""
        out = cls(key, str(data["tag"]), delta)
        out.adopted = _start_from_dict(data["adopted"])
        out.previous = [s for s in map(_start_from_dict, data["previous"]) if s is not None]
        out.learned = unpack_kernels(*data["learned"])
        out.adoptions = [int(t) for t in data["adoptions"]]
        out.n_alarms, out.n_retrained, out.n_adopted = (int(v) for v in data["counts"])
        out.n_rolled, out.settled, out.now_ns = int(data["rolled"]), bool(data["settled"]), int(data["now_ns"])
        out.challenged_ns, out.since_ns = data["challenged_ns"], data["since_ns"]
        if data["wanted"] is not None:
            out.wanted = Wanted(str(data["wanted"][0]), int(data["wanted"][1]))
        return out


def new_watch(key: Key, channels: Sequence[Channel], rate: Fraction, delta: float) -> StreamWatch:
    """Begin to watch a stream."""
    return StreamWatch(key, channels_tag(channels, rate), delta)


def _start_to_dict(start: LiveStart | None) -> dict[str, Any] | None:
    if start is None:
        return None
    n = 0 if start.kernels is None else len(start.kernels.shifts)
    return {"bank": start.bank.id, "kernels": pack_kernels(start.kernels), "n": n}


def _start_from_dict(data: Mapping[str, Any] | None) -> LiveStart | None:
    if data is None:
        return None
    try:
        return LiveStart(find_bank(data["bank"]), unpack_kernels(data["kernels"], int(data["n"])))
    except SanstreamError:
        return None  # a bank that is no longer installed: the shipped one serves
