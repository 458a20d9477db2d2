"""A daemon in a process of its own, and what is seen of it from outside: metrics, memory, files, processor."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Buckets = dict[float, float]
"""Upper bound to the number of observations up to it."""
CORES = 2
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Seen:
    """One page of ``/metrics``.

    Parameters
    ----------
    text : str
    """

    def __init__(self, text: str) -> None:
        self._samples = [s for family in text_string_to_metric_families(text) for s in family.samples]

    def total(self, name: str) -> float:
        """Add up a metric over its labels; 0 where there is none."""
        return sum(s.value for s in self._samples if s.name == f"sanstream_{name}")

    def greatest(self, name: str) -> float:
        """Return the greatest value over labels; 0 where there is none."""
        return max((s.value for s in self._samples if s.name == f"sanstream_{name}"), default=0.0)

    def buckets(self, name: str) -> Buckets:
        """Return a histogram's counts, labels added up."""
        out: Buckets = {}
        for s in self._samples:
            if s.name == f"sanstream_{name}_bucket":
                bound = float(s.labels["le"])
                out[bound] = out.get(bound, 0.0) + s.value
        return out


def quantile(buckets: Buckets, share: float) -> float | None:
    """Estimate a quantile from a histogram, linear within a bucket (as Prometheus does); None when it is empty."""
    bounds = sorted(buckets)
    if not bounds or not buckets[bounds[-1]]:
        return None
    wanted, low, before = share * buckets[bounds[-1]], 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= wanted:
            if bound == float("inf"):
                return low
            inside = buckets[bound] - before
            return low + (bound - low) * ((wanted - before) / inside if inside else 1.0)
        low, before = bound, buckets[bound]
    return low


def cores() -> set[int]:
    """Return the two cores that a campaign runs on."""
    return set(sorted(os.sched_getaffinity(0))[:CORES])


def start(command: Sequence[str | Path], log: Path) -> subprocess.Popen[bytes]:
    """Start a program on the campaign's cores, its output in a file."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores())  # a child inherits it
    try:
        with log.open("ab") as out:
            return subprocess.Popen([str(part) for part in command], stdout=out, stderr=out, env=environment)
    finally:
        os.sched_setaffinity(0, mine)


def ingest(folder: Path, url: str, *options: str) -> subprocess.Popen[bytes]:
    """Start ``sanstream ingest`` at effort fast, without retraining, into ``folder``/live.san."""
    config = folder / "ingest.toml"
    config.write_text(
        f"[archive]\nurl = {json.dumps(str(folder / 'live.san'))}\nstate_dir = {json.dumps(str(folder / 'state'))}\n"
        f'effort = "fast"\n[retrain]\nmode = "off"\n[http]\nlisten = "127.0.0.1:0"\n'
        f'[[feed]]\nname = "load"\nurl = {json.dumps(url)}\n' + "".join(f"{line}\n" for line in options)
    )
    return start([sys.executable, "-m", "sanstream", "ingest", "--config", config], folder / "daemon.log")


def scrape(state: Path) -> Seen | None:
    """Read ``/metrics`` of the daemon of a state folder; None while it does not answer."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        url = json.loads((state / "http.json").read_text())["url"]
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            return Seen(answer.read().decode())
    return None


def process_figures(pid: int) -> dict[str, float]:
    """Return a process's memory in bytes, open files and processor seconds."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return {
        "rss": int(resident.split()[1]) * 1024,
        "files": len(os.listdir(f"/proc/{pid}/fd")),
        "cpu_s": (int(times[11]) + int(times[12])) / _TICKS,
    }


def watch(process: subprocess.Popen[bytes], state: Path, every_s: float = 2.0) -> Iterator[dict[str, Any]]:
    """Look at a daemon until it ends.

    Yields
    ------
    dict
        Time, process figures and what ``/metrics`` says; ``"seen"`` holds the whole page.
    """
    began = time.monotonic()
    while process.poll() is None:
        seen = scrape(state)
        if seen is not None:
            with contextlib.suppress(OSError, StopIteration):
                yield {
                    "t": time.monotonic() - began,
                    **process_figures(process.pid),
                    "samples": seen.total("samples_total"),
                    "queue_s": seen.greatest("queue_seconds"),
                    "age_s": seen.greatest("lag_seconds"),
                    "journal": seen.total("journal_bytes"),
                    "ledger": seen.total("ledger_bytes"),
                    "seen": seen,
                }
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(every_s)
