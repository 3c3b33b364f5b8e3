"""deploy/kubernetes/replicas: valid, true to the configuration, and nothing on a volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from registry.config import RegistryConfig
from registry.configuration.sources import load
from registry.s3.settings import StorageType
from registry.sql.settings import IndexType
from registry.vault import VARIABLE
from tests.deploy.manifests import KUBERNETES, documents

FOLDER = KUBERNETES / "replicas"


def applied() -> dict[tuple[str, str], dict[str, Any]]:
    """Every object that ``kubectl apply -k`` makes, by kind and name."""
    (kustomization,) = documents(FOLDER / "kustomization.yaml")
    found = [item for name in kustomization["resources"] for item in documents(FOLDER / name)]
    return {(item["kind"], item["metadata"]["name"]): item for item in found}


def deployment() -> dict[str, Any]:
    return dict(applied()["Deployment", "lading-registry"]["spec"])


def pod() -> dict[str, Any]:
    return dict(deployment()["template"]["spec"])


def secret() -> dict[str, Any]:
    (found,) = documents(FOLDER / "secret.example.yaml")
    return dict(found)


@pytest.fixture
def config(tmp_path: Path) -> RegistryConfig:
    """What the ConfigMap configures, with the example's files where the Secret would be."""
    for name, content in secret()["stringData"].items():
        (tmp_path / name).write_text(content)
    text = applied()["ConfigMap", "lading-registry"]["data"]["registry.toml"]
    (tmp_path / "registry.toml").write_text(text.replace("/run/secrets/lading", str(tmp_path)))
    return load(RegistryConfig, file=tmp_path / "registry.toml")


@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
def test_every_manifest_is_valid(version: str) -> None:
    for found in [*applied().values(), secret()]:
        kubernetes_validate.validate(found, version, strict=True)


def test_every_file_is_applied_but_the_example() -> None:
    (kustomization,) = documents(FOLDER / "kustomization.yaml")
    unused = {file.name for file in FOLDER.iterdir()} - set(kustomization["resources"])
    assert unused == {"kustomization.yaml", "secret.example.yaml"}


def test_replicas_share_everything_that_must_last(config: RegistryConfig) -> None:
    assert config.index.type is IndexType.POSTGRESQL
    assert config.storage.type is StorageType.S3
    assert deployment()["replicas"] > 1
    kinds = {next(iter(set(volume) - {"name"})) for volume in pod()["volumes"]}
    assert kinds == {"emptyDir", "configMap", "secret"}
    (container,) = pod()["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert Path(mounts["scratch"]) == config.root
    assert set(mounts) == {volume["name"] for volume in pod()["volumes"]}


def test_every_replica_gets_the_same_secrets() -> None:
    (container,) = pod()["containers"]
    (variable,) = container["env"]
    reference = variable["valueFrom"]["secretKeyRef"]
    assert variable["name"] == VARIABLE
    assert reference["name"] == secret()["metadata"]["name"]
    assert reference["key"] in secret()["stringData"]
    volume = next(volume for volume in pod()["volumes"] if volume["name"] == "secrets")
    assert volume["secret"]["secretName"] == secret()["metadata"]["name"]
    assert "$2" not in secret()["stringData"]["users"], "nobody has a password"


def test_the_pod_is_as_tight_as_the_single_one(config: RegistryConfig) -> None:
    alone = next(iter(documents(KUBERNETES / "statefulset.yaml")))["spec"]["template"]["spec"]
    (ours,), (theirs,) = pod()["containers"], alone["containers"]
    for name in ("securityContext", "ports", "livenessProbe", "readinessProbe", "startupProbe"):
        assert ours[name] == theirs[name]
    assert pod()["enableServiceLinks"] is pod()["automountServiceAccountToken"] is False
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["terminationGracePeriodSeconds"] > config.limits.drain_timeout
    ports = {port["name"]: port["containerPort"] for port in ours["ports"]}
    assert ports == {"http": config.port, "metrics": config.metrics.port}


def test_selectors_select_the_pods() -> None:
    labels = deployment()["template"]["metadata"]["labels"]
    objects = applied()
    selectors = [
        deployment()["selector"]["matchLabels"],
        objects["PodDisruptionBudget", "lading-registry"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy", "lading-registry"]["spec"]["podSelector"]["matchLabels"],
        objects["Service", "lading-registry"]["spec"]["selector"],
        objects["Service", "lading-registry-pods"]["spec"]["selector"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)


def test_pods_reach_what_they_share() -> None:
    rules = applied()["NetworkPolicy", "lading-registry"]["spec"]["egress"]
    assert {5432, 443, 53} <= {port["port"] for rule in rules for port in rule["ports"]}
