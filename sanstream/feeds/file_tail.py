"""A file that still grows, followed: whole new lines of a CSV, whole new frames of a WFDB signal file.

Rows are numbered from the file's beginning and come in chunks of a fixed number of rows, so a run after a crash
reads the file again and sends the same chunks under the same numbers; what was stored is not stored twice. The
session follows from the file's path and its first row. A file that shrinks or is replaced is a new session.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.chunk import Delivery
from sanstream.errors import InputError, UnsupportedError
from sanstream.feeds import FeedOptions, FeedState, Put
from sanstream.feeds.address import recording_of
from sanstream.feeds.csv_lines import CsvLines, split_lines
from sanstream.feeds.descriptors import with_missing
from sanstream.feeds.floats import FloatLattice
from sanstream.feeds.numbering import Numbering
from sanstream.formats import detect
from sanstream.formats.wfdb import load_header
from sanstream.formats.wfdb_signals import RANGE
from sanstream.signal import Channel, parse_rate, unique_labels

_READ_BYTES = 1 << 20
_FRAMES = {"16": "<i2", "61": ">i2", "32": "<i4", "80": "u1"}


class _Lines:
    """Rows of a CSV file."""

    def __init__(self, path: Path, options: FeedOptions, got: Mapping[str, Any], warn: Callable[[str], None]) -> None:
        self.file, self._warn, self._options, self._got = path, warn, options, got
        self._recording = got["name"] or recording_of(options, path.stem)
        self.restart()

    def restart(self) -> None:
        """Begin with a file that nothing was read of."""
        self._csv = CsvLines(parse_rate(self._got["rate"]) if self._got["rate"] else None, self._got["unit"])
        self._numbering: Numbering | None = None
        self._waiting: list[str] = []
        self._digest = hashlib.sha256(os.fsencode(self.file.resolve()))

    def take(self, data: bytes, put: Put, *, ended: bool) -> bytes:
        """Deliver whole chunks of whole lines; return what is left of the data."""
        lines, rest = split_lines(data + b"\n" if ended and data else data)
        self._waiting += [line for line in lines if line.strip()]
        while self._waiting:
            if not self._csv.channels or self._csv.rate is None:
                self._digest.update(self._waiting[0].encode())
                if self._csv.read(self._waiting[:1]) is None:
                    self._waiting = self._waiting[1:]
                    continue
            assert self._csv.rate is not None
            step = max(1, round(self._got["chunk"] * self._csv.rate))
            if len(self._waiting) < step and not ended:
                break
            self._put(self._waiting[:step], put)
            self._waiting = self._waiting[step:]
        return rest

    def _put(self, lines: list[str], put: Put) -> None:
        rows = self._csv.read(lines)
        if rows is None:
            return
        if self._numbering is None:
            assert self._csv.rate is not None
            self._digest.update(lines[0].encode())
            lattice = FloatLattice(self._csv.channels, resolution=self._options.resolution, warn=self._warn)
            session = self._got["session"] or f"tail-{self._digest.hexdigest()[:24]}"
            self._numbering = Numbering(self._recording, session, self._csv.rate, lattice)
        for _ in range(rows.n_bad):
            self._warn("bad_line")
        chunk = self._numbering.chunk(rows.values, time.time_ns(), rows.time_ns)
        put(Delivery((chunk,), rows.values.nbytes))


class _Frames:
    """Frames of a WFDB record's signal file, as its header describes them."""

    def __init__(self, path: Path, options: FeedOptions, got: Mapping[str, Any], warn: Callable[[str], None]) -> None:
        path = path if path.suffix == ".hea" else Path(f"{path}.hea") if Path(f"{path}.hea").is_file() else path
        header, _ = load_header(path if path.suffix == ".hea" else path.with_suffix(".hea"))
        lines = header.signals
        formats = {(line.file, line.fmt, line.offset) for line in lines}
        plain = all(line.samples_per_frame == 1 and not line.skew for line in lines)
        if len(formats) != 1 or not plain or header.segments is not None or lines[0].fmt not in _FRAMES:
            raise UnsupportedError(
                f"{path}: only a record of one signal file in format {', '.join(_FRAMES)}, one rate and no skew can be "
                "followed as it grows",
                hint="replay it when it is complete, without tail",
            )
        self.file, self._got = path.parent / lines[0].file, got
        self._skip = lines[0].offset
        self._dtype, self._width = np.dtype(_FRAMES[lines[0].fmt]), len(lines)
        self._zero = 128 if lines[0].fmt == "80" else 0
        self._rate, self._start_ns = header.rate, header.start_ns
        low, high, missing = RANGE[lines[0].fmt]
        labels = unique_labels([line.description for line in lines])
        self._channels = with_missing(
            [
                Channel(label, line.unit, line.gain, line.baseline, low, high, missing, line.resolution)
                for label, line in zip(labels, lines, strict=True)
            ]
        )
        self._recording = got["name"] or recording_of(options, path.stem)
        self.restart()

    def restart(self) -> None:
        """Begin with a file that nothing was read of."""
        self._numbering: Numbering | None = None
        self._left = self._skip

    def take(self, data: bytes, put: Put, *, ended: bool) -> bytes:
        """Deliver whole chunks of whole frames; return what is left of the data."""
        skipped = min(self._left, len(data))
        self._left -= skipped
        data = data[skipped:]
        frame = self._width * self._dtype.itemsize
        step = max(1, round(self._got["chunk"] * self._rate)) * frame
        at = 0
        while len(data) - at >= (frame if ended else step):
            size = min(step, (len(data) - at) // frame * frame)
            if self._numbering is None:
                digest = hashlib.sha256(os.fsencode(self.file.resolve()) + data[:size]).hexdigest()
                session = self._got["session"] or f"tail-{digest[:24]}"
                self._numbering = Numbering(
                    self._recording, session, self._rate, self._channels, start_ns=self._start_ns
                )
            values = np.frombuffer(data, self._dtype, size // self._dtype.itemsize, at).reshape(-1, self._width)
            put(Delivery((self._numbering.chunk(self._plain(values), time.time_ns()),), size))
            at += size
        return data[at:]

    def _plain(self, values: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        return values.astype(np.int32) - np.int32(self._zero)


def follow(
    path: Path,
    options: FeedOptions,
    got: Mapping[str, Any],
    state: FeedState,
    put: Put,
    stop: threading.Event,
) -> None:
    """Deliver what a file gains until ``stop`` is set, or it has not grown for ``got["idle"]`` seconds.

    Raises
    ------
    InputError
        When it is neither CSV nor a WFDB record that can be followed, or disappears.
    """

    def warn(word: str) -> None:
        state.n_warnings[word] = state.n_warnings.get(word, 0) + 1

    kind = detect(path)
    if kind not in ("csv", "wfdb"):
        raise UnsupportedError(f"{path}: a growing {kind} file cannot be followed", hint="follow CSV or WFDB")
    rows: _Lines | _Frames = (_Lines if kind == "csv" else _Frames)(path, options, got, warn)
    state.connected, state.n_connects = True, state.n_connects + 1
    at, held, grown, inode = 0, b"", time.monotonic(), None
    while not stop.is_set():
        try:
            with rows.file.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_size < at or inode not in (None, status.st_ino):
                    warn("file_replaced")
                    rows.restart()
                    at, held = 0, b""
                inode = status.st_ino
                file.seek(at)
                data = file.read(_READ_BYTES)
        except FileNotFoundError:  # between two files of a rotation
            data = b""
        except OSError as error:
            raise InputError(f"{rows.file}: {error.strerror or error}", hint="check its permissions") from error
        if data:
            at, grown = at + len(data), time.monotonic()
        ended = not data and 0 < got["idle"] <= time.monotonic() - grown
        held = rows.take(held + data, put, ended=ended)
        if ended:
            return
        if not data:
            stop.wait(got["poll"])
