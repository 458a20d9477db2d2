"""Sections on uses: beats, rhythm, ST level, spectra, pulses. A section without results is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sanstream.report import pictures
from sanstream.report.markup import figure, long_table, moment, number, table, text
from sanstream.serves.agreement import Agreement
from sanstream.serves.assess import F1_POINTS, Served
from sanstream.serves.beats import OWN, BeatResult
from sanstream.serves.limits import Attention, moved

_MOST_PLACES = 12
_CHANGE = "original → archived"
_HRV = (
    ("RR ms", "mean_rr_ms", 1),
    ("SDNN ms", "sdnn_ms", 1),
    ("RMSSD ms", "rmssd_ms", 1),
    ("pNN50 %", "pnn50", 1),
    ("LF/HF", "lf_hf", 2),
)

Name = Callable[[Served], str]
Marked = set[tuple[str, str, str]]


def namer(served: Sequence[Served]) -> Name:
    """Return what names a channel: its label, with its stream where there are several."""
    several = len({s.stream for s in served}) > 1
    return lambda own: f"{own.channel} ({own.stream})" if several else own.channel


def uses(served: Sequence[Served], attention: Sequence[Attention]) -> Iterator[str]:
    """Yield the sections."""
    name = namer(served)
    marked = {(a.stream, a.channel, a.measure) for a in attention}
    for section in (_beats, _rhythm, _st, _spectra, _pulses):
        yield from section(served, name, marked)


def _mark(marked: Marked, own: Served, *measures: str) -> str:
    return "warn" if any((own.stream, own.channel, m) in marked for m in measures) else ""


def _beats(served: Sequence[Served], name: Name, marked: Marked) -> Iterator[str]:
    found = [(s, b) for s in served for b in s.beats]
    if not found:
        return
    own_beats = "the detector's own beats in the original, as nobody annotated any"
    told = [own_beats if r == OWN else f"the recording's annotations {r!r}" for r in {b.reference for _, b in found}]
    yield "<h2>Are the same heart beats found?</h2>"
    yield (
        f"<p>QRS detectors ran on the original and on the archived signal. Reference: {text(', '.join(told))}. "
        "A detection counts within 150 ms of a beat, one to one (ANSI/AAMI EC57).</p>"
    )
    rows, marks = [], []
    for own, beats in found:
        a, b = beats.original, beats.decoded
        shares = [(a.sensitivity, b.sensitivity), (a.predictivity, b.predictivity), (a.f1, b.f1)]
        rows.append(
            [
                *(name(own), beats.detector, f"{a.found + a.missed:,}"),
                *(f"{number(100 * before)} → {number(100 * now)}" for before, now in shares),
                *(number(beats.f1_points, sign=True), f"{beats.lost:,}", f"{beats.gained:,}"),
                f"{number(beats.shift_mean_ms, 1)} ± {number(beats.shift_sd_ms, 1)}",
            ]
        )
        marks.append("warn" if beats.f1_points < -F1_POINTS - 1e-9 else "")
    head = ["channel", "detector", "beats", "Se %", "PPV %", "F1 %", "points", "lost", "new", "shift ms"]
    yield table(head, rows, marks=marks, caption=_CHANGE)
    yield (
        "<p class=note>Se: share of beats that are detected. PPV: share of detections that are beats. F1: their "
        "harmonic mean. Points: archived less original, in percentage points of F1. Lost and new: detections that only "
        "the original, or only the archived signal has. Detectors decide by thresholds: on noisy leads they lose and "
        "gain beats after any change, however small. Where F1 falls, the list at the top says what "
        "noise does to it.</p>"
    )
    yield from _changed(found, name)


def _changed(found: Sequence[tuple[Served, BeatResult]], name: Name) -> Iterator[str]:
    items = []
    for own, beats in found:
        places = [moment(s) for s in beats.changed_s[:_MOST_PLACES]]
        more = beats.lost + beats.gained - len(places)
        if places:
            line = f"{name(own)}, {beats.detector}: {', '.join(places)}"
            items.append(f"<li>{text(line)}{f' and {more:,} more' if more > 0 else ''}</li>")
    if items:
        yield "<details><summary>Where detections differ (time from the start)</summary><ul>"
        yield from items
        yield "</ul></details>"


def _rhythm(served: Sequence[Served], name: Name, marked: Marked) -> Iterator[str]:
    found = [(s, r) for s in served for r in s.rhythm if r.original.n_rr > 1]
    if not found:
        return
    yield "<h2>Rhythm and heart-rate variability</h2>"
    rows, marks = [], []
    for own, rhythm in found:
        cells = []
        for _, key, digits in _HRV:
            before, now = getattr(rhythm.original, key), getattr(rhythm.decoded, key)
            cells.append("–" if before is None or now is None else f"{number(before, digits)} → {number(now, digits)}")
        rows.append([name(own), rhythm.detector, f"{rhythm.original.n_rr:,}", *cells])
        marks.append("warn" if any(moved(rhythm)) else "")
    yield table(["channel", "detector", "intervals", *(f[0] for f in _HRV)], rows, marks=marks, caption=_CHANGE)
    yield (
        "<p class=note>From the detected beats, so a beat that is missed or doubled counts here, too. LF/HF needs two "
        "minutes without a gap.</p>"
    )


def _band95(own: Agreement, digits: int) -> str:
    return f"{number(own.low, digits, sign=True)} to {number(own.high, digits, sign=True)}"


def _st(served: Sequence[Served], name: Name, marked: Marked) -> Iterator[str]:
    found = [(s, s.st) for s in served if s.st is not None]
    if not found:
        return
    yield "<h2>ST level</h2>"
    rows, marks = [], []
    for own, st in found:
        digits = 1 if st.unit == "µV" else 3
        for place, change in st.levels.items():
            rows.append(
                [
                    *(name(own), f"{place}, {st.unit or 'digital'}", f"{st.n_beats:,}"),
                    *(number(st.original_mean[place], digits), number(change.mean, digits, sign=True)),
                    *(_band95(change, digits), number(change.largest, digits)),
                ]
            )
            marks.append(_mark(marked, own, "st"))
    head = ["channel", "where", "beats", "mean level", "mean change", "95 % of beats", "largest change"]
    yield table(head, rows, marks=marks)
    yield (
        "<p class=note>Level after the J point against the 20 ms before the QRS complex, beat by beat, at the same "
        "instants in both signals. 95 % of beats: mean ± 1.96 standard deviations of the changes.</p>"
    )


def _spectra(served: Sequence[Served], name: Name, marked: Marked) -> Iterator[str]:
    found = [(s, s.spectrum) for s in served if s.spectrum is not None]
    if not found:
        return
    names = list(dict.fromkeys(band for _, s in found for band in s.bands))
    yield "<h2>EEG bands</h2>"
    yield figure(
        pictures.bands(served),
        "Change of band power (0 is none) and coherence of archived and original signal (1 is all). A dot is a "
        "channel, the bar their median.",
    )
    rows, marks = [], []
    for own, spectrum in found:
        cells: list[str] = []
        for band in names:
            result = spectrum.bands.get(band)
            change, coherence = (None, None) if result is None else (result.change, result.coherence)
            cells += [number(change, 1, sign=True), number(coherence, 3)]
        rows.append([name(own), *cells])
        marks.append(_mark(marked, own, "band power", "coherence"))
    head = ["channel", *(f"{band} {what}" for band in names for what in ("%", "coh."))]
    yield long_table(head, rows, words=1, marks=marks)
    yield (
        "<p class=note>Delta 0.5–4, theta 4–8, alpha 8–13, beta 13–30, gamma 30–45 Hz. %: change of power. coh.: "
        "magnitude-squared coherence; low where the archive keeps little of a weak band.</p>"
    )


def _pulses(served: Sequence[Served], name: Name, marked: Marked) -> Iterator[str]:
    found = [(s, s.pulses) for s in served if s.pulses is not None]
    if not found:
        return
    yield "<h2>Peaks of pressure, PPG and respiration</h2>"
    rows, marks = [], []
    for own, pulses in found:
        counts = pulses.counts
        rows.append(
            [
                *(name(own), pulses.unit or "digital", f"{counts.found + counts.missed:,}", f"{counts.missed:,}"),
                *(f"{counts.extra:,}", number(pulses.original_peak), _band95(pulses.peak, 2)),
                *(number(pulses.original_trough), _band95(pulses.trough, 2), _band95(pulses.time_ms, 1)),
            ]
        )
        marks.append(_mark(marked, own, "peaks", "pressure"))
    head = ["channel", "unit", "peaks", "lost", "new", "mean peak", "change, 95 %", "mean trough", "change, 95 %"]
    yield table([*head, "shift ms, 95 %"], rows, marks=marks)
    yield (
        "<p class=note>Of arterial pressure, peaks are systolic and troughs diastolic. Changes are archived less "
        "original, of peaks that both signals have. A peak is lost when the archived signal has none half "
        "its rise there.</p>"
    )
