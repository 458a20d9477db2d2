"""Make a live feed from a recording: samples at their pace, annotations as events, and what the broker confirmed."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fractions import Fraction
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from sanstream.chunk import Chunk, Event, check_name
from sanstream.errors import InputError
from sanstream.publish_wire import Published, PublishOptions
from sanstream.signal import Recording

PUBLISHERS = {
    "-": "sanstream.publish_stdout:StdoutPublisher",
    "kafka": "sanstream.publish_kafka:KafkaPublisher",
    "lsl": "sanstream.publish_lsl:LslPublisher",
    "mllp": "sanstream.publish_mllp:MllpPublisher",
    "mqtt": "sanstream.publish_mqtt:MqttPublisher",
    "nats": "sanstream.publish_nats:NatsPublisher",
}
"""Scheme of a URL to module and class."""
_MAX_VALUES = 1 << 17
"""Samples times channels of one message: 512 KiB, half of what NATS allows by default."""

__all__ = ["PUBLISHERS", "PublishOptions", "Published", "Publisher", "publish", "publisher"]


class Publisher(Protocol):
    """One transport's way out. Used by one thread.

    A publisher with an attribute ``outbox`` (:class:`~sanstream.publish_wire.Outbox`) tells what was confirmed.
    """

    def open(self) -> None:
        """Connect; raise :class:`~sanstream.errors.InputError` when that fails."""

    def send_chunk(self, chunk: Chunk) -> None:
        """Send samples; may block."""

    def send_event(self, event: Event) -> None:
        """Send an event; may block."""

    def flush(self) -> None:
        """Wait until everything sent is confirmed, where the transport confirms."""

    def close(self) -> None:
        """Disconnect."""


def publisher(options: PublishOptions) -> Publisher:
    """Return the publisher for a URL.

    Raises
    ------
    InputError
        When no publisher has its scheme, or the library that it needs is not installed.
    """
    scheme = options.url.partition(":")[0]
    known = PUBLISHERS.get(scheme) or PUBLISHERS.get(scheme.removesuffix("s"))
    if known is None:
        near = get_close_matches(scheme, PUBLISHERS, 1)
        names = ", ".join(sorted(PUBLISHERS))
        raise InputError(
            f"nothing publishes to {scheme!r:.40}", hint=f"did you mean {near[0]}:?" if near else f"use one of {names}"
        )
    module, name = known.split(":")
    try:
        made: Publisher = getattr(import_module(module), name)(options)
    except ModuleNotFoundError as error:
        raise InputError(
            f"publishing to {scheme}: needs the package {error.name}", hint="pip install 'sanstream[live]'"
        ) from None
    return made


@dataclass(frozen=True, eq=False)
class _Source:
    """One copy of a recording, as it goes out."""

    recording: Recording
    name: str
    session: str
    start_ns: int


def publish(
    recording: Recording,
    options: PublishOptions,
    *,
    speed: float = 1.0,
    streams: int = 1,
    name: str | None = None,
    session: str | None = None,
    start_ns: int | None = None,
    seconds_per_message: float = 1.0,
    repeat: int = 1,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Published:
    """Publish a recording, wait until all of it is confirmed, and say what was.

    Parameters
    ----------
    recording : Recording
    options : PublishOptions
    speed : float
        Seconds of signal per second; 0 or infinity for as fast as the receiver takes it.
    streams : int
        Copies; more than one are named ``NAME-0001`` and so on, and each has a session of its own.
    name : str, optional
        In place of the recording's own.
    session : str, optional
        What sample numbers count within; drawn when not given. Copies add their number.
    start_ns : int, optional
        Device time of the first sample, nanoseconds since 1970 (UTC); default: now.
    seconds_per_message : float
        Signal per message; messages over half a MiB are split.
    repeat : int
        How often the recording is published, one after the other in the same session.
    clock, sleep : callable, optional
        Seconds that never step back, and waiting for some.

    Returns
    -------
    Published
        Ranges of samples that the receiver confirmed; empty where the transport confirms nothing.

    Raises
    ------
    InputError
        On an impossible option, a recording without samples, or when the first connection fails.
    """
    if not (seconds_per_message > 0 and speed >= 0 and streams >= 1 and repeat >= 1):
        raise InputError("speed must be 0 or more; streams, repeat and seconds_per_message above 0")
    if not any(s.n_samples for s in recording.streams):
        raise InputError(f"recording {recording.name!r} holds no samples to publish")
    start = time.time_ns() if start_ns is None else start_ns
    chosen = check_name("recording", recording.name if name is None else name)
    drawn = session or secrets.token_urlsafe(6)
    copies = [
        _Source(
            recording,
            chosen if streams == 1 else f"{chosen}-{n:04d}",
            drawn if streams == 1 else f"{drawn}-{n}",
            start,
        )
        for n in range(1, streams + 1)
    ]
    pace = 0.0 if speed == 0 or math.isinf(speed) else 1 / speed
    out = publisher(options)
    out.open()
    try:
        began = clock()
        # numbers take more room as text
        most = _MAX_VALUES // 4 if options.as_json else _MAX_VALUES
        for at_s, items in _ticks(recording, seconds_per_message, repeat, most):
            for number, copy in enumerate(copies):
                # copies are spread over the tick, as independent devices would be
                due = began + (at_s + seconds_per_message * number / streams) * pace
                ahead = due - clock() if pace else 0.0
                if ahead > 0:
                    sleep(ahead)
                for item in items:
                    _send(out, item, copy)
        out.flush()
    finally:
        out.close()
    outbox = getattr(out, "outbox", None)
    return outbox.published if outbox is not None else Published()


def _send(out: Publisher, item: Chunk | Event, copy: _Source) -> None:
    """Send an item under a copy's name, session and start."""
    if isinstance(item, Chunk):
        device_ns = copy.start_ns + (item.device_ns or 0)
        out.send_chunk(replace(item, recording=copy.name, session=copy.session, device_ns=device_ns))
    else:
        time_ns = copy.start_ns + item.time_ns
        out.send_event(replace(item, recording=copy.name, session=copy.session, time_ns=time_ns))


