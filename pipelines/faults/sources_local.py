"""Sources without a broker: a file and a generator that begin again, a pipe and LSL that do not.

What a daemon that begins again is sent is all that there is; of a pipe and of LSL it must keep what it had journalled.
"""

from __future__ import annotations

import os
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

import sanstream
from pipelines.faults import numbered, servers
from pipelines.faults.numbered import CHANNELS, MISSING, Numbers, Verdict
from pipelines.faults.sources import RATE, START_NS, Kafka, Mllp, Mqtt, Nats, Sender, Source
from sanstream.chunk import stream_name
from sanstream.feeds.sim import sim_samples
from sanstream.formats import write
from sanstream.publish import PublishOptions
from sanstream.signal import Recording, Segment, Stream


class File(Source):
    """A recording that is replayed from its beginning by every process; all of it must be there."""

    seconds, speed = 3000, 200
    replays, unreachable = True, ("seal.events",)
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

    seconds, speed, streams = 3000, 200, 3
    replays, unreachable = True, ("seal.events",)

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


class _Journalled(Sender):
    """What was in the journal when a process was killed must be there; what was on its way is lost."""

    unreachable = ("seal.events",)
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

    pause_s = 0.02

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
