"""All that a report says, as values: figures of windows, measures of channels, the worst windows, the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sanstream
from sanstream.archive import Archive
from sanstream.evaluate import evaluate
from sanstream.evaluate_report import Report
from sanstream.evaluate_signals import ChannelSignals
from sanstream.quality import LOSSLESS
from sanstream.report.verdict import verdict
from sanstream.report.worst import Window, Worst
from sanstream.serves.assess import MEASURED, Served, assess
from sanstream.serves.beats import reference_of
from sanstream.serves.limits import Attention, beyond
from sanstream.signal import Recording

REPORT_VERSION = 1


@dataclass(frozen=True)
class Origin:
    """What was archived, and how.

    Parameters
    ----------
    recording : str
    container, format_version : str, int
    banks : tuple of str
        Name and first digits of each bank in use.
    effort : str or None
        None where the archive does not say.
    made_by : str or None
        Version of sanstream that wrote it; None where the archive does not say.
    raw_bits, coded_bytes, n_values : int
        Size of the samples as integers of the ADC's resolution, in bits; coded bytes; samples of all channels.
    seconds : float
        Length of the longest stream.
    """

    recording: str
    container: str
    format_version: int
    banks: tuple[str, ...]
    effort: str | None
    made_by: str | None
    raw_bits: int
    coded_bytes: int
    n_values: int
    seconds: float

    @property
    def bits_per_sample(self) -> float:
        """Coded bits per sample."""
        return 8 * self.coded_bytes / self.n_values if self.n_values else 0.0


@dataclass(frozen=True)
class Findings:
    """A whole report.

    Parameters
    ----------
    origin : Origin
    figures : Report
    served : tuple of Served
        In the order of the channels.
    attention : tuple of Attention
        Differences beyond a limit.
    n_windows, n_worst : int
        Windows in all, and how many one per cent of them are.
    worst : tuple of Window
        Those that are drawn, at most :data:`sanstream.report.worst.MOST_DRAWN`.
    """

    origin: Origin
    figures: Report
    served: tuple[Served, ...]
    attention: tuple[Attention, ...]
    n_windows: int
    n_worst: int
    worst: tuple[Window, ...]

    @property
    def kept(self) -> bool:
        """Whether every window has the quality asked."""
        return not self.figures.broken

    @property
    def exact(self) -> bool:
        """Whether every channel is lossless, and is."""
        channels = [c for s in self.figures.streams for c in s.channels]
        return self.kept and all(c.quality == LOSSLESS for c in channels)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of ``report.json``."""
        origin = self.origin
        return {
            "report_version": REPORT_VERSION,
            "sanstream": sanstream.__version__,
            "verdict": {
                "text": verdict(self),
                "quality_kept": self.kept,
                "n_windows": self.n_windows,
                "n_broken": len(self.figures.broken),
                "attention": [dict(a.__dict__) for a in self.attention],
            },
            "archive": {**origin.__dict__, "banks": list(origin.banks), "bits_per_sample": origin.bits_per_sample},
            **self.figures.to_dict(),
            "serves": [s.to_dict() for s in self.served],
            "worst": {"n_one_percent": self.n_worst, "drawn": [w.to_dict() for w in self.worst]},
        }


def find(source: Recording, archive: Archive, *, recording: str | None, progress: Any, most_s: float) -> Findings:
    """Evaluate a recording and measure whether it still serves.

    Parameters
    ----------
    source : Recording
    archive : Archive
    recording : str, optional
        Name in the archive; default: the source's.
    progress : callable, optional
    most_s : float
        Seconds of each channel that detectors see.

    Returns
    -------
    Findings

    Raises
    ------
    InputError, CorruptError
        As :func:`sanstream.evaluate`.
    """
    served: list[Served] = []
    worst = Worst()
    references = {s.name: reference_of(source.annotations, float(s.rate)) for s in source.streams}

    def look(signals: ChannelSignals) -> None:
        served.append(assess(signals, references.get(signals.stream), most_s=most_s))
        worst.add(signals)

    figures = evaluate(source, archive, recording=recording, progress=progress, look=look)
    attention = tuple(line for own in served for line in beyond(own))
    drawn, n_worst = worst.chosen()
    origin = _origin(archive, figures.recording)
    return Findings(origin, figures, tuple(served), attention, worst.n_windows, n_worst, drawn)


def measured(own: Served) -> bool:
    """Whether the channel's modality calls for more than quality."""
    return own.modality in MEASURED


def _origin(archive: Archive, name: str) -> Origin:
    reader, info = archive.recordings[name], archive.info()
    manifest = reader.manifest
    streams = next(r["streams"] for r in info["recordings"] if r["name"] == name)
    banks, raw, n_values, seconds = {}, 0, 0, 0.0
    for stream in reader.streams.values():
        seconds = max(seconds, float(stream.n_samples / stream.rate))
        for entry in stream.entry.segments:
            bank = stream.bank(entry)
            banks[bank.id] = f"{bank.name} ({bank.id[:12]})"
            n_values += entry.n_samples * len(entry.channels)
            raw += entry.n_samples * sum(c.resolution_bits or 16 for c in entry.channels)
    parent = manifest.parent or {}
    return Origin(
        name,
        str(info["container"]),
        int(info["format_version"]),
        tuple(banks.values()),
        parent.get("effort"),
        parent.get("sanstream"),
        raw,
        sum(s["coded_bytes"] for s in streams),
        n_values,
        seconds,
    )
