"""deploy/kubernetes: valid for Kubernetes, true to the configuration, and as tight as it can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from registry.config import RegistryConfig
from registry.configuration.sources import PREFIX, load
from tests.deploy.manifests import KUBERNETES, applied, documents, one, pod


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RegistryConfig:
    """What the ConfigMap configures, with a users file where the Secret would be."""
    folder = tmp_path_factory.mktemp("config")
    (folder / "users").touch()
    mount = next(m for m in container()["volumeMounts"] if m["name"] == "secrets")
    text = one("ConfigMap")["data"]["registry.toml"].replace(mount["mountPath"], str(folder))
    (folder / "registry.toml").write_text(text)
    return load(RegistryConfig, file=folder / "registry.toml")


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    return dict(found)


@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
def test_every_manifest_is_valid(version: str) -> None:
    files = sorted(KUBERNETES.glob("*.yaml"))
    objects = [o for f in files if f.name != "kustomization.yaml" for o in documents(f)]
    assert len(objects) >= len(applied()) + 1
    for found in objects:
        kubernetes_validate.validate(found, version, strict=True)


def test_every_file_is_applied_but_the_example() -> None:
    (kustomization,) = documents(KUBERNETES / "kustomization.yaml")
    unused = {f.name for f in KUBERNETES.glob("*.yaml")} - set(kustomization["resources"])
    assert unused == {"kustomization.yaml", "secret.example.yaml"}
    assert not [item for item in applied() if item["kind"] == "Secret"]


def test_the_example_gives_nobody_a_password() -> None:
    (secret,) = documents(KUBERNETES / "secret.example.yaml")
    users = dict(line.split(":") for line in secret["stringData"]["users"].splitlines())
    assert not [name for name, value in users.items() if value.startswith("$2")]
    volume = next(v for v in pod()["volumes"] if v["name"] == "secrets")
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]


def test_ports_are_those_of_the_configuration(config: RegistryConfig) -> None:
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {"http": config.port, "metrics": config.metrics.port}
    assert (config.host, config.metrics.host) == ("0.0.0.0", "0.0.0.0")
    for name in ("lading-registry", "lading-registry-pods"):
        for port in one("Service", name)["spec"]["ports"]:
            assert port["targetPort"] in ports
    policy = one("NetworkPolicy")["spec"]
    allowed = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert allowed == set(ports)


def test_metrics_are_not_for_everybody() -> None:
    rules = one("NetworkPolicy")["spec"]["ingress"]
    assert all("from" in rule for rule in rules if {"port": "metrics"} in rule["ports"])


def test_probes_ask_what_the_registry_answers() -> None:
    probes = {name: container()[name]["httpGet"] for name in container() if "Probe" in name}
    assert set(probes) == {"startupProbe", "livenessProbe", "readinessProbe"}
    assert {probe["port"] for probe in probes.values()} == {"metrics"}
    assert probes["readinessProbe"]["path"] == "/readyz"
    assert probes["livenessProbe"]["path"] == probes["startupProbe"]["path"] == "/healthz"


def test_the_pod_may_do_nothing_it_need_not() -> None:
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod()["automountServiceAccountToken"] is False


def test_kubernetes_does_not_set_settings(config: RegistryConfig) -> None:
    """A Service's name becomes variables of every pod that has them: LADING_REGISTRY_PORT=tcp://…"""
    name = one("Service")["metadata"]["name"].replace("-", "_").upper()
    assert f"{name}_".startswith(PREFIX)
    assert pod()["enableServiceLinks"] is False


def test_the_store_is_on_the_volume(config: RegistryConfig) -> None:
    mounts = {mount["name"]: mount for mount in container()["volumeMounts"]}
    assert Path(mounts["store"]["mountPath"]) == config.root
    (claim,) = one("StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "store"
    assert set(mounts) == {volume["name"] for volume in pod()["volumes"]} | {"store"}
    assert one("StatefulSet")["spec"]["replicas"] == 1
    parents = {Path(mount["mountPath"]) for mount in mounts.values() if mount.get("readOnly")}
    for mount in mounts.values():
        # No mount point can be made inside what is mounted read-only.
        assert parents.isdisjoint(Path(mount["mountPath"]).parents)


def test_a_pod_has_time_to_drain(config: RegistryConfig) -> None:
    assert pod()["terminationGracePeriodSeconds"] > config.limits.drain_timeout


def test_selectors_select_the_pod() -> None:
    labels = one("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        one("StatefulSet")["spec"]["selector"]["matchLabels"],
        one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        one("Service")["spec"]["selector"],
        one("Service", one("StatefulSet")["spec"]["serviceName"])["spec"]["selector"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
