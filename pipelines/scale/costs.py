"""What a stream-hour costs: processor, bytes and requests, of ingest, of batch archiving and of reading."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count, product
from pathlib import Path
from typing import Any

import numpy as np

import sanstream
from sanstream.archive import ArchiveWriter
from sanstream.archive_store import RemoteObjects
from sanstream.chunk import Chunk, Delivery, stream_name
from sanstream.config import ArchiveSettings, Settings
from sanstream.daemon.engine import Engine
from sanstream.daemon.inbox import FeedLink, Inbox
from sanstream.durable import Disk
from sanstream.feeds import FeedState
from sanstream.signal import Channel, IntSamples, Recording, Segment, Stream
from sanstream.simulate import simulate_ecg, simulate_eeg, simulate_ppg

START_NS = 1_767_225_600 * 10**9
HOUR_S = 3600
_RING_S = 120
_TURN_S = 10
"""Seconds that the engine takes at a time: messages of a second each, as a broker hands them over."""
_VERBS = {
    "read": "GET", "read_range": "GET", "read_version": "GET", "size": "GET", "exists": "GET", "keys": "LIST",
    "folders": "LIST", "put": "PUT", "_put_if": "PUT", "remove": "DELETE",
}  # fmt: skip
"""What a verb of a store asks of it. A HEAD is priced as a GET."""
_STORES = count()
Row = dict[str, Any]
MOST_GETS = 4
"""Of a cold read of ten seconds: manifest, the array's metadata where it holds the delta, block table, blocks."""


@dataclass(frozen=True)
class Kind:
    """One sort of stream.

    Parameters
    ----------
    name : str
    rate : Fraction
    n_streams : int
        How many are measured together.
    seconds : int
        Of signal that count; the same before them is not counted.
    """

    name: str
    rate: Fraction
    n_streams: int
    seconds: int = HOUR_S

    def ring(self) -> tuple[tuple[Channel, ...], IntSamples]:
        """Return channels and two minutes of samples, shape (n_samples, n_channels), int32."""
        rate = float(self.rate)
        if self.name.startswith("EEG"):
            made = [simulate_eeg(_RING_S, rate_hz=self.rate, n_channels=64, seed=1)]
        elif self.name.startswith("ICU"):
            pressure = simulate_ppg(_RING_S, rate_hz=self.rate, seed=2)
            segment = pressure.streams[0].segments[0]
            abp = Segment(0, (replace(segment.channels[0], label="ABP", unit="mmHg", gain=20.0),), segment.samples)
            stream = Stream("abp", self.rate, (abp,))
            made = [
                simulate_ecg(_RING_S, rate_hz=self.rate, seed=1),
                simulate_ppg(_RING_S, rate_hz=self.rate, seed=1),
                replace(pressure, streams=(stream,)),
            ]
        else:
            made = [simulate_ecg(_RING_S, rate_hz=self.rate, n_leads=12 if "12" in self.name else 2, seed=1)]
        segments = [m.streams[0].segments[0] for m in made]
        samples = np.concatenate([s.samples for s in segments], axis=1)[: round(_RING_S * rate)]
        return tuple(c for s in segments for c in s.channels), np.ascontiguousarray(samples)


KINDS = (
    Kind("ECG, 2 leads, 250 Hz", Fraction(250), 8),
    Kind("ECG, 12 leads, 500 Hz", Fraction(500), 2),
    Kind("ICU bed, 4 waves, 125 Hz", Fraction(125), 8),
    Kind("EEG, 64 channels, 256 Hz", Fraction(256), 1, 900),
)
QUALITIES, EFFORTS = ("lossless", "prdn=5"), ("fast", "default")


def take(ring: IntSamples, first: int, n: int) -> IntSamples:
    """Return ``n`` samples of a ring that goes on and on."""
    at = first % len(ring)
    return np.concatenate([ring[at : at + n], ring[: max(0, at + n - len(ring))]])


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count what stores are asked meanwhile, and the bytes put."""
    seen: Counter[str] = Counter()
    real = {verb: getattr(RemoteObjects, verb) for verb in _VERBS}

    def wrapped(verb: str) -> Callable[..., Any]:
        def call(own: RemoteObjects, *arguments: Any) -> Any:
            seen[_VERBS[verb]] += 1
            if _VERBS[verb] == "PUT":
                data = arguments[1]
                seen["put bytes"] += data.stat().st_size if isinstance(data, Path) else len(data)
            return real[verb](own, *arguments)

        return call

    try:
        for verb in _VERBS:
            setattr(RemoteObjects, verb, wrapped(verb))
        yield seen
    finally:
        for verb, method in real.items():
            setattr(RemoteObjects, verb, method)


def ingest(kind: Kind, quality: str, effort: str, folder: Path, *, hour_s: int = HOUR_S) -> Row:
    """Let the daemon's engine take two hours on a clock turned by hand, into a store; the second hour counts."""
    shutil.rmtree(folder, ignore_errors=True)
    state = folder / "state"
    state.mkdir(parents=True, mode=0o700)
    now = [START_NS]
    settings = Settings(ArchiveSettings(f"memory://costs{next(_STORES)}", state, effort=effort), {"default": quality})
    engine = Engine(settings, disk=Disk(), clock=lambda: now[0])
    inbox = Inbox("costs", can_wait=True, queue_s=1e9, max_bytes=1 << 40)
    engine.add_feed(FeedLink("costs", "sim", inbox, FeedState(connected=True)))
    channels, ring = kind.ring()
    n, name = int(kind.rate), stream_name(kind.rate)
    with counted() as seen:
        for second in range(2 * hour_s):
            if second == hour_s:
                seen.clear()
                began, written = time.process_time(), _written()
            now[0] = START_NS + (second + 1) * 10**9
            for number in range(kind.n_streams):
                samples = take(ring, second * n + number * 7919, n)
                chunk = Chunk(
                    f"bed{number}", name, "s", second * n, samples, kind.rate, channels, now[0] - 10**9, now[0]
                )
                inbox.put(Delivery((chunk,), samples.nbytes, lambda: None))
            if second % _TURN_S == _TURN_S - 1:
                engine.step()
                engine.commit()
        used, state_bytes = time.process_time() - began, _written() - written
    per = kind.n_streams * hour_s / HOUR_S
    engine.close()
    return _row(kind, "ingest", quality, effort, used / per, seen, per) | {"state MB": state_bytes / per / 1e6}


