"""Sanstream as a contestant of the CHORUS waveform benchmark (chorus-ai/chorus_waveform).

This one file drops into the benchmark unchanged: copy it as ``waveform_benchmark/formats/sanstream_format.py`` and name
``waveform_benchmark.formats.sanstream_format.Sanstream``. Here it serves this folder's own runner.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import sanstream
from sanstream.archive_write import ArchiveWriter
from sanstream.signal import FLOAT32_BITS, TRIGGER, Channel, Recording, Segment, Stream

try:
    from waveform_benchmark.formats.base import BaseFormat
except ImportError:  # outside of the benchmark

    class BaseFormat:  # type: ignore[no-redef]
        """What the benchmark's own class of this name asks of a contestant."""


Waveforms = Mapping[str, Mapping[str, Any]]
_RECORDING = "wavetest"
_LONG_GAP_S = 3600
_MOST = 2**31 - 2


class Sanstream(BaseFormat):  # type: ignore[misc]
    """Sanstream, lossless, quick to read: effort fast, blocks of 10 s, every channel decodes alone."""

    effort = "fast"
    block_s: float | None = 10
    apart = True

    def write_waveforms(self, path: str, waveforms: Waveforms) -> None:
        """Write an archive at ``path``; one that stands there is replaced."""
        target = Path(path)
        draft = target.with_name(f"{target.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        with ArchiveWriter(draft) as writer:
            writer.add(recording_of(waveforms), effort=self.effort, block_s=self.block_s, apart=self.apart)
            writer.commit()
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)

    def read_waveforms(
        self, path: str, start_time: float, end_time: float, signal_names: Sequence[str]
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Read signals by seconds; NaN where there is no sample."""
        with sanstream.open(path, live=False) as archive:
            return self.read_opened_waveforms(archive, start_time, end_time, signal_names)

    def open_waveforms(self, path: str, signal_names: Sequence[str], **kwargs: Any) -> sanstream.Archive:
        """Open for several reads."""
        return sanstream.open(path, live=False)

    def read_opened_waveforms(
        self, opened_files: sanstream.Archive, start_time: float, end_time: float, signal_names: Sequence[str]
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Read signals by seconds from what :meth:`open_waveforms` gave."""
        streams = opened_files.recordings[_RECORDING].streams
        if len(streams) == 1:
            return _read(next(iter(streams.values())), start_time, end_time, signal_names)
        out: dict[str, npt.NDArray[np.float64]] = {}
        left = set(signal_names)
        for stream in streams.values():
            names = [n for n in signal_names if n in stream.entry.places]
            if names:
                out.update(_read(stream, start_time, end_time, names))
                left.difference_update(names)
        if left:
            raise KeyError(f"no signal {sorted(left)[0]!r}")
        return out

    def close_waveforms(self, opened_files: sanstream.Archive) -> None:
        """Close; a second time does nothing."""
        opened_files.close()

    def open_read_close_waveforms(
        self, path: str, start_time: float, end_time: float, signal_names: Sequence[str], **kwargs: Any
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Open, read once and close."""
        opened = self.open_waveforms(path, signal_names, **kwargs)
        out = self.read_opened_waveforms(opened, start_time, end_time, signal_names)
        self.close_waveforms(opened)
        return out


class SanstreamThorough(Sanstream):
    """Sanstream, lossless, small: effort thorough, blocks of 60 s, channels lean on each other."""

    effort = "thorough"
    block_s = None
    apart = False


def _read(stream: Any, start_time: float, end_time: float, names: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Read signals of one stream; what lies outside of it is NaN."""
    rate = float(stream.rate)
    first, stop = round(start_time * rate), round(end_time * rate)
    low, high = min(max(first, 0), stream.n_samples), min(max(stop, 0), stream.n_samples)
    got = stream.read(low, high, names, True)
    if (low, high) != (first, stop):
        got = np.pad(got, ((low - first, stop - high), (0, 0)), constant_values=np.nan)
    return dict(zip(names, np.ascontiguousarray(got.T), strict=True))


def recording_of(waveforms: Waveforms) -> Recording:
    """Turn the benchmark's waveforms into a recording: signals of one rate are a stream, samples the ADC's integers."""
    rates: dict[Fraction, list[str]] = {}
    for name, waveform in waveforms.items():
        rates.setdefault(Fraction(waveform["samples_per_second"]).limit_denominator(10**6), []).append(name)
    streams = tuple(
        _stream(rate, {name: waveforms[name] for name in names})
        for rate, names in rates.items()
        if any(waveforms[name]["chunks"] for name in names)
    )
    return Recording(_RECORDING, streams)


def _stream(rate: Fraction, waveforms: Waveforms) -> Stream:
    stop = max(c["end_sample"] for w in waveforms.values() for c in w["chunks"])
    cuts = _cuts(waveforms, int(_LONG_GAP_S * rate))
    segments = [segment for low, high in pairwise(cuts) if (segment := _segment(waveforms, low, high)) is not None]
    return Stream(f"{float(rate):g}hz", rate, tuple(segments), stop)


def _cuts(waveforms: Waveforms, long_gap: int) -> list[int]:
    """Return where segments end: where a gain changes, and where for an hour no signal has a sample."""
    chunks = [c for w in waveforms.values() for c in w["chunks"]]
    cuts = {min(c["start_sample"] for c in chunks), max(c["end_sample"] for c in chunks)}
    for waveform in waveforms.values():
        for before, after in pairwise(waveform["chunks"]):
            if before["gain"] != after["gain"]:
                cuts.add(after["start_sample"])
    end = None
    for start, stop in sorted((c["start_sample"], c["end_sample"]) for c in chunks):
        if end is not None and start - end > long_gap:
            cuts.update((end, start))
        end = stop if end is None else max(end, stop)
    return sorted(cuts)


def _segment(waveforms: Waveforms, low: int, high: int) -> Segment | None:
    """Return the signals that have a sample in ``low:high``; None when there is none."""
    columns, channels = [], []
    for name, waveform in waveforms.items():
        chunks = [c for c in waveform["chunks"] if c["start_sample"] < high and low < c["end_sample"]]
        if not chunks:
            continue
        values = np.full(high - low, np.nan, np.float32)
        for chunk in chunks:
            a, b = max(low, chunk["start_sample"]), min(high, chunk["end_sample"])
            values[a - low : b - low] = chunk["samples"][a - chunk["start_sample"] : b - chunk["start_sample"]]
        column, channel = _channel(name, waveform["units"], float(chunks[0]["gain"]), values)
        columns.append(column)
        channels.append(channel)
    if not columns:
        return None
    return Segment(low, tuple(channels), np.stack(columns, axis=1))


def _channel(
    name: str, unit: str, gain: float, values: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int32], Channel]:
    """Return the ADC's integers of a signal; its float32 bits where integers would not give these very values back."""
    gone = np.isnan(values)
    scaled = np.rint(np.where(gone, 0, values).astype(np.float64) * gain)
    reach = float(np.abs(scaled).max(initial=0))
    exact = reach < _MOST and np.array_equal((scaled[~gone] / gain).astype(np.float32), values[~gone])
    if not exact:
        near = reach < _MOST and bool(
            np.all(np.abs(scaled[~gone] / gain - values[~gone]) <= np.spacing(np.abs(values[~gone])))
        )
        if not near:
            bits = values.view(np.int32)
            column = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(np.int32)
            low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
            header = {"lattice": FLOAT32_BITS}
            return column, Channel(name, unit, 1.0, 0, low, high, kind=TRIGGER, header=header)
    column = scaled.astype(np.int32)
    present = column[~gone]
    low, high = (int(present.min()), int(present.max())) if len(present) else (0, 0)
    missing = (low - 1 if low > -_MOST else high + 1) if gone.any() else None
    if missing is not None:
        column[gone] = missing
    return column, Channel(name, unit, gain, 0, low, high, missing)
