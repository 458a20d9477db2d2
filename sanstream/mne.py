"""Streams of archives as ``mne`` sees them: a ``Raw`` that decodes what is asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import mne
import numpy as np
import numpy.typing as npt
from mne.io import BaseRaw

from sanstream.archive import Archive
from sanstream.archive import open as open_archive
from sanstream.archive_manifest import RAW
from sanstream.archive_read import StreamReader
from sanstream.archive_recording import RecordingReader
from sanstream.archive_store import remote_scheme
from sanstream.block import read_block
from sanstream.errors import InputError
from sanstream.modality import modality_of
from sanstream.signal import TRIGGER, Annotations, Channel

__all__ = ["RawSanstream", "read_raw_sanstream"]

SKIP, GAP = "BAD_ACQ_SKIP", "BAD_gap"
"""Annotations of stretches that no channel, and that some channels, have no samples in."""
_VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "µV": 1e-6, "μV": 1e-6, "nV": 1e-9}
_KINDS = {"ecg": "ecg", "eeg": "eeg", "emg": "emg", "trigger": "stim"}
_BLOCKS_AT_ONCE = 256
_STATUS_BITS = (1 << 17) - 1
"""Of a BDF status channel ``mne`` reads the triggers and not the amplifier's state above them."""


def read_raw_sanstream(
    archive: str | os.PathLike[str],
    *,
    recording: str | None = None,
    stream: str | None = None,
    preload: bool = False,
    verbose: bool | str | int | None = None,
) -> RawSanstream:
    """Open a stream of an archive as an ``mne`` Raw.

    Parameters
    ----------
    archive : str or path
        As :func:`sanstream.open` takes it.
    recording : str, optional
        May be left out where the archive holds one.
    stream : str, optional
        May be left out where the recording has one rate.
    preload : bool
        Decode everything now.
    verbose : optional
        As everywhere in ``mne``.

    Returns
    -------
    RawSanstream
        Voltages in volts; channels of other units are ``misc``. Samples that are missing are 0 and annotated:
        ``BAD_ACQ_SKIP`` where no channel has any, ``BAD_gap`` with the channels' names where some have not.

    Raises
    ------
    InputError
        When there is no such archive, recording or stream, or more than one to choose from.

    Examples
    --------
    >>> raw = read_raw_sanstream("night.san")  # doctest: +SKIP
    """
    return RawSanstream(archive, recording=recording, stream=stream, preload=preload, verbose=verbose)


class RawSanstream(BaseRaw):  # type: ignore[misc]
    """A stream of an archive; parameters as for :func:`read_raw_sanstream`."""

    def __init__(
        self,
        archive: str | os.PathLike[str],
        *,
        recording: str | None = None,
        stream: str | None = None,
        preload: bool = False,
        verbose: bool | str | int | None = None,
    ) -> None:
        place = os.fspath(archive)
        with open_archive(place) as opened:
            chosen = _choose(opened, place, recording)
            source = _choose_stream(chosen, stream)
            if not source.n_samples or not source.channels:
                raise InputError(f"{place}: stream {source.name!r} holds no samples", hint="choose another")
            kinds, scales = zip(*(_kind(c) for c in source.channels), strict=True)
            info = mne.create_info([c.label for c in source.channels], float(source.rate), list(kinds), verbose=verbose)
            info.set_meas_date(_start(chosen))
            stim = [i for i, c in enumerate(source.channels) if c.kind == TRIGGER]
            extras = {
                "place": place, "recording": chosen.name, "stream": source.name, "scales": np.array(scales),
                "status": stim if chosen.source_format == "bdf" else [],
            }  # fmt: skip
            super().__init__(
                info,
                last_samps=(source.n_samples - 1,),
                filenames=(None if remote_scheme(place) else Path(place.removeprefix("file://")),),
                raw_extras=[extras],
                orig_units={c.label: c.unit or "n/a" for c in source.channels},
                verbose=verbose,
            )
            self.set_annotations(_annotations(chosen, source, info["meas_date"]), verbose=verbose)
        if preload:
            self.load_data(verbose=verbose)

    def _read_segment_file(
        self, data: npt.NDArray[Any], idx: Any, fi: int, start: int, stop: int, cals: Any, mult: Any
    ) -> None:
        """Decode samples ``start`` to ``stop`` of the channels asked for; called by ``mne``."""
        extras = self._raw_extras[fi]
        places = np.arange(len(extras["scales"]))[idx] if mult is None else np.arange(len(extras["scales"]))
        with open_archive(extras["place"]) as archive:
            stream = archive.recordings[extras["recording"]].streams[extras["stream"]]
            block = stream.read(int(start), int(stop), [int(p) for p in places], physical=True).T
        block = np.nan_to_num(block * extras["scales"][places][:, None], nan=0.0)
        for i in np.flatnonzero(np.isin(places, extras["status"])):
            block[i] = block[i].astype(np.int64) & _STATUS_BITS
        if mult is None:
            data[:] = block
            if cals is not None:
                data *= np.asarray(cals).reshape(-1, 1)
        else:
            data[:] = mult @ block


def _choose(archive: Archive, place: str, name: str | None) -> RecordingReader:
    names = list(archive.recordings)
    if name is None and len(names) == 1:
        name = names[0]
    if name is None or name not in archive.recordings:
        found = f"no recording {name!r}" if name is not None else f"{len(names)} recordings"
        raise InputError(f"{place}: {found}", hint=f"give recording=, one of {', '.join(names[:5])}")
    return archive.recordings[name]


