"""Write the golden blocks of tests/vectors: one per feature of FORMAT.md, small enough to read.

Usage: ``python -m pipelines.vectors`` from the repository's root writes vectors that are not there yet. The others are
frozen (FORMAT.md clause 14): a decoder that disagrees with one of them is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from sanstream import encode
from sanstream._loops_models import blank_models
from sanstream.bank import Bank, Kernel, blank_bank, read_bank, write_bank
from sanstream.bank_delta import Delta, write_delta
from sanstream.block import read_block, write_block
from sanstream.block_coding import TABLES, Group, PredictorShape, SegmentCoding
from sanstream.block_lattice import find_lattices, on_lattices
from sanstream.decode import decode_block, read_figures, read_records
from sanstream.encode_effort import effort_named
from sanstream.encode_kernels import KernelChoice
from sanstream.encode_plan import Plan
from sanstream.quality import LOSSLESS, MAX_ERROR, PRDN, RMSE, SPARSE, Quality
from sanstream.simulate import simulate_ecg, simulate_eeg

Samples = npt.NDArray[np.int32]
FOLDER = Path(__file__).resolve().parents[1] / "tests" / "vectors"
RATE = Fraction(100)
TRAINED = "trained"
_SEGMENT = "5a4e535452454d00"
_INLINE = 2000
"""Most samples that a vector lists; longer ones are checked by their CRC32C alone."""


def ecg(n: int, leads: int = 1, seed: int = 3) -> Samples:
    """Return simulated leads at 100 Hz."""
    return simulate_ecg(n / 100 + 1, rate_hz=100, n_leads=leads, seed=seed).streams[0].segments[0].samples[:n]


def eeg(n: int, channels: int) -> Samples:
    """Return simulated EEG channels at 100 Hz."""
    return simulate_eeg(n / 100 + 1, rate_hz=100, n_channels=channels, seed=3).streams[0].segments[0].samples[:n]


def coding_of(samples: Samples, **changes: Any) -> SegmentCoding:
    """Return a plain coding: one group, blank bank, windows of 250 samples in blocks of 1000."""
    c = samples.shape[1]
    values: dict[str, Any] = {
        "segment_id": _SEGMENT, "rate": RATE, "digital_min": (-32768,) * c, "digital_max": (32767,) * c,
        "missing": (None,) * c, "window_samples": 250, "block_samples": 1000, "groups": (Group(tuple(range(c))),),
        "bank_base": blank_bank().id, "predictor": PredictorShape(8, 2, 32),
    }  # fmt: skip
    return SegmentCoding(**{**values, **changes})


def with_kernels(
    samples: Samples, *, with_weights: bool = False, follow: int = 0
) -> tuple[SegmentCoding, KernelChoice]:
    """Return a coding whose delta holds two kernels of one row per channel, and start weights if asked."""
    c = samples.shape[1]
    t = np.arange(36)
    beat = 900 * np.exp(-(((t - 14) / 1.6) ** 2)) - 150 * np.exp(-(((t - 18) / 2.0) ** 2))
    wave = 300 * np.exp(-(((t - 20) / 6.0) ** 2))
    rows = [np.stack([shape / (1 + 0.3 * i) for i in range(c)]).round().astype(np.int16) for shape in (beat, wave)]
    kernels = (Kernel("000bea70", rows[0], 14), Kernel("0000a7e0", rows[1], 20))
    shifts = np.full(c, 9, np.int64)
    weights = ridges = None
    if with_weights:
        weights = np.zeros((c, 8), np.int64)
        weights[:, 0], weights[:, 1] = 115072, -49408
        ridges = np.full(c, 9, np.int64)
    delta = write_delta(Delta(False, kernels, shifts, follow, weights, ridges, 7), c)
    return coding_of(samples, bank_delta=delta), KernelChoice(kernels, shifts)


def trained_bank() -> Bank:
    """Return a small bank: one kernel of one row, and priors with values of every kind."""
    shape = np.round(700 * np.exp(-(((np.arange(30) - 12) / 2.0) ** 2))).astype(np.int16)
    prob, count, weight = blank_models()
    rng = np.random.default_rng(5)
    used = rng.integers(0, len(prob), 900)
    prob[used] = rng.integers(1500, 64000, len(used))
    prob[:512] = 30000
    count[used], count[:512] = rng.integers(1, 40, len(used)), 6
    weight[:: len(weight) // 50] += 4096
    return read_bank(write_bank(TRAINED, [Kernel("0badcafe", shape[None], 12)], 100.0, (prob, count, weight), "vector"))


Made = tuple[Samples, SegmentCoding, tuple[Quality, ...], Bank, KernelChoice | None]


def _plain(samples: Samples, *qualities: Quality, kernels: KernelChoice | None = None, **changes: Any) -> Made:
    chosen = qualities if len(qualities) == samples.shape[1] else qualities * samples.shape[1]
    return samples, coding_of(samples, **changes), chosen, blank_bank(), kernels


def _with_kernels(samples: Samples, quality: Quality, *, with_weights: bool = False, follow: int = 0) -> Made:
    coding, choice = with_kernels(samples, with_weights=with_weights, follow=follow)
    return samples, coding, (quality,) * samples.shape[1], blank_bank(), choice


def _gaps(*, lossless: bool = False) -> Made:
    x = ecg(600, 3)
    x[40:60, 0] = x[300:301, 0] = x[580:] = 1024
    x[40:60, 1] = x[300:301, 1] = 1024
    return _plain(x, Quality(LOSSLESS) if lossless else Quality(PRDN, 5.0), missing=(1024,) * 3)


def _groups() -> Made:
    x = eeg(250, 6)
    groups = (Group((2, 0), -1, ((), (2,))), Group((1,), 0, ((0, 2),)), Group((5, 3), 1, ((1, 0), (5, 1))), Group((4,)))
    return _plain(
        x, Quality(LOSSLESS), Quality(PRDN, 5.0), *[Quality(LOSSLESS)] * 2, *[Quality(PRDN, 9.0)] * 2, groups=groups
    )


def _groups_and_kernels() -> Made:
    """One row of taps serves all groups; a child leans on a parent that has activations."""
    x = ecg(500, 4)
    bank = trained_bank()
    shifts = np.full(4, 9)
    groups = (Group((0, 1), -1, ((), (0,))), Group((2,), 0, ((0, 1),)), Group((3,), 0, ((1, 0),)))
    coding = coding_of(x, bank_base=bank.id, bank_delta=write_delta(Delta(True, (), shifts), 4), groups=groups)
    asked = (Quality(SPARSE), Quality(PRDN, 9.0), Quality(PRDN, 5.0), Quality(LOSSLESS))
    return x, coding, asked, bank, KernelChoice(bank.kernels, shifts[:2])


def _bank() -> Made:
    x = ecg(700, 2)
    bank = trained_bank()
    shifts = np.array([10, 9])
    delta = write_delta(Delta(True, (), shifts), 2)
    coding = coding_of(x, bank_base=bank.id, bank_delta=delta)
    return x, coding, (Quality(PRDN, 9.0), Quality(PRDN, 5.0)), bank, KernelChoice(bank.kernels, shifts)


def _constant() -> Made:
    x = ecg(800, 2)
    x[:300] = x[500:, 1] = -7
    return _plain(x, Quality(LOSSLESS))


def _wide(bits: int) -> Made:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    x = np.random.default_rng(bits).integers(low, high + 1, (150, 2)).astype(np.int32)
    x[:4] = [[low, high], [high, low], [low, low], [high, high]]
    x[:, 1] = np.clip(np.cumsum(x[:, 1].astype(np.int64) >> 6), low, high)
    return _plain(x, Quality(LOSSLESS), digital_min=(low,) * 2, digital_max=(high,) * 2)


def _edges() -> Made:
    x = np.clip(ecg(400) - 950, -20, 60)
    return _plain(x, Quality(RMSE, 6.0), digital_min=(-20,), digital_max=(60,), missing=(0,))


def _following() -> Made:
    """Kernels follow in two channels, one of which goes through a gap and a constant window."""
    x = ecg(1000, 2)
    x[250:500, 1] = 3
    x[640:670, 1] = x[100:103, 1] = 1024
    coding, choice = with_kernels(x, follow=2)
    return x, replace(coding, missing=(None, 1024)), (Quality(PRDN, 5.0), Quality(PRDN, 9.0)), blank_bank(), choice


def _rails() -> Made:
    x = np.clip(ecg(700, 2) - 950, -20, 60)
    return _plain(x, Quality(LOSSLESS), Quality(RMSE, 1.0), digital_min=(-20,) * 2, digital_max=(60,) * 2)


def _lattices() -> Made:
    """Give a lattice of step 50/3, one of step 4 with a gap, a list of values, and a plain channel."""
    places = ecg(500, 4)
    x = places.copy()
    x[:, 0] = (places[:, 0] * 50) // 3 - 7
    x[:, 1] = places[:, 1] * 4 + 1
    x[:, 2] = np.where(places[:, 2] < 0, places[:, 2] * 9, places[:, 2] * 9 + 2)
    x[90:120, 1] = -32768
    missing = (None, -32768, None, None)
    lattices = find_lattices(x, missing, [True] * 3 + [False])
    reach = on_lattices(x, lattices, missing)
    low, high = reach.copy(), reach
    low[x == -32768] = 0
    return _plain(
        x, Quality(LOSSLESS), missing=missing, lattices=lattices,
        digital_min=tuple(low.min(axis=0).tolist()), digital_max=tuple(high.max(axis=0).tolist()),
    )  # fmt: skip


def _tables(made: Made, own: int = 8, cross: int = 3, taps: int = 8) -> Made:
    """Return the same case coded by tables."""
    samples, coding, qualities, bank, kernels = made
    shape = PredictorShape(own, cross, 128, min(2, cross), taps)
    return samples, replace(coding, coder=TABLES, predictor=shape), qualities, bank, kernels


def _mixed_tools() -> Made:
    """Lossless, lossy and sparse channels that lean on each other, with kernels."""
    x = ecg(700, 3)
    coding, choice = with_kernels(x)
    groups = (Group((0, 1, 2), -1, ((), (0,), (0, 1))),)
    x[400:470, 1] = 900
    asked = (Quality(PRDN, 5.0), Quality(LOSSLESS), Quality(SPARSE))
    return x, replace(coding, groups=groups), asked, blank_bank(), choice


def _unequal() -> Made:
    """Kernels of unequal lengths, one of which overhangs the block's start."""
    x = ecg(1000)[7:]
    coding, choice = with_kernels(x)
    beat, wave = choice.kernels
    kernels = (replace(beat, taps=beat.taps[:, 6:30], fiducial=8), wave)
    delta = write_delta(Delta(False, kernels, choice.shifts), 1)
    return (
        x,
        replace(coding, bank_delta=delta),
        (Quality(PRDN, 9.0),),
        blank_bank(),
        KernelChoice(kernels, choice.shifts),
    )


