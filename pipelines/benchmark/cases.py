"""The databases: which records, which part of each, and which qualities are asked of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from sanstream import formats
from sanstream.signal import SIGNAL, Channel, Recording, Segment, Stream
from sanstream.simulate import simulate_ecg, simulate_eeg

N_FOLDS = 3
SEEN = 0.25
"""Share of each recording below that the shipped banks learned from; it is left out here."""
PARTLY_SEEN = ("mimic4wdb", "eegmmidb")
DATABASES = ("mitdb", "mimic4wdb", "eegmmidb", "cinc2015", "cpsc2018", "edf-bdf", "emgdb", "bonn")
SIMULATED = "simulated"
BONN_PER_SET = 20

LOSSLESS, PRDN, MAX_ERROR, WINDOW = "lossless", "prdn", "max-error", "window"


@dataclass(frozen=True)
class Figure:
    """One quality asked of one record.

    Parameters
    ----------
    name : str
    kind : str
        ``"lossless"``; ``"prdn"``, over the record and per channel; ``"max-error"``; or ``"window"``,
        a request kept window by window, which no peer knows.
    value : float
        Per cent for ``"prdn"``, digital steps for ``"max-error"``.
    request : str
        For ``"window"``.
    first_channel : bool
        The first channel alone.
    """

    name: str
    kind: str
    value: float = 0.0
    request: str = ""
    first_channel: bool = False


@dataclass(frozen=True)
class Case:
    """One record, cut to what no bank has seen.

    Parameters
    ----------
    database, record : str
    recording : Recording
        Without annotations; one segment per stream.
    fold : int or None
        Fold whose bank codes the record; None for the shipped banks.
    """

    database: str
    record: str
    recording: Recording
    fold: int | None = None


def figures(database: str) -> tuple[Figure, ...]:
    """Return the qualities asked of a database's records."""
    if database == "mitdb":
        out = [Figure("both leads, lossless", LOSSLESS)]
        out += [Figure(f"lead 1, PRDN {p} %", PRDN, p, first_channel=True) for p in (2, 5, 9, 20)]
        out += [Figure(f"lead 1, maximum error {d} adu", MAX_ERROR, d, first_channel=True) for d in (1, 2, 4, 8)]
        requests = ("prdn=5", "prdn=9", "max-error=4adu")
        return (*out, *(Figure(f"both leads, {r} per window", WINDOW, request=r) for r in requests))
    percent = {"eegmmidb": (5, 10, 20), "cpsc2018": (5,), SIMULATED: (9,)}.get(database, (5, 9))
    out = [Figure("lossless", LOSSLESS), *(Figure(f"PRDN {p} %", PRDN, p) for p in percent)]
    if database == SIMULATED:
        out += [Figure("maximum error 4 adu", MAX_ERROR, 4), Figure("prdn=9 per window", WINDOW, request="prdn=9")]
    return tuple(out)


def records(database: str, data: Path, seed: int = 0) -> list[str]:
    """Name a database's records; none when its folder is not there."""
    folder = data / database
    if database == SIMULATED:
        return ["ecg", "eeg"]
    if database == "bonn":
        return _bonn_records(folder / "bonn-eeg.npz", seed)
    if database == "edf-bdf":
        return sorted(p.name for p in folder.glob("*.[be]df"))
    return sorted(p.name.removesuffix(".hea") for p in folder.glob("*.edf" if database == "eegmmidb" else "*.hea"))


def load(database: str, record: str, data: Path, *, most_s: float | None = None) -> Case:
    """Read a record.

    Parameters
    ----------
    database, record : str
    data : Path
        Folder of the databases.
    most_s : float, optional
        Keep only so many seconds.
    """
    fold = None
    if database == SIMULATED:
        recording = simulate_ecg(10, seed=11) if record == "ecg" else simulate_eeg(5, seed=11)
    elif database == "bonn":
        recording = _bonn_recording(data / "bonn" / "bonn-eeg.npz", record)
    else:
        recording = formats.read(data / database / record)
    if database == "mitdb":
        fold = records(database, data).index(record) % N_FOLDS
    first = SEEN if database in PARTLY_SEEN else 0.0
    streams = tuple(_cut(stream, first, most_s) for stream in recording.streams)
    return Case(database, record, replace(recording, streams=streams, annotations=()), fold)


def _cut(stream: Stream, first: float, most_s: float | None) -> Stream:
    """Keep a stream's only segment from a share of its length on."""
    (segment,) = stream.segments
    start = round(segment.n_samples * first)
    stop = segment.n_samples if most_s is None else min(segment.n_samples, start + round(most_s * stream.rate))
    samples = np.ascontiguousarray(segment.samples[start:stop])
    return replace(stream, segments=(Segment(0, segment.channels, samples),), n_samples=len(samples))


def first_channel(recording: Recording) -> Recording:
    """Return the recording with the first channel of its only stream alone."""
    (stream,) = recording.streams
    (segment,) = stream.segments
    one = replace(segment, channels=segment.channels[:1], samples=np.ascontiguousarray(segment.samples[:, :1]))
    return replace(recording, streams=(replace(stream, segments=(one,)),))


def wanted(case: Case, figure: Figure) -> Recording:
    """Return the signals that a figure is about."""
    return first_channel(case.recording) if figure.first_channel else case.recording


def is_lossy(channel: Channel, samples: np.ndarray) -> bool:
    """Tell whether a channel may lose anything: triggers, annotations and constants may not."""
    return channel.kind == SIGNAL and bool((samples != samples[0]).any())


def segments(recording: Recording) -> Iterator[tuple[Stream, Segment]]:
    """Yield every stream with its only segment."""
    for stream in recording.streams:
        (segment,) = stream.segments
        yield stream, segment


def _bonn_records(file: Path, seed: int) -> list[str]:
    """Choose recordings of every set, the same for the same seed."""
    if not file.is_file():
        return []
    rng = np.random.default_rng(seed)
    with np.load(file) as sets:
        return [
            f"{name}{number:03d}"
            for name in sorted(sets.files)
            for number in sorted(rng.choice(len(sets[name]), BONN_PER_SET, replace=False).tolist())
        ]


def _bonn_recording(file: Path, record: str) -> Recording:
    with np.load(file) as sets:
        samples = sets[record[0]][int(record[1:])].astype(np.int32)[:, None]
    channel = Channel("EEG", "uV", 1.0, 0, -(2**11), 2**11 - 1, None, 12)
    return Recording(record, (Stream("eeg", Fraction("173.61"), (Segment(0, (channel,), samples),)),))
