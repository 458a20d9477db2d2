"""``lsl://EEG``: streams of the Lab Streaming Layer, by name, type or source id; several may match.

Each signal stream is a recording of its own, named after the stream (``recording = "..."`` puts all into one).
Streams of text, or without a regular rate, are markers: every sample is an event, in each signal recording of this
feed. Sample numbers count within a session, which is the outlet's own id, the run and the number of the connection.
What the outlet dropped shows in its time stamps (see :mod:`sanstream.feeds.gaps`); samples are neither moved nor
smoothed. Time stamps are brought to this machine's clock by LSL's own correction and to UTC by this machine's clock.

LSL keeps six minutes for a reader that is slow, and nothing for one that is away: what was not journalled when the
daemon dies is gone. LSL has no encryption and no passwords; use it on a network that you trust. Outlets whose
``lsl_api.cfg`` has another session id are not seen.
"""

from __future__ import annotations

import os
import re
import threading
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pylsl

from sanstream.chunk import check_name, safe_name
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, FeedState, Put, Stopped
from sanstream.feeds.address import recording_of, settings_of
from sanstream.feeds.lsl_inlet import Inlet, is_marker

_MOST_STREAMS = 1024
_PAUSE_S = 1.0
_QUOTES = re.compile(r"['\"<>&\x00-\x1f]")


class LslFeed:
    """Every LSL stream that fits, one thread each; lost ones come back under a new session."""

    OPTIONS: Mapping[str, tuple[type, Any, str]] = {
        "name": (str, "", "name of the stream"),
        "type": (str, "", "content type, such as EEG"),
        "source_id": (str, "", "the device's own id"),
        "recording": (str, "", "one recording for all streams that fit; one for each when empty"),
        "unit": (str, "", "unit of channels whose stream names none"),
        "chunk": (float, 1.0, "seconds per chunk, at most"),
        "wait": (float, 3.0, "seconds to look for streams"),
        "buffer": (int, 360, "seconds that LSL keeps when chunks are not taken"),
    }
    can_wait = False
    replays = False

    def __init__(self, options: FeedOptions) -> None:
        self._options, self._got = options, settings_of(options, self.OPTIONS)
        parts = urlsplit(options.url)
        self._predicate = predicate_of(unquote(parts.netloc), self._got)
        if not 0.05 <= self._got["chunk"] <= 10 or not 0.5 <= self._got["wait"] <= 60:
            raise InputError(
                f"lsl: chunk={self._got['chunk']} or wait={self._got['wait']} is out of range",
                hint="chunk 0.05 to 10 s, wait 0.5 to 60 s",
            )
        if self._got["recording"]:
            check_name("recording", self._got["recording"])
        if not 1 <= self._got["buffer"] <= 3600:
            raise InputError(f"lsl: buffer={self._got['buffer']} is out of range", hint="1 to 3600 s")
        self.state = FeedState()
        self._names: dict[tuple[str, str, str], str] = {}
        self._lock = threading.Lock()
        self._connected: dict[str, str] = {}
        self._sessions: dict[str, int] = {}
        self._stopped = threading.Event()
        self._run = uuid.uuid4().hex[:8]  # another run of the daemon counts anew, though the outlet is the same

    def run(self, put: Put, stop: threading.Event) -> None:
        """Look for streams and deliver what they send until ``stop`` is set."""
        quiet()
        resolver = pylsl.ContinuousResolver(pred=self._predicate)
        threads: dict[str, threading.Thread] = {}
        while not stop.is_set() and not self._stopped.is_set():
            for uid in [uid for uid, thread in threads.items() if not thread.is_alive()]:
                del threads[uid]
            found = sorted(resolver.results(), key=lambda i: (i.name(), i.source_id(), i.hostname(), i.uid()))
            for info in found[:_MOST_STREAMS]:
                if info.uid() and info.uid() not in threads:
                    threads[info.uid()] = threading.Thread(target=self._read, args=(info, put, stop), daemon=True)
                    threads[info.uid()].start()
            self._say()
            stop.wait(0.1 if not threads else 0.5)
        self._stopped.set()
        for thread in threads.values():
            thread.join(5)
        self.state.connected = False

    def _read(self, info: Any, put: Put, stop: threading.Event) -> None:
        """Read one stream until it is lost or the daemon stops."""
        uid, name = info.uid(), self._recording(info)
        number, opened = self._sessions.get(uid, 0) + 1, False
        try:
            inlet = Inlet(info, self._got, self._options.resolution, self._warn)
            with self._lock:
                self._sessions[uid], opened = number, True
                self.state.n_connects += 1
                self._connected[uid] = "" if inlet.marker else name
            stream_prefix = safe_name(info.name()) if self._got["recording"] else ""
            inlet.run(
                put,
                lambda: stop.is_set() or self._stopped.is_set(),
                recordings=lambda: self._targets(name) if inlet.marker else (name,),
                session=f"{uid}-{self._run}-{number}",
                prefix=stream_prefix,
            )
        except Stopped:
            self._stopped.set()
        except (RuntimeError, ValueError, OverflowError, InputError):  # pylsl's own errors are RuntimeErrors
            self._warn("stream_lost" if opened else "stream_refused")
        finally:
            with self._lock:
                self._connected.pop(uid, None)
            stop.wait(_PAUSE_S)  # a lost outlet stays listed for a few seconds

    def _targets(self, own: str) -> Iterable[str]:
        """Return the recordings that a marker belongs to: all that have signals now, else its own."""
        with self._lock:
            signals = sorted({name for name in self._connected.values() if name})
        return signals or [own]

    def _recording(self, info: Any) -> str:
        if self._got["recording"]:
            return str(self._got["recording"])
        key = (info.name(), info.source_id(), info.hostname())
        with self._lock:
            if key not in self._names:
                source = info.source_id() if info.source_id() in self._options.identity else info.name()
                name = recording_of(self._options, source)
                taken = set(self._names.values())
                tries = (name, safe_name(f"{name}-{info.source_id()}"), safe_name(f"{name}-{info.hostname()}"))
                left = [t for t in tries if t not in taken]
                self._names[key] = left[0] if left else safe_name(f"{name[:100]}-{len(taken) + 1}")
            return self._names[key]

    def _warn(self, word: str) -> None:
        with self._lock:
            self.state.n_warnings[word] = self.state.n_warnings.get(word, 0) + 1

    def _say(self) -> None:
        with self._lock:
            self.state.connected = bool(self._connected)
        self.state.error = "" if self.state.connected else "no stream fits"

    def check(self) -> list[str]:
        """Look for streams and list what is there.

        Raises
        ------
        InputError
            When none fits.
        """
        quiet()
        found = pylsl.resolve_bypred(self._predicate, 1, self._got["wait"])
        if not found:
            others = pylsl.resolve_streams(1.0)
            there = ", ".join(sorted({f"{i.name()} ({i.type()})" for i in others}))[:400]
            raise InputError(
                f"lsl: no stream fits within {self._got['wait']:g} s",
                hint=f"there are: {there}" if there else "start the outlet; none is seen on this network",
            )
        return [describe(info) for info in found]


