"""One LSL inlet: what its header says of the channels, and its samples and markers as chunks and events."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pylsl

from sanstream.chunk import Chunk, Delivery, Event, safe_name, stream_name
from sanstream.errors import InputError
from sanstream.feeds import Put
from sanstream.feeds.descriptors import with_missing
from sanstream.feeds.floats import FloatLattice
from sanstream.feeds.gaps import GapFinder, Run
from sanstream.formats.csv_time import simplest_between
from sanstream.formats.labels import kind_of
from sanstream.signal import Channel, unique_labels

_UNITS = {"microvolts": "uV", "microvolt": "uV", "µv": "uV", "μv": "uV", "millivolts": "mV", "volts": "V"}
_BITS = {pylsl.cf_int8: 8, pylsl.cf_int16: 16, pylsl.cf_int32: 32}
_SCALE = ("gain", "baseline", "digital_min", "digital_max", "missing")
_CLOCK_S = 10.0
_OPEN_S = 10.0
_MOST_CHANNELS = 4096


def is_marker(info: Any) -> bool:
    """Tell streams of events: text, or no regular rate."""
    return bool(info.channel_format() == pylsl.cf_string or info.nominal_srate() <= 0)


def channels_of(info: Any, unit: str) -> list[Channel]:
    """Return what a stream's header says of its channels, ranges aside."""
    n = info.channel_count()
    if not 1 <= n <= _MOST_CHANNELS:
        raise InputError(f"lsl: a stream of {n} channels, at most {_MOST_CHANNELS}")
    labels, units = [""] * n, [unit] * n
    scales: list[dict[str, str]] = [{}] * n
    one = info.desc().child("channels").child("channel")
    for k in range(n):
        if one.empty():
            break
        labels[k] = one.child_value("label")[:80]
        named = one.child_value("unit")[:16]
        units[k] = _UNITS.get(named.lower(), named) or unit
        scales[k] = {key: one.child_value(key)[:40] for key in _SCALE}
        one = one.next_sibling("channel")
    kind = info.type() if info.type().isascii() and len(info.type()) < 20 else ""
    labels = unique_labels([label or (f"{kind} {k + 1}" if kind else "") for k, label in enumerate(labels)], "ch")
    return [
        _scaled(Channel(label, u, kind=kind_of(label)), scale)
        for label, u, scale in zip(labels, units, scales, strict=True)
    ]


def _scaled(channel: Channel, scale: Mapping[str, str]) -> Channel:
    """Give a channel the gain and baseline that sanstream's own publisher describes it with, for integers."""
    try:
        gain, zero = float(scale["gain"]), float(scale["baseline"])
        low, high, code = (int(scale[key]) for key in ("digital_min", "digital_max", "missing"))
    except (KeyError, ValueError):
        return channel
    if not (math.isfinite(gain) and gain and math.isfinite(zero) and -(2**31) <= low <= high < 2**31):
        return channel
    return replace(
        channel,
        gain=gain,
        baseline=int(zero) if zero.is_integer() else zero,
        digital_min=low,
        digital_max=high,
        missing=code if -(2**31) <= code < 2**31 else None,
    )


