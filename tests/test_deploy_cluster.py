"""Compose file and Kubernetes manifests: valid by their schemas, private, patient with a drain, and in step."""

from __future__ import annotations

import importlib
import os
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_engine import FakeEngine

from sanstream.config import ArchiveSettings, HttpSettings, Settings
from sanstream.config_read import read_settings
from sanstream.daemon.http import Server
from sanstream.telemetry import Telemetry

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
SERVICES = yaml.safe_load(COMPOSE)["services"]
MANIFESTS = [
    (path.name, found)
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for found in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
SETS = {found["metadata"]["name"]: found["spec"] for _, found in MANIFESTS if found["kind"] == "StatefulSet"}
KUBERNETES = ("1.29", "1.31", "1.34")


def library(name: str) -> Any:
    """Import what only some platforms have; CI must have it."""
    if os.environ.get("CI") == "true":
        return importlib.import_module(name)
    return pytest.importorskip(name)


def read(text: str) -> Settings:
    return read_settings(tomllib.loads(text), "ingest.toml")


def kubernetes_settings() -> Settings:
    (data,) = [f["data"] for _, f in MANIFESTS if f["kind"] == "ConfigMap" and "ingest.toml" in f["data"]]
    return read(data["ingest.toml"])


def id_of(value: object) -> str:
    return value if isinstance(value, str) else str(value["kind"])  # type: ignore[index]


# --- compose


def test_the_compose_specification_allows_the_file() -> None:
    options = library("compose_spec").PyOptions()
    options.apply_merge = True
    options.from_yaml(COMPOSE).validate()
    with pytest.raises(ValueError):
        options.from_yaml(COMPOSE.replace("stop_grace_period", "stop_grace_time"))


def test_every_file_and_volume_that_is_mounted_is_there() -> None:
    volumes = yaml.safe_load(COMPOSE)["volumes"]
    for service in SERVICES.values():
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in volumes, mount


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_listens_on_this_machine_alone_and_has_no_privileges(name: str) -> None:
    service = SERVICES[name]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["restart"] == "unless-stopped"
    assert ":latest" not in service["image"]
    secrets = {k: v for k, v in service.get("environment", {}).items() if k.endswith("PASSWORD")}
    assert all(value.startswith("${") for value in secrets.values())


def test_the_daemon_in_compose_understands_its_configuration() -> None:
    settings = read((DEPLOY / "compose" / "ingest.toml").read_text(encoding="utf-8"))
    (feed,) = settings.feeds
    assert feed.url == "nats://nats:4222"
    assert feed.password_env in SERVICES["sanstream"]["environment"]
    mounted = [volume.split(":")[1] for volume in SERVICES["sanstream"]["volumes"]]
    assert str(settings.archive.state_dir) in mounted
    assert any(settings.archive.url.startswith(place + "/") for place in mounted)
    assert SERVICES["sanstream"]["stop_grace_period"] == "10m"
    (job,) = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    host, port = job["static_configs"][0]["targets"][0].split(":")
    assert host in settings.http.hosts
    assert settings.http.listen.endswith(f":{port}")


# --- Kubernetes


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize(("name", "found"), [m for m in MANIFESTS if m[1]["kind"] != "Kustomization"], ids=id_of)
def test_a_manifest_is_valid(name: str, found: dict[str, Any], version: str) -> None:
    library("kubernetes_validate").validate(found, version, strict=True)
    assert found["kind"] == "Namespace" or found["metadata"]["namespace"] == "sanstream", name


def test_the_kustomization_names_every_file_but_the_secrets_example() -> None:
    (found,) = [f for _, f in MANIFESTS if f["kind"] == "Kustomization"]
    names = {name for name, _ in MANIFESTS}
    assert set(found["resources"]) == names - {"kustomization.yaml", "secret.example.yaml"}
    (secret,) = [f for _, f in MANIFESTS if f["kind"] == "Secret"]
    assert set(secret["stringData"].values()) == {""}


@pytest.mark.parametrize("name", SETS)
def test_a_pod_is_restricted_and_keeps_its_state_on_a_claim(name: str) -> None:
    pod = SETS[name]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"] + pod.get("initContainers", []):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
    claims = {c["metadata"]["name"] for c in SETS[name]["volumeClaimTemplates"]}
    volumes = claims | {v["name"] for v in pod["volumes"]}
    mounts = {m["name"] for c in pod["containers"] + pod.get("initContainers", []) for m in c["volumeMounts"]}
    assert mounts == volumes


def test_several_daemons_share_what_the_server_divides() -> None:
    settings, spec = kubernetes_settings(), SETS["sanstream"]
    (feed,) = settings.feeds
    assert settings.archive.shared
    assert spec["replicas"] > 1
    (conf,) = [f["data"]["nats.conf"] for _, f in MANIFESTS if f["kind"] == "ConfigMap" and "nats.conf" in f["data"]]
    assert f"partition({feed.options['partitions']},1)" in conf
    assert "{partition}" in feed.streams
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] >= 600


def test_the_daemon_in_a_pod_writes_where_it_may_and_has_room() -> None:
    settings, spec = kubernetes_settings(), SETS["sanstream"]
    (main,) = spec["template"]["spec"]["containers"]
    places = [m["mountPath"] for m in main["volumeMounts"] if not m.get("readOnly")]
    # a folder below the mount: the mount itself is the group's, and may hold lost+found
    assert any(str(settings.archive.state_dir).startswith(place + "/") for place in places)
    assert "/var/cache/sanstream" in places
    gib = int(spec["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"].removesuffix("Gi"))
    assert settings.limits.journal_bytes + settings.retrain.reservoir_bytes < gib * 2**30
    assert settings.limits.memory_bytes <= int(main["resources"]["limits"]["memory"].removesuffix("Gi")) * 2**29


def test_kubelet_and_prometheus_get_what_they_ask_for_by_the_pods_address_and_nobody_gets_more(tmp_path: Path) -> None:
    told = kubernetes_settings().http
    assert told.listen.startswith("0.0.0.0:")
    http = HttpSettings(listen="0.0.0.0:0", open_metrics=told.open_metrics, hosts=told.hosts)
    server = Server(Settings(ArchiveSettings(str(tmp_path), tmp_path), http=http), FakeEngine(), Telemetry())
    port = server.url.rpartition(":")[2]

    def code(path: str) -> int:
        try:
            # an address that stands in no list, as a pod's
            with urllib.request.urlopen(f"http://127.0.0.2:{port}{path}", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    (main,) = SETS["sanstream"]["template"]["spec"]["containers"]
    probes = [main[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")]
    try:
        assert [code(path) for path in (*probes, "/metrics")] == [200] * 4
        assert code("/streams") == 403
    finally:
        server.stop()
