"""Real daemons that share a broker and an archive, killed at random: the union holds each sample once."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from brokers import kafka_broker, program, wait_for
from feed_cases import recording

import sanstream
from pipelines.workers.campaign import Plan, run
from sanstream.archive import verify
from sanstream.publish import PublishOptions, publish

SECONDS = 20
SOURCE = recording(seconds=SECONDS)


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the environment back, which the campaign changes for its store."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


@pytest.mark.usefixtures("restored")
def test_three_daemons_over_nats_and_a_store_under_kills(tmp_path: Path) -> None:
    program("nats-server")
    if importlib.util.find_spec("moto") is None:
        pytest.skip("moto is not installed")
    row, wrong = run(Plan(streams=6, workers=3, seconds=10, every_s=2.0, store="s3", seed=3), tmp_path / "run")
    assert wrong == []
    assert row["samples"] == 6 * 10 * 250
    assert row["kills"] + row["pauses"] + row["stops"] >= 3


def test_two_daemons_of_a_kafka_group_of_which_one_dies(tmp_path: Path) -> None:
    with kafka_broker() as address:
        url = f"kafka://{address}/ward"
        publish(SOURCE, PublishOptions(url), speed=0, streams=8, name="early")
        processes = [_daemon(tmp_path, n, url) for n in range(2)]
        try:
            wait_for(lambda: all(_partitions(tmp_path, n) for n in range(2)), "both to have partitions", 60)
            publish(SOURCE, PublishOptions(url), speed=0, streams=8, name="late")
            os.kill(processes[0].pid, signal.SIGKILL)
            processes[0].wait(30)
            publish(SOURCE, PublishOptions(url), speed=0, streams=8, name="last")
            wait_for(lambda: _partitions(tmp_path, 1) == 4, "the other to have all", 60)
            publish(SOURCE, PublishOptions(url), speed=0, streams=8, name="after")
            wait_for(lambda: _has(tmp_path, 1, "after"), "it to take them", 60)
        finally:
            for process in processes[1:]:
                process.send_signal(signal.SIGTERM)
                assert process.wait(120) == 0
    recover = [sys.executable, "-m", "sanstream", "recover", str(tmp_path / "0.state"), "--to", str(tmp_path / "live")]
    for _ in range(2):  # what is done already is not done again
        assert subprocess.run(recover, check=False, capture_output=True).returncode == 0
    assert verify(tmp_path / "live", deep=True) == []
    sent = np.concatenate([s.samples for s in SOURCE.streams[0].segments])
    with sanstream.open(tmp_path / "live") as archive:
        assert Counter(name.partition("-")[0] for name in archive.recordings) == dict.fromkeys(
            ("early", "late", "last", "after"), 8
        )
        for name, found in archive.recordings.items():
            x = found.streams["100hz"].read()
            assert np.array_equal(x[(x != -32768).any(axis=1)], sent), name


def _daemon(folder: Path, number: int, url: str) -> subprocess.Popen[bytes]:
    config = folder / f"{number}.toml"
    config.write_text(
        f'[archive]\nurl = "{folder / "live"}"\nstate_dir = "{folder / f"{number}.state"}"\nshared = true\n'
        f'effort = "fast"\n[retrain]\nmode = "off"\n[http]\nlisten = "127.0.0.1:0"\n'
        f'[[feed]]\nname = "ward"\nurl = "{url}"\nsession_timeout_s = 6.0\n'
    )
    with (folder / f"{number}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "sanstream", "ingest", "--config", str(config)], stdout=log, stderr=log
        )


def _status(folder: Path, number: int) -> dict[str, list[dict[str, object]]]:
    try:
        return json.loads((folder / f"{number}.state" / "status.json").read_text())  # type: ignore[no-any-return]
    except (OSError, ValueError):
        return {"feeds": [], "streams": []}


def _partitions(folder: Path, number: int) -> object:
    feeds = _status(folder, number)["feeds"]
    return feeds[0].get("partitions") if feeds else None


def _has(folder: Path, number: int, head: str) -> bool:
    streams = _status(folder, number)["streams"]
    return sum(str(s["recording"]).startswith(head) and s["n_samples"] == SECONDS * 100 for s in streams) == 8
