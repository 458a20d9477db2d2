"""The dashboard: every query of every panel is answered by a Prometheus that scrapes a daemon at work."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers import free_port, program, wait_for

from sanstream.telemetry import PREFIX, BoundedCounter, BoundedHistogram, metrics

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "sanstream.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*", "$feed": ".*"}
ELSEWHERE = {"sanstream_partitions"}
"""Series that only some daemons have: here, those that share a feed."""


def filled(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query, query
    return query


def asked(address: str, path: str, **parameters: str) -> Any:
    url = f"{address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        if error.code == 503:  # it is starting
            raise
        raise AssertionError(f"{parameters}: {error.read().decode()}") from None


def results(address: str, query: str) -> list[Any]:
    try:
        return list(asked(address, "query", query=query)["result"])
    except OSError:
        return []


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a Prometheus with the rules of deploy/, which scrapes a daemon that has stored blocks."""
    folder, binary, port, own = tmp_path_factory.mktemp("watched"), program("prometheus"), free_port(), free_port()
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"}
    config["rule_files"] = [str(DEPLOY / "prometheus" / "alerts.yml")]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    daemon = [sys.executable, "-m", "sanstream", "ingest", "sim://mixed?streams=2&speed=60", "--to", folder / "live"]
    daemon += ["--quality", "prdn=5", "--effort", "fast", "--listen", f"127.0.0.1:{port}"]
    prometheus = [binary, "--config.file=prometheus.yml", f"--storage.tsdb.path={folder / 'tsdb'}"]
    prometheus += [f"--web.listen-address=127.0.0.1:{own}"]
    with (folder / "log").open("wb") as log:
        started = [
            subprocess.Popen(c, cwd=folder, stdout=log, stderr=log, env=os.environ) for c in (daemon, prometheus)
        ]
    address = f"http://127.0.0.1:{own}"
    try:
        wait_for(lambda: len(results(address, "rate(sanstream_phi_count[1m]) > 0")) == 2, seconds=120)
        yield address
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(60)


def test_every_query_of_every_panel_gives_data(watched: str) -> None:
    empty = [
        (title, query)
        for title, query in QUERIES
        if not results(watched, filled(query)) and not any(name in query for name in ELSEWHERE)
    ]
    assert empty == []


def test_variables_and_annotations_are_answered(watched: str) -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] != "query":
            continue
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert found
        assert asked(watched, f"label/{found[2]}/values", **{"match[]": filled(found[1])}), variable["name"]
    for annotation in DASHBOARD["annotations"]["list"]:
        asked(watched, "query", query=filled(annotation["expr"]))


def test_a_real_prometheus_evaluates_every_alert_rule(watched: str) -> None:
    rules = wait_for(lambda: [r for g in asked(watched, "rules")["groups"] for r in g["rules"] if r["health"] == "ok"])
    assert all(not rule.get("lastError") for rule in rules)
    names = set(re.findall(r"alert: (\w+)", (DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8")))
    wait_for(
        lambda: (
            {r["name"] for g in asked(watched, "rules")["groups"] for r in g["rules"] if r["health"] == "ok"} == names
        )
    )
    assert not results(watched, 'ALERTS{alertstate="firing"}')


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(p["x"] >= 0 and p["x"] + p["w"] <= 24 for p in places)
    for a, b in itertools.combinations(places, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"] or a["y"] + a["h"] <= b["y"]
        assert apart or b["y"] + b["h"] <= a["y"], (a, b)


@pytest.mark.parametrize("panel", PANELS, ids=lambda p: f"{p['id']} {p['title']}")
def test_a_panel_says_what_it_shows_in_which_unit_and_asks_the_chosen_datasource(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert {t["datasource"]["uid"] for t in panel["targets"]} == {panel["datasource"]["uid"]} == {"${datasource}"}
    refs = [t["refId"] for t in panel["targets"]]
    assert len(set(refs)) == len(refs)


@pytest.mark.parametrize(
    "name", ["prometheus/alerts.yml", "prometheus/alerts_test.yml", "grafana/dashboards/sanstream.json"]
)
def test_every_metric_that_is_asked_for_is_one_of_the_daemons(name: str) -> None:
    known = {"sanstream_build_info"}
    for metric, about in metrics().items():
        ends = ("_total",) if about.kind is BoundedCounter else ("",)
        ends = ("_bucket", "_count", "_sum") if about.kind is BoundedHistogram else ends
        known |= {f"{PREFIX}{metric}{end}" for end in ends}
    found = set(re.findall(r"sanstream_[a-z_]+", (DEPLOY / name).read_text(encoding="utf-8")))
    assert found
    assert sorted(found - known) == []