def describe(info: Any) -> str:
    """Return one line on a stream."""
    rate = "markers" if is_marker(info) else f"{info.nominal_srate():g} Hz"
    return f"{info.name()} ({info.type() or 'no type'}): {info.channel_count()} channels, {rate}"


def predicate_of(host: str, got: Mapping[str, Any]) -> str:
    """Return LSL's query for what a URL asks; the host may be a name or a type.

    Raises
    ------
    InputError
        When a name holds quotes, which the query cannot.
    """
    for value in (host, got["name"], got["type"], got["source_id"]):
        if _QUOTES.search(value):
            raise InputError(f"lsl: {value!r:.60} holds a character that LSL cannot look for", hint="ask by type=...")
    parts = [f"{key}='{got[key]}'" for key in ("name", "type", "source_id") if got[key]]
    if host:
        parts.append(f"(name='{host}' or type='{host}' or source_id='{host}')")
    return " and ".join(parts) or "channel_count>0"


def quiet() -> None:
    """Keep liblsl from writing stream names to stderr, unless the user has configured it."""
    files = (Path("lsl_api.cfg"), Path.home() / "lsl_api" / "lsl_api.cfg", Path("/etc/lsl_api/lsl_api.cfg"))
    if "LSLAPICFG" not in os.environ and not any(file.exists() for file in files):
        pylsl.set_config_content("[log]\nlevel = -3\n")
