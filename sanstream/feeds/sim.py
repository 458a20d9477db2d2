"""``sim://ecg?streams=2000``: any number of simulated streams, cut from a few rings so that the generator is no load.

A ring is two minutes of a simulated ECG or EEG whose end runs smoothly into its beginning. Stream ``i`` reads the
ring ``i mod 4`` of its kind from a place of its own, so a chunk costs one copy. Everything follows from the URL:
:func:`sim_samples` computes again what any stream sent.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from sanstream.chunk import Chunk, Delivery, stream_name
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, FeedState, Put, Stopped
from sanstream.feeds.address import recording_of, settings_of
from sanstream.feeds.descriptors import with_missing
from sanstream.signal import Channel, IntSamples, parse_rate
from sanstream.simulate import simulate_ecg, simulate_eeg

VARIANTS = 4
RING_S = 120
_SEAM_S = 1
_AHEAD_S = 0.01
_MODALITIES = ("ecg", "eeg", "mixed")

Ring = tuple[IntSamples, tuple[Channel, ...]]


@lru_cache(maxsize=32)
def _ring(modality: str, rate: Fraction, leads: int, seed: int, variant: int) -> Ring:
    """Return a ring, (n, channels) int32, and its channels."""
    n, seam = max(1, round(RING_S * rate)), round(_SEAM_S * rate)
    number = seed * VARIANTS + variant
    if modality == "ecg":
        made = simulate_ecg(
            float((n + seam) / rate),
            rate_hz=rate,
            n_leads=leads,
            seed=number,
            heart_rate_bpm=58.0 + 13.0 * variant,
            ectopic=0.02 * variant,
        )
    else:
        made = simulate_eeg(float((n + seam) / rate), rate_hz=rate, n_channels=leads, seed=number)
    segment = made.streams[0].segments[0]
    whole = segment.samples.astype(np.float64)
    seam = min(seam, len(whole) - n, n)
    weight = (np.arange(seam) / max(seam, 1))[:, None]
    ring = whole[:n].copy()
    ring[:seam] = weight * whole[:seam] + (1 - weight) * whole[n : n + seam]
    out = np.rint(ring).astype(np.int32)
    out.flags.writeable = False
    return out, with_missing(segment.channels)


class Simulation:
    """Every stream of one ``sim:`` URL, as pure functions of their numbers.

    Parameters
    ----------
    options : FeedOptions

    Raises
    ------
    InputError
        On an unknown modality, or numbers out of range.
    """

    def __init__(self, options: FeedOptions) -> None:
        got = settings_of(options, SimFeed.OPTIONS)
        parts = urlsplit(options.url)
        host, rest = parts.netloc, parts.path.removeprefix("/") or parts.fragment
        if rest:
            raise InputError(f"sim: {rest!r:.40} in its URL", hint="write sim://ecg?streams=20")
        self.modality = host or got["modality"]
        self.rate = parse_rate(got["rate"])
        self.streams, self.leads, self.seed = got["streams"], got["leads"], got["seed"]
        self.chunk_samples = round(got["chunk"] * self.rate)
        self.change_samples = round(got["change"] * self.rate)
        self.n_samples = round(got["seconds"] * self.rate)
        self.speed = got["speed"]
        self.options = options
        if self.modality not in _MODALITIES:
            raise InputError(f"sim: {self.modality!r:.40}", hint=f"use sim://{', sim://'.join(_MODALITIES)}")
        checks = (
            ("streams", 1 <= self.streams <= 10**6),
            ("leads", 1 <= self.leads <= (64 if self.modality == "eeg" else 12)),
            ("rate", Fraction(1, 2) <= self.rate <= 20000),
            ("chunk", 1 <= self.chunk_samples <= RING_S * self.rate),
            ("change", self.change_samples >= 0),
            ("seconds", self.n_samples >= 0),
            ("speed", 0 <= self.speed <= 10**6),
            ("seed", 0 <= self.seed < 2**31),
        )
        wrong = [key for key, good in checks if not good]
        if wrong:
            raise InputError(f"sim: {wrong[0]}={got[wrong[0]]} is out of range", hint="see the feed's options")
        digits = max(4, len(str(self.streams - 1)))
        self.names = [recording_of(options, f"sim{i:0{digits}d}") for i in range(self.streams)]
        self._rings: dict[tuple[str, int], Ring] = {}

    def ring(self, number: int, first: int) -> Ring:
        """Return the ring that stream ``number`` reads at its sample ``first``."""
        modality = ("ecg", "eeg")[number % 2] if self.modality == "mixed" else self.modality
        turn = first // self.change_samples if self.change_samples else 0
        key = modality, (number // 2 + number + turn) % VARIANTS
        found = self._rings.get(key)
        if found is None:
            found = self._rings[key] = _ring(modality, self.rate, self.leads, self.seed, key[1])
        return found

    def samples(self, number: int, first: int, n: int) -> IntSamples:
        """Return samples ``first`` to ``first + n`` of stream ``number``, shape (n, leads), int32."""
        parts = []
        while n > 0:
            ring, _ = self.ring(number, first)
            at = (number * 7919 + first) % len(ring)
            take = min(n, len(ring) - at)
            if self.change_samples:
                take = min(take, self.change_samples - first % self.change_samples)
            parts.append(ring[at : at + take])
            first, n = first + take, n - take
        return parts[0].copy() if len(parts) == 1 else np.concatenate(parts)

    def channels(self, number: int) -> tuple[Channel, ...]:
        """Return the descriptor of stream ``number``."""
        return self.ring(number, 0)[1]

    def stagger_ns(self, number: int) -> int:
        """Nanoseconds by which stream ``number`` begins after the first one."""
        over = number * self.chunk_samples * 10**9 * self.rate.denominator
        return int(over // (self.rate.numerator * int(self.streams)))

    def time_ns(self, number: int, sample: int) -> int:
        """Nanoseconds from the simulation's start to a sample of stream ``number``."""
        return self.stagger_ns(number) + sample * 10**9 * self.rate.denominator // self.rate.numerator


