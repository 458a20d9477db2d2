"""Activation records of a recording and the taps of their kernels: all that the beat detector may see."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sanstream.bank import Bank
from sanstream.decode import read_records
from sanstream.encode import encode_blocks, plan_segment
from sanstream.encode_effort import EFFORTS, Effort
from sanstream.group_state import kernel_shapes
from sanstream.quality import choose_qualities
from sanstream.signal import Segment, Stream

Floats = npt.NDArray[np.float64]
SHORT = {"kernels of 0.10 s": 0.10, "kernels of 0.15 s": 0.15, "kernels of 0.20 s": 0.20}
"""Sources whose kernels are as long as a QRS complex, seconds."""
THOROUGH = "effort thorough"
_N_KERNELS, _N_ROUNDS = 8, 6


@dataclass(frozen=True)
class Records:
    """Activations of one recording.

    Parameters
    ----------
    kernel : ndarray, shape (n,), int64
    index : ndarray, shape (n,), int64
        Sample of the kernel's first tap, from the recording's start; ascending.
    amplitude : ndarray, shape (n, n_channels), float64
    taps : ndarray, shape (n_kernels, n_channels, n_taps), float64
        What a kernel adds at amplitude 1, digital steps.
    coded_bytes : int
        Blocks, their lengths, and what the segment adds to its bank.
    n_samples : int
        Of one channel.
    rate_hz : float
    """

    kernel: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]
    amplitude: Floats
    taps: Floats
    coded_bytes: int
    n_samples: int
    rate_hz: float

    @property
    def bits_per_sample(self) -> float:
        """Coded bits per sample of a channel."""
        return 8 * self.coded_bytes / (self.n_samples * int(self.amplitude.shape[1]))


def effort_of(source: str) -> str | Effort:
    """Return what the encoder spends: an effort as shipped, or the default one with kernels of another length."""
    if source == THOROUGH:
        return "thorough"
    return replace(EFFORTS["default"], kernel_seconds=(SHORT[source],), n_kernels=_N_KERNELS, n_rounds=_N_ROUNDS)


def encode_records(stream: Stream, segment: Segment, source: str, bank: Bank | None) -> Records:
    """Encode a segment with quality ``sparse`` and read its records back from the coded blocks.

    Parameters
    ----------
    stream : Stream
    segment : Segment
    source : str
        :data:`THOROUGH` or a key of :data:`SHORT`.
    bank : Bank or None
        None lets the encoder choose among the shipped ones.

    Returns
    -------
    Records
        Read as the decoder reads them; the samples are not decoded.
    """
    qualities = choose_qualities(["sparse"], segment.channels)
    plan = plan_segment(
        segment.samples, segment.channels, qualities, stream.rate,
        segment_id="0" * 16, effort=effort_of(source), bank=bank, device="cpu",
    )  # fmt: skip
    coding, size = plan.coding, len(plan.coding.bank_delta)
    kernel, index, amplitude = [], [], []
    for number, payload in enumerate(encode_blocks(segment.samples, plan)):
        size += len(payload) + 2
        block = read_records(payload, number, coding, plan.bank)
        kernel.append(np.asarray(block.kernel, np.int64))
        index.append(np.asarray(block.index, np.int64) + number * coding.block_samples)
        amplitude.append(np.asarray(block.amplitude, np.float64))
    shapes = [kernel_shapes(coding, plan.bank, c) for c in range(coding.n_channels)]
    longest = max((len(s) for own in shapes for s in own), default=1)
    taps = np.zeros((len(shapes[0]), coding.n_channels, longest))
    for c, own in enumerate(shapes):
        for k, shape in enumerate(own):
            taps[k, c, : len(shape)] = shape
    places, first, size_of = np.concatenate(kernel), np.concatenate(index), np.concatenate(amplitude)
    order = np.argsort(first, kind="stable")
    n_samples, rate_hz = len(segment.samples), float(stream.rate)
    return Records(places[order], first[order], size_of[order], taps, size, n_samples, rate_hz)


def save_records(records: Records, file: Path) -> None:
    """Write records; the file appears whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f".{os.getpid()}.npz")
    np.savez_compressed(draft, **{f.name: getattr(records, f.name) for f in fields(records)})
    draft.replace(file)


def load_records(file: Path) -> Records:
    """Read what :func:`save_records` wrote."""
    with np.load(file) as held:
        kernel, index, amplitude, taps = (held[name] for name in ("kernel", "index", "amplitude", "taps"))
        sizes = int(held["coded_bytes"]), int(held["n_samples"])
        return Records(kernel, index, amplitude, taps, *sizes, float(held["rate_hz"]))
