"""Recent raw stretches of every stream on disk, for retraining: bounded, and under retention like all else.

A stretch is one file, written aside and renamed without fsync: it is a copy of what the archive has, so a crash
may cost it, and its checksum tells a torn one.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import google_crc32c
import numpy as np

from sanstream.chunk import check_name
from sanstream.errors import CorruptError
from sanstream.signal import IntSamples

Key = tuple[str, str]
"""Recording and stream."""

_HEAD = struct.Struct("<4sIII")
_MAGIC = b"SNR1"
_SUFFIX = ".raw"
_MAX_HEAD, _MAX_VALUES = 4096, 1 << 26


@dataclass(frozen=True, eq=False)
class Stretch:
    """Consecutive samples of one stream.

    Parameters
    ----------
    time_ns : int
        Of the first sample.
    rate : Fraction
        Samples per second.
    samples : ndarray, shape (n_samples, n_channels), int32
    tag : str
        Names the channel set: stretches of different tags are never trained on together.
    """

    time_ns: int
    rate: Fraction
    samples: IntSamples
    tag: str = ""

    @property
    def end_ns(self) -> int:
        """Time just after the last sample."""
        return self.time_ns + int(len(self.samples) * 10**9 / self.rate)


def pack_stretch(stretch: Stretch) -> bytes:
    """Return a stretch's file: two bytes a sample where they suffice."""
    x = stretch.samples
    small = x.size == 0 or (int(x.min()) >= -(1 << 15) and int(x.max()) < 1 << 15)
    head = {
        "time_ns": stretch.time_ns,
        "rate": str(stretch.rate),
        "shape": list(x.shape),
        "width": 2 if small else 4,
        "tag": stretch.tag,
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    body = text + np.ascontiguousarray(x, "<i2" if small else "<i4").tobytes()
    return _HEAD.pack(_MAGIC, len(text), len(body), google_crc32c.value(body)) + body


def unpack_stretch(data: bytes, where: str) -> Stretch:
    """Parse a stretch's file.

    Raises
    ------
    CorruptError
        When it is torn or is none.
    """
    broken = CorruptError(f"{where}: not a whole stretch", hint="it is a copy for retraining and can be deleted")
    if len(data) < _HEAD.size:
        raise broken
    magic, n_head, n_body, crc = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if magic != _MAGIC or n_head > min(_MAX_HEAD, n_body) or n_body != len(body) or google_crc32c.value(body) != crc:
        raise broken
    try:
        head = json.loads(body[:n_head])
        n, channels = (int(v) for v in head["shape"])
        if not 0 <= n * channels <= _MAX_VALUES or head["width"] not in (2, 4):
            raise ValueError(f"{n} samples of {channels} channels")
        samples = np.frombuffer(body[n_head:], f"<i{head['width']}").reshape(n, channels).astype(np.int32)
        return Stretch(int(head["time_ns"]), Fraction(head["rate"]), samples, str(head["tag"]))
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        raise broken from None


def read_stretches(folder: Path, key: Key) -> list[Stretch]:
    """Read a stream's stretches, oldest first, while another process writes; torn and vanished ones are left out."""
    out = []
    for path in (folder / check_name("recording", key[0]) / check_name("stream", key[1])).glob(f"*{_SUFFIX}"):
        try:
            out.append(unpack_stretch(path.read_bytes(), path.name))
        except (OSError, CorruptError):
            continue
    return sorted(out, key=lambda s: s.time_ns)


@dataclass(frozen=True)
class _Place:
    time_ns: int
    end_ns: int
    n_bytes: int
    path: Path


class Reservoir:
    """The folder of stretches.

    Parameters
    ----------
    folder : Path
        Made when missing, for its owner alone.
    stream_bytes, stream_stretches : int
        At most so much, and so many, per stream; the oldest goes first.
    total_bytes : int
        At most so much in all; the stream that holds most gives first.
    """

    def __init__(
        self, folder: Path, *, stream_bytes: int = 64 << 20, stream_stretches: int = 40, total_bytes: int = 1 << 30
    ) -> None:
        self.folder, self.stream_bytes, self.total_bytes = folder, stream_bytes, total_bytes
        self.stream_stretches = stream_stretches
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._places: dict[Key, list[_Place]] = {}
        self._sizes: dict[Key, int] = {}
        for path in sorted(folder.glob("*/*/*")):
            self._adopt(path)

    @property
    def size_bytes(self) -> int:
        """Bytes of all stretches."""
        return sum(self._sizes.values())

    def keys(self) -> list[Key]:
        """Return the streams of which there is something."""
        return sorted(self._places)

    def put(self, key: Key, stretch: Stretch) -> bool:
        """Keep a stretch; older ones give way. False when it alone is over the bound, or the disk is full."""
        data = pack_stretch(stretch)
        if len(data) > min(self.stream_bytes, self.total_bytes):
            return False
        folder = self.folder / check_name("recording", key[0]) / check_name("stream", key[1])
        path = folder / f"{stretch.time_ns}_{stretch.end_ns}{_SUFFIX}"
        draft = path.with_suffix(".draft")
        self._make_room(key, len(data))
        try:
            for part in (folder.parent, folder):
                part.mkdir(exist_ok=True, mode=0o700)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            return False
        self._forget(key, [p for p in self._places.get(key, []) if p.path == path])
        self._note(key, _Place(stretch.time_ns, stretch.end_ns, len(data), path))
        return True

    def times(self, key: Key) -> list[tuple[int, int]]:
        """Return first and last time of each stretch of a stream, oldest first, nanoseconds."""
        return [(p.time_ns, p.end_ns) for p in self._places.get(key, [])]

    def drop_before(self, time_ns: int) -> int:
        """Remove what begins before a time, as retention wants it; returns stretches removed."""
        return sum(self._remove(k, [p for p in v if p.time_ns < time_ns]) for k, v in list(self._places.items()))

    def delete(self, recording: str, from_ns: int | None = None, until_ns: int | None = None) -> int:
        """Remove all stretches of a recording that reach into ``[from_ns, until_ns)``; returns how many."""
        count = 0
        for key, places in list(self._places.items()):
            if key[0] == recording:
                hit = [
                    p
                    for p in places
                    if (from_ns is None or p.end_ns > from_ns) and (until_ns is None or p.time_ns < until_ns)
                ]
                count += self._remove(key, hit)
        if from_ns is None and until_ns is None:
            shutil.rmtree(self.folder / check_name("recording", recording), ignore_errors=True)
        return count

    def _adopt(self, path: Path) -> None:
        start, _, end = path.name.removesuffix(_SUFFIX).partition("_")
        try:
            place = _Place(int(start), int(end), path.stat().st_size, path)
        except (ValueError, OSError):
            path.unlink(missing_ok=True)  # a draft that a crash left
            return
        self._note((path.parent.parent.name, path.parent.name), place)

    def _note(self, key: Key, place: _Place) -> None:
        self._places.setdefault(key, []).append(place)
        self._places[key].sort(key=lambda p: p.time_ns)
        self._sizes[key] = self._sizes.get(key, 0) + place.n_bytes

    def _make_room(self, key: Key, n_bytes: int) -> None:
        for place in list(self._places.get(key, [])):
            n = len(self._places[key])
            if n < self.stream_stretches and self._sizes[key] + n_bytes <= self.stream_bytes:
                break
            self._remove(key, [place])
        while self._sizes and self.size_bytes + n_bytes > self.total_bytes:
            fullest = max(self._sizes, key=lambda k: self._sizes[k])
            self._remove(fullest, self._places[fullest][:1])

    def _remove(self, key: Key, places: list[_Place]) -> int:
        for place in places:
            place.path.unlink(missing_ok=True)
        self._forget(key, places)
        return len(places)

    def _forget(self, key: Key, places: list[_Place]) -> None:
        for place in places:
            self._places[key].remove(place)
            self._sizes[key] -= place.n_bytes
        if key in self._places and not self._places[key]:
            del self._places[key], self._sizes[key]
