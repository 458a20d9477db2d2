"""A recording that is looked at, and what the page asks about it."""

from __future__ import annotations

import json
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from asgi import Client
from conftest import beats

from sanstream.archive import ArchiveWriter
from sanstream.signal import Annotations, Channel, Recording, Segment, Stream

RATE, SECONDS = 250, 420
GAP = (200 * RATE, 260 * RATE)
TOKEN = "the-token"


def make(name: str = "bed") -> Recording:
    """Two leads, a hole of a minute that is no segment's, missing samples, and two events."""
    x = beats(SECONDS * RATE, 2, rate_hz=RATE, seed=1).astype(np.int32)
    x[100 * RATE : 101 * RATE, 0] = -32768
    own = tuple(Channel(k, "mV", 200.0, 0, -2048, 2047, missing=-32768) for k in ("I", "II"))
    parts = (Segment(0, own, x[: GAP[0]]), Segment(GAP[1], own, x[GAP[1] :]))
    events = Annotations("atr", {"time_ns": np.array([10**9, 300 * 10**9]), "symbol": np.array(["N", "V"])})
    return Recording(name, (Stream("250hz", Fraction(RATE), parts),), 1_700_000_000 * 10**9, "utc", (events,))


def archived(path: Path) -> Path:
    """Write an archive of two such recordings; returns its path."""
    with ArchiveWriter(path) as writer:
        writer.add(make(), ["prdn=5"])
        writer.add(make("bed2"), ["prdn=5"], effort="fast")
        writer.commit()
    return path


def ask(client: Client, what: str, **questions: Any) -> Any:
    answer = client.get(f"/api/{what}", params={"recording": "bed", "stream": "250hz", **questions})
    assert answer.status_code == 200, answer.text
    return answer.json()


def drawn(client: Client, **questions: Any) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Ask until all is drawn; returns head, low and high."""
    for _ in range(1000):
        answer = client.get("/api/samples", params={"recording": "bed", "stream": "250hz", **questions})
        assert answer.status_code == 200, answer.text
        (size,) = struct.unpack_from("<I", answer.content)
        head = json.loads(answer.content[4 : 4 + size])
        if head["complete"]:
            break
    n_parts = 1 if head["step"] == 1 else 2
    parts = np.frombuffer(answer.content, "<f4", offset=4 + size).reshape(n_parts, len(head["channels"]), head["n"])
    return head, parts[0], parts[-1]


def all_figures(client: Client, **questions: Any) -> Any:
    for _ in range(500):
        found = ask(client, "figures", **questions)
        if found["complete"]:
            return found
    raise AssertionError("never complete")
