"""Faults of brokers, networks, publishers and disks, each against a real daemon: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import nats
import numpy as np
import pytest
from brokers import free_port, mqtt_broker, nats_broker, wait_for
from fault_cases import Wire
from lsl_network import need_lsl

import sanstream
from pipelines.faults.forks import Ward, check
from pipelines.faults.transports import BEDS, CHANNELS, PIECE, RATE, Published, Queued, Replayed, Streamed, numbers
from pipelines.faults.zygote import Zygote
from sanstream.chunk import Chunk
from sanstream.wire import encode_chunk
from sanstream.wire_channels import descriptor_of

DAY_NS = 86_400 * 10**9


def wait_whole(ward: Ward) -> None:
    """Wait until a reader finds all that was published, let the daemon finish, and look at the archive."""
    wanted = ward.transport.acknowledged()
    wait_for(lambda: all(len(ward.values().get(n, ())) >= k for n, k in wanted.items()), f"{wanted}", 60)
    assert ward.drain() == 0
    check(ward, {})


# --- broker and network


@pytest.mark.parametrize("kind", ["nats", "mqtt"])
def test_a_broker_that_starts_again_and_a_connection_that_is_cut_lose_nothing(
    tmp_path: Path, zygote: Zygote, kind: str
) -> None:
    server = nats_broker if kind == "nats" else mqtt_broker
    with server(tmp_path / "broker") as broker:
        wire = Wire(broker.port)
        url = f"{kind}://127.0.0.1:{wire.port}"
        straight = {"url": f"{kind}://127.0.0.1:{broker.port}"}
        transport = Published(straight, create=True) if kind == "nats" else Queued(straight)
        transport.table = {"url": url, **({"ack_wait_s": 1.0} if kind == "nats" else {})}
        ward = Ward(tmp_path, zygote, transport)
        transport.prepare(ward)
        ward.start()
        for _ in range(3):
            transport.more()
            before = ward.journal()
            wait_for(partial(ward.has_moved, before))
            assert wait_for(wire.cut) >= 1
        broker.stop()
        broker.start()
        transport.more()
        wait_whole(ward)
        wire.close()
        transport.close()


# --- publishers


def piece(bed: str, number: int, *, session: str = "s1", start_s: float = 0.0, value: int | None = None) -> Chunk:
    """Return a minute of a bed: numbers that count on from ``value``, by default from their place in the session."""
    first = number * PIECE
    at_ns = START_NS + round((start_s + first / float(RATE)) * 1e9)
    x = numbers(first if value is None else value, PIECE)
    return Chunk(bed, "4hz", session, first, x, RATE, CHANNELS, at_ns, at_ns + 60 * 10**9)


START_NS = (time.time_ns() // DAY_NS - 1) * DAY_NS + 3600 * 10**9
"""Yesterday, an hour after midnight."""


def one_channel(chunk: Chunk) -> Chunk:
    return replace(chunk, samples=np.ascontiguousarray(chunk.samples[:, :1]), channels=CHANNELS[:1])


def messages() -> dict[str, list[Chunk]]:
    """Return what every bed's publisher does."""
    rng = random.Random(1)
    plain = range(8)
    shuffled = [0, *rng.sample(range(1, 8), 7)]  # a recording begins with the first that comes
    other = piece("contradicts", 3, value=77)
    return {
        "twice": [piece("twice", n) for n in plain for _ in range(2)] + [piece("twice", n) for n in plain],
        "shuffled": [piece("shuffled", n) for n in shuffled],
        "reboots": [piece("reboots", n) for n in plain]
        + [piece("reboots", n, session="s2", start_s=480 + 90, value=(8 + n) * PIECE) for n in plain],
        "contradicts": [piece("contradicts", n) for n in plain] + [other],
        "steps": [piece("steps", n, start_s=0 if n < 4 else -500) for n in plain],
        "channels": [one_channel(piece("channels", n)) if n in (3, 4) else piece("channels", n) for n in plain],
        "late": [piece("late", n) for n in (*range(4), *range(64, 72), *range(4, 64))],
    }


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory, zygote: Zygote) -> Iterator[Ward]:
    """A daemon that took all of that, unreadable messages between it, over a real broker."""
    folder = tmp_path_factory.mktemp("publishers")
    with nats_broker(folder / "nats") as broker:
        url = f"nats://127.0.0.1:{broker.port}"
        transport = Published({"url": url, "ack_wait_s": 1.0}, create=True)
        port = free_port()
        ward = Ward(folder, zygote, transport, listen=f"127.0.0.1:{port}")
        ward.start()
        asyncio.run(
            _send(
                url,
                [
                    encode_chunk(chunk, descriptor=descriptor_of(chunk.channels))
                    for chunks in messages().values()
                    for chunk in chunks
                ],
            )
        )
        asyncio.run(_send(url, [b"", b"\x00" * 100, b'{"version": 99}', b"SNW1" + bytes(range(200))]))
        wait_for(lambda: poison(port) == 4, "what cannot be read is counted")
        wait_for(lambda: asyncio.run(_left(url)) == 0, "all acknowledged", 60)
        assert ward.drain() == 0
        transport.close()
        yield ward


