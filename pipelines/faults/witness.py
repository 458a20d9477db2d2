"""What a random life's devices were told is safe, and whether it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import sanstream
from pipelines.faults.devices import SESSION, STEP
from sanstream.archive_read import StreamReader
from sanstream.chunk import Chunk, Event
from sanstream.daemon.engine import Engine

BOUND = 4


Key = tuple[str, str, Fraction, str]
Piece = tuple[str, Fraction, str, npt.NDArray[np.int64]]
"""Stream, rate, label, and samples that are there."""


class Broken(AssertionError):
    """A promise was broken."""


NEVER = 1 << 62
CODES = (0, -(1 << 30), -(1 << 31))
"""Values that stand for "no sample" somewhere, and that no device ever sends."""


class Source:
    """One channel of one stream at one rate, by its samples' identities.

    Attributes
    ----------
    values : ndarray of int64
        What was sent; 0 where nothing was.
    since : ndarray of int64
        When it was acknowledged, nanoseconds; :data:`NEVER` where it was not.
    gone : ndarray of bool
        Acknowledged and deleted since.
    """

    def __init__(self) -> None:
        self.values = np.zeros(0, np.int64)
        self.since = np.zeros(0, np.int64)
        self.gone = np.zeros(0, bool)

    def grow(self, n: int) -> None:
        """Make room for identities below ``n``."""
        more = max(0, n - len(self.values))
        if more:
            more += len(self.values)
            self.values = np.concatenate([self.values, np.zeros(more, np.int64)])
            self.since = np.concatenate([self.since, np.full(more, NEVER)])
            self.gone = np.concatenate([self.gone, np.zeros(more, bool)])


@dataclass
class Witness:
    """Compares an archive with what was acknowledged.

    Parameters
    ----------
    url : Path
    lossy : bool
    keep_s : float or None
        Acknowledged longer ago than this, samples may be gone.
    """

    url: Path
    lossy: bool
    keep_s: float | None
    recordings: set[str] = field(default_factory=set)
    sources: dict[Key, Source] = field(default_factory=dict)
    events: dict[tuple[str, int], int] = field(default_factory=dict)
    events_gone: set[tuple[str, int]] = field(default_factory=set)
    n_acknowledged: int = 0
    honest: set[tuple[str, str]] = field(default_factory=set)
    """Recording and stream of devices whose clock is right."""

    def gave(self, chunk: Chunk) -> None:
        """Remember what a chunk says, before anybody has promised anything."""
        for source, who, values in self._told(chunk):
            source.values[who] = values

    def acknowledged(self, item: Chunk | Event, now_ns: int) -> None:
        """Take a promise."""
        if isinstance(item, Event):
            self.recordings.add(item.recording)
            self.events.setdefault((item.recording, item.number), now_ns)
            return
        self.recordings.add(item.recording)
        self.n_acknowledged += item.n_samples
        for source, who, _ in self._told(item):
            who = who[~source.gone[who]]  # what was deleted stays so, also when it is sent once more
            source.since[who] = np.minimum(source.since[who], now_ns)

    def deleted(self, recording: str) -> None:
        """Take note that nothing may be left."""
        self.recordings.discard(recording)
        for (name, *_), source in self.sources.items():
            if name == recording:
                source.gone |= source.since < NEVER
                source.since[:] = NEVER
        mine = [k for k in self.events if k[0] == recording]
        self.events_gone.update(mine)
        for key in mine:
            del self.events[key]

    def deleted_part(self, recording: str, most: int) -> None:
        """Take note that what is not there now is deleted, ``most`` samples of all channels."""
        with sanstream.open(self.url) as archive:
            streams = archive.recordings[recording].streams.values() if recording in archive.recordings else ()
            there = {(s.split(".")[0], rate, label): identities(v) for x in streams for s, rate, label, v in _read(x)}
        n_gone = 0
        for (name, *key), source in self.sources.items():
            if name == recording:
                gone = source.since < NEVER
                gone[there.get(tuple(key), np.zeros(0, np.int64))] = False  # type: ignore[arg-type]
                n_gone += int((gone & ~source.gone).sum())
                source.gone |= gone
                source.since[gone] = NEVER
        if n_gone > most and self.keep_s is None:
            raise Broken(f"{recording}: {n_gone} samples gone where {most} were said to be deleted")

    # --- is it so?

    def check_meanwhile(self, now_ns: int) -> None:
        """Compare what a reader in another process sees now."""
        if not self.url.exists():
            return
        with sanstream.open(self.url) as archive:
            for name in {n for n, *_ in self.sources}:
                streams = list(archive.recordings[name].streams.values()) if name in archive.recordings else []
                self._check(name, [("read", _read(s)) for s in streams], now_ns)

    def check_end(self, engine: Engine, now_ns: int) -> None:
        """Compare the archive after the end, and look whether anything is left elsewhere."""
        self.check_meanwhile(now_ns)
        state = self.url.parent / "state"
        with sanstream.open(self.url, live=False) as archive:
            problems = archive.verify(deep=True)
            if problems:
                raise Broken(f"verify: {problems[:3]}")
            for name in {n for n, *_ in self.sources}:
                if name not in archive.recordings:
                    self._check(name, [], now_ns)
                    continue
                recording = archive.recordings[name]
                streams = list(recording.streams.values())
                self._check(name, [(e.name, _segment(s, e)) for s in streams for e in s.entry.segments], now_ns)
                for stream in streams:
                    if (name, stream.name) in self.honest:
                        _check_grid(name, stream)
                self._check(name, [("read", _read(s)) for s in streams], now_ns)
                self._check(name, [("restored", _restored(recording))], now_ns)
            self._check_events(archive)
        self._check_left(state, engine)

    def _check(self, recording: str, found: list[tuple[str, list[Piece]]], now_ns: int) -> None:
        """Compare all pieces of one recording: nothing missing, nothing twice, nothing else."""
        held: dict[Key, list[npt.NDArray[np.int64]]] = defaultdict(list)
        for where, pieces in found:
            for stream, rate, label, values in pieces:
                key = (recording, stream.split(".")[0], rate, label)
                if key not in self.sources:
                    raise Broken(f"{recording}/{stream}: channel {label} at {rate} Hz was never sent")
                source, who = self.sources[key], identities(values)
                source.grow(int(who.max(initial=0)) + 1)
                want = source.values[who]
                wrong = (want == 0) | (abs(values - want) > (BOUND if self.lossy else 0))
                if wrong.any():
                    i = int(np.argmax(wrong))
                    raise Broken(
                        f"{recording}/{stream} {label}: {values[i]} stands in {where}, "
                        f"sent was {want[i]}; {wrong.sum()} such"
                    )
                if source.gone[who].any():
                    raise Broken(
                        f"{recording}/{stream} {label}: deleted are in {where}: {_spans(who[source.gone[who]])}"
                    )
                held[key].append(who)
        until = -1 if self.keep_s is None else now_ns - int(self.keep_s * 1e9)
        for key, source in self.sources.items():
            if key[0] != recording:
                continue
            times = np.bincount(np.concatenate([*held[key], np.zeros(0, np.int64)]), minlength=len(source.since))
            where = f"{'/'.join(map(str, key))}, in {[w for w, _ in found][:9]}"
            twice = np.flatnonzero(times > 1)
            if len(twice):
                raise Broken(f"{len(twice)} samples are there twice: {where}: {_spans(twice)}")
            lost = np.flatnonzero((times == 0) & (source.since > until) & (source.since < NEVER))
            if len(lost):
                raise Broken(f"{len(lost)} samples are lost: {where}: {_spans(lost)}")

    def _check_events(self, archive: Any) -> None:
        got: dict[tuple[str, int], int] = defaultdict(int)
        for name in archive.recordings:
            for found in archive.recordings[name].annotations:
                for number in found.columns["number"].tolist():
                    got[name, int(number)] += 1
        if any(n > 1 for n in got.values()) or got.keys() & self.events_gone:
            raise Broken(f"events twice or deleted: {dict(got)}")
        lost = self.events.keys() - got.keys()
        if lost and self.keep_s is None:
            raise Broken(f"events lost: {sorted(lost)}")

    def _check_left(self, state: Path, engine: Engine) -> None:
        files = sorted((state / "journal").iterdir())
        if len(files) != 1 or files[0].stat().st_size > 4096:
            raise Broken(f"the journal is left with {[(f.name, f.stat().st_size) for f in files]}")
        lanes = [lane.name for _, lane in engine.state.lanes()]
        waiting = [e for events in engine.state.events.values() for e in events] + engine.state.unwritten
        if lanes or waiting:
            raise Broken(f"the ledger is left with lanes {lanes} and events {waiting}")
        conflicts = [r.head for r in engine.aside.records()]
        if conflicts:
            raise Broken(f"set aside: {conflicts[:2]}")

    def _told(self, chunk: Chunk) -> Iterator[tuple[Source, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        for channel, column in zip(chunk.channels, chunk.samples.T.astype(np.int64), strict=True):
            source = self.sources.setdefault((chunk.recording, chunk.stream, chunk.rate, channel.label), Source())
            values = column[~np.isin(column, CODES)]
            who = identities(values)
            source.grow(int(who.max(initial=0)) + 1)
            yield source, who, values


def identities(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return which samples have these values, give or take the bound."""
    return np.asarray((abs(values) + STEP // 2 - 1) // STEP, np.int64)


def _spans(who: npt.NDArray[np.int64]) -> str:
    cuts = np.flatnonzero(np.diff(who) != 1) + 1
    spans = [(part[0], part[-1]) for part in np.split(who, cuts)]
    return ", ".join(f"{_name(a)} to {_name(b)}" for a, b in spans[:4]) + (" ..." if len(spans) > 4 else "")


def _name(who: int) -> str:
    session, number = divmod(int(who) - 1, SESSION)
    return f"{session}:{number}"


def _segment(reader: StreamReader, entry: Any) -> list[Piece]:
    """Return what stands in one segment; without a missing code every value must be a sample."""
    got = reader.read_segment(entry, 0, entry.n_samples).astype(np.int64)
    return [
        (reader.name, reader.rate, c.label, got[got[:, i] != c.missing, i] if c.missing is not None else got[:, i])
        for i, c in enumerate(entry.channels)
    ]


def _check_grid(recording: str, reader: StreamReader) -> None:
    """Look whether the samples of a session stand at the distances that their numbers say."""
    base: dict[int, int] = {}
    for entry in reader.entry.segments:
        got = reader.read_segment(entry, 0, entry.n_samples)[:, 0].astype(np.int64)
        place = np.flatnonzero(~np.isin(got, CODES))
        session, number = np.divmod(identities(got[place]) - 1, SESSION)
        for which in np.unique(session).tolist():
            bases = np.unique(entry.start_sample + place[session == which] - number[session == which])
            if len(bases) > 1 or base.setdefault(which, int(bases[0])) != bases[0]:
                raise Broken(f"{recording}/{reader.name}: session {which} stands at {bases} and {base.get(which)}")


def _read(reader: StreamReader) -> list[Piece]:
    """Return what users read of a stream."""
    got = reader.read().astype(np.int64)
    return [
        (reader.name, reader.rate, c.label, got[~np.isin(got[:, i], CODES), i]) for i, c in enumerate(reader.channels)
    ]


def _restored(recording: Any) -> list[Piece]:
    return [
        (stream.name, stream.rate, c.label, column[~np.isin(column, CODES)])
        for stream in recording.read().streams
        for segment in stream.segments
        for c, column in zip(segment.channels, segment.samples.T.astype(np.int64), strict=True)
    ]
