"""``stdin:?rate=250&channels=2&format=int16``: samples from a pipe.

``int16``, ``int32`` and ``float32`` are little-endian, sample after sample with its channels side by side; ``csv`` is
one line a sample, with or without a head (a time column with dates or seconds since 1970 gives the times). Integers
become physical by ``gain`` and ``baseline``; floats and CSV numbers by ``resolution`` (see
:mod:`sanstream.feeds.floats`). ``wire`` is what ``sanstream publish --to -`` writes: messages of WIRE.md, each after
its length (uint32, little-endian). The pipe is read no faster than chunks are taken; what was not journalled when the
daemon dies is gone, as the pipe is.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.chunk import MAX_CHUNK_VALUES, Delivery
from sanstream.errors import InputError, SanstreamError
from sanstream.feeds import FeedOptions, FeedState, Put, Stopped
from sanstream.feeds.address import named_recording, settings_of
from sanstream.feeds.csv_lines import CsvLines, split_lines
from sanstream.feeds.descriptors import plain_channels
from sanstream.feeds.floats import FloatLattice
from sanstream.feeds.intake import Intake
from sanstream.feeds.numbering import Numbering
from sanstream.signal import Channel, parse_rate, unique_labels
from sanstream.wire import MAX_MESSAGE_BYTES

_TYPES = {"int16": "<i2", "int32": "<i4", "float32": "<f4"}
_READ_BYTES = 1 << 18
_LOOK_S = 0.1


class StdinFeed:
    """Samples read from standard input; ends with it."""

    OPTIONS: Mapping[str, tuple[type, Any, str]] = {
        "rate": (str, "", "samples per second; a CSV's comment '# rate: 250' will do as well"),
        "channels": (int, 1, "channels side by side (not for csv)"),
        "format": (str, "int16", "int16, int32, float32, csv or wire"),
        "name": (str, "stdin", "the recording's name"),
        "labels": (str, "", "channel labels, comma between them"),
        "unit": (str, "", "unit of the channels"),
        "gain": (float, 1.0, "digital steps per unit (int16, int32)"),
        "chunk": (float, 1.0, "seconds per chunk, at most"),
        "session": (str, "", "session name; drawn for each run when empty"),
        "start": (str, "", "ISO 8601 time of the first sample, with offset; its arrival when empty"),
    }
    can_wait = True
    replays = False

    def __init__(self, options: FeedOptions, *, source: int | None = None) -> None:
        self._options, self._got = options, settings_of(options, self.OPTIONS)
        got = self._got
        self._source = source
        self._recording = named_recording(options, got["name"])
        self._session = got["session"] or uuid.uuid4().hex
        self._rate = parse_rate(got["rate"]) if got["rate"] else None
        self._start_ns = _start_ns(got["start"])
        self.state = FeedState()
        if got["format"] not in (*_TYPES, "csv", "wire"):
            raise InputError(f"stdin: format={got['format']!r:.40}", hint=f"use {', '.join(_TYPES)}, csv or wire")
        if got["format"] in _TYPES and self._rate is None:
            raise InputError("stdin: raw samples do not say their rate", hint="write stdin:?rate=250")
        if not 1 <= got["channels"] <= 1024 or not 0.01 <= got["chunk"] <= 60 or not abs(got["gain"]) > 0:
            raise InputError(
                f"stdin: channels={got['channels']}, chunk={got['chunk']} or gain={got['gain']} is out of range",
                hint="1 to 1024 channels, chunks of 0.01 to 60 s, a gain that is not 0",
            )
        self._numbering = self._numbered(self._raw_channels()) if got["format"] in _TYPES else None
        self._csv = CsvLines(self._rate, got["unit"])
        self._intake = Intake(options, self.state)

    def _raw_channels(self) -> tuple[Channel, ...] | FloatLattice:
        got = self._got
        given = [label for label in got["labels"].split(",") if label]
        labels = unique_labels((given + [""] * got["channels"])[: got["channels"]], "ch")
        if got["format"] == "float32":
            return self._lattice([Channel(label, got["unit"]) for label in labels])
        low, high = (-(2**15), 2**15 - 1) if got["format"] == "int16" else (-(2**31) + 1, 2**31 - 1)
        return plain_channels(labels, got["unit"], got["gain"], low, high)

    def _lattice(self, channels: list[Channel]) -> FloatLattice:
        return FloatLattice(channels, resolution=self._options.resolution, warn=self._warn)

    def _warn(self, word: str) -> None:
        self.state.n_warnings[word] = self.state.n_warnings.get(word, 0) + 1

    def _numbered(self, channels: tuple[Channel, ...] | FloatLattice) -> Numbering:
        rate = self._rate or self._csv.rate
        assert rate is not None
        return Numbering(self._recording, self._session, rate, channels, start_ns=self._start_ns)

    def run(self, put: Put, stop: threading.Event) -> None:
        """Deliver until the input ends or ``stop`` is set.

        Raises
        ------
        InputError
            When the input cannot be what it was said to be.
        """
        source = sys.stdin.fileno() if self._source is None else self._source
        self.state.connected, self.state.n_connects = True, 1
        held, since, ended = b"", time.monotonic(), False
        try:
            while not ended and not stop.is_set():
                if select.select([source], [], [], _LOOK_S)[0]:
                    data = os.read(source, _READ_BYTES)
                    ended = not data
                    since = since if held else time.monotonic()
                    held += b"\n" if ended and held and self._got["format"] == "csv" else data
                due = ended or time.monotonic() - since >= self._got["chunk"]
                held = self._take(held, put, all_of_it=due)
                since = time.monotonic() if due else since
            if held.strip() and ended:
                self._warn("torn_end")
        except Stopped:
            return
        except (OSError, ValueError):
            self.state.error = "standard input cannot be read"
            raise InputError("standard input cannot be read", hint="pipe samples into the command") from None
        except SanstreamError:
            self.state.error = "the input is not what its options say"
            raise
        finally:
            self.state.connected = False

    def _take(self, held: bytes, put: Put, *, all_of_it: bool) -> bytes:
        """Deliver whole chunks, or all whole samples; return what is left."""
        if self._got["format"] == "csv":
            return self._take_lines(held, put, all_of_it=all_of_it)
        if self._got["format"] == "wire":
            return self._take_messages(held, put)
        dtype = np.dtype(_TYPES[self._got["format"]])
        frame = self._got["channels"] * dtype.itemsize
        assert self._rate is not None
        step = min(max(1, round(self._got["chunk"] * self._rate)), MAX_CHUNK_VALUES // self._got["channels"]) * frame
        at = 0
        while len(held) - at >= (frame if all_of_it else step):
            size = min(step, (len(held) - at) // frame * frame)
            values = np.frombuffer(held, dtype, size // dtype.itemsize, at).reshape(-1, self._got["channels"])
            self._put(values, put, size)
            at += size
        return held[at:]

    def _take_lines(self, held: bytes, put: Put, *, all_of_it: bool) -> bytes:
        rate = self._rate or self._csv.rate
        wanted = max(1, round(self._got["chunk"] * rate)) if rate else 1
        if not all_of_it and held.count(b"\n") < wanted and len(held) <= _READ_BYTES:
            return held
        lines, rest = split_lines(held)
        step = max(wanted, 1)
        for first in range(0, len(lines), step) if rate else [0]:
            rows = self._csv.read(lines[first : first + step] if rate else lines)
            if rows is None:
                continue
            if self._numbering is None:
                self._numbering = self._numbered(self._lattice(list(self._csv.channels)))
            for _ in range(rows.n_bad):
                self._warn("bad_line")
            self._put(rows.values, put, rows.values.nbytes, rows.time_ns)
        return rest

    def _take_messages(self, held: bytes, put: Put) -> bytes:
        at = 0
        while len(held) - at >= 4:
            size = int.from_bytes(held[at : at + 4], "little")
            if not 0 < size <= MAX_MESSAGE_BYTES:
                raise InputError(f"stdin: a message of {size} bytes is none of WIRE.md", hint="check what is piped in")
            if len(held) - at < 4 + size:
                break
            for delivery in self._intake.take(held[at + 4 : at + 4 + size], _nothing):
                put(delivery)
            at += 4 + size
        for delivery in self._intake.expired():
            put(delivery)
        return held[at:]

    def _put(self, values: npt.NDArray[Any], put: Put, n_bytes: int, device_ns: int | None = None) -> None:
        assert self._numbering is not None
        if self._got["format"] == "int32" and (values == -(2**31)).any():
            self._warn("missing_code")
        put(Delivery((self._numbering.chunk(values, time.time_ns(), device_ns),), n_bytes))

    def check(self) -> list[str]:
        """Say what is expected; nothing is read."""
        rate = f"{float(self._rate):g} Hz" if self._rate else "the rate that its head says"
        if self._got["format"] == "wire":
            return ["wire: messages of WIRE.md"]
        what = "CSV lines" if self._got["format"] == "csv" else f"{self._got['channels']} channels"
        return [f"{self._got['format']}: {what} at {rate}"]


def _nothing() -> None:
    """Acknowledge to nobody: a pipe does not ask."""


def _start_ns(text: str) -> int | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InputError(f"start={text!r:.40} is no time with an offset", hint="write 2024-05-01T12:00:00Z")
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
