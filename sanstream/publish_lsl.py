"""Publisher ``lsl:``: one outlet for each stream of a recording, and one of markers for its events.

``lsl://NAME`` names all outlets ``NAME`` (else after their recording). Samples go out as float32 in physical units, as
amplifiers' programs send them; ``lsl://NAME?format=int32`` sends the ADC's integers, with gain, baseline and missing
code in the stream's description. LSL confirms nothing: what was sent is not what was received.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pylsl

from sanstream.chunk import Chunk, Event
from sanstream.errors import InputError
from sanstream.feeds.descriptors import with_missing
from sanstream.feeds.lsl import quiet
from sanstream.modality import modality_of_all
from sanstream.publish_wire import PublishOptions
from sanstream.signal import Channel

_FORMATS = {"float32": np.float32, "int32": np.int32}
_READER_S = 10.0
_MARKER_S = 2.0
_LAST_S = 1.0


@dataclass(eq=False)
class _Outlet:
    """An outlet and the descriptor that it was opened with."""

    outlet: Any
    channels: tuple[Channel, ...]


class LslPublisher:
    """Outlets of the Lab Streaming Layer.

    Parameters
    ----------
    options : PublishOptions
    reader_s : float
        Seconds that an outlet waits for its first reader before it sends.
    """

    def __init__(self, options: PublishOptions, *, reader_s: float = _READER_S) -> None:
        parts = urlsplit(options.url)
        self._name = unquote(parts.netloc)
        self._format = parse_qs(parts.query).get("format", ["float32"])[0]
        self._reader_s = reader_s
        if self._format not in _FORMATS:
            raise InputError(f"lsl: format={self._format!r:.40}", hint=f"use {' or '.join(_FORMATS)}")
        self._outlets: dict[tuple[str, str], _Outlet] = {}
        self._shift_s = 0.0

    def open(self) -> None:
        """Find how LSL's clock stands to UTC."""
        quiet()
        self._shift_s = pylsl.local_clock() - time.time()

    def send_chunk(self, chunk: Chunk) -> None:
        """Send samples; a stream's first chunk waits for a reader."""
        key = (chunk.recording, chunk.stream)
        known = self._outlets.get(key)
        if known is None or (known.channels is not chunk.channels and known.channels != chunk.channels):
            known = self._outlets[key] = self._opened(chunk)
        begin = (chunk.device_ns if chunk.device_ns is not None else chunk.arrival_ns) / 1e9 + self._shift_s
        last = begin + (chunk.n_samples - 1) / float(chunk.rate)
        known.outlet.push_chunk(self._values(chunk), last)

    def _values(self, chunk: Chunk) -> np.ndarray[Any, Any]:
        if self._format == "int32":
            return np.ascontiguousarray(chunk.samples)
        columns = [c.physical(chunk.samples[:, k]) for k, c in enumerate(chunk.channels)]
        return np.ascontiguousarray(np.stack(columns, axis=1), dtype=np.float32)

    def _opened(self, chunk: Chunk) -> _Outlet:
        kind = {"ecg": "ECG", "eeg": "EEG", "emg": "EMG"}.get(modality_of_all(chunk.channels), "Signal")
        name = self._name or chunk.recording
        source = f"{chunk.recording}/{chunk.stream}"
        info = pylsl.StreamInfo(name, kind, len(chunk.channels), float(chunk.rate), self._format, source)
        entries = info.desc().append_child("channels")
        for channel in with_missing(chunk.channels):
            one = entries.append_child("channel")
            one.append_child_value("label", channel.label)
            one.append_child_value("unit", channel.unit)
            one.append_child_value("type", kind)
            if self._format == "int32":
                for key in ("gain", "baseline", "digital_min", "digital_max", "missing"):
                    one.append_child_value(key, repr(getattr(channel, key)))
        return _Outlet(self._waited(pylsl.StreamOutlet(info)), chunk.channels)

    def _waited(self, outlet: Any, most_s: float = _READER_S) -> Any:
        outlet.wait_for_consumers(min(self._reader_s, most_s))
        return outlet

    def send_event(self, event: Event) -> None:
        """Send a marker; a recording's first one waits for a reader."""
        key = (event.recording, "")
        if key not in self._outlets:
            name = self._name or event.recording
            info = pylsl.StreamInfo(name, "Markers", 1, pylsl.IRREGULAR_RATE, "string", f"{event.recording}/markers")
            self._outlets[key] = _Outlet(self._waited(pylsl.StreamOutlet(info), _MARKER_S), ())
        self._outlets[key].outlet.push_sample([event.text], event.time_ns / 1e9 + self._shift_s)

    def flush(self) -> None:
        """Give the readers a second to take what was sent last."""
        if self._outlets:
            time.sleep(_LAST_S)

    def close(self) -> None:
        """Close the outlets."""
        self._outlets.clear()
