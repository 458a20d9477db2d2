"""What feeds a daemon that is killed: numbers that count, over every transport, and which of them were acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.chunk import Chunk, stream_name
from sanstream.formats import write
from sanstream.publish import Publisher, PublishOptions, publisher
from sanstream.signal import Annotations, Channel, Recording, Segment, Stream

RATE = Fraction(4)
PIECE = 240
PIECES = 12
"""Messages of a bed per life; an hour in five lives, so that shards fill."""
BEDS = ("bed1", "bed2")
CHANNELS = tuple(Channel(name, "mV", 1.0, 0, -(1 << 30), 1 << 30, missing=-(1 << 31)) for name in ("up", "down"))


def numbers(first: int, n: int) -> npt.NDArray[np.int32]:
    """Return the samples from ``first`` on: up and down; shape (n, 2), int32."""
    k = np.arange(first, first + n, dtype=np.int32)
    return np.stack([k, -k], axis=1)


class Transport:
    """A way to feed a daemon.

    Attributes
    ----------
    table : dict
        Its ``[[feed]]``.
    ends : bool
        Whether a life ends by itself.
    keeps : bool
        Whether what a killed daemon had not journalled comes again.
    stdin : Path or None
        Of the next life.
    scale : float
        Physical units to whole numbers.
    events : int
        How many events every recording must have.
    """

    ends = False
    keeps = True
    stdin: Path | None = None
    events = 0
    scale = 1.0

    def __init__(self, table: dict[str, Any]) -> None:
        self.table = table

    def prepare(self, ward: Any) -> None:
        """Do what must be before anything is published."""

    def more(self) -> None:
        """Publish what the next life should find."""

    def acknowledged(self) -> dict[str, int]:
        """Return how many samples of each recording must be there, from the first on."""
        raise NotImplementedError

    def finish(self) -> None:
        """Wait until the running daemon has taken everything."""

    def close(self) -> None:
        """End."""


class Published(Transport):
    """Through a broker that keeps what nobody takes."""

    def __init__(self, table: dict[str, Any], *, create: bool = False) -> None:
        super().__init__(table)
        self._out: Publisher = publisher(PublishOptions(table["url"], create=create))
        self._out.open()
        self._n = 0
        self._start_ns = time.time_ns() - 86_400 * 10**9

    def more(self) -> None:
        """Publish the next slice."""
        for _ in range(PIECES):
            for bed in BEDS:
                self._out.send_chunk(self.piece(bed))
            self._n += PIECE
        self._out.flush()

    def piece(self, bed: str) -> Chunk:
        """Return the next message of a bed."""
        at_ns = self._start_ns + self._n * 10**9 // int(RATE)
        x = numbers(self._n, PIECE)
        return Chunk(bed, stream_name(RATE), "s1", self._n, x, RATE, CHANNELS, at_ns, at_ns + 60 * 10**9)

    def acknowledged(self) -> dict[str, int]:
        """Return how much must be there."""
        return dict.fromkeys(BEDS, self._n)

    def close(self) -> None:
        """Disconnect."""
        self._out.close()


class Confirmed(Published):
    """To the daemon itself, which confirms; sent again until it does."""

    def __init__(self, table: dict[str, Any]) -> None:
        Transport.__init__(self, table)
        self._n = self._wanted = 0
        self._start_ns = time.time_ns() - 86_400 * 10**9
        self._out = publisher(PublishOptions(table["url"]))
        self._out._pause_s = 0.05  # type: ignore[attr-defined]
        self._change = threading.Condition()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def more(self) -> None:
        """Publish the next slice."""
        with self._change:
            self._wanted += PIECES * PIECE
            self._idle.clear()
            self._change.notify()

    def _send(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._n < self._wanted)
            for bed in BEDS:
                self._out.send_chunk(self.piece(bed))
            self._n += PIECE
            if self._n >= self._wanted:
                self._out.flush()
                self._idle.set()

    def finish(self) -> None:
        """Wait for the confirmations."""
        assert self._idle.wait(60), "the daemon does not confirm"

    def close(self) -> None:
        """Leave the thread to wait for more."""


class Queued(Published):
    """Through a broker that keeps messages only for sessions that it knows: a daemon must have been there."""

    def prepare(self, ward: Any) -> None:
        """Let a daemon subscribe."""
        ward.start()
        while not ward.values():
            self._out.send_chunk(self.piece(BEDS[0]))
            self._out.flush()
            time.sleep(0.05)
        ward.kill()


class Replayed(Transport):
    """A file, from its start in every life.

    Parameters
    ----------
    folder : Path
        Where it is written.
    slices : int
        Its length, 48 minutes each.
    """

    ends = True

    def __init__(self, folder: Path, slices: int = 10) -> None:
        self._n = PIECE * PIECES * slices
        channels = tuple(Channel(c.label, "mV", 1.0, 0, -32767, 32767, missing=-32768) for c in CHANNELS)
        stream = Stream(stream_name(RATE), RATE, (Segment(0, channels, numbers(0, self._n)),))
        seconds = np.arange(0, self._n // 4, 300)
        notes = Annotations(
            "edf",
            {"time_ns": seconds * 10**9, "text": np.array([f"note {s}" for s in seconds], object)},
        )
        self.events = len(seconds)
        recording = Recording("bed1", (stream,), start_ns=1_767_225_600 * 10**9, annotations=(notes,))
        (path,) = write(recording, folder / "edf", format="edf")
        super().__init__({"url": f"file://{path}?speed=0&chunk=60&name=bed1"})

    def acknowledged(self) -> dict[str, int]:
        """Return how much must be there."""
        return {"bed1": self._n}


class Simulated(Transport):
    """The generator, whose every life says the same."""

    ends = True
    scale = 1e6

    def __init__(self) -> None:
        more = "streams=3&leads=1&rate=4&seconds=14400&speed=0&session=s&start=2026-01-01T00:00:00Z&chunk=60"
        super().__init__({"url": f"sim://ecg?{more}"})

    def acknowledged(self) -> dict[str, int]:
        """Return how much must be there."""
        return {}


class Piped(Transport):
    """A pipe; what was read from it and not journalled is gone."""

    ends, keeps = True, False

    def __init__(self, folder: Path) -> None:
        super().__init__({"url": "stdin:?rate=4&channels=2&format=int32&name=bed1&chunk=60"})
        self._folder, self._n = folder, 0

    def more(self) -> None:
        """Publish the next slice."""
        n = PIECE * PIECES * 4
        self.stdin = self._folder / f"{self._n}.raw"
        self.stdin.write_bytes(numbers(self._n, n).astype("<i4").tobytes())
        self._n += n

    def acknowledged(self) -> dict[str, int]:
        """Return how much must be there."""
        return {}


class Streamed(Transport):
    """A Lab Streaming Layer outlet that goes on whoever listens."""

    keeps = False

    def __init__(self, name: str) -> None:
        import pylsl

        super().__init__({"url": f"lsl://{name}?wait=0.5&chunk=0.1&recording=bed1"})
        info = pylsl.StreamInfo(name, "ECG", 2, 1000, "int32", f"source-{name}")
        self._outlet, self._stop, self._n = pylsl.StreamOutlet(info), threading.Event(), 0
        self._thread = threading.Thread(target=self._push, daemon=True)
        self._thread.start()

    def _push(self) -> None:
        while not self._stop.wait(0.02):
            self._outlet.push_chunk(numbers(self._n, 20).tolist())
            self._n += 20

    def acknowledged(self) -> dict[str, int]:
        """Return how much must be there."""
        return {}

    def finish(self) -> None:
        """Wait for the confirmations."""
        time.sleep(0.3)

    def close(self) -> None:
        """Disconnect."""
        self._stop.set()
        self._thread.join()


@contextmanager
def closing(transport: Transport) -> Iterator[Transport]:
    """Close a transport at the end."""
    try:
        yield transport
    finally:
        transport.close()
