"""Every measure that fits a channel's modality; what cannot be measured says why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np

from sanstream.evaluate_signals import ChannelSignals
from sanstream.modality import modality_of
from sanstream.serves.beats import BeatResult, Detected, Reference, compare_beats, detect_in
from sanstream.serves.detectors import DETECTORS, NoResultError, detect, missing_detectors
from sanstream.serves.pieces import MOST_S, FloatArray, Piece, Pieces, pieces_of
from sanstream.serves.pulses import KINDS, PulseResult, compare_pulses
from sanstream.serves.rhythm import RhythmResult, compare_rhythm
from sanstream.serves.spectra import SpectrumResult, compare_spectra
from sanstream.serves.st import StResult, compare_st
from sanstream.signal import Channel

T = TypeVar("T")
F1_POINTS = 0.2
"""QRS detection that is worse by more percentage points of F1 is worth a look."""
_SEED = 0

MEASURED = {
    "ecg": "QRS detection, rhythm, ST level",
    "eeg": "EEG bands",
    **dict.fromkeys(KINDS, "peaks"),
}
"""What is measured of each modality; of the others only the quality of their windows."""


@dataclass(frozen=True)
class Control:
    """Points of F1 by which a detector changes when noise is added to the original.

    Parameters
    ----------
    noise : float
        White noise as strong as the archive's error, second by second.
    dither : float
        Noise of half a digital step either way.
    """

    noise: float
    dither: float


@dataclass
class Served:
    """What was measured of one channel.

    Parameters
    ----------
    stream, channel, modality : str
    analysed_s, whole_s : float
        Seconds analysed, and seconds of signal that there are.
    beats, rhythm : list
        One entry a detector.
    controls : dict of str to Control
        Of detectors that do worse than on the original by more than the limit.
    st, spectrum, pulses : result or None
    missing : list of str
        ``"measure: why there is no result"``.
    """

    stream: str
    channel: str
    modality: str
    analysed_s: float
    whole_s: float
    beats: list[BeatResult] = field(default_factory=list)
    rhythm: list[RhythmResult] = field(default_factory=list)
    controls: dict[str, Control] = field(default_factory=dict)
    st: StResult | None = None
    spectrum: SpectrumResult | None = None
    pulses: PulseResult | None = None
    missing: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; shares and differences are written out."""
        out = asdict(self)
        for row, beats in zip(out["beats"], self.beats, strict=True):
            row["f1_points"] = beats.f1_points
            for name, counts in (("original", beats.original), ("decoded", beats.decoded)):
                row[name] |= {
                    "sensitivity": counts.sensitivity,
                    "predictivity": counts.predictivity,
                    "f1": counts.f1,
                }
        for row, rhythm in zip(out["rhythm"], self.rhythm, strict=True):
            row["differences"] = rhythm.differences()
        return out


def assess(signals: ChannelSignals, reference: Reference | None, *, most_s: float = MOST_S) -> Served:
    """Measure what the channel's modality calls for.

    Parameters
    ----------
    signals : ChannelSignals
    reference : Reference or None
        Annotated beats on the stream's grid.
    most_s : float
        Analyse no more of the channel.

    Returns
    -------
    Served
    """
    channel, rate = signals.channel, signals.rate_hz
    modality = modality_of(channel)
    if modality not in MEASURED:
        return Served(signals.stream, channel.label, modality, 0.0, _seconds(signals))
    pieces = pieces_of(signals.stretches, rate, most_s=most_s)
    out = Served(signals.stream, channel.label, modality, pieces.analysed_s, pieces.whole_s)
    if not pieces.pieces:
        out.missing.append(f"{MEASURED[modality]}: no stretch of 2 s without a gap")
    elif all(float(np.ptp(p.original)) == 0 for p in pieces.pieces):
        out.missing.append(f"{MEASURED[modality]}: the channel is constant")
    elif modality == "ecg":
        _ecg(out, pieces, reference, rate, channel)
    elif modality == "eeg":
        out.spectrum = _tried(out, "spectrum", lambda: compare_spectra(pieces.pieces, rate, unit=channel.unit))
    else:
        kind = KINDS[modality]
        out.pulses = _tried(out, "peaks", lambda: compare_pulses(pieces.pieces, rate, kind, unit=channel.unit))
    return out


def _seconds(signals: ChannelSignals) -> float:
    valid = signals.windows.n_samples - signals.windows.n_missing
    return float(valid.sum()) / signals.rate_hz


def _tried(out: Served, what: str, act: Callable[[], T]) -> T | None:
    try:
        return act()
    except NoResultError as error:
        out.missing.append(f"{what}: {error.message}")
        return None


def _ecg(out: Served, pieces: Pieces, reference: Reference | None, rate_hz: float, channel: Channel) -> None:
    absent, own, step = missing_detectors(), pieces.pieces, 1 / abs(channel.gain)
    found: list[Detected] = []
    for name in DETECTORS:
        if name in absent:
            out.missing.append(f"QRS detection by {name}: {absent[name]}")
            continue
        detected = _tried(out, f"QRS detection by {name}", partial(detect_in, name, own, rate_hz))
        if detected is not None:
            found.append(detected)
            out.beats.append(compare_beats(detected, own, reference, rate_hz))
            if out.beats[-1].f1_points < -F1_POINTS:
                control = _tried(out, f"control of {name}", partial(_control, detected, own, reference, rate_hz, step))
                if control is not None:
                    out.controls[name] = control
            out.rhythm.append(compare_rhythm(detected, rate_hz))
    if reference is not None:
        name, at = reference.name, reference.sample
    elif found:
        name, at = found[0].detector, np.concatenate(found[0].original)
    else:
        out.missing.append("ST level: no beats")
        return
    factor, written = microvolts(channel.unit)
    out.st = _tried(out, "ST level", lambda: compare_st(own, at, rate_hz, reference=name, unit=written, factor=factor))


def _control(
    found: Detected, pieces: Sequence[Piece], reference: Reference | None, rate_hz: float, step: float
) -> Control:
    """Run a detector on the original plus noise of either kind."""
    rng = np.random.default_rng(_SEED)

    def points(noise: Callable[[Piece], FloatArray]) -> float:
        beats = tuple(detect(found.detector, p.original + noise(p), rate_hz) + p.start for p in pieces)
        return compare_beats(Detected(found.detector, found.original, beats), pieces, reference, rate_hz).f1_points

    return Control(
        noise=points(lambda p: _as_strong(p, round(rate_hz)) * rng.standard_normal(len(p.original))),
        dither=points(lambda p: step * rng.uniform(-0.5, 0.5, len(p.original))),
    )


def _as_strong(piece: Piece, length: int) -> FloatArray:
    """Return the RMSE of the archive about each sample, stretch by stretch of ``length`` samples."""
    squares = (piece.original - piece.decoded) ** 2
    starts = np.arange(0, len(squares), length)
    sizes = np.diff(starts, append=len(squares))
    return np.repeat(np.sqrt(np.add.reduceat(squares, starts) / sizes), sizes)


def microvolts(unit: str) -> tuple[float, str]:
    """Return the factor from a unit to µV, and ``"µV"``; other units stay as they are."""
    factor = {"v": 1e6, "mv": 1e3, "uv": 1.0, "µv": 1.0, "μv": 1.0, "nv": 1e-3}.get(unit.lower())
    return (1.0, unit) if factor is None else (factor, "µV")
