"""What publishes while a daemon is killed, and what must be in the archive afterwards; one class for each contract."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import sanstream
from pipelines.faults import numbered, servers
from pipelines.faults.numbered import CHANNELS, MISSING, Numbers, Verdict
from pipelines.faults.victim import DEADLINE_S, Hung
from sanstream.chunk import Chunk, Event, stream_name
from sanstream.feeds.sim import sim_samples
from sanstream.formats import write
from sanstream.publish import PublishOptions, publisher
from sanstream.signal import Recording, Segment, Stream

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
    recordings : tuple of str
    """

    window_s = 1.5
    begins_first = False
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


class _Sender(Source):
    """A publisher in a thread, which counts on until it is told to stop."""

    placed = True
    step = 250
    pause_s = 0.02
    rate = RATE

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name="publisher", daemon=True)
        self._random = random.Random(seed)
        self.sent = 0
        self.failure: BaseException | None = None

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join(DEADLINE_S)
        if self._thread.is_alive():
            raise Hung("the publisher does not end")
        if self.failure is not None:
            raise Hung(f"the publisher failed: {self.failure!r}")

    def close(self) -> None:
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


class _Confirmed(_Sender):
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


class File(Source):
    """A recording that is replayed from its beginning by every process; all of it must be there."""

    seconds, speed = 1500, 400
    recordings = ("bed-1",)

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self.sent = int(self.seconds * RATE)
        x = numbered.samples(0, self.sent)
        stream = Stream(stream_name(RATE), RATE, (Segment(0, CHANNELS, x),))
        made = Recording("bed-1", (stream,), start_ns=START_NS, timezone="utc")
        write(made, folder / "source", format="wfdb")
        self.feed = f'url = "file://{folder}/source/bed-1"\nspeed = {self.speed}'

    def compare(self) -> Verdict:
        """Compare with all that there is."""
        every = np.arange(self.sent)
        return numbered.compare(self.folder / "live.san", "bed-1", every, self.sent, placed=True)


class Sim(Source):
    """Simulated streams under one session and start; all that the URL says must be there."""

    seconds, speed, streams = 1500, 400, 3

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self.url = (
            f"sim://mixed?streams={self.streams}&seconds={self.seconds}&speed={self.speed}&seed={seed}"
            "&session=s1&start=2026-01-01T00:00:00Z"
        )
        self.feed = f'url = "{self.url}"'

    def compare(self) -> Verdict:
        """Compare with all that there is."""
        verdict = Verdict()
        n = int(self.seconds * RATE)
        with sanstream.open(self.folder / "live.san") as opened:
            for number in range(self.streams):
                recording = opened.recordings.get(f"sim{number:04d}")
                if recording is None:
                    verdict += Verdict(n, n)
                    continue
                (stream,) = recording.streams.values()
                want, got = sim_samples(self.url, number, 0, n), stream.read()
                if len(got) < n:
                    got = np.concatenate([got, np.full((n - len(got), got.shape[1]), MISSING, np.int32)])
                parts = (stream.read_segment(e, 0, e.n_samples) for e in stream.entry.segments)
                held = sum(int((x != MISSING).any(axis=1).sum()) for x in parts)
                absent = (got[:n] == MISSING).all(axis=1)
                changed = int((got[:n] != want).any(axis=1)[~absent].sum())
                verdict += Verdict(n, int(absent.sum()), max(0, held - n), changed, len(got) - n)
        return verdict


class _Journalled(_Sender):
    """What was in the journal when a process was killed must be there; what was on its way is lost."""

    recordings = ("bed-1",)

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self._kept: Numbers = np.empty(0, np.int64)

    def died(self) -> None:
        self._kept = np.union1d(self._kept, numbered.journalled(self.folder / "state", "bed-1"))

    def compare(self) -> Verdict:
        return numbered.compare(self.folder / "live.san", "bed-1", self._kept, self.sent, placed=False)


class Stdin(_Journalled):
    """A pipe that outlives its readers; odd seeds write fifty times as fast as the samples say."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self.stdin, self._end = os.pipe()
        rate = 10000 if seed % 2 == 0 else 250
        self.feed = f'url = "stdin:?rate={rate}&channels=2&format=int16&name=bed-1&chunk=0.1"'

    def _publish(self) -> None:
        while not self._stop.is_set():
            # at most PIPE_BUF bytes, so that a reader never takes half a sample away
            data = numbered.samples(self.sent, self.step).astype("<i2").tobytes()
            self.sent += self.step
            try:
                os.write(self._end, data)
            except BrokenPipeError:
                return
            self._stop.wait(self.pause_s)

    def close(self) -> None:
        """Close both ends."""
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None
        super().close()
        os.close(self._end)


class Lsl(_Journalled):
    """An outlet of integers in real time; readers that die are found anew."""

    rate, step, pause_s, window_s = Fraction(1000), 50, 0.0, 3.0
    begins_first = True

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        servers.private_lsl()
        self.feed = 'url = "lsl://bed-1"\nchunk = 0.1'

    def _publish(self) -> None:
        from sanstream.publish_lsl import LslPublisher

        out = LslPublisher(PublishOptions("lsl://bed-1?format=int32"))
        out.open()
        try:
            start_ns = time.time_ns()
            while not self._stop.is_set():
                chunk = self._chunk("bed-1", self.sent, start_ns)
                self.sent += self.step
                due = chunk.arrival_ns + round(self.step * 10**9 / self.rate) - time.time_ns()
                self._stop.wait(max(0.0, due / 1e9))
                out.send_chunk(chunk)
        finally:
            out.close()


SOURCES: dict[str, type[Source]] = {
    "nats": Nats,
    "mqtt": Mqtt,
    "kafka": Kafka,
    "mllp": Mllp,
    "file": File,
    "sim": Sim,
    "stdin": Stdin,
    "lsl": Lsl,
}