class Inlet:
    """A connection to one outlet.

    Parameters
    ----------
    info : pylsl.StreamInfo
        As the resolver found it.
    got : mapping
        The feed's settings.
    resolution : str
        For floats.
    warn : callable

    Raises
    ------
    RuntimeError
        When the outlet does not answer.
    """

    def __init__(self, info: Any, got: Mapping[str, Any], resolution: str, warn: Callable[[str], None]) -> None:
        self._inlet = pylsl.StreamInlet(info, max_buflen=got["buffer"], recover=False, as_numpy=True)
        full = self._inlet.info(_OPEN_S)
        self.marker = is_marker(full)
        self._rate = Fraction(0) if self.marker else rate_of(full.nominal_srate())
        self._warn, self._got = warn, got
        channels = channels_of(full, got["unit"])
        bits = _BITS.get(full.channel_format())
        self._lattice: FloatLattice | None = None
        self._channels: tuple[Channel, ...] = ()
        if bits is None and not self.marker:
            bare = [Channel(c.label, c.unit, kind=c.kind) for c in channels]
            self._lattice = FloatLattice(bare, resolution=resolution, warn=warn)
        elif bits is not None:
            low = -(2 ** (bits - 1)) + (bits == 32)
            high = 2 ** (bits - 1) - 1
            self._channels = with_missing(
                [
                    c if c.missing is not None else Channel(c.label, c.unit, 1.0, 0, low, high, None, bits, c.kind)
                    for c in channels
                ]
            )
        self._inlet.open_stream(_OPEN_S)
        self._shift_s, self._shift_at = 0.0, -np.inf
        self._first = self._number = self._turn = 0

    def run(
        self,
        put: Put,
        stopped: Callable[[], bool],
        *,
        recordings: Callable[[], Iterable[str]],
        session: str,
        prefix: str = "",
    ) -> None:
        """Deliver until ``stopped`` says so.

        Parameters
        ----------
        put : callable
        stopped : callable
        recordings : callable
            Names of the recordings that samples, or markers, go to now.
        session : str
        prefix : str
            Goes before the stream's name when several streams share a recording.

        Raises
        ------
        RuntimeError
            When the outlet is gone.
        """
        finder = None if self.marker else GapFinder(self._rate)
        wanted = 1024 if self.marker else max(1, min(round(self._got["chunk"] * self._rate), 1 << 16))
        name = stream_name(self._rate) if self._rate else ""
        name = safe_name(f"{prefix}-{name}") if prefix else name
        last = time.monotonic()
        try:
            while not stopped():
                # a partial chunk comes after the time-out, so a slow stream is never more than that behind
                values, times = self._inlet.pull_chunk(min(self._got["chunk"], 0.5), wanted)
                idle = not len(times) and time.monotonic() - last > 1.0
                last = time.monotonic() if len(times) else last
                if finder is None:
                    self._put_markers(put, values, times, recordings(), session)
                elif len(times) or (idle and finder.n_held):
                    self._put_samples(put, finder, values, times, next(iter(recordings())), name, session, final=idle)
        finally:
            if finder is not None and finder.n_held:
                none = np.empty((0, 0))
                self._put_samples(put, finder, none, np.empty(0), next(iter(recordings())), name, session, final=True)
            self._inlet.close_stream()

    def _put_samples(
        self,
        put: Put,
        finder: GapFinder,
        values: npt.NDArray[Any],
        times: npt.NDArray[np.float64],
        recording: str,
        stream: str,
        session: str,
        *,
        final: bool,
    ) -> None:
        runs = finder.add(values, times, final=final) if len(times) else finder.settle()
        for run in runs:
            if run.n_missing < 0:
                self._turn, self._first = self._turn + 1, 0
                self._warn("clock_back")
            elif run.n_missing:
                self._first += run.n_missing
                self._warn("gap")
            own = f"{session}-{self._turn}" if self._turn else session
            chunk = self._chunk(run, recording, stream, own)
            self._first += chunk.n_samples
            put(Delivery((chunk,), run.values.nbytes))

    def _chunk(self, run: Run, recording: str, stream: str, session: str) -> Chunk:
        if self._lattice is None:
            channels, samples = self._channels, np.ascontiguousarray(run.values, dtype=np.int32)
        else:
            floats = run.values if run.values.dtype == np.float32 else run.values.astype(np.float64)
            channels, samples = self._lattice.convert(floats)
        return Chunk(
            recording,
            stream,
            session,
            self._first,
            samples,
            self._rate,
            channels,
            self._utc_ns(run.time_s),
            time.time_ns(),
        )

    def _put_markers(
        self,
        put: Put,
        values: npt.NDArray[Any],
        times: npt.NDArray[np.float64],
        recordings: Iterable[str],
        session: str,
    ) -> None:
        for row, time_s in zip(values if len(times) else (), times.tolist(), strict=True):
            text = " ".join(_word(value) for value in row)[:65536]
            when = self._utc_ns(time_s)
            events = tuple(Event(r, session, self._number, when, "marker", text) for r in recordings)
            self._number += 1
            put(Delivery(events, len(text)))

    def _utc_ns(self, stamp_s: float) -> int:
        """Bring an outlet's time stamp to UTC; the correction is asked for again every ten seconds."""
        now = pylsl.local_clock()
        if now - self._shift_at >= _CLOCK_S:
            self._shift_at = now
            correction = self._inlet.time_correction(_OPEN_S)
            self._shift_s = correction + time.time() - pylsl.local_clock()
        when = stamp_s + self._shift_s
        if not 0 <= when < 2**32:
            self._warn("clock")
            return time.time_ns()
        return round(when * 1e9)


def rate_of(nominal: float) -> Fraction:
    """Return the simplest rate that is the nominal one to a few parts in ten million."""
    if not 0 < nominal <= 10**6:
        raise InputError(f"lsl: a nominal rate of {nominal:g} Hz", hint="allowed are rates above 0, up to 1 000 000 Hz")
    exact = Fraction(nominal)
    return simplest_between(exact * Fraction(10**7 - 1, 10**7), exact * Fraction(10**7 + 1, 10**7))


def _word(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip("\0")
    return f"{value:g}" if isinstance(value, np.floating) else str(value)
