"""Archives for the jobs: an ECG with bigeminy whose stream changes its bank in the middle, as a daemon writes it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from sanstream.archive_grow import GrowingArchive
from sanstream.archive_growth import GrownSegment, Growth
from sanstream.archive_manifest import SegmentEntry
from sanstream.archive_reached import Reached
from sanstream.bank import Bank, Kernel, named_banks, read_bank, write_bank
from sanstream.encode_kernels import KernelChoice, adapt
from sanstream.encode_live import LiveStart, Part, encode_part, plan_live
from sanstream.quality import choose_qualities
from sanstream.signal import Channel, IntSamples
from sanstream.simulate import simulate_ecg

RATE = Fraction(250)
START_NS = 1_714_521_600 * 10**9 - 120 * 10**9
"""Two minutes before 2024-05-01 00:00 UTC."""
CUT_S, END_S = 120, 240
BIGEMINY_S = (80.0, 160.0)
STREAM = "250hz"


def heart() -> tuple[tuple[Channel, ...], IntSamples, np.ndarray]:
    """Return channels, samples, and the R peaks in seconds; from :data:`CUT_S` on an electrode is elsewhere."""
    made = simulate_ecg(END_S, rate_hz=RATE, seed=3, ectopic=0.0, bigeminy_s=BIGEMINY_S)
    (segment,) = made.streams[0].segments
    samples = segment.samples.copy()
    late = samples[CUT_S * 250 :, 1].astype(float)
    samples[CUT_S * 250 :, 1] = np.round(1024 + 0.6 * (late - 1024))
    return segment.channels, samples, np.asarray(made.annotations[0].columns["sample"]) / 250


def learned(samples: IntSamples, bank: Bank, before: KernelChoice | None = None) -> KernelChoice:
    """Adapt kernels; those that descend from the ones before keep their lineage ids."""
    start = bank
    if before is not None:
        own = tuple(Kernel(k.uid, k.taps[:1], k.fiducial) for k in before.kernels)
        start = replace(bank, kernels=own, rate_hz=float(RATE))
    found = adapt(samples, np.ones(len(samples), bool), RATE, start, seconds=0.5, n_kernels=2, n_rounds=4, device="cpu")
    assert found is not None
    return found


def grown_segment(
    name: str, start: int, samples: IntSamples, channels: tuple[Channel, ...], begin: LiveStart, requests: list[str]
) -> GrownSegment:
    """Encode a live segment whole."""
    qualities = choose_qualities(requests, channels)
    plan = plan_live(samples, channels, qualities, RATE, segment_id=f"{start:016x}", start=begin, effort="fast")
    step = plan.coding.block_samples
    blocks = tuple(
        encode_part(Part(plan, n, samples[n * step : (n + 1) * step]))
        for n in range(plan.coding.n_blocks(len(samples)))
    )
    reached = Reached(plan.coding, plan.bank, qualities)
    for number, payload in enumerate(blocks):
        reached.add(payload, number, samples[number * step : (number + 1) * step])
    entry = SegmentEntry(
        name, start, len(samples), 60 * step, channels, plan.coding, tuple(map(str, qualities)),
        reached.n_windows, sum(map(len, blocks)), reached.figures(), reached.samples_crc,
    )  # fmt: skip
    return GrownSegment(STREAM, RATE, entry, plan.bank, 0, blocks)


def two_banks(path: Path) -> tuple[np.ndarray, list[set[str]]]:
    """Write the archive; returns the R peaks in seconds, and each segment's kernel ids."""
    channels, samples, peaks = heart()
    cut = CUT_S * 250
    shipped = named_banks()["ecg"]
    first = learned(samples[:cut], shipped)
    second = learned(samples[cut:], shipped, first)
    ward = read_bank(write_bank("ward", shipped.kernels, shipped.rate_hz, shipped.models, "trained anew"))
    growing = GrowingArchive(path)
    for name, start, stop, begin in (
        ("0", 0, cut, LiveStart(shipped, first)),
        (str(cut), cut, len(samples), LiveStart(ward, second)),
    ):
        segment = grown_segment(name, start, samples[start:stop], channels, begin, ["prdn=5"])
        growing.commit(Growth("bed-7", START_NS, "utc", {}, (segment,), ()))
    return peaks, [{k.uid for k in choice.kernels} for choice in (first, second)]