def batch(kind: Kind, quality: str, effort: str, *, hour_s: int = HOUR_S) -> list[Row]:
    """Archive an hour as one recording into a store; then read ten seconds cold, and all of it."""
    channels, ring = kind.ring()
    samples = take(np.tile(ring, (-(-hour_s // _RING_S), 1)), 0, hour_s * int(kind.rate))
    recording = Recording("bed", (Stream("s", kind.rate, (Segment(0, channels, samples),)),), START_NS, "utc")
    url, per = f"memory://costs{next(_STORES)}", hour_s / HOUR_S
    with counted() as seen:
        began = time.process_time()
        with ArchiveWriter(url) as writer:
            writer.add(recording, [quality], effort=effort)
            writer.commit()
        row = _row(kind, "batch archive", quality, effort, (time.process_time() - began) / per, seen, per)
        seen.clear()
        sanstream.open(url).recordings["bed"].streams["s"].read(0.0, 10.0)
        cold = seen["GET"]
        seen.clear()
        began = time.process_time()
        sanstream.open(url).recordings["bed"].streams["s"].read()
        read = _row(kind, "read all, cold", quality, effort, (time.process_time() - began) / per, seen, per)
    return [row, read | {"GET, 10 s": cold}]


def _row(kind: Kind, what: str, quality: str, effort: str, cpu_s: float, seen: Counter[str], per: float) -> Row:
    row: Row = {"stream": kind.name, "what": what, "quality": quality, "effort": effort, "CPU s": cpu_s}
    row["store MB"] = seen["put bytes"] / per / 1e6 if seen["put bytes"] else None
    return row | {"PUT": seen["PUT"] / per, "GET": seen["GET"] / per, "state MB": None, "GET, 10 s": None}


def _written() -> int:
    """Return the bytes that this process has given to files: journal and ledger, since the store is in memory."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    return 0


def run(work: Path, *, short: bool = False) -> list[Row]:
    """Measure every kind, quality and effort that ``work`` has no rows of; three rows each, per stream-hour."""
    work.mkdir(parents=True, exist_ok=True)
    file = work / "costs.jsonl"
    if short:
        file.unlink(missing_ok=True)
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []
    done = {(r["stream"], r["quality"], r["effort"]) for r in rows}
    wanted = product(KINDS[:1] if short else KINDS, QUALITIES[1:] if short else QUALITIES, EFFORTS)
    for kind, quality, effort in wanted:
        if (kind.name, quality, effort) in done:
            continue
        hour_s = 120 if short else kind.seconds
        batch(kind, quality, effort, hour_s=60)  # compiles
        new = [
            ingest(kind, quality, effort, work / "state", hour_s=hour_s),
            *batch(kind, quality, effort, hour_s=hour_s),
        ]
        with file.open("a", encoding="utf-8") as out:
            out.write("".join(json.dumps(row) + "\n" for row in new))
        print(f"{kind.name}, {quality}, {effort}: {new[0]['CPU s']:.2f} s", file=sys.stderr, flush=True)
        rows += new
    shutil.rmtree(work / "state", ignore_errors=True)
    return rows


def wrong_of(rows: Sequence[Row]) -> list[str]:
    """Say which rows cannot be: a stage that cost nothing, or requests that it should not need."""
    wrong = []
    for row in rows:
        where = f"{row['stream']}, {row['what']}, {row['quality']}, {row['effort']}"
        if not row["CPU s"] > 0 or (row["what"] == "ingest" and not row["state MB"]):
            wrong.append(f"{where}: costs nothing")
        if row["GET, 10 s"] is not None and row["GET, 10 s"] > MOST_GETS:
            wrong.append(f"{where}: ten seconds, cold, took {row['GET, 10 s']} requests, at most {MOST_GETS} expected")
    return wrong