def _ticks(recording: Recording, step_s: float, repeat: int, most: int) -> Iterator[tuple[float, list[Chunk | Event]]]:
    """Give what goes out together, with the second of signal at which it is complete; times count from the start."""
    step = Fraction(step_s).limit_denominator(10**6)
    length = max(s.n_samples / s.rate for s in recording.streams)
    events = sorted(_events(recording), key=lambda e: e.time_ns)
    n_ticks = math.ceil(length / step)
    for turn in range(repeat):
        offset = turn * length
        waiting = iter(replace(e, number=e.number + turn * len(events)) for e in events)
        event = next(waiting, None)
        for tick in range(n_ticks):
            until = (tick + 1) * step
            items: list[Chunk | Event] = list(_chunks(recording, tick * step, until, offset, most))
            while event is not None and (event.time_ns < until * 10**9 or tick == n_ticks - 1):
                items.append(replace(event, time_ns=event.time_ns + round(offset * 10**9)))
                event = next(waiting, None)
            yield float(offset + until), items


def _chunks(
    recording: Recording, first_s: Fraction, until_s: Fraction, offset_s: Fraction, most: int
) -> Iterator[Chunk]:
    for stream in recording.streams:
        first, until = math.ceil(first_s * stream.rate), math.ceil(until_s * stream.rate)
        # a later turn begins on the stream's own grid
        offset = math.ceil(offset_s * stream.rate)
        for segment in stream.segments:
            at, end = max(first, segment.start_sample), min(until, segment.stop_sample)
            rows = max(1, most // len(segment.channels))
            while at < end:
                stop = min(at + rows, end)
                place = slice(at - segment.start_sample, stop - segment.start_sample)
                number = offset + at
                yield Chunk(
                    recording.name, stream.name, "-", number, segment.samples[place], stream.rate, segment.channels,
                    round(number * 10**9 / stream.rate), 0,
                )  # fmt: skip
                at = stop


def _events(recording: Recording) -> Iterator[Event]:
    """Give annotations as events; times count from the recording's start."""
    number = 0
    for notes in recording.annotations:
        for row in range(len(notes)):
            column: dict[str, Any] = {k: v[row] for k, v in notes.columns.items()}
            words = [column.get("text"), column.get("symbol"), column.get("aux_note")]
            text = " ".join(str(w) for w in words if w).replace("\0", "").strip()
            duration = float(column.get("duration_s") or 0)
            duration_ns = round(duration * 1e9) if 0 < duration < 1e9 else 0
            time_ns = int(np.int64(column["time_ns"]))
            yield Event(recording.name, "-", number, time_ns, "annotation", text[:65536], duration_ns)
            number += 1
