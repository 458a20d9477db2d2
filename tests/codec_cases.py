"""Signals and small segments for the tests of block, decode and encode."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import google_crc32c
import numpy as np
import numpy.typing as npt

from sanstream import decode, encode
from sanstream.bank import Bank, blank_bank
from sanstream.block_coding import SegmentCoding
from sanstream.quality import LOSSLESS, MAX_ERROR, PRDN, RMSE, SPARSE, Quality
from sanstream.signal import TRIGGER, Channel
from sanstream.simulate import simulate_ecg, simulate_eeg

Samples = npt.NDArray[np.int32]
SEGMENT = "0123456789abcdef"
QUALITIES = {
    "lossless": Quality(LOSSLESS),
    "prdn5": Quality(PRDN, 5.0),
    "prdn9": Quality(PRDN, 9.0),
    "rmse": Quality(RMSE, 3.0),
    "max-error": Quality(MAX_ERROR, 4.0),
    "sparse": Quality(SPARSE),
}
EFFORTS = ("fast", "default", "thorough")


def channels_for(samples: Samples, *, low: int = -(2**15), high: int = 2**15 - 1, missing: int | None = None,
                 kinds: Sequence[str] = ()) -> tuple[Channel, ...]:  # fmt: skip
    kinds = kinds or ["signal"] * samples.shape[1]
    return tuple(Channel(f"c{i}", "mV", 200.0, 0, low, high, missing, kind=kind) for i, kind in enumerate(kinds))


@dataclass(frozen=True)
class Coded:
    """A segment and its blocks."""

    samples: Samples
    qualities: tuple[Quality, ...]
    coding: SegmentCoding
    bank: Bank
    blocks: list[bytes]

    def decoded(self, channels: Sequence[int] | None = None) -> Samples:
        parts = [decode.decode_block(p, i, self.coding, self.bank, channels) for i, p in enumerate(self.blocks)]
        return np.concatenate(parts)


def code(samples: Samples, quality: Quality | Sequence[Quality] = QUALITIES["lossless"], *, effort: str = "fast",
         rate: int = 50, channels: Sequence[Channel] | None = None, bank: Bank | None = None) -> Coded:  # fmt: skip
    """Plan and encode a segment."""
    samples = np.ascontiguousarray(samples, np.int32)
    channels = channels_for(samples) if channels is None else channels
    qualities = (quality,) * len(channels) if isinstance(quality, Quality) else tuple(quality)
    qualities = tuple(Quality(LOSSLESS) if c.kind == TRIGGER else q for c, q in zip(channels, qualities, strict=True))
    plan = encode.plan_segment(
        samples, channels, qualities, Fraction(rate), segment_id=SEGMENT, effort=effort, bank=bank or blank_bank()
    )
    return Coded(samples, qualities, plan.coding, plan.bank, list(encode.encode_blocks(samples, plan)))


def check(coded: Coded) -> Samples:
    """Assert every promise of a coded segment, window by window, against the original; return what was decoded."""
    y = coded.decoded()
    x, coding = coded.samples, coded.coding
    assert y.shape == x.shape
    assert y.dtype == np.int32
    figures = [decode.read_figures(p, i, coding, coded.bank) for i, p in enumerate(coded.blocks)]
    rmse = np.concatenate([f.rmse_adu for f in figures])
    worst = np.concatenate([f.max_error_adu for f in figures])
    exact = np.concatenate([f.lossless for f in figures])
    size = coding.window_samples
    for c, quality in enumerate(coded.qualities):
        gone = x[:, c] == coding.missing[c] if coding.missing[c] is not None else np.zeros(len(x), bool)
        assert ((y[:, c] == coding.missing[c]) == gone).all() if gone.any() or coding.missing[c] is not None else True
        assert (y[~gone, c] >= coding.sample_range(c)[0]).all()
        assert (y[~gone, c] <= coding.sample_range(c)[1]).all()
        for w, a in enumerate(range(0, len(x), size)):
            here = ~gone[a : a + size]
            original, got = x[a : a + size, c][here].astype(np.float64), y[a : a + size, c][here].astype(np.float64)
            check_window(quality, original, got)
            d = np.abs(original - got)
            reached = float(np.sqrt(np.mean(d * d))) if d.size else 0.0
            assert reached <= rmse[w, c] * (1 + 1e-9), (w, c)
            assert d.max(initial=0) <= worst[w, c], (w, c)
            assert not exact[w, c] or not d.any(), (w, c)
    return y


def check_window(quality: Quality, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> None:
    """Assert that one window and channel, missing samples left out, keeps its bound."""
    d = np.abs(x - y)
    if d.size == 0:
        return
    if quality.kind == LOSSLESS or (x == x[0]).all():
        assert not d.any()
    elif quality.kind == PRDN:
        assert np.linalg.norm(d) <= quality.value / 100 * np.linalg.norm(x - x.mean())
    elif quality.kind == RMSE:
        assert np.sqrt(np.mean(d * d)) <= quality.value
    elif quality.kind == MAX_ERROR:
        assert d.max() <= quality.value


def ecg(seconds: float = 20, *, rate: int = 100, leads: int = 1, seed: int = 1) -> Samples:
    return simulate_ecg(seconds, rate_hz=rate, n_leads=leads, seed=seed).streams[0].segments[0].samples


def eeg(seconds: float = 10, *, rate: int = 64, channels: int = 4, seed: int = 1) -> Samples:
    return simulate_eeg(seconds, rate_hz=rate, n_channels=channels, seed=seed).streams[0].segments[0].samples


def noise(n: int, *, bits: int, channels: int = 1, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    return rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (n, channels)).astype(np.int32)


def sealed(body: bytes, number: int, coding: SegmentCoding) -> bytes:
    """Put the right checksum before a block's body."""
    seed = coding.seal + struct.pack("<Q", number)
    return struct.pack("<I", google_crc32c.extend(google_crc32c.value(seed), body)) + body
