"""Machines lost with their disks while brokers send: with ``durability = "remote"`` every sample is archived once."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import nats
import numpy as np
import pytest
from brokers import kafka_broker, mqtt_broker, nats_broker, wait_for
from fault_cases import Zygote
from s3_server import BUCKET, s3_server, use_s3

import sanstream
from sanstream.archive import verify
from sanstream.chunk import Chunk, Event
from sanstream.publish import PublishOptions, publisher
from sanstream.signal import Channel

BEDS = ("bed1", "bed2", "bed3")
RATE = Fraction(4)
PIECE, PIECES = 100, 12
"""No number of messages is a block of 240; those of a life are five blocks."""
CHANNELS = (Channel("up", "mV", 1.0, 0, -(1 << 30), 1 << 30, missing=-(1 << 31)),)
MOMENTS = ("engine.committed:1", 0.4, "seal.shard:2", "seal.manifest:1", "seal.recorded:1", 0.8)


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Forks daemons that know of an S3 server."""
    with pytest.MonkeyPatch.context() as patch, s3_server() as endpoint:
        use_s3(patch, endpoint)
        with Zygote(tmp_path_factory.mktemp("zygote")) as running:
            yield running


class Sent:
    """What is published: numbers that count, and an event with each message."""

    def __init__(self, url: str, *, create: bool = False) -> None:
        self._out = publisher(PublishOptions(url, create=create))
        self._out.open()
        self._start_ns = time.time_ns() - 86_400 * 10**9
        self.n = 0

    def more(self, pieces: int = PIECES) -> None:
        for _ in range(pieces):
            at_ns = self._start_ns + self.n * 10**9 // int(RATE)
            x = np.arange(self.n, self.n + PIECE, dtype=np.int32).reshape(-1, 1)
            for bed in BEDS:
                self._out.send_chunk(Chunk(bed, "4hz", "s1", self.n, x, RATE, CHANNELS, at_ns, at_ns + 25 * 10**9))
                self._out.send_event(Event(bed, "s1", self.n // PIECE, at_ns, "note", f"note {self.n // PIECE}"))
            self.n += PIECE
        self._out.flush()

    def close(self) -> None:
        self._out.close()


@dataclass
class Machine:
    """A daemon on a machine that is lost, and comes back without its disk."""

    folder: Path
    zygote: Zygote
    archive: str
    feed: str
    durability: str = "remote"
    process: int = 0

    def start(self, fault: str = "") -> None:
        config = self.folder / "ingest.toml"
        config.write_text(
            f'[archive]\nurl = "{self.archive}"\nstate_dir = "{self.folder / "state"}"\neffort = "fast"\n'
            f'durability = "{self.durability}"\n{"" if self.durability == "remote" else "shared = true"}\n'
            f'[http]\nlisten = ""\n[retrain]\nmode = "off"\n[[feed]]\nname = "ward"\n{self.feed}\n'
        )
        self.process = self.zygote.start("ingest", "--config", str(config), fault=fault)

    def lose(self, moment: str | float) -> None:
        """Start, die at a named point or after some seconds of work, and lose the disk."""
        self.start(moment if isinstance(moment, str) else "")
        if isinstance(moment, str):
            wait_for(lambda: self._is_dead() or None, f"its death at {moment}", 20)
        else:
            wait_for(lambda: list((self.folder / "state" / "journal").glob("*")), "a journal")
            time.sleep(moment)
        assert self.zygote.kill(self.process) == -signal.SIGKILL
        shutil.rmtree(self.folder / "state")

    def drain(self) -> None:
        os.kill(self.process, signal.SIGTERM)
        assert self.zygote.wait(self.process) == 0, self.zygote.log.read_text()[-2000:]

    def finish(self, n: int) -> None:
        """Live on until all is there, or nothing more comes."""
        for _ in range(3):
            self.start()
            until = time.monotonic() + 20
            while min(map(len, self.values().values()), default=0) < n - 2 * 240 and time.monotonic() < until:
                time.sleep(0.1)
            time.sleep(0.5)
            self.drain()
            values = self.values()
            if len(values) == len(BEDS) and all(len(x) >= n for x in values.values()):
                return

    def values(self) -> dict[str, np.ndarray]:
        try:
            with sanstream.open(self.archive) as archive:
                found = {name: r.streams["4hz"].read()[:, 0] for name, r in archive.recordings.items() if r.streams}
        except sanstream.SanstreamError:
            return {}
        return {name: x[x != CHANNELS[0].missing] for name, x in found.items()}

    def notes(self, bed: str) -> list[str]:
        with sanstream.open(self.archive) as archive:
            return sorted(str(t) for a in archive.recordings[bed].annotations for t in a.columns["text"])

    def _is_dead(self) -> bool:
        return Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def assert_whole(machine: Machine, n: int) -> None:
    """Every sample and event that was sent is there, once, equal, in order."""
    assert verify(machine.archive, deep=True) == []
    values = machine.values()
    assert sorted(values) == sorted(BEDS)
    for bed, x in values.items():
        assert np.array_equal(x, np.arange(n)), bed
        assert machine.notes(bed) == sorted(f"note {k}" for k in range(n // PIECE)), bed


def test_nats_and_a_store_under_machines_lost_at_many_moments(tmp_path: Path, zygote: Zygote) -> None:
    with nats_broker(tmp_path / "nats") as broker:
        url = f"nats://127.0.0.1:{broker.port}"
        feed = f'url = "{url}"\nack_wait_s = 1.0\nalone = false'
        machine = Machine(tmp_path, zygote, f"s3://{BUCKET}/nats", feed)
        with closing(Sent(url, create=True)) as sent:
            for moment in MOMENTS:
                sent.more()
                machine.lose(moment)
            sent.more()
            machine.feed = f'url = "{url}"'  # the last one asks at once for what the others had
            machine.finish(sent.n)
        assert_whole(machine, sent.n)
        assert unacknowledged(url) == 0


def test_the_same_with_the_journal_alone_loses_samples(tmp_path: Path, zygote: Zygote) -> None:
    with nats_broker(tmp_path / "nats") as broker:
        url = f"nats://127.0.0.1:{broker.port}"
        feed = f'url = "{url}"\nack_wait_s = 1.0\nalone = false'
        machine = Machine(tmp_path, zygote, f"s3://{BUCKET}/local", feed, "local")
        with closing(Sent(url, create=True)) as sent:
            sent.more()
            machine.start()
            journal = tmp_path / "state" / "journal"
            wait_for(lambda: any(f.stat().st_size > 10_000 for f in journal.glob("*.log")) or None, "a journal")
            wait_for(lambda: unacknowledged(url) == 0 or None, "it to acknowledge what stands there")
            os.kill(machine.process, signal.SIGKILL)
            machine.zygote.wait(machine.process)
            shutil.rmtree(tmp_path / "state")
            sent.more()
            machine.start()
            wait_for(lambda: unacknowledged(url) == 0 or None, "it to take everything")  # nobody has it any more
            machine.drain()
        assert max(map(len, machine.values().values())) < sent.n


def test_mqtt_and_a_folder(tmp_path: Path, zygote: Zygote) -> None:
    with mqtt_broker(tmp_path / "mqtt") as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        machine = Machine(tmp_path, zygote, str(tmp_path / "live"), f'url = "{url}"')
        machine.start()  # the broker keeps messages for a session that it knows
        with closing(Sent(url)) as sent:
            wait_for(lambda: (tmp_path / "mqtt" / "log").read_text().count("sanstream-ward") or None, "it to subscribe")
            time.sleep(0.5)
            sent.more()
            wait_for(lambda: (tmp_path / "live" / "bed1" / "manifest.json").exists(), "the first shard")
            assert zygote.kill(machine.process) == -signal.SIGKILL
            shutil.rmtree(tmp_path / "state")
            for moment in ("engine.committed:2", "seal.manifest:2", 0.5):
                sent.more()
                machine.lose(moment)
            sent.more()
            machine.finish(sent.n)
        assert_whole(machine, sent.n)


def test_kafka_and_a_folder(tmp_path: Path, zygote: Zygote) -> None:
    with kafka_broker() as address:
        url = f"kafka://{address}/ward"
        machine = Machine(tmp_path, zygote, str(tmp_path / "live"), f'url = "{url}"\nsession_timeout_s = 6.0')
        with closing(Sent(url)) as sent:
            sent.more()
            machine.lose("seal.manifest:2")
            sent.more()
            machine.finish(sent.n)
        assert_whole(machine, sent.n)


def unacknowledged(url: str) -> int:
    """Messages that the consumer will be sent, or sent again."""

    async def ask() -> int:
        nc = await nats.connect(url)
        info = await nc.jetstream().consumer_info("sanstream", "sanstream-ward")
        await nc.close()
        return int(info.num_pending or 0) + int(info.num_ack_pending or 0)

    return asyncio.run(ask())
