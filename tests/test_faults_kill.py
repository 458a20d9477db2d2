"""kill -9 of real daemons: what was acknowledged is there once and equal, over every transport, at every point."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from brokers import free_port, kafka_broker, mqtt_broker, nats_broker
from lsl_network import need_lsl

from pipelines.faults.forks import Ward, compare, kill_at_point, kill_at_random
from pipelines.faults.transports import (
    Confirmed,
    Piped,
    Published,
    Queued,
    Replayed,
    Simulated,
    Streamed,
    Transport,
    closing,
)
from pipelines.faults.zygote import Zygote
from sanstream.durable import POINTS

N, N_KAFKA = 20, 5
FILES_ONLY = {f"archive.{p}" for p in ("partial_made", "recording_written", "before_rename", "renamed")}
RETRAIN = {"retrain.trained", "retrain.adopted"}
SHARED = {"seal.places", "seal.descriptor"}


def survives(folder: Path, zygote: Zygote, transport: Transport, n: int = N) -> Ward:
    ward = Ward(folder, zygote, transport)
    with closing(transport):
        assert kill_at_random(ward, n, random.Random(transport.table["url"][:4])) > n // 4
    return ward


@pytest.mark.parametrize("point", sorted(set(POINTS) - FILES_ONLY - RETRAIN - SHARED))
def test_a_daemon_killed_at_a_named_point_loses_and_doubles_nothing(tmp_path: Path, zygote: Zygote, point: str) -> None:
    kill_at_point(Ward(tmp_path, zygote, Replayed(tmp_path, 2)), point)


def test_nats(tmp_path: Path, zygote: Zygote) -> None:
    with nats_broker(tmp_path / "nats") as broker:
        table = {"url": f"nats://127.0.0.1:{broker.port}", "ack_wait_s": 1.0}
        survives(tmp_path, zygote, Published(table, create=True))


def test_mqtt(tmp_path: Path, zygote: Zygote) -> None:
    with mqtt_broker(tmp_path / "mqtt") as broker:
        survives(tmp_path, zygote, Queued({"url": f"mqtt://127.0.0.1:{broker.port}"}))


def test_kafka(tmp_path: Path, zygote: Zygote) -> None:
    with kafka_broker() as address:
        table = {"url": f"kafka://{address}/ward", "session_timeout_s": 6.0}
        survives(tmp_path, zygote, Published(table, create=True), N_KAFKA)


def test_mllp(tmp_path: Path, zygote: Zygote) -> None:
    survives(tmp_path, zygote, Confirmed({"url": f"mllp://127.0.0.1:{free_port()}"}))


def test_lsl(tmp_path: Path, zygote: Zygote) -> None:
    need_lsl()
    survives(tmp_path, zygote, Streamed(f"ward{os.getpid()}"))


def test_stdin(tmp_path: Path, zygote: Zygote) -> None:
    survives(tmp_path, zygote, Piped(tmp_path))


def test_a_file(tmp_path: Path, zygote: Zygote) -> None:
    survives(tmp_path, zygote, Replayed(tmp_path))


def test_the_generator(tmp_path: Path, zygote: Zygote) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    compare(survives(tmp_path, zygote, Simulated()), Ward(whole, zygote, Simulated()))
