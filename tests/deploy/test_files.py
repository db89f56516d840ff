"""What deploys Tidewax: each file is valid by its schema, and they agree with each other and with the program."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from commands import ROOT

from config import load
from flows.metric_names import METRICS, PREFIX

COMPOSE = ROOT / "docker-compose.yml"
KUBERNETES = ROOT / "deploy" / "kubernetes"
NOT_RESOURCES = ("kustomization.yaml", "settings.yaml")


def services():
    return yaml.safe_load(COMPOSE.read_text())["services"]


def own():
    return {name: service for name, service in services().items() if service.get("build")}


def resources():
    for path in sorted(KUBERNETES.glob("*.yaml")):
        if path.name not in NOT_RESOURCES:
            for resource in yaml.safe_load_all(path.read_text()):
                yield path.name, resource


def of_kind(kind):
    return {resource["metadata"]["name"]: resource for _, resource in resources() if resource["kind"] == kind}


def pod(resource):
    return resource["spec"]["template"]["spec"]


def test_compose_is_valid_by_its_schema():
    line = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("hadolint", path=Path(sys.executable).parent) is None, reason="there is no hadolint")
def test_the_image_is_built_by_good_habits():
    done = subprocess.run(
        [str(Path(sys.executable).parent / "hadolint"), str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_image_holds_all_packages_and_is_not_root():
    text = (ROOT / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) \w+$", text, re.MULTILINE))
    project = (ROOT / "pyproject.toml").read_text()
    packages = set(re.findall(r'"(\w+)[."]', re.search(r"packages = \[(.*?)\]", project, re.DOTALL)[1]))
    assert copied == packages
    kept = (ROOT / ".dockerignore").read_text()
    assert all(f"!{name}\n" in kept for name in packages)
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["tidewax"\]$', text, re.MULTILINE), "a shell would not pass SIGTERM on"


@pytest.mark.parametrize(("file", "resource"), [pytest.param(*item, id=item[0]) for item in resources()])
def test_kubernetes_resources_are_valid_by_their_schemas(file, resource):
    kubernetes_validate.validate(resource, "1.32", strict=True)


def test_kustomize_names_all_of_them():
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted({file for file, _ in resources()})


def test_the_shards_of_compose_are_all_of_them_each_once():
    shards = [
        int(shard)
        for service in own().values()
        if "--shard" in service["command"]
        for shard in service["command"][service["command"].index("--shard") + 1].split(",")
    ]
    assert sorted(shards) == list(range(load(None).kafka.shards))


def test_kubernetes_has_a_pod_and_a_volume_a_shard_which_no_other_pod_can_use():
    sets = of_kind("StatefulSet")
    assert sets["live"]["spec"]["replicas"] == load(None).kafka.shards
    assert sets["ingest"]["spec"]["replicas"] == sets["market"]["spec"]["replicas"] == 1
    for resource in sets.values():
        (claim,) = resource["spec"]["volumeClaimTemplates"]
        assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
        assert {"name": "data", "mountPath": "/data"} in pod(resource)["containers"][0]["volumeMounts"]


def test_pods_are_probed_restricted_and_reached_by_nobody_but_who_scrapes_them():
    for resource in of_kind("StatefulSet").values():
        (container,) = pod(resource)["containers"]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
        assert pod(resource)["terminationGracePeriodSeconds"] > 20
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert pod(resource)["securityContext"]["runAsNonRoot"]
        labels = resource["spec"]["template"]["metadata"]["labels"]
        policies = of_kind("NetworkPolicy")
        selected = policies["tidewax"]["spec"]["podSelector"]["matchLabels"]
        assert selected.items() <= labels.items()
    assert [rule["ports"] for rule in policies["tidewax"]["spec"]["ingress"]] == [[{"protocol": "TCP", "port": 9464}]]


@pytest.mark.parametrize(
    ("file", "environment"),
    [
        (ROOT / "deploy" / "settings.yaml", {}),
        (KUBERNETES / "settings.yaml", {"KAFKA_SERVERS": "a:1", "KAFKA_USERNAME": "u", "KAFKA_PASSWORD": "hidden"}),
    ],
)
def test_settings_are_right(file, environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load(str(file))
    assert settings.kafka.servers
    assert settings.metrics.port == 9464
    assert "hidden" not in repr(settings) + settings.model_dump_json()


def test_prometheus_asks_who_has_metrics():
    asked = yaml.safe_load((ROOT / "config" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    targets = {target for job in asked for group in job["static_configs"] for target in group["targets"]}
    having = {name for name, service in own().items() if "healthcheck" not in service}
    assert targets == {f"{name}:9464" for name in having}


def test_the_dashboard_shows_metrics_that_there_are():
    board = json.loads((ROOT / "config" / "grafana" / "dashboards" / "tidewax.json").read_text())
    shown = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\b(?:tidewax|process)_\w+", target["expr"])
    }
    suffixes = {"counter": "_total", "gauge": "", "histogram": "_bucket"}
    served = {f"{PREFIX}{name}{suffixes[metric.kind]}" for name, metric in METRICS.items()}
    assert len(board["panels"]) >= 8
    assert shown - {"process_resident_memory_bytes"} <= served
    sources = yaml.safe_load(
        (ROOT / "config" / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text()
    )["datasources"]
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["uid"] for source in sources}
