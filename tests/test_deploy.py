"""What deploy/ ships is what the tools and the daemon itself accept: units, rules, images, manifests, settings."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from servers import program

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted(p.name for p in (DEPLOY / "systemd").glob("*.*") if p.suffix in (".service", ".timer"))
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")


def ran(*command: str | Path, cwd: Path = DEPLOY) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


# --- systemd


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """Copy the units, with a program that is there in place of the installed one."""
    for name in UNITS:
        text = (DEPLOY / "systemd" / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(re.sub(r"/usr/local/lib/sanstream/bin/\w+", "/bin/true", text), encoding="utf-8")
    return tmp_path


def test_systemd_finds_nothing_to_say_of_the_units(units: Path) -> None:
    assert len(UNITS) == 5
    assert ran(program("systemd-analyze"), "verify", *(f"./{name}" for name in UNITS), cwd=units) == ""


@pytest.mark.parametrize("name", [name for name in UNITS if name.endswith(".service")])
def test_a_service_is_exposed_no_more_than_its_work_asks_for(units: Path, name: str) -> None:
    # of 10; what is left: the network, compiling at run time, and being niced
    ran(program("systemd-analyze"), "security", "--offline=yes", "--threshold=15", f"./{name}", cwd=units)


def test_the_daemons_service_lets_it_compile_wait_and_drain() -> None:
    lines = (DEPLOY / "systemd" / "sanstream.service").read_text(encoding="utf-8").splitlines()
    given = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    assert "MemoryDenyWriteExecute" not in given
    assert given["Type"] == "notify"
    assert given["TimeoutStartSec"] == "infinity"
    assert int(given["TimeoutStopSec"]) >= 600
    assert int(given["WatchdogSec"]) >= 120
    assert given["StateDirectoryMode"] == "0700"
    assert "NUMBA_CACHE_DIR=/var/cache/" + given["CacheDirectory"] in given["Environment"]


# --- Prometheus


@pytest.mark.parametrize("name", ["prometheus/prometheus.yml", "compose/prometheus.yml"])
def test_promtool_finds_nothing_to_say_of_a_configuration(tmp_path: Path, name: str) -> None:
    (tmp_path / "alerts.yml").write_bytes((DEPLOY / "prometheus" / "alerts.yml").read_bytes())
    (tmp_path / "prometheus.yml").write_bytes((DEPLOY / name).read_bytes())
    assert "21 rules found" in ran(program("promtool"), "check", "config", tmp_path / "prometheus.yml")


def test_each_alert_fires_and_stays_quiet_as_it_should() -> None:
    ran(program("promtool"), "test", "rules", "alerts_test.yml", cwd=DEPLOY / "prometheus")


def alerts() -> list[dict[str, object]]:
    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


@pytest.mark.parametrize("rule", alerts(), ids=lambda r: r["alert"])
def test_an_alert_is_tested_and_says_how_bad_it_is_and_what_to_do(rule: dict[str, object]) -> None:
    name = str(rule["alert"])
    assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
    annotations = rule["annotations"]
    assert isinstance(annotations, dict)
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert annotations["description"].endswith(".")
    page, _, anchor = annotations["runbook_url"].partition("#")
    assert anchor == name.lower()
    assert re.search(rf"^#+ {name}$", (ROOT / page).read_text(encoding="utf-8"), re.M)
    tests = yaml.safe_load((DEPLOY / "prometheus" / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    fired = [s["labels"] for t in tests for e in t["promql_expr_test"] for s in e["exp_samples"]]
    assert any(f'alertname="{name}"' in labels for labels in fired)


# --- the image


def test_hadolint_finds_nothing_to_say() -> None:
    assert ran(program("hadolint"), "Containerfile") == ""


def test_the_image_takes_what_is_there_and_nothing_else() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINERFILE, re.M)
    sources = [source for line in copied for source in line.split()]
    assert sources == ["pyproject.toml", "README.md", "sanstream"]
    assert all((ROOT / source).exists() and f"!{source}" in ignored for source in sources)
    assert "*" in ignored


def test_the_image_runs_as_a_numbered_user_who_is_not_root() -> None:
    last = CONTAINERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", last, re.M) == ["10001:10001"]
    assert last.index("\nUSER ") > last.rindex("\nRUN ")
    assert "STOPSIGNAL SIGTERM" in last
    assert "http://127.0.0.1:9464/healthz" in last
    assert not re.search(r"(PASSWORD|TOKEN|SECRET)\w*=", CONTAINERFILE)


def test_compiled_loops_are_those_of_the_installed_sources_and_stay_valid_in_a_layer() -> None:
    build = CONTAINERFILE.partition("\nFROM ")[2].rpartition("\nFROM ")[0]
    assert "python -P -c" in build
    # an init container copies them, and is not root
    assert build.rstrip().endswith("&& chmod -R a+rX /opt/sanstream/loops")
    assert build.index("-exec touch -d 2020-01-01T00:00:00Z") < build.index("warm_up('default')")
    assert CONTAINERFILE.count("NUMBA_CPU_NAME=${CPU}") == CONTAINERFILE.count("ARG CPU=generic") == 2


# --- brokers


@pytest.mark.parametrize("name", ["compose/nats.conf", "nats-server.conf", "kubernetes/nats.yaml"])
def test_nats_server_accepts_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    binary = program("nats-server")
    texts = {"nats-server.conf": (DEPLOY / "nats-server.conf").read_text(encoding="utf-8")}
    texts["nats.conf"] = text = (DEPLOY / name).read_text(encoding="utf-8")
    if name.endswith(".yaml"):
        texts["nats.conf"] = text = next(yaml.safe_load_all(text))["data"]["nats.conf"]
    assert "sync_interval: always" in text
    found = re.search(r"v(\d+)\.(\d+)", ran(binary, "--version"))
    assert found
    if (int(found[1]), int(found[2])) < (2, 10):
        texts["nats.conf"] = text.replace("  sync_interval: always", "")
    for file, content in texts.items():
        (tmp_path / file).write_text(content, encoding="utf-8")
    monkeypatch.setenv("NATS_PASSWORD", "s3cret")
    monkeypatch.setenv("POD_NAME", "nats-0")
    ran(binary, "-t", "-c", tmp_path / "nats.conf")


def test_a_kafka_topic_keeps_what_was_acknowledged_and_takes_the_longest_message() -> None:
    lines = (DEPLOY / "kafka-topic.properties").read_text(encoding="utf-8").splitlines()
    given = dict(line.split("=") for line in lines if line and not line.startswith("#"))
    assert given["min.insync.replicas"] == "2"
    assert given["unclean.leader.election.enable"] == "false"
    assert given["cleanup.policy"] == "delete"
    assert int(given["max.message.bytes"]) >= (8 << 20) + 65536


# --- Grafana


def test_grafana_finds_datasource_and_dashboards_where_they_are_mounted() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text(encoding="utf-8"))["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "sanstream.yaml").read_text(encoding="utf-8"))["providers"]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    mounts = dict(v.split(":")[:2] for v in compose["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert source["url"] == "http://prometheus:9090"
    text = (DEPLOY / "grafana" / "dashboards" / "sanstream.json").read_text(encoding="utf-8")
    chosen = [v for v in json.loads(text)["templating"]["list"] if v["name"] == "datasource"]
    assert [v["current"]["value"] for v in chosen] == [source["uid"]]
