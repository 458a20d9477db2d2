"""Publisher ``mllp://host:2575``: IHE PCD waveform observations, each sent until it is acknowledged.

One connection for each recording. Beside the standard facets every waveform carries ``SANSTREAM_NUMBERS``: session,
first sample, stream, gain, baseline, digital range and missing code, so that nothing is stored twice and integers come
back as they were. ``mllps://`` is TLS.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from sanstream.chunk import Chunk, Event
from sanstream.errors import InputError
from sanstream.feeds.descriptors import with_missing
from sanstream.feeds.hl7_message import format_time
from sanstream.feeds.hl7_waves import NUMBERS
from sanstream.feeds.mllp import PORT
from sanstream.formats.labels import rate_text
from sanstream.publish_wire import Published, PublishOptions

_ANSWER_S = 60.0
_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\r": "\\X0D\\", "\n": "\\X0A\\"}
_MOST_LINES = 512


def escaped(text: str) -> str:
    """Escape what HL7 reads as a delimiter."""
    return "".join(_ESCAPES.get(mark, mark) for mark in text)


def chunk_message(chunk: Chunk) -> bytes:
    """Return a chunk as an ORU^R01 message."""
    begin = format_time(chunk.device_ns if chunk.device_ns is not None else chunk.arrival_ns)
    control = f"{chunk.session[-8:]}-{chunk.stream}-{chunk.first_sample}"
    lines = _head(chunk.recording, begin, control)
    device = escaped(chunk.recording)
    numbers = [chunk.session, str(chunk.first_sample), chunk.stream]
    for k, (channel, samples) in enumerate(zip(with_missing(chunk.channels), chunk.samples.T, strict=True), 1):
        sub, place = f"1.1.1.{k}", 4 * k
        values = "^".join("" if v == channel.missing else str(v) for v in samples.tolist())
        unit = f"0^{escaped(channel.unit)}^UCUM" if channel.unit else ""
        lines.append(_observation(place, "NA", channel.label, sub, values, unit, begin, device))
        lines.append(_observation(place + 1, "NM", "MDC_ATTR_SAMP_RATE", f"{sub}.1", _decimal(chunk), "0^Hz^UCUM"))
        resolution = np.format_float_positional(1.0 / abs(channel.gain), trim="-")
        lines.append(_observation(place + 2, "NM", "MDC_ATTR_NU_MSMT_RES", f"{sub}.2", resolution, unit))
        own = [repr(v) for v in (channel.gain, channel.baseline, channel.digital_min, channel.digital_max)]
        facet = "^".join(escaped(v) for v in [*numbers, *own, str(channel.missing)])
        lines.append(_observation(place + 3, "ST", NUMBERS, f"{sub}.9", facet))
    return ("\r".join(lines) + "\r").encode()


def _decimal(chunk: Chunk) -> str:
    text = rate_text(chunk.rate)
    return f"{float(chunk.rate):.12g}" if "/" in text else text


def event_message(event: Event) -> bytes:
    """Return an event as an ORU^R01 message with an annotation."""
    when = format_time(event.time_ns)
    lines = _head(event.recording, when, f"{event.session[-8:]}-event-{event.number}")
    own = "^".join((escaped(event.session), str(event.number), str(event.duration_ns)))
    value = f"{escaped(event.text)}~{own}"
    code = f"0&ANO^{escaped(event.kind)}^L"
    lines.append(f"OBX|1|CE|{code}|1|{value}||||||F|||{when}||||{escaped(event.recording)}")
    return ("\r".join(lines) + "\r").encode()


def _head(recording: str, begin: str, control: str) -> list[str]:
    device = escaped(recording)
    msh = f"MSH|^~\\&|SANSTREAM|{device}|||{begin}||ORU^R01^ORU_R01|{escaped(control)}|P|2.6|||AL|NE||UNICODE UTF-8"
    return [msh, f"OBR|1|||WAVEFORM|||{begin}"]


def _observation(
    number: int, form: str, name: str, sub: str, value: str, unit: str = "", begin: str = "", device: str = ""
) -> str:
    return f"OBX|{number}|{form}|0^{escaped(name)}^L|{sub}|{value}|{unit}|||||F|||{begin}||||{device}".rstrip("|")


@dataclass
class _Confirmed:
    """What was acknowledged, where :func:`sanstream.publish.publish` looks for it."""

    published: Published


@dataclass(eq=False)
class _Line:
    """One connection and the message on it that is not acknowledged yet."""

    socket: socket.socket | None = None
    pending: bytes | None = None
    done: Callable[[], None] = lambda: None


class MllpPublisher:
    """Messages over MLLP.

    Parameters
    ----------
    options : PublishOptions
    pause_s : float
        Longest pause between attempts to connect again.
    """

    def __init__(self, options: PublishOptions, *, pause_s: float = 5.0) -> None:
        parts = urlsplit(options.url)
        try:
            self._address = (parts.hostname or "127.0.0.1", PORT if parts.port is None else parts.port)
        except ValueError:
            raise InputError("mllp: the URL's port is no number", hint="write mllp://host:2575") from None
        self._context = ssl.create_default_context(cafile=options.ca or None) if parts.scheme == "mllps" else None
        self._pause_s = pause_s
        self._lines: dict[str, _Line] = {}
        self.outbox = _Confirmed(Published())

    def open(self) -> None:
        """Connect once.

        Raises
        ------
        InputError
            When nobody listens; later it is tried again for ever.
        """
        try:
            self._connected().close()
        except OSError as error:
            raise InputError(
                f"mllp: cannot connect ({error.strerror or type(error).__name__})", hint="start the receiver first"
            ) from None

    def _connected(self) -> socket.socket:
        made = socket.create_connection(self._address, timeout=_ANSWER_S)
        if self._context is not None:
            made = self._context.wrap_socket(made, server_hostname=self._address[0])
        return made

    def send_chunk(self, chunk: Chunk) -> None:
        """Send a chunk once the one before it of the same recording is acknowledged."""
        item = (chunk.recording, chunk.stream, chunk.first_sample, chunk.first_sample + chunk.n_samples)
        self._send(chunk.recording, chunk_message(chunk), item)

    def send_event(self, event: Event) -> None:
        """Send an event, likewise."""
        self._send(event.recording, event_message(event), (event.recording, "", event.number, event.number))

    def _send(self, recording: str, message: bytes, item: tuple[str, str, int, int]) -> None:
        if recording not in self._lines and len(self._lines) >= _MOST_LINES:
            oldest = next(iter(self._lines))
            self._settle(self._lines[oldest])
            _hang_up(self._lines.pop(oldest))
        line = self._lines.setdefault(recording, _Line())
        self._settle(line)
        line.pending = message
        line.done = lambda: self.outbox.published.add(item, len(message))
        # a lost connection is found, and the message sent again, when its answer is waited for
        with contextlib.suppress(OSError):
            if line.socket is None:
                line.socket = self._connected()
            line.socket.sendall(b"\x0b" + message + b"\x1c\r")

    def _settle(self, line: _Line) -> None:
        """Wait until a line's message is acknowledged, over new connections where the old one is lost."""
        pause, message = 0.1, line.pending
        while message is not None:
            try:
                if line.socket is None:
                    line.socket = self._connected()
                    line.socket.sendall(b"\x0b" + message + b"\x1c\r")
                answer = _answer(line.socket)
            except OSError:
                _hang_up(line)
                time.sleep(pause)
                pause = min(2 * pause, self._pause_s)
                continue
            if answer != "AA":
                raise InputError(
                    f"mllp: the receiver answered {answer!r:.10}", hint="see what it logged, or what it set aside"
                )
            line.pending = message = None
            line.done()

    def flush(self) -> None:
        """Wait until everything is acknowledged."""
        for line in self._lines.values():
            self._settle(line)

    def close(self) -> None:
        """Close the connections."""
        for line in self._lines.values():
            _hang_up(line)
        self._lines.clear()


def _hang_up(line: _Line) -> None:
    if line.socket is not None:
        with contextlib.suppress(OSError):
            line.socket.close()
    line.socket = None


def _answer(connection: socket.socket) -> str:
    """Read one acknowledgement; return its code."""
    data = b""
    while not data.endswith(b"\x1c\r"):
        part = connection.recv(4096)
        if not part or len(data) > 65536:
            raise ConnectionResetError
        data += part
    found: list[Any] = [line.split(b"|") for line in data.split(b"\r") if line.startswith(b"MSA|")]
    return str(found[0][1].decode("ascii", "replace")) if found and len(found[0]) > 1 else ""
