"""What each shipped bank learns from. Only training halves; nothing that a benchmark tests on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sanstream import formats
from sanstream.signal import Recording
from sanstream.simulate import simulate_ecg, simulate_eeg, simulate_ppg
from sanstream.train import Example

MITDB = "101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 220 223 230".split()
"""The usual training half of MIT-BIH (DS1) without the paced records 102 and 104."""


def examples_of(recording: Recording, *, part: float = 1.0) -> list[Example]:
    """Turn a recording's streams into examples, the first ``part`` of each."""
    out = []
    for stream in recording.streams:
        segment = max(stream.segments, key=lambda s: s.n_samples)
        n = round(segment.n_samples * part)
        name = f"{recording.name}/{stream.name}"
        out.append(Example(name, segment.samples[:n], segment.channels, stream.rate))
    return out


def mitdb(data: Path, names: Sequence[str] = MITDB) -> list[Example]:
    """Read MIT-BIH records, both leads."""
    return [e for name in names for e in examples_of(formats.read(data / "mitdb" / name))]


def corpus(bank: str, data: Path) -> list[Example]:
    """Return a bank's examples: recordings where the data folder has them, and simulated signals."""
    out: list[Example] = []
    if bank == "ecg":
        out = mitdb(data) if (data / "mitdb").is_dir() else []
        simulated = [simulate_ecg(600, seed=s, heart_rate_bpm=55 + 15 * s) for s in range(3)]
    elif bank == "eeg":
        file = data / "eegmmidb" / "S001R03.edf"
        if file.is_file():
            out = examples_of(formats.read(file), part=0.25)
        simulated = [simulate_eeg(300, rate_hz=r, seed=s) for s, r in enumerate((128, 256, 512))]
    else:
        if (data / "mimic4wdb").is_dir():
            out = examples_of(formats.read(data / "mimic4wdb" / "85594648_0001"), part=0.25)
        simulated = [simulate_ppg(600, seed=1), simulate_ecg(600, rate_hz=250, seed=7), simulate_eeg(200, seed=7)]
    return out + [e for r in simulated for e in examples_of(r)]