async def _send(url: str, payloads: list[bytes]) -> None:
    """Publish without the ids by which a broker drops repetitions."""
    connection = await nats.connect(url)
    for payload in payloads:
        await connection.jetstream().publish("sanstream.ward", payload)
    await connection.close()


async def _left(url: str) -> int:
    connection = await nats.connect(url)
    info = await connection.jetstream().consumer_info("sanstream", "sanstream-ward")
    await connection.close()
    return int(info.num_pending or 0) + int(info.num_ack_pending or 0)


def page(port: int, name: str) -> str:
    """Return a page of the daemon, whatever its status."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return str(error.read().decode())
    except OSError:
        return ""


def poison(port: int) -> float:
    lines = [line for line in page(port, "metrics").splitlines() if line.startswith("sanstream_poison_total")]
    return sum(float(line.split()[-1]) for line in lines)


def found(ward: Ward, bed: str) -> tuple[list[int], list[tuple[str, ...]]]:
    """Return a bed's numbers in their order, and why its segments began."""
    with sanstream.open(ward.archive) as archive:
        (stream,) = archive.recordings[bed].streams.values()
        x = stream.read()[:, 0]
        return x[x != CHANNELS[0].missing].tolist(), [e.flags for e in stream.entry.segments]


@pytest.mark.parametrize(
    ("bed", "n", "flag"),
    [
        # whether what comes in another order comes late depends on how soon its block goes out: see test_engine.py
        ("twice", 8, None), ("shuffled", 8, None), ("reboots", 16, None), ("contradicts", 8, None),
        ("steps", 8, "clock_step"), ("channels", 8, "channels"), ("late", 72, None),
    ],
)  # fmt: skip
def test_whatever_a_publisher_does_every_sample_is_there_once(
    archived: Ward, bed: str, n: int, flag: str | None
) -> None:
    values, flags = found(archived, bed)
    assert values == list(range(n * PIECE))
    assert flag is None or any(flag in f for f in flags)


def test_what_cannot_be_read_or_contradicts_is_set_aside_and_acknowledged(archived: Ward) -> None:
    from sanstream.daemon.aside import Aside
    from sanstream.durable import Disk

    kinds = [record.kind for record in Aside(archived.state / "aside", Disk(), 1 << 20).records()]
    assert kinds.count("conflict") == 1
    assert kinds.count("poison") == 4


def test_an_archive_of_all_that_is_sound(archived: Ward) -> None:
    with sanstream.open(archived.archive) as archive:
        assert archive.verify(deep=True) == []


# --- disks


