"""Publish in real time, disturb the daemons meanwhile, let them finish, and compare the union with what was sent."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
import nats.errors
import nats.js.errors

from pipelines.faults import servers
from pipelines.workers.fleet import LEASE_S, PARTITIONS, Fleet, fresh
from pipelines.workers.signals import Sent, compare
from sanstream.archive import verify
from sanstream.chunk import Chunk
from sanstream.publish import PublishOptions
from sanstream.publish_nats import NatsPublisher

Row = dict[str, Any]
MAPPING = """
mappings = { "sanstream.*.*": "sanstream.{{partition(%d,1)}}.{{wildcard(1)}}.{{wildcard(2)}}" }
"""
_PATIENCE_S = 180.0


@dataclass(frozen=True)
class Plan:
    """One run.

    Parameters
    ----------
    streams, workers : int
    seconds : int
        Of signal, in real time.
    every_s : float
        Mean pause between two disturbances.
    store : str
        ``"folder"`` or ``"s3"`` (moto).
    seed : int
    """

    streams: int
    workers: int
    seconds: int
    every_s: float
    store: str
    seed: int


def run(plan: Plan, work: Path) -> tuple[Row, list[str]]:
    """Run one plan in a folder; returns its row, and what is wrong."""
    folder = fresh(work)
    with servers.nats(folder / "broker", MAPPING % PARTITIONS) as address, _store(plan.store, folder) as url:
        feed = (
            f'[[feed]]\nname = "ward"\nurl = "nats://{address}"\nstreams = "sanstream.{{partition}}.>"\n'
            f"partitions = {PARTITIONS}\nlease_s = {LEASE_S}\ncreate = true\n"
        )
        fleet = Fleet(folder, url, feed, plan.seed)
        try:
            began = time.monotonic()
            streams = _disturbed(plan, fleet, f"nats://{address}")
            _wait(lambda: _tended(fleet) and _left(address) == 0, "the daemons to take everything")
            took_s = time.monotonic() - began
            fleet.finish()
        finally:
            fleet.kill()
        wrong = [f"verify: {problem}" for problem in verify(url, deep=True)]
        found = compare(url, streams)
    row: Row = {
        "archive": plan.store, "workers": plan.workers, "partitions": PARTITIONS, "streams": plan.streams,
        "signal s": plan.seconds, "taken after s": round(took_s - plan.seconds, 1),
        **{name: fleet.counts[name] for name in ("kills", "pauses", "stops", "recoveries")},
        "samples": found.samples, "segments": found.segments, "stored twice": found.twice,
    }  # fmt: skip
    wrong += found.wrong + fleet.problems
    row["each sample once"] = "yes" if not wrong else f"{len(wrong)} wrong"
    return row, wrong


def _disturbed(plan: Plan, fleet: Fleet, url: str) -> list[Sent]:
    """Publish, and disturb the daemons until all is published."""
    fleet.begin(plan.workers)
    chance = random.Random(plan.seed)
    publisher = NatsPublisher(PublishOptions(url, create=True))
    publisher.open()
    first_s = plan.seconds // 2
    start = time.time_ns()
    streams = [
        Sent(f"bed-{n:03d}", n, start, first_s, plan.seconds - first_s, chance.uniform(1.5, 4.0))
        for n in range(plan.streams)
    ]
    failure: list[BaseException] = []
    thread = threading.Thread(target=_publish, args=(publisher, streams, plan.seconds, failure), daemon=True)
    thread.start()
    due = time.monotonic() + plan.every_s
    while thread.is_alive():
        thread.join(0.1)
        fleet.tend()
        if time.monotonic() >= due:
            due = time.monotonic() + chance.uniform(0.3, 1.7) * plan.every_s
            fleet.disturb()
    publisher.close()
    if failure:
        raise failure[0]
    return streams


def _publish(publisher: NatsPublisher, streams: list[Sent], seconds: int, failure: list[BaseException]) -> None:
    try:
        began = time.monotonic()
        for at in range(seconds):
            time.sleep(max(0.0, began + at + 1 - time.monotonic()))
            for stream in streams:
                for item in stream.second(at):
                    (publisher.send_chunk if isinstance(item, Chunk) else publisher.send_event)(item)  # type: ignore[arg-type]
        publisher.flush()
    except BaseException as error:
        failure.append(error)


def _tended(fleet: Fleet) -> bool:
    fleet.tend()
    return True


def _left(address: str) -> int:
    """Return how many messages the consumers have not acknowledged."""

    async def ask() -> int:
        nc = await nats.connect(f"nats://{address}")
        try:
            js, n = nc.jetstream(), 0
            for partition in range(PARTITIONS):
                try:
                    info = await js.consumer_info("sanstream", f"sanstream-ward-{partition}")
                except nats.js.errors.NotFoundError:
                    return 1 << 30
                n += info.num_pending + info.num_ack_pending
            return n
        finally:
            await nc.close()

    try:
        return asyncio.run(ask())
    except (nats.errors.Error, OSError):
        return 1 << 30


def _wait(ready: Any, what: str) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not ready():
        if time.monotonic() > until:
            raise SystemExit(f"waited {_PATIENCE_S:g} s in vain for {what}; see the logs in the work folder")
        time.sleep(0.3)


@contextmanager
def _store(kind: str, folder: Path) -> Iterator[str]:
    """Give the archive's address: a folder, or a bucket of a server of its own."""
    if kind == "folder":
        yield str(folder / "live.san")
        return
    port = servers.free_port()
    with (folder / "s3.log").open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
    try:
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip
        _wait(lambda: _made_bucket(port), "the S3 server")
        yield "s3://ward/live"
    finally:
        server.kill()
        server.wait()


def _made_bucket(port: int) -> bool:
    import http.client

    who = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"}
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("PUT", "/ward", headers=who)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


SHORT = Plan(streams=12, workers=3, seconds=20, every_s=4.0, store="folder", seed=1)
"""The form of continuous integration."""
