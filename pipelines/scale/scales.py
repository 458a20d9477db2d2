"""From what a stream-hour costs to a laptop, a hospital and a nation, by arithmetic: what saturates first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pipelines.scale.queue import Ward, simulate

Row = dict[str, Any]
LAPTOP, HOSPITAL, NATION = 20, 10_000, 200_000
"""Streams: twenty ECGs; a bed each; 200 hospitals of a thousand monitored beds."""
SCALES = (("laptop", LAPTOP, "ECG, 2 leads, 250 Hz"), ("hospital", HOSPITAL, "ICU bed, 4 waves, 125 Hz"),
          ("nation", NATION, "ICU bed, 4 waves, 125 Hz"))  # fmt: skip
CORES, USED = 2, 0.7
"""Of one machine, and the share of them that may be used while all is well."""
MESSAGES, DISK_MB, STORE_PUTS = 2000.0, 200.0, 3500.0
"""Of one machine: messages a second (the most that docs/live.md has carried on two cores, broker and publisher beside),
megabytes a second that a disk takes; of one prefix of S3, requests a second that change something."""
PRICE_PUT, PRICE_TB = 5.0, 23.0
"""Dollars: a million PUTs, a terabyte for a month (S3 standard, us-east-1, list prices)."""
MILLION_HOURS = 1e6
_MONTH_H = 730.0


def cost(rows: Sequence[Row], stream: str, what: str, quality: str, effort: str) -> Row:
    """Return the measured row."""
    return next(
        r for r in rows if (r["stream"], r["what"], r["quality"], r["effort"]) == (stream, what, quality, effort)
    )


def scale_rows(rows: Sequence[Row], quality: str = "prdn=5", effort: str = "fast") -> list[Row]:
    """Say what each scale needs, and how many machines each resource alone would ask for."""
    out = []
    for name, streams, kind in SCALES:
        one = cost(rows, kind, "ingest", quality, effort)
        cores = streams * one["CPU s"] / 3600
        state = streams * one["state MB"] / 3600
        puts = streams * one["PUT"] / 3600
        machines = {
            "cores": cores / (CORES * USED),
            "broker": streams / MESSAGES,
            "journal disk": state / DISK_MB,
            "store": puts / STORE_PUTS,
        }
        first = max(machines, key=lambda k: machines[k])
        tb_year = streams * one["store MB"] * 8760 / 1e6
        out.append(
            {
                "scale": name,
                "streams": streams,
                "of": kind,
                "messages/s": streams,
                "cores": cores,
                "journal and ledger MB/s": state,
                "store MB/s": streams * one["store MB"] / 3600,
                "PUT/s": puts,
                "PUT, million a month": streams * one["PUT"] * _MONTH_H / 1e6,
                "PUT, $ a month": streams * one["PUT"] * _MONTH_H / 1e6 * PRICE_PUT,
                "TB put a year": tb_year,
                "machines of 2 cores": math.ceil(machines[first]),
                "saturates first": first,
                **{f"{k}, machines": v for k, v in machines.items()},
            }
        )
    return out


def manifest_rows(adds: tuple[float, float], rows: Sequence[Row]) -> list[Row]:
    """Say what the manifest, put whole at every seal, weighs beside the signal, by how long a recording gets.

    Parameters
    ----------
    adds : (float, float)
        Bytes that a segment, and a shard, add to a manifest.
    rows : sequence of dict
    """
    one = cost(rows, "ICU bed, 4 waves, 125 Hz", "batch archive", "prdn=5", "fast")
    out = []
    for name, days in (("a day", 1), ("a week", 7), ("a month", 30), ("a year", 365)):
        whole = days * (adds[0] + 24 * adds[1])
        mean = whole / 2
        out.append(
            {
                "recording of": name,
                "segments": days,
                "shards": 24 * days,
                "manifest KB at its end": whole / 1e3,
                "manifest KB put a stream-hour": mean / 1e3,
                "signal KB a stream-hour": one["store MB"] * 1e3,
                "hospital, manifests MB/s": HOSPITAL * mean / 3600 / 1e6,
            }
        )
    return out


def archive_rows(rows: Sequence[Row]) -> list[Row]:
    """Say what a million hours cost to make anew, to verify and to keep."""
    out = []
    for kind in dict.fromkeys(r["stream"] for r in rows):
        for quality in ("lossless", "prdn=5"):
            make, read = (cost(rows, kind, w, quality, "default") for w in ("batch archive", "read all, cold"))
            out.append(
                {
                    "a million hours of": kind,
                    "quality": quality,
                    "TB": make["store MB"],
                    "$ a month": make["store MB"] * PRICE_TB,
                    "archive, core-days": make["CPU s"] * MILLION_HOURS / 86_400,
                    "verify deep, core-days": read["CPU s"] * MILLION_HOURS / 86_400,
                    "re-encode, days on 100 cores": (make["CPU s"] + read["CPU s"]) * MILLION_HOURS / 86_400 / 100,
                    "PUT, million": make["PUT"],
                }
            )
    return out


def worker_rows(rows: Sequence[Row]) -> list[Row]:
    """Simulate the hospital over more and fewer workers; one of them dies."""
    service = cost(rows, "ICU bed, 4 waves, 125 Hz", "ingest", "prdn=5", "fast")["CPU s"] / 60
    least = math.ceil(HOSPITAL * service / 60 / CORES)
    out = []
    for workers in sorted({max(2, least), math.ceil(least / 0.8), math.ceil(least / USED), 2 * least}):
        for together in (False, True):
            ward = Ward(HOSPITAL, workers, 60.0, service, together, CORES)
            lags = simulate(ward)
            out.append(
                {
                    "workers of 2 cores": workers,
                    "load": ward.load,
                    "blocks": "all at once" if together else "spread",
                    "lag s, p50": lags.p50,
                    "lag s, p99": lags.p99,
                    "lag s, most": lags.most,
                    "after a death s, most": lags.after_death,
                    "felt for s": lags.recovered_s if math.isfinite(lags.recovered_s) else "for ever",
                }
            )
    return out
