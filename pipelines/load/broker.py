"""From a publisher through nats-server with JetStream into the daemon, with ever more streams."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import sanstream
from pipelines.load import daemon
from pipelines.load.summary import Row, figures, keep_points
from sanstream.formats import read, write
from sanstream.simulate import simulate_ecg

RATE_HZ, LEADS = 250, 2
BOUNDED_S = 10.0
"""Seconds of signal that may wait anywhere, and by which publisher and daemon may end late."""
_STALLED_S = 60.0
COMPARED = 20


def run(levels: Sequence[int], seconds: int, seed: int, work: Path) -> tuple[Row, list[str]]:
    """Try numbers of streams, smallest first, until one is too many.

    Parameters
    ----------
    levels : sequence of int
    seconds : int
        Of signal, in real time.
    seed : int
    work : Path
        Levels that are done already are not run again.

    Returns
    -------
    row : dict
        Of the largest number that was carried; of the first where none was.
    wrong : list of str
        What is not as sent, at any level.
    """
    best: Row = {}
    wrong: list[str] = []
    for streams in levels:
        folder = work / f"nats-{streams}x{seconds}-{seed}"
        done = folder / "run.json"
        if not done.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            done.write_text(json.dumps(measure(streams, seconds, seed, folder)), encoding="utf-8")
        row = json.loads(done.read_text("utf-8"))
        print(f"{streams} streams: {row['carried']}", file=sys.stderr)
        wrong += [f"{streams} streams: {line}" for line in row.pop("wrong")]
        if not best or row["carried"]:
            best = row
        if not row["carried"]:
            break
    return {k: v for k, v in best.items() if k != "carried"}, wrong


def measure(streams: int, seconds: int, seed: int, folder: Path) -> Row:
    """Publish in real time, archive, and compare."""
    source = folder / "source"
    made = simulate_ecg(float(seconds), rate_hz=RATE_HZ, n_leads=LEADS, seed=seed)
    write(replace(made, name="bed", annotations=()), source, format="wfdb")
    port = _free_port()
    expected = streams * seconds * RATE_HZ * LEADS
    server = daemon.start(
        [_program("nats-server"), "-js", "-sd", folder / "broker", "-a", "127.0.0.1", "-p", str(port)],
        folder / "broker.log",
    )
    processes = [server]
    try:
        url = f"nats://127.0.0.1:{port}"
        archiving = daemon.ingest(folder, f"{url}?create=true")
        processes.append(archiving)
        _wait(lambda: _connected(folder / "state"), archiving)
        began = time.monotonic()
        publishing = daemon.start(
            [sys.executable, "-m", "sanstream", "publish", source / "bed", "--to", url, "--create",
             "--streams", str(streams)],
            folder / "publisher.log",
        )  # fmt: skip
        processes.append(publishing)
        points, published_s, taken_s = _watch(archiving, publishing, folder / "state", expected, began)
    finally:
        for process in reversed(processes):
            if process.poll() is None:
                process.kill()
                process.wait()
    keep_points(points, folder / "points.jsonl")
    if archiving.returncode != 0 or publishing.returncode != 0:
        raise SystemExit(f"daemon {archiving.returncode}, publisher {publishing.returncode}; see the logs in {folder}")
    row: Row = {"campaign": "nats", "streams": streams, "leads": LEADS, "rate Hz": RATE_HZ, "signal s": seconds}
    row |= figures(points, expected)
    late = max(published_s - seconds, taken_s - seconds)
    row["carried"] = late < BOUNDED_S and row["queue s, most"] < BOUNDED_S
    row["wrong"] = wrong = compare(streams, folder, seed)
    row["counts"] = "exact" if not wrong else f"{len(wrong)} wrong"
    row["streams compared"] = min(COMPARED, streams)
    for name in ("live.san", "state", "broker"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return row


def _watch(
    archiving: subprocess.Popen[bytes], publishing: subprocess.Popen[bytes], state: Path, expected: int, began: float
) -> tuple[list[dict[str, Any]], float, float]:
    """Watch the daemon until it has everything, then let it drain; returns when the publisher ended and all was taken.

    Both in seconds from the publisher's start.
    """
    points: list[dict[str, Any]] = []
    published = taken = moved = 0.0
    for point in daemon.watch(archiving, state, 1.0):
        now = time.monotonic() - began
        if not points or point["samples"] > points[-1]["samples"]:
            moved = now
        points.append(point)
        if not published and publishing.poll() is not None:
            published = now
        if not taken and (point["samples"] >= expected or (published and now - moved > _STALLED_S)):
            taken = now
        if taken and published:
            archiving.send_signal(signal.SIGTERM)
            archiving.wait(600)
    return points, published, taken


def compare(streams: int, folder: Path, seed: int) -> list[str]:
    """Count every copy's samples, and compare some with the recording."""
    sent = read(folder / "source" / "bed").streams[0].segments[0].samples
    names = [f"bed-{i + 1:04d}" for i in range(streams)] if streams > 1 else ["bed"]
    chosen = set(random.Random(seed).sample(names, min(COMPARED, streams)))
    wrong = []
    with sanstream.open(folder / "live.san") as archive:
        for name in names:
            found = archive.recordings.get(name)
            segments = [e for s in found.streams.values() for e in s.entry.segments] if found is not None else []
            held = sum(e.n_samples for e in segments)
            if found is None or held != len(sent):
                wrong.append(f"{name}: {held} samples, sent were {len(sent)}")
            elif name in chosen:
                (stream,) = found.streams.values()
                first = segments[0].start_sample
                if not np.array_equal(stream.read(first, first + len(sent)), sent):
                    wrong.append(f"{name}: other samples than were sent")
    return wrong


def _connected(state: Path) -> bool:
    seen = daemon.scrape(state)
    return seen is not None and seen.greatest("connected") == 1


def _wait(ready: Any, process: subprocess.Popen[bytes], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit("the daemon did not connect to the broker; see daemon.log in the work folder")
        time.sleep(0.2)


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise SystemExit(f"{name} is not installed: apt-get install {name}")
    return found


def _free_port() -> int:
    with socket.socket() as made, suppress(OSError):
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])
    raise SystemExit("no free port on 127.0.0.1")
