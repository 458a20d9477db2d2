"""Kill daemons over every transport, and cut the power of engines, many times.

``python -m pipelines.faults --kills 200 --cuts 1000`` goes on where it was stopped; every finished part is one JSON line
of ``docs/measured/faults.jsonl`` with commit, machine, seed and counts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.benchmark.summary import provenance
from pipelines.faults.kills import Ward, compare, kill_at_random
from pipelines.faults.power import cut_and_go_on
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
from pipelines.faults.zygote import ROOT, Zygote

Row = dict[str, Any]
MEASURED = ROOT / "docs" / "measured" / "faults.jsonl"
PART = 20
"""Kills of one archive; the next twenty begin a new one."""
TRANSPORTS = ("nats", "mqtt", "kafka", "file", "stdin", "lsl", "mllp", "sim")


@contextmanager
def transport(name: str, folder: Path) -> Iterator[Transport]:
    """Start what a transport needs."""
    sys.path.append(str(ROOT / "tests"))
    import brokers

    if name == "nats":
        with brokers.nats_broker(folder / name) as broker:
            yield Published({"url": f"nats://127.0.0.1:{broker.port}", "ack_wait_s": 1.0}, create=True)
    elif name == "mqtt":
        with brokers.mqtt_broker(folder / name) as broker:
            yield Queued({"url": f"mqtt://127.0.0.1:{broker.port}"})
    elif name == "kafka":
        with brokers.kafka_broker() as address:
            yield Published({"url": f"kafka://{address}/ward", "session_timeout_s": 6.0}, create=True)
    elif name == "mllp":
        yield Confirmed({"url": f"mllp://127.0.0.1:{brokers.free_port()}"})
    elif name == "lsl":
        yield Streamed(f"faults{os.getpid()}-{random.getrandbits(32)}")
    else:
        yield {"file": Replayed, "stdin": Piped}[name](folder) if name != "sim" else Simulated()


def kills(name: str, seed: int, zygote: Zygote) -> Row:
    """Kill :data:`PART` daemons that share an archive."""
    with tempfile.TemporaryDirectory() as folder, transport(name, Path(folder)) as feed:
        began = time.monotonic()
        ward = Ward(Path(folder), zygote, feed)
        with closing(feed):
            killed = kill_at_random(ward, PART, random.Random(seed))
        if name == "sim":
            (Path(folder) / "whole").mkdir()
            compare(ward, Ward(Path(folder) / "whole", zygote, Simulated()))
        n = sum(map(len, ward.values().values()))
        return {"kills": PART, "killed while at work": killed, "samples": n, "s": round(time.monotonic() - began, 1)}


def cuts(seed: int) -> Row:
    """Cut the power of twenty lives, every second one soon after a kill."""
    rng = random.Random(seed)
    began = time.monotonic()
    for i in range(PART):
        with tempfile.TemporaryDirectory() as folder:
            how: Row = {"at": rng.randint(1, 720), "tear": rng.choice(["none", "zeros", rng.randrange(1 << 30)])}
            if i % 2:
                how = {**how, "kill": str(how["at"]), "at": how["at"] + rng.randint(1, 80)}
            try:
                cut_and_go_on(Path(folder), **how)
            except BaseException as error:
                error.add_note(f"cut_and_go_on(..., **{how})")
                raise
    return {"cuts": PART, "s": round(time.monotonic() - began, 1)}


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="of each transport (default: 200)")
    parser.add_argument("--cuts", type=int, default=1000, help="of the power (default: 1000)")
    parser.add_argument("--transports", nargs="*", default=TRANSPORTS, choices=TRANSPORTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, default=MEASURED)
    options = parser.parse_args()
    sys.path.append(str(ROOT / "tests"))
    from lsl_network import private_network

    private_network()
    done = {
        (r["part"], r["_seed"])
        for r in map(json.loads, options.to.read_text().splitlines() if options.to.exists() else ())
    }
    parts: list[tuple[str, int, Callable[[], Row]]] = []
    with tempfile.TemporaryDirectory() as folder, Zygote(Path(folder)) as zygote:
        for i in range(-(-options.kills // PART)):
            seed = options.seed * 1000 + i
            parts += [(n, seed, lambda n=n, seed=seed: kills(n, seed, zygote)) for n in options.transports]
        for i in range(-(-options.cuts // PART)):
            seed = options.seed * 1000 + i
            parts.append(("power", seed, lambda seed=seed: cuts(seed)))
        for name, seed, run in parts:
            if (name, seed) in done:
                continue
            row = {"part": name, **run(), "lost": 0, "doubled": 0, **provenance(seed)}
            with options.to.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
