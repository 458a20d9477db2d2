"""When a difference is worth a look: conventions, each with where it comes from. None of them is a guarantee."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sanstream.serves.assess import F1_POINTS, Control, Served
from sanstream.serves.beats import BeatResult
from sanstream.serves.rhythm import RhythmResult

ST_UV = 100.0
BAND_PERCENT = 10.0
COHERENCE = 0.9
PRESSURE_MMHG = 4.0
PULSES_PERCENT = 1.0
SDNN_PERCENT = 5.0

SOURCES = (
    ("F1 of QRS detection", f"worse by more than {F1_POINTS} points", "sanstream's own aim"),
    (
        "SDNN, RMSSD",
        f"changed by more than {SDNN_PERCENT:g} %",
        "a convention of this report",
    ),
    (
        "ST level",
        f"95 % limits beyond ±{ST_UV:g} µV",
        "the step at which ST changes are called (0.1 mV; IEC 60601-2-47)",
    ),
    ("EEG band power", f"changed by more than {BAND_PERCENT:g} %", "a convention of this report"),
    ("EEG coherence", f"under {COHERENCE:g}", "a convention of this report: a tenth of the band is not the original's"),
    ("Pressure peaks", f"95 % limits beyond ±{PRESSURE_MMHG:g} mmHg", "accuracy asked of monitors (IEC 60601-2-34)"),
    (
        "Peaks of pressure, PPG, respiration",
        f"more than {PULSES_PERCENT:g} % lost or new",
        "a convention of this report",
    ),
)
"""What is compared, the limit, and its source, for people."""
_KPA = 7.50062


@dataclass(frozen=True)
class Attention:
    """Something beyond a limit.

    Parameters
    ----------
    stream, channel, measure : str
    text : str
        A sentence with the figures.
    """

    stream: str
    channel: str
    measure: str
    text: str


def beyond(served: Served) -> list[Attention]:
    """Return what of a channel is beyond a limit; the limits stand in :data:`SOURCES`."""
    lines = [*_beats(served), *_rhythm(served), *_st(served), *_bands(served), *_pulses(served)]
    return [Attention(served.stream, served.channel, measure, text) for measure, text in lines]


def _beats(served: Served) -> Iterator[tuple[str, str]]:
    for own in served.beats:
        if own.f1_points < -F1_POINTS - 1e-9:
            control = served.controls.get(own.detector)
            beside = "" if control is None else _beside(control)
            yield "beats", f"{own.detector} finds beats less well: {beats_text(own)}{beside}"


def _beside(control: Control) -> str:
    return (
        f". On the original plus white noise as strong as the archive's error it changes by {control.noise:+.2f} points"
        f", plus noise of half a digital step by {control.dither:+.2f}"
    )


def beats_text(own: BeatResult) -> str:
    """Write F1 of both signals and the difference."""
    return (
        f"F1 {100 * own.decoded.f1:.2f} % against {100 * own.original.f1:.2f} % in the original "
        f"({own.f1_points:+.2f} points; {own.lost} detections lost, {own.gained} new)"
    )


def _rhythm(served: Served) -> Iterator[tuple[str, str]]:
    for own in served.rhythm:
        for name, before, now in moved(own):
            yield "rhythm", f"{name} of the beats by {own.detector} is {now:.1f} ms, {before:.1f} ms in the original"


def moved(own: RhythmResult) -> Iterator[tuple[str, float, float]]:
    """Yield name, value in the original and value now of what of the variability is beyond its limit."""
    for name, key in (("SDNN", "sdnn_ms"), ("RMSSD", "rmssd_ms")):
        before, now = getattr(own.original, key), getattr(own.decoded, key)
        if before and now is not None and abs(now - before) > SDNN_PERCENT / 100 * before:
            yield name, before, now


def _st(served: Served) -> Iterator[tuple[str, str]]:
    if served.st is None or served.st.unit != "µV":
        return
    for name, own in served.st.levels.items():
        if max(-own.low, own.high) > ST_UV:
            yield "st", f"ST at {name} differs by {own.low:+.0f} to {own.high:+.0f} µV (95 % of beats)"


def _bands(served: Served) -> Iterator[tuple[str, str]]:
    if served.spectrum is None:
        return
    changed = [
        f"{name} {band.change:+.0f} %"
        for name, band in served.spectrum.bands.items()
        if band.change is not None and abs(band.change) > BAND_PERCENT
    ]
    weak = [
        f"{name} {band.coherence:.2f}"
        for name, band in served.spectrum.bands.items()
        if band.coherence is not None and band.coherence < COHERENCE
    ]
    if changed:
        yield "band power", "power changed: " + ", ".join(changed)
    if weak:
        yield "coherence", "little coherence: " + ", ".join(weak)


def _pulses(served: Served) -> Iterator[tuple[str, str]]:
    own = served.pulses
    if own is None:
        return
    total = own.counts.found + own.counts.missed
    if 100 * max(own.counts.missed, own.counts.extra) > PULSES_PERCENT * total:
        yield "peaks", f"of {total} peaks {own.counts.missed} are lost, {own.counts.extra} are new"
    factor = {"mmhg": 1.0, "kpa": _KPA}.get(own.unit.lower())
    if factor is None or served.modality != "pressure":
        return
    for name, agreement in (("peaks", own.peak), ("troughs", own.trough)):
        if factor * max(-agreement.low, agreement.high) > PRESSURE_MMHG:
            yield "pressure", f"{name} differ by {agreement.low:+.1f} to {agreement.high:+.1f} {own.unit} (95 %)"
