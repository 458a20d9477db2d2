"""One record of MIT-BIH: beats, rhythm and ST level of lead 1 as archived, beside two controls."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from sanstream.archive_write import ArchiveWriter
from sanstream.bank import Bank
from sanstream.evaluate import evaluate
from sanstream.evaluate_signals import ChannelSignals
from sanstream.serves.beats import Detected, Reference, beats_in, compare_beats, reference_of
from sanstream.serves.detectors import AS_RECORDED, DETECTORS, detect
from sanstream.serves.matching import TOLERANCE_S, paired
from sanstream.serves.pieces import Piece, pieces_of
from sanstream.serves.rhythm import compare_rhythm
from sanstream.serves.st import compare_st
from sanstream.signal import Recording

Row = dict[str, Any]
Ints = np.ndarray

QUALITIES = ("prdn=5", "prdn=9")


def archived(recording: Recording, quality: str, effort: str, bank: Bank | None) -> tuple[ChannelSignals, Row]:
    """Archive a recording, all leads; return the first channel as it was and became, and what the archive weighs."""
    kept: list[ChannelSignals] = []
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "archive"
        with ArchiveWriter(target) as writer:
            writer.add(recording, [quality], effort=effort, bank=bank)
            writer.commit()
        report = evaluate(recording, target, look=lambda s: kept.append(s) if not kept else None)
    first = report.streams[0].channels[0].summary()
    return kept[0], {
        "bits": first["bits_per_sample"],
        "prdn": first["prdn"],
        "n_windows": first["n_windows"],
        "broken": len(report.broken),
    }


def record_row(recording: Recording, effort: str, bank: Bank | None, seed: int) -> Row:
    """Measure one record at every quality.

    Parameters
    ----------
    recording : Recording
        With annotations ``atr``.
    effort : str
    bank : Bank or None
        None lets the encoder choose among the shipped ones.
    seed : int
        Of the controls' noise.

    Returns
    -------
    dict
        ``results``: for each quality and detector counts of the original, of the archived signal, and of two controls:
        the original plus white noise of the same RMSE in each window (``noise``), and plus uniform noise of half a
        digital step either way (``dither``).
    """
    rate = float(recording.streams[0].rate)
    reference = reference_of(recording.annotations, rate)
    assert reference is not None, recording.name
    rng = np.random.default_rng([seed, *recording.name.encode()])
    results: list[Row] = []
    original: dict[str, Ints] = {}
    dithered: dict[str, Ints] = {}
    for quality in QUALITIES:
        signals, weight = archived(recording, quality, effort, bank)
        (piece,) = pieces_of(signals.stretches, rate).pieces
        step = 1 / abs(signals.channel.gain)
        noisy = piece.original + _noise(signals, rng)
        st = compare_st([piece], reference.sample, rate, reference=reference.name, unit="µV", factor=1000.0)
        for name in (*DETECTORS, AS_RECORDED):
            if name not in original:
                original[name] = detect(name, piece.original, rate)
                dither = rng.uniform(-0.5, 0.5, len(piece.original)) * step
                dithered[name] = detect(name, piece.original + dither, rate)
            found = {
                "archived": detect(name, piece.decoded, rate),
                "noise": detect(name, noisy, rate),
                "dither": dithered[name],
            }
            row: Row = {"quality": quality, "detector": name, **weight}
            for what, beats in found.items():
                compared = Detected(name, (original[name],), (beats,))
                result = compare_beats(compared, [piece], reference, rate)
                row["original"] = list(result.original.__dict__.values())
                row[what] = list(result.decoded.__dict__.values())
                if what == "archived":
                    row |= {"lost": result.lost, "gained": result.gained, "shift_sd_ms": result.shift_sd_ms}
                    rhythm = compare_rhythm(compared, rate)
                    row["rhythm"] = [dict(rhythm.original.__dict__), dict(rhythm.decoded.__dict__)]
                    row["changed"] = _changed(original[name], beats, piece, reference, rate)
            row["st"] = {place: dict(own.__dict__) for place, own in st.levels.items()}
            results.append(row)
    return {"record": recording.name, "results": results}


def _noise(signals: ChannelSignals, rng: np.random.Generator) -> np.ndarray:
    """Draw white noise with the RMSE that each window reached, physical units."""
    level = np.repeat(signals.windows.rmse_adu, signals.windows.n_samples) / abs(signals.channel.gain)
    return np.asarray(level * rng.standard_normal(len(level)))


def _changed(before: Ints, now: Ints, piece: Piece, reference: Reference, rate: float) -> Row:
    """Say of which annotated kinds the beats are that only one of the signals has, and how many false ones differ."""
    tolerance = round(TOLERANCE_S * rate)
    truth = beats_in(reference.sample, piece)
    symbol = reference.symbol[(reference.sample >= piece.start) & (reference.sample < piece.stop)]
    good_before, had = paired(before, truth, tolerance)
    good_now, has = paired(now, truth, tolerance)
    return {
        "missed": dict(Counter(symbol[had & ~has].tolist())),
        "found": dict(Counter(symbol[~had & has].tolist())),
        "extra": int((~good_now).sum()) - int((~good_before).sum()),
    }