def _long_window() -> Made:
    """One window of twelve levels; large coefficients and a short second window."""
    x = ecg(36_000) * 20
    return _plain(x, Quality(PRDN, 20.0), window_samples=33_000, block_samples=66_000)


def _references(n: int = 3) -> tuple[Group, ...]:
    return (Group(tuple(range(n)), -1, tuple(tuple(range(c)) for c in range(n))),)


VECTORS: dict[str, tuple[str, Callable[[], Made]]] = {
    "a_wavelet": ("8", lambda: _plain(ecg(1000), Quality(PRDN, 5.0))),
    "a_cross_weights": ("7.8", lambda: _plain(ecg(500, 3), Quality(PRDN, 5.0), groups=_references())),
    "a_many_references": ("7.8", lambda: _plain(eeg(250, 11), Quality(PRDN, 9.0), groups=_references(11))),
    "a_long_window": ("8.1", _long_window),
    "b_lossless": ("9", lambda: _plain(ecg(700, 2), Quality(LOSSLESS))),
    "b_references": ("9.2", lambda: _plain(eeg(350, 3), Quality(LOSSLESS), groups=_references())),
    "b_within_1": ("9", lambda: _plain(ecg(500), Quality(RMSE, 1.0))),
    "b_long": ("9.4", lambda: _plain(ecg(1000), Quality(LOSSLESS), predictor=PredictorShape(16, 0, 64))),
    "c_corrections": ("8.5", lambda: _plain(ecg(500, 2), Quality(MAX_ERROR, 8.0))),
    "d_constant": ("7.6", _constant),
    "e_sparse": ("7.7", lambda: _with_kernels(ecg(1000), Quality(SPARSE))),
    "kernels": ("7.4", lambda: _with_kernels(ecg(1000, 2), Quality(PRDN, 9.0))),
    "kernels_follow": ("7.4.1", _following),
    "kernels_unequal": ("7.4", _unequal),
    "kernels_lossless": ("9.2", lambda: _with_kernels(ecg(500, 2), Quality(LOSSLESS), with_weights=True)),
    "bank_priors": ("6.3", _bank),
    "gaps": ("4.4", _gaps),
    "groups": ("4.5", _groups),
    "groups_kernels": ("7.8", _groups_and_kernels),
    "short": ("4.3", lambda: _plain(ecg(1001)[1000:], Quality(LOSSLESS))),
    "range_24_bit": ("9.2", lambda: _wide(24)),
    "range_32_bit": ("9.2", lambda: _wide(32)),
    "lattices": ("3.4", _lattices),
    "rails": ("9.5", _rails),
    "range_edges": ("7.9", _edges),
    "t_constant": ("16", lambda: _tables(_constant())),
    "t_corrections": ("17", lambda: _tables(_plain(ecg(500, 2), Quality(MAX_ERROR, 8.0), groups=_references(2)))),
    "t_gaps": ("18", lambda: _tables(_gaps(lossless=True))),
    "t_groups": ("18", lambda: _tables(_groups())),
    "t_groups_kernels": ("17", lambda: _tables(_groups_and_kernels())),
    "t_kernels": ("18", lambda: _tables(_with_kernels(ecg(500, 2), Quality(LOSSLESS), with_weights=True))),
    "t_lattices": ("3.4", lambda: _tables(_lattices())),
    "t_lossless": ("18", lambda: _tables(_plain(ecg(1000, 2), Quality(LOSSLESS), groups=_references(2)), taps=0)),
    "t_mixed_tools": ("16", lambda: _tables(_mixed_tools(), taps=16)),
    "t_range_32_bit": ("17", lambda: _tables(_wide(32))),
    "t_wavelet": ("17", lambda: _tables(_plain(ecg(1000, 3), Quality(PRDN, 5.0), groups=_references()))),
    "t_within_1": ("18", lambda: _tables(_plain(ecg(500), Quality(RMSE, 0.8)))),
}  # fmt: skip


