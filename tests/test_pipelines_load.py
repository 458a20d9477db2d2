"""The load campaigns' sums: quantiles of histograms, rates, and one row a campaign and size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.load.daemon import Seen, quantile
from pipelines.load.summary import MIB, figures, write_row

PAGE = """\
# TYPE sanstream_acknowledge_seconds histogram
sanstream_acknowledge_seconds_bucket{feed="a",le="0.1"} 50.0
sanstream_acknowledge_seconds_bucket{feed="a",le="1.0"} 100.0
sanstream_acknowledge_seconds_bucket{feed="a",le="+Inf"} 100.0
sanstream_acknowledge_seconds_bucket{feed="b",le="0.1"} 0.0
sanstream_acknowledge_seconds_bucket{feed="b",le="1.0"} 98.0
sanstream_acknowledge_seconds_bucket{feed="b",le="+Inf"} 100.0
# TYPE sanstream_samples_total counter
sanstream_samples_total{feed="a",modality="ecg"} 7.0
sanstream_samples_total{feed="b",modality="ecg"} 5.0
"""


def test_a_page_adds_labels_up() -> None:
    seen = Seen(PAGE)
    assert seen.total("samples_total") == 12
    assert seen.greatest("samples_total") == 7
    assert seen.buckets("acknowledge_seconds") == {0.1: 50, 1.0: 198, float("inf"): 200}
    assert seen.total("unknown") == seen.greatest("unknown") == 0


def test_a_quantile_lies_within_its_bucket() -> None:
    buckets = Seen(PAGE).buckets("acknowledge_seconds")
    assert quantile(buckets, 0.25) == pytest.approx(0.1)
    assert quantile(buckets, 0.5) == pytest.approx(0.1 + 0.9 * 50 / 148)
    assert quantile(buckets, 0.999) == 1.0
    assert quantile({}, 0.5) is quantile({1.0: 0.0, float("inf"): 0.0}, 0.5) is None


def point(t: float, samples: float, **more: Any) -> dict[str, Any]:
    values = {"rss": 100 * MIB, "files": 9, "cpu_s": t / 2, "queue_s": 1.0, "age_s": 1.0, "journal": 0, "ledger": 0}
    return {"t": t, "samples": samples, "seen": Seen(PAGE), **values, **more}


def test_rates_count_only_while_samples_come() -> None:
    points = [point(0, 0), *(point(t, 2e6 * t) for t in (10, 20, 30)), point(500, 6e7, rss=300 * MIB)]
    row = figures(points, 60_000_000)
    assert row["M samples/s"] == pytest.approx(2.0)
    assert row["cores used"] == pytest.approx(0.5)
    assert (row["RSS MiB, end"], row["RSS MiB, most"]) == (100, 300)


def test_a_row_takes_the_place_of_an_older_one_of_its_campaign(tmp_path: Path) -> None:
    for streams, value in ((100, 1), (200, 2), (100, 3)):
        write_row({"campaign": "sim", "streams": streams, "x": value}, 7, folder=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "load.jsonl").read_text().splitlines()]
    assert [(r["streams"], r["x"], r["_seed"]) for r in rows] == [(200, 2, 7), (100, 3, 7)]
    assert all({"_commit", "_machine"} <= set(r) for r in rows)
