"""Random publishers: devices whose samples say who they are, and everything that networks and clocks do to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from random import Random

import numpy as np
import numpy.typing as npt

from sanstream.chunk import Chunk
from sanstream.signal import Channel

STEP = 16
"""Between the values of two samples: a bound of 4 leaves no doubt which one it was."""
SESSION = 1 << 16
"""Sample numbers of a session at most."""
RATES = (Fraction(4), Fraction(10), Fraction(125, 2), Fraction(1000, 333))
CLOCKS = ("exact", "exact", "exact", "absent", "drift", "wild")
MISSING = (-(1 << 30), -(1 << 30), 0, None)


def identity_of(session: int, number: int) -> int:
    """Return what tells a sample from all others of its channel; never 0."""
    return session * SESSION + number + 1


def values_of(identities: npt.NDArray[np.int64], n_channels: int) -> npt.NDArray[np.int32]:
    """Return samples, shape (n, n_channels), int32: the identity in steps of :data:`STEP`, and a little noise."""
    noise = (identities * 2_654_435_761 >> 7) & 3
    value = identities * STEP + noise
    return np.stack([value if c % 2 == 0 else -value for c in range(n_channels)], axis=1).astype(np.int32)


@dataclass
class Device:
    """One stream's source.

    Parameters
    ----------
    recording, stream : str
    rate : Fraction
    clock : str
        ``"exact"``, ``"absent"``, ``"drift"`` or ``"wild"``.
    channels : tuple of Channel
    """

    recording: str
    stream: str
    rate: Fraction
    clock: str
    channels: tuple[Channel, ...]
    random: Random
    loss: float = 0.0
    swaps: float = 0.0
    lates: float = 0.0
    session: int = 0
    began_ns: int = 0
    number: int = 0
    off_ns: int = 0
    held: list[tuple[int, Chunk]] = field(default_factory=list)
    """Withheld chunks, and when they are let go."""
    sent: list[Chunk] = field(default_factory=list)
    silent_until_ns: int = 0
    calm_until_ns: int = 0
    """Until then all comes at once and in order: what is older than a recording's first sample has no place in it."""

    @property
    def session_name(self) -> str:
        """Name of the numbering."""
        return f"{self.stream}-{self.session}"

    def reboot(self, now_ns: int) -> None:
        """Count from zero again."""
        self.session += 1
        self.number = 0
        self.began_ns = now_ns

    def begin(self, now_ns: int) -> None:
        """Begin anew, with nothing left of before."""
        self.reboot(now_ns)
        self.held.clear()
        self.sent.clear()
        self.silent_until_ns, self.calm_until_ns = 0, now_ns + 600 * 10**9

    def produce(self, now_ns: int) -> Iterator[Chunk]:
        """Yield what arrives, given that the world's clock says ``now_ns``; in order of arrival."""
        rng = self.random
        if not self.session:
            self.begin(now_ns)
            return
        fresh = []
        if now_ns >= self.silent_until_ns:
            until = int((now_ns - self.began_ns) * self.rate / 10**9)
            if until > SESSION - 2:
                self.reboot(now_ns)
                return
            if rng.random() < 0.03 and self.clock != "absent":
                self.number = max(self.number, until)  # all that time it was cut off, and kept nothing
            while self.number < until:
                n = min(until - self.number, rng.randint(1, max(1, int(40 * self.rate))))
                fresh.append(self._chunk(self.number, n, now_ns))
                self.number += n
        out = []
        is_calm = now_ns < self.calm_until_ns
        for chunk in fresh:
            fate = 1.0 if is_calm else rng.random()
            if fate < self.loss:
                continue
            if fate < self.loss + self.lates:
                self.held.append((now_ns + int(rng.uniform(60, 4000) * 1e9), chunk))
            else:
                out.append(chunk)
        if rng.random() < self.swaps and not is_calm:
            rng.shuffle(out)
        due = [c for at, c in self.held if at <= now_ns]
        self.held = [(at, c) for at, c in self.held if at > now_ns]
        if due and rng.random() < 0.3:
            rng.shuffle(due)
        for chunk in [*out, *due] if rng.random() < 0.5 else [*due, *out]:
            self.sent.append(chunk)
            yield replace(chunk, arrival_ns=now_ns)

    def trouble(self, now_ns: int) -> None:
        """Let something happen to the device."""
        rng = self.random
        what = rng.choice(("reboot", "silence", "channels", "clock", "clock", "loss", "calm"))
        if what == "reboot":
            self.reboot(now_ns + int(rng.uniform(0.5, 30) * 1e9))
        elif what == "silence":
            self.silent_until_ns = now_ns + int(rng.choice((30, 600, 5000)) * 1e9)
        elif what == "channels":
            self.channels = channel_set(rng)
        elif what == "clock" and self.clock == "wild":
            self.off_ns += int(
                (-1 if self.off_ns > 0 else 1) * rng.choice((-1, 1, 1)) * rng.choice((1.5, 3, 70, 4000, 30_000)) * 1e9
            )
        elif what == "loss":
            self.loss, self.swaps, self.lates = rng.choice((0, 0.02)), rng.choice((0, 0.5)), rng.choice((0, 0.05, 0.3))
        else:
            self.loss = self.lates = self.swaps = 0

    def again(self) -> Chunk | None:
        """Return something that was sent before: as it was, cut otherwise, or in one piece with its neighbour."""
        if not self.sent:
            return None
        rng = self.random
        chunk = self.sent[-1 - min(len(self.sent) - 1, int(rng.expovariate(0.2)))]
        n = chunk.n_samples
        if n > 1 and rng.random() < 0.4:
            low = rng.randrange(n)
            high = rng.randint(low + 1, n)
            device = None if chunk.device_ns is None else chunk.device_ns + round(low * 10**9 / chunk.rate)
            return replace(
                chunk, first_sample=chunk.first_sample + low, samples=chunk.samples[low:high], device_ns=device
            )
        return chunk

    def _chunk(self, first: int, n: int, now_ns: int) -> Chunk:
        rng = self.random
        samples = values_of(identity_of(self.session, first) + np.arange(n, dtype=np.int64), len(self.channels))
        for c, channel in enumerate(self.channels):
            if channel.missing is not None and rng.random() < 0.1:
                at = rng.randrange(n)
                samples[at : at + rng.randint(1, n), c] = channel.missing
        true_ns = self.began_ns + round(first * 10**9 / self.rate)
        device: int | None = true_ns + self.off_ns
        if self.clock == "absent":
            device = None
        elif self.clock == "drift":
            device = true_ns + (true_ns - self.began_ns) // 20_000
        return Chunk(
            self.recording, self.stream, self.session_name, first, samples, self.rate, self.channels, device, now_ns
        )


def channel_set(rng: Random) -> tuple[Channel, ...]:
    """Return one or two channels, some with ranges that samples leave."""
    missing = rng.choice(MISSING)
    low, high = rng.choice(((-(1 << 29), 1 << 29), (-(1 << 29), 1 << 29), (-32767, 32767), (-2_000_000, 2_000_000)))
    labels = rng.choice((("A",), ("A", "B"), ("A", "B")))
    return tuple(Channel(label, "mV", 200.0, 0, low, high, missing=missing) for label in labels)


def devices(rng: Random) -> list[Device]:
    """Return the devices of a ward: one to three recordings, one or two streams each."""
    out = []
    for bed in range(rng.randint(1, 3)):
        for number in range(rng.choice((1, 1, 2))):
            rate = rng.choice(RATES)
            out.append(
                Device(f"bed{bed}", f"s{number}", rate, rng.choice(CLOCKS), channel_set(rng), Random(rng.random()))
            )
    return out