def vector(name: str) -> dict[str, Any]:
    """Encode one vector and say what it decodes to."""
    clause, make = VECTORS[name]
    samples, coding, qualities, bank, kernels = make()
    effort = replace(effort_named("thorough"), tries=2)
    (first,) = encode.encode_blocks(samples, Plan(coding, bank, effort, qualities, kernels, "cpu"))
    parts = read_block(first, 0, coding)
    number = 258  # more than the header's own byte holds
    payload = write_block(number, coding, parts.n_samples, parts.gaps, [first[a:b] for a, b in parts.runs])
    decoded = decode_block(payload, number, coding, bank)
    records = read_records(payload, number, coding, bank)
    figures = read_figures(payload, number, coding, bank)
    listed = decoded.T.tolist() if decoded.size <= _INLINE else None
    return {
        "name": name,
        "clause": clause,
        "bank": bank.name,
        "coding": coding.to_dict(),
        "number": number,
        "payload": payload.hex(),
        "samples_crc32c": google_crc32c.value(decoded.astype("<i4").tobytes()),
        "n_samples": len(decoded),
        "samples_by_channel": listed,
        "rmse_adu": figures.rmse_adu.tolist(),
        "max_error_adu": figures.max_error_adu.tolist(),
        "records": {
            "kernel_uid": [records.kernel_uid[k] for k in records.kernel],
            "index": records.index.tolist(),
            "fiducial": records.fiducial.tolist(),
            "amplitude": records.amplitude.tolist(),
        },
    }


def main() -> None:
    """Write the vectors that are not there, and name them in SHA256SUMS."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    files: dict[str, Callable[[], bytes]] = {f"{TRAINED}.sanbank": lambda: trained_bank().data}
    files |= {f"{name}.json": partial(_written, name) for name in VECTORS}
    for name, make in files.items():
        file = FOLDER / name
        if not file.is_file():
            file.write_bytes(make())
            sums = FOLDER / "SHA256SUMS"
            known = sums.read_text(encoding="ascii") if sums.is_file() else ""
            sums.write_text(f"{known}{hashlib.sha256(file.read_bytes()).hexdigest()}  {name}\n", encoding="ascii")
            print(f"{name}: {file.stat().st_size} bytes", file=sys.stderr)


def _written(name: str) -> bytes:
    return (json.dumps(vector(name), separators=(",", ":")) + "\n").encode("ascii")


if __name__ == "__main__":
    main()