def _choose_stream(recording: RecordingReader, name: str | None) -> StreamReader:
    names = list(recording.streams)
    if name is None and len(names) == 1:
        name = names[0]
    if name is None or name not in recording.streams:
        found = f"no stream {name!r}" if name is not None else f"{len(names)} rates"
        raise InputError(f"recording {recording.name!r}: {found}", hint=f"give stream=, one of {', '.join(names)}")
    return recording.streams[name]


def _kind(channel: Channel) -> tuple[str, float]:
    """Return a channel's type for ``mne``, and what turns its unit into that type's."""
    modality = modality_of(channel)
    if modality == "trigger":
        return "stim", 1.0
    scale = _VOLTS.get(channel.unit)
    if re.search(r"\beog", channel.label, re.IGNORECASE) and scale:
        return "eog", scale
    if modality == "respiration":
        return ("resp", scale) if scale else ("misc", 1.0)
    if modality in _KINDS and scale:
        return _KINDS[modality], scale
    return "misc", scale or 1.0


def _start(recording: RecordingReader) -> datetime | None:
    """Return when a recording began; a wall clock of unknown zone is taken for UTC, as ``mne`` takes that of EDF."""
    if recording.start_ns is None:
        return None
    offset = re.fullmatch(r"([+-])(\d\d):(\d\d)", recording.timezone)
    minutes = (60 * int(offset[2]) + int(offset[3])) * (-1 if offset[1] == "-" else 1) if offset else 0
    start = (
        datetime(1970, 1, 1, tzinfo=UTC)
        + timedelta(microseconds=recording.start_ns // 1000)
        - timedelta(minutes=minutes)
    )
    return start if 1900 < start.year < 2038 else None  # what mne can save


def _annotations(recording: RecordingReader, stream: StreamReader, start: datetime | None) -> mne.Annotations:
    """Return events and gaps."""
    onset, duration, text, names = [], [], [], []
    for first, stop, labels in _gaps(stream):
        onset.append(first / float(stream.rate))
        duration.append((stop - first) / float(stream.rate))
        text.append(SKIP if len(labels) == len(stream.channels) else GAP)
        names.append(() if len(labels) == len(stream.channels) else labels)
    end_s = stream.n_samples / float(stream.rate)
    for events in recording.annotations:
        for at, lasts, what in _events(events):
            if 0 <= at <= end_s:
                onset.append(at)
                duration.append(lasts)
                text.append(what)
                names.append(())
    return mne.Annotations(onset, duration, text, orig_time=start, ch_names=names)


def _events(events: Annotations) -> Iterator[tuple[float, float, str]]:
    """Yield seconds, length and description of every event: its note, else its symbol."""
    columns = events.columns
    n = len(events)
    lasts = columns["duration_s"] if "duration_s" in columns else np.zeros(n)
    notes = [columns[k] for k in ("text", "aux_note", "symbol", "type") if k in columns]
    for i in range(n):
        what = next((t for t in (str(v[i]).rstrip("\0").strip() for v in notes) if t), events.name)
        yield float(columns["time_ns"][i]) / 1e9, max(0.0, float(lasts[i])), what


def _gaps(stream: StreamReader) -> list[tuple[int, int, tuple[str, ...]]]:
    """List stretches in which channels lack samples: first, one past the last, labels; blocks' heads say them."""
    labels = [c.label for c in stream.channels]
    edges: set[int] = {0, stream.n_samples}
    holds: dict[str, list[tuple[int, int]]] = {label: [] for label in labels}
    for segment in stream.entry.segments:
        for channel, start, stop in _held(stream, segment):
            holds[segment.channels[channel].label].append((start, stop))
            edges.update((start, stop))
    cuts = sorted(e for e in edges if 0 <= e <= stream.n_samples)
    masks = {label: _mask(runs, cuts) for label, runs in holds.items()}
    out: list[tuple[int, int, tuple[str, ...]]] = []
    for i, (a, b) in enumerate(pairwise(cuts)):
        gone = tuple(label for label in labels if not masks[label][i])
        if gone and out and out[-1][1:] == (a, gone):
            out[-1] = (out[-1][0], b, gone)
        elif gone:
            out.append((a, b, gone))
    return out


def _mask(runs: list[tuple[int, int]], cuts: list[int]) -> npt.NDArray[np.bool_]:
    """Tell which of the stretches between ``cuts`` are covered by ``runs``."""
    out = np.zeros(len(cuts) - 1, bool)
    for start, stop in runs:
        out[np.searchsorted(cuts, start) : np.searchsorted(cuts, stop)] = True
    return out


def _held(stream: StreamReader, segment: Any) -> Iterator[tuple[int, int, int]]:
    """Yield channel, first sample and one past the last of every stretch that a segment has samples in."""
    n_channels, origin = len(segment.channels), segment.start_sample
    begin = [origin] * n_channels
    if RAW not in segment.flags:
        coding = stream.coding(segment)
        for low in range(0, segment.n_blocks, _BLOCKS_AT_ONCE):
            payloads = stream.blocks(segment, low, min(low + _BLOCKS_AT_ONCE, segment.n_blocks))
            for number, payload in enumerate(payloads, start=low):
                at = origin + number * coding.block_samples
                for channel, runs in enumerate(read_block(payload, number, coding).gaps):
                    for start, length in runs:
                        if begin[channel] < at + start:
                            yield channel, begin[channel], at + start
                        begin[channel] = at + start + length
    for channel in range(n_channels):
        if begin[channel] < segment.stop_sample:
            yield channel, begin[channel], segment.stop_sample
