"""Metrics: base units, bounded labels, clean for promtool, read by a real Prometheus."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from servers import free_port, program, wait_for

from sanstream.config import ArchiveSettings, HttpSettings, Settings
from sanstream.daemon.http import Server
from sanstream.telemetry import MAX_FEEDS, PREFIX, WORDS, BoundedCounter, BoundedHistogram, Telemetry, metrics
from sanstream.telemetry_reference import metrics_reference

NAMES = """samples windows received_bytes raw_bytes stored_bytes blocks fallback_windows gaps gap_samples duplicates
conflicts late_samples poison dropped_messages events segments seals drift_alarms retrainings
retention_deleted_segments queue_messages queue_seconds lag_seconds connected partitions build_info ready streams
silent_streams changed_streams journal_bytes journal_limit_bytes ledger_bytes held_messages
disk_free_bytes disk_size_bytes disk_full ratio prdn phi acknowledge_seconds journal_to_commit_seconds step_seconds
encode_seconds seal_seconds""".split()


def touched() -> Telemetry:
    """Return metrics of which every one has been used once."""
    telemetry = Telemetry()
    for name, metric in metrics().items():
        one = getattr(telemetry, name)
        if metric.labels:
            one = one.labels(*("icu-a" if label == "feed" else min(WORDS[label]) for label in metric.labels))
        one.observe(3) if metric.kind is BoundedHistogram else one.inc(3)
    return telemetry


def test_the_list_is_what_the_engine_counts_on() -> None:
    assert sorted(metrics()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_is_named_by_its_base_unit_and_described(name: str) -> None:
    metric = metrics()[name]
    assert metric.text.endswith(".")
    assert set(metric.labels) <= {"feed", *WORDS}
    assert not re.search(r"milli|micro|_ms|_us|kilo|mib|gib|percent|minutes|hours", name)
    assert f"`{PREFIX}{name}{'_total' if metric.kind is BoundedCounter else ''}`" in metrics_reference()


def test_no_input_makes_series_without_end() -> None:
    telemetry = Telemetry()
    for number in range(1000):
        telemetry.gaps.labels(f"feed{number}", f"cause{number}").inc()
        telemetry.windows.labels(modality=f"patient {number}", bank=f"hash{number}").inc()
        telemetry.prdn.labels(f"m{number}").observe(5)
    text = generate_latest(telemetry.registry).decode()
    assert text.count("sanstream_gaps_total{") == MAX_FEEDS + 1
    assert 'sanstream_windows_total{bank="other",modality="other"} 1000.0' in text
    assert 'sanstream_prdn_count{modality="other"} 1000.0' in text
    assert "patient" not in text


def test_a_label_that_is_missing_or_unknown_is_a_defect() -> None:
    telemetry = Telemetry()
    with pytest.raises(ValueError):
        telemetry.gaps.labels("icu-a")
    with pytest.raises(ValueError):
        telemetry.gaps.labels(feed="icu-a", stream="bed-7")


def test_two_daemons_in_one_process_do_not_share_a_count() -> None:
    first, second = Telemetry(), Telemetry()
    first.seals.inc()
    assert "sanstream_seals_total 0.0" in generate_latest(second.registry).decode()


def test_promtool_finds_nothing_to_say() -> None:
    text = generate_latest(touched().registry)
    done = subprocess.run([program("promtool"), "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


class Quiet:
    """An engine at rest."""

    def status(self) -> dict[str, object]:
        return {}

    def causes(self) -> list[str]:
        return []

    def stuck(self) -> bool:
        return False


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    """A Prometheus that scrapes a daemon of one token, and its address."""
    binary, port = program("prometheus"), free_port()
    settings = Settings(ArchiveSettings(str(tmp_path / "a"), tmp_path), http=HttpSettings(listen="127.0.0.1:0"))
    server = Server(settings, Quiet(), touched())
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
        f"scrape_configs: [{{job_name: ward7, static_configs: [{{targets: ['{server.url.partition('//')[2]}']}}]}}]\n"
    )
    command = [
        binary,
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        server.stop()


def asked(address: str, query: str) -> list[dict[str, object]]:
    url = f"{address}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return list(json.load(answer)["data"]["result"])
    except OSError:
        return []


def test_a_real_prometheus_reads_every_metric(prometheus: str) -> None:
    found = wait_for(lambda: asked(prometheus, "sanstream_gap_samples_total"))
    (row,) = found
    assert row["metric"] == {
        "__name__": "sanstream_gap_samples_total",
        "feed": "icu-a",
        "cause": min(WORDS["cause"]),
        "instance": row["metric"]["instance"],  # type: ignore[index]
        "job": "ward7",
    }
    assert row["value"][1] == "3"  # type: ignore[index]
    names = {r["metric"]["__name__"] for r in asked(prometheus, '{job="ward7"}')}  # type: ignore[index]
    lacking = [n for n, m in metrics().items() if not names & {f"{PREFIX}{n}{e}" for e in ("", "_total", "_count")}]
    assert lacking == []
    assert asked(prometheus, "up == 1")
    assert asked(prometheus, 'histogram_quantile(0.5, sanstream_prdn_bucket{modality="ecg"})')
