"""What publishes to a daemon that is killed, and what it confirmed must be in the archive: brokers, and MLLP."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import sanstream
from pipelines.faults import numbered, servers
from pipelines.faults.numbered import CHANNELS, Numbers, Verdict
from pipelines.faults.victim import DEADLINE_S, Hung
from sanstream.chunk import Chunk, Event, stream_name
from sanstream.publish import PublishOptions, publisher

START_NS = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z."""
RATE = Fraction(250)


class Source:
    """What is on the other side of a feed, from before the first process to after the last.

    Parameters
    ----------
    folder : Path
        Of the life.
    seed : int

    Attributes
    ----------
    feed : str
        The feed's lines in TOML.
    stdin : int or None
        What the daemon reads, for a source that is a pipe.
    window_s : float
        Random kills come within so many seconds of a start.
    begins_first : bool
        A daemon is connected only when something is published.
    replays : bool
        Every process begins with the first sample again.
    unreachable : tuple of str
        Fault points that no daemon of this source comes to.
    recordings : tuple of str
    """

    window_s = 1.5
    begins_first = False
    replays = False
    unreachable: tuple[str, ...] = ()
    stdin: int | None = None
    recordings: tuple[str, ...] = ("bed-1", "bed-2")

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed, self.feed = folder, seed, ""

    def begin(self) -> None:
        """Publish from now on; a daemon is connected."""

    def died(self) -> None:
        """Note what is in the journal of a process that was killed."""

    def end(self) -> None:
        """Stop publishing; return when all is confirmed. A daemon runs."""

    def compare(self) -> Verdict:
        """Compare the archive with what must be there."""
        raise NotImplementedError

    def close(self) -> None:
        """Release servers and threads."""


class Sender(Source):
    """A publisher in a thread, which counts on until it is told to stop."""

    placed = True
    step = 250
    pause_s = 0.1
    rate = RATE

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name="publisher", daemon=True)
        self._random = random.Random(seed)
        self.sent = 0
        self.failure: BaseException | None = None

    def begin(self) -> None:
        """Start the thread."""
        self._thread.start()

    def end(self) -> None:
        """Let the thread come to its end."""
        self._stop.set()
        self._thread.join(DEADLINE_S)
        if self._thread.is_alive():
            raise Hung("the publisher does not end")
        if self.failure is not None:
            raise Hung(f"the publisher failed: {self.failure!r}")

    def close(self) -> None:
        """Stop the thread, whatever it waits for."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(10)

    def _send_all(self) -> None:
        try:
            self._publish()
        except BaseException as error:
            self.failure = error

    def _publish(self) -> None:
        raise NotImplementedError

    def _chunk(self, recording: str, first: int, start_ns: int = START_NS) -> Chunk:
        at_ns = start_ns + round(first * 10**9 / self.rate)
        x = numbered.samples(first, self.step)
        return Chunk(recording, stream_name(self.rate), "s-1", first, x, self.rate, CHANNELS, at_ns, at_ns)


class _Confirmed(Sender):
    """All that the publisher's broker confirmed must be there, events too; some messages go out twice."""

    repeats = 0.05
    events = 0.1

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self._n_events = 0
        self.out: Any = None

    def _publisher(self) -> Any:
        raise NotImplementedError

    def _publish(self) -> None:
        self.out = self._publisher()
        self.out.open()
        try:
            while not self._stop.is_set():
                for recording in self.recordings:
                    chunk = self._chunk(recording, self.sent)
                    for _ in range(2 if self._random.random() < self.repeats else 1):
                        self.out.send_chunk(chunk)
                    if self._random.random() < self.events:
                        event = Event(recording, "s-1", self._n_events, chunk.arrival_ns, "note", f"{self._n_events}")
                        self._n_events += 1
                        self.out.send_event(event)
                self.sent += self.step
                self._stop.wait(self.pause_s)
            self.out.flush()
        finally:
            self.out.close()

    def confirmed(self, recording: str) -> Numbers:
        """Return the numbers of the samples that the broker confirmed."""
        ranges = self.out.outbox.published.samples.get((recording, stream_name(self.rate)), [])
        return np.concatenate([np.arange(a, b) for a, b in ranges]) if ranges else np.empty(0, np.int64)

    def compare(self) -> Verdict:
        verdict = Verdict()
        archive = self.folder / "live.san"
        for name in self.recordings:
            verdict += numbered.compare(archive, name, self.confirmed(name), self.sent, placed=True)
        verdict += self._compare_events(archive)
        return verdict

    def _compare_events(self, archive: Path) -> Verdict:
        with sanstream.open(archive) as opened:
            sets = [a.columns for r in opened.recordings.values() for a in r.annotations if a.name == "events"]
        found = [int(n) for columns in sets for n in columns["number"].tolist()]
        wanted = sum(self.out.outbox.published.events.values())
        return Verdict(0, max(0, wanted - len(set(found))), len(found) - len(set(found)))


class _Broker(_Confirmed):
    """A publisher and the daemon with a broker between them."""

    server: Callable[[Path], AbstractContextManager[str]]
    scheme = ""
    more = ""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self._stack = ExitStack()
        address = self._stack.enter_context(type(self).server(folder / "broker"))
        self.url = f"{self.scheme}://{address}/ward"
        self.feed = f'url = "{self.url}"\n{self.more}'

    def _publisher(self) -> Any:
        return publisher(PublishOptions(self.url, create=True))

    def close(self) -> None:
        super().close()
        self._stack.close()


class Nats(_Broker):
    """JetStream; unacknowledged messages come again after a second."""

    server = staticmethod(servers.nats)
    scheme, more = "nats", "create = true\nack_wait_s = 1.0"


class Mqtt(_Broker):
    """Mosquitto."""

    server = staticmethod(servers.mosquitto)
    scheme = "mqtt"


class Kafka(_Broker):
    """The client's mock cluster: little data; a group waits six seconds for a member that died."""

    server = staticmethod(servers.kafka)
    scheme, more = "kafka", "session_timeout_s = 6.0"
    pause_s = 0.1
    window_s = 9.0

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        made = self._publisher()  # makes the topic
        made.open()
        made.close()


class Mllp(_Confirmed):
    """The daemon listens; what it answered with AA must be there."""

    pause_s = 0.0
    recordings = tuple(f"bed-{n}" for n in range(1, 7))

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self.url = f"mllp://127.0.0.1:{servers.free_port()}"
        self.feed = f'url = "{self.url}"'

    def _publisher(self) -> Any:
        from sanstream.publish_mllp import MllpPublisher

        return MllpPublisher(PublishOptions(self.url), pause_s=0.2)