@contextmanager
def file_limit(ward: Ward) -> Iterator[None]:
    """Let no file of the daemon grow further; what a full disk does to one process, without being root."""
    sizes = [p.stat().st_size for p in ward.state.rglob("*.log")]
    resource.prlimit(ward.process, resource.RLIMIT_FSIZE, (max(sizes) + 1000, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(ward.process, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a disk of a megabyte, where that is allowed."""
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "none", folder]).returncode:
        pytest.skip("mounting is not allowed here; the other test of a full disk limits the files")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def says_full(port: int) -> bool:
    return "disk full" in page(port, "readyz") and json.loads(page(port, "streams"))["disk_full"]


def test_a_full_disk_stops_acknowledging_says_so_and_goes_on_by_itself(tmp_path: Path, zygote: Zygote) -> None:
    port = free_port()
    with nats_broker(tmp_path / "nats") as broker:
        url = f"nats://127.0.0.1:{broker.port}"
        transport = Published({"url": url, "ack_wait_s": 1.0}, create=True)
        ward = Ward(tmp_path, zygote, transport, listen=f"127.0.0.1:{port}")
        ward.start()
        transport.more()
        wait_for(lambda: ward.values().keys() == set(BEDS))
        wait_for(lambda: asyncio.run(_left(url)) == 0)
        with file_limit(ward):
            transport.more()
            wait_for(lambda: says_full(port), "the pages say so")
            time.sleep(1)
            assert asyncio.run(_left(url)) > 0
            assert says_full(port)
        wait_for(lambda: "disk full" not in page(port, "readyz"))
        wait_whole(ward)
        transport.close()


def test_a_full_file_system_does_too(tmp_path: Path, zygote: Zygote) -> None:
    port = free_port()
    with small_disk(tmp_path / "state"), nats_broker(tmp_path / "nats") as broker:
        url = f"nats://127.0.0.1:{broker.port}"
        transport = Published({"url": url, "ack_wait_s": 1.0}, create=True)
        ward = Ward(tmp_path, zygote, transport, listen=f"127.0.0.1:{port}")
        ward.start()
        transport.more()
        wait_for(lambda: ward.values().keys() == set(BEDS))
        filler = ward.state / "filler"
        handle = os.open(filler, os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError, match="space"):
            while True:
                os.write(handle, bytes(4096))
        os.close(handle)
        transport.more()
        wait_for(lambda: says_full(port), "the pages say so")
        assert asyncio.run(_left(url)) > 0
        filler.unlink()
        wait_whole(ward)
        transport.close()


def test_a_feed_without_replay_records_the_gap_of_a_full_disk(tmp_path: Path, zygote: Zygote) -> None:
    need_lsl()
    port = free_port()
    transport = Streamed(f"full{port}")
    ward = Ward(tmp_path, zygote, transport, listen=f"127.0.0.1:{port}", more='[limits]\nqueue = "1s"')
    ward.start()
    wait_for(lambda: len(ward.values().get("bed1", ())) > 500)
    with file_limit(ward):
        wait_for(lambda: says_full(port), "the pages say so")
        wait_for(lambda: json.loads(page(port, "streams"))["feeds"][0]["dropped"] > 0, "messages are dropped")
    wait_for(lambda: "disk full" not in page(port, "readyz"))
    last = len(ward.values()["bed1"])
    wait_for(lambda: len(ward.values()["bed1"]) > last + 500)
    assert ward.drain() == 0
    transport.close()
    with sanstream.open(ward.archive) as archive:
        (events,) = archive.recordings["bed1"].annotations
        texts = [
            str(t) for t, kind in zip(events.columns["text"], events.columns["kind"], strict=True) if kind == "gap"
        ]
    assert any("dropped: disk full" in text for text in texts)
    assert (np.diff(ward.values()["bed1"]) > 0).all()


@pytest.mark.parametrize("fsyncs", [3, 15, 40, 60, 80])
def test_a_daemon_whose_fsync_fails_ends_and_the_next_one_recovers(tmp_path: Path, zygote: Zygote, fsyncs: int) -> None:
    ward = Ward(tmp_path, zygote, Replayed(tmp_path, 2))
    ward.start(fsyncs=fsyncs)
    assert ward.wait() == 1
    ward.start()
    assert ward.wait() == 0
    check(ward, {})


@pytest.mark.parametrize("tail", ["zeros", "half a record", "noise"])
def test_a_torn_last_page_of_the_journal_is_cut_off(tmp_path: Path, zygote: Zygote, tail: str) -> None:
    ward = Ward(tmp_path, zygote, Replayed(tmp_path, 2))
    ward.start("engine.committed:4")
    ward.wait()
    before = ward.values()
    last = sorted((ward.state / "journal").iterdir())[-1]
    frame = last.read_bytes()[16:400]
    more = {"zeros": bytes(4096), "half a record": frame, "noise": random.Random(1).randbytes(4096)}[tail]
    with last.open("ab") as file:
        file.write(more)
    assert {n: x.tolist() for n, x in ward.values().items()} == {n: x.tolist() for n, x in before.items()}
    ward.start()
    assert ward.wait() == 0
    check(ward, {})
