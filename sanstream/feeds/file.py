"""``file:///data/rec?speed=10``: a recording replayed as if its device sent it now, at any speed.

Any format that ``sanstream archive`` reads will do; annotations become events at their times. The session's name
follows from the file's path, size and time of change, so a run after a crash sends the same chunks under the same
numbers and nothing is stored twice. A recording without a start is taken to end when its file was last written.
The recording is held in memory, so one of more than ``max_bytes`` on disk is refused.

With ``tail=true`` a file that still grows is followed instead (see :mod:`sanstream.feeds.file_tail`).
"""

from __future__ import annotations

import glob
import hashlib
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sanstream.chunk import Chunk, Delivery
from sanstream.errors import InputError, SanstreamError
from sanstream.feeds import FeedOptions, FeedState, Put, Stopped
from sanstream.feeds.address import named_recording, recording_of, settings_of
from sanstream.feeds.replay import timeline, utc_start_ns
from sanstream.formats import detect, read
from sanstream.signal import Recording, parse_rate

_AHEAD_S = 0.005


def path_of(url: str) -> Path:
    """Return the path that a ``file:`` URL or a plain path names.

    Raises
    ------
    InputError
        When it names none.
    """
    parts = urlsplit(url)
    text = unquote(parts.netloc + parts.path) if parts.scheme == "file" else url.partition("?")[0]
    if not text or "\0" in text:
        raise InputError("file: the URL names no file", hint="write file:///data/rec or file:rec.edf")
    return Path(text)


def session_of(path: Path) -> str:
    """Name the session of a file: path, size and time of change of it and of the files that share its stem."""
    digest = hashlib.sha256(os.fsencode(path.resolve()))
    for file in files_of(path):
        status = file.stat()
        digest.update(f"\0{file.name}\0{status.st_size}\0{status.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    return f"replay-{digest.hexdigest()[:24]}"


def files_of(path: Path) -> list[Path]:
    """List the files of a recording: those that share its stem."""
    stem = path.name.removesuffix(path.suffix) if path.suffix else path.name
    return sorted(file for file in path.parent.glob(f"{glob.escape(stem)}*") if file.is_file())


def start_of(recording: Recording, path: Path) -> int:
    """Return the UTC start of a recording, or one that lets it end when its file was last written."""
    start = utc_start_ns(recording)
    if start is not None:
        return start
    file = path if path.exists() else Path(f"{path}.hea")
    seconds = max((stream.n_samples / stream.rate for stream in recording.streams), default=0)
    return int(file.stat().st_mtime_ns - seconds * 10**9) // 10**6 * 10**6


class FileFeed:
    """A file's chunks and events, paced by the clock or as fast as they are taken."""

    OPTIONS: Mapping[str, tuple[type, Any, str]] = {
        "speed": (float, 1.0, "times as fast as real time; 0 as fast as it is taken"),
        "chunk": (float, 1.0, "seconds per chunk"),
        "rate": (str, "", "samples per second, for CSV, Parquet and .npy files that do not say it"),
        "unit": (str, "", "unit of channels, likewise"),
        "name": (str, "", "the recording's name; the file's when empty"),
        "session": (str, "", "session name; from the file's path, size and time when empty"),
        "max_bytes": (int, 1 << 30, "bytes on disk of the largest recording that is replayed"),
        "tail": (bool, False, "follow a CSV file or raw WFDB signal file that still grows"),
        "poll": (float, 0.5, "seconds between looks at a growing file"),
        "idle": (float, 0.0, "seconds without growth after which a followed file counts as ended; 0 never"),
    }
    can_wait = True
    replays = True

    def __init__(self, options: FeedOptions) -> None:
        self._options = options
        self._got = settings_of(options, self.OPTIONS)
        self._path = path_of(options.url)
        self._rate = parse_rate(self._got["rate"]) if self._got["rate"] else None
        if not 0 <= self._got["speed"] <= 10**6 or not 0.001 <= self._got["chunk"] <= 60:
            raise InputError(
                f"feed {options.name!r}: speed={self._got['speed']} or chunk={self._got['chunk']} is out of range",
                hint="speed 0 to 1 000 000, chunk 0.001 to 60 seconds",
            )
        if self._got["name"]:
            self._got["name"] = named_recording(options, self._got["name"])
        detect(self._path)
        self.state = FeedState()

    def run(self, put: Put, stop: threading.Event) -> None:
        """Deliver the whole recording, then return.

        Raises
        ------
        InputError
            When the file cannot be read.
        """
        try:
            if self._got["tail"]:
                from sanstream.feeds.file_tail import follow

                follow(self._path, self._options, self._got, self.state, put, stop)
            else:
                self._replay(put, stop)
        except Stopped:
            return
        except SanstreamError:
            self.state.error = "the file cannot be read"
            raise
        finally:
            self.state.connected = False

    def _replay(self, put: Put, stop: threading.Event) -> None:
        recording = self._read()
        name = self._name(recording)
        session = self._got["session"] or session_of(self._path)
        start_ns = start_of(recording, self._path)
        self.state.connected, self.state.n_connects = True, self.state.n_connects + 1
        began, first = time.monotonic(), None
        items = timeline(recording, name=name, session=session, start_ns=start_ns, chunk_s=self._got["chunk"])
        for due, item in items:
            first = due if first is None else first
            if self._got["speed"]:
                ahead = began + (due - first) / 1e9 / self._got["speed"] - time.monotonic()
                if ahead > _AHEAD_S:
                    stop.wait(ahead)
            if stop.is_set():
                return
            if isinstance(item, Chunk):
                item = replace(item, arrival_ns=time.time_ns())
                put(Delivery((item,), item.samples.nbytes))
            else:
                put(Delivery((item,), len(item.text)))

    def _read(self) -> Recording:
        size = sum(file.stat().st_size for file in files_of(self._path))
        if size > self._got["max_bytes"]:
            raise InputError(
                f"{self._path}: {size} bytes, and a replay holds them in memory (max_bytes = {self._got['max_bytes']})",
                hint="archive it with 'sanstream archive', which needs no daemon, or raise max_bytes",
            )
        return read(self._path, rate=self._rate, unit=self._got["unit"] or None)

    def _name(self, recording: Recording) -> str:
        if self._got["name"]:
            return str(self._got["name"])
        return recording_of(self._options, recording.name)

    def check(self) -> list[str]:
        """Read the recording once and say what is in it."""
        if self._got["tail"]:
            return [f"{detect(self._path)} file, followed as it grows"]
        recording = self._read()
        lines = []
        for stream in recording.streams:
            channels = max((len(s.channels) for s in stream.segments), default=0)
            seconds = float(stream.n_samples / stream.rate)
            lines.append(f"stream {stream.name}: {channels} channels, {seconds:g} s")
        n_events = sum(len(events) for events in recording.annotations)
        return [*lines, f"{n_events} annotations"]