def sim_samples(options: FeedOptions | str, stream_number: int, first: int, n: int) -> IntSamples:
    """Return exactly what a ``sim:`` feed sends as samples ``first`` to ``first + n`` of a stream.

    Parameters
    ----------
    options : FeedOptions or str
        The feed's options, or its URL.
    stream_number : int
        From 0; its recording is ``sim0000``, ``sim0001`` and so on.
    first, n : int

    Returns
    -------
    ndarray, shape (n, leads), int32
    """
    if isinstance(options, str):
        options = FeedOptions("sim", options)
    return Simulation(options).samples(stream_number, first, n)


def _start_ns(text: str) -> int:
    if not text:
        return time.time_ns()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"sim: start={text!r:.40} is no time", hint="write 2024-05-01T12:00:00Z") from None
    if moment.tzinfo is None:
        raise InputError(f"sim: start={text!r:.40} has no offset", hint="write 2024-05-01T12:00:00Z")
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000


class SimFeed:
    """Simulated streams, paced by the clock or as fast as they are taken."""

    OPTIONS: Mapping[str, tuple[type, Any, str]] = {
        "modality": (str, "ecg", "ecg, eeg or mixed, when the URL's host does not say it"),
        "streams": (int, 1, "number of streams, each its own recording"),
        "rate": (str, "250", "samples per second"),
        "leads": (int, 2, "channels per stream"),
        "chunk": (float, 1.0, "seconds per chunk"),
        "seconds": (float, 0.0, "seconds of signal per stream; 0 for ever"),
        "speed": (float, 1.0, "times as fast as real time; 0 as fast as it is taken"),
        "seed": (int, 1, "the same seed gives the same samples"),
        "change": (float, 0.0, "seconds after which every stream's signal turns into another one's; 0 never"),
        "session": (str, "", "session name; drawn for each run when empty"),
        "start": (str, "", "ISO 8601 time of the first sample; now when empty"),
    }
    can_wait = True
    replays = False

    def __init__(self, options: FeedOptions) -> None:
        self.simulation = Simulation(options)
        got = settings_of(options, self.OPTIONS)
        self._session = got["session"] or uuid.uuid4().hex
        self._start = got["start"]
        _start_ns(self._start)
        self.state = FeedState()

    def run(self, put: Put, stop: threading.Event) -> None:
        """Deliver until ``stop`` is set or every stream has sent its seconds."""
        sim, start_ns = self.simulation, _start_ns(self._start)
        for number in range(min(sim.streams, 2 * VARIANTS)):
            sim.ring(number, 0)
        self.state.connected, self.state.n_connects = True, self.state.n_connects + 1
        stream, began, first = stream_name(sim.rate), time.monotonic(), 0
        try:
            while not sim.n_samples or first < sim.n_samples:
                n = min(sim.chunk_samples, sim.n_samples - first) if sim.n_samples else sim.chunk_samples
                for number in range(sim.streams):
                    if self._wait(began, sim.time_ns(number, first + n), stop):
                        return
                    chunk = Chunk(
                        sim.names[number],
                        stream,
                        self._session,
                        first,
                        sim.samples(number, first, n),
                        sim.rate,
                        sim.ring(number, 0)[1],
                        start_ns + sim.time_ns(number, first),
                        time.time_ns(),
                    )
                    put(Delivery((chunk,), chunk.samples.nbytes))
                first += n
        except Stopped:
            return
        finally:
            self.state.connected = False

    def _wait(self, began: float, time_ns: int, stop: threading.Event) -> bool:
        """Wait until the chunk that ends at ``time_ns`` is due; True when the daemon stops."""
        if self.simulation.speed:
            ahead = began + time_ns / 1e9 / self.simulation.speed - time.monotonic()
            if ahead > _AHEAD_S:
                return stop.wait(ahead)
        return stop.is_set()

    def check(self) -> list[str]:
        """Say what would be sent."""
        sim = self.simulation
        return [f"{sim.streams} simulated streams of {sim.leads} {sim.modality} channels at {float(sim.rate):g} Hz"]
