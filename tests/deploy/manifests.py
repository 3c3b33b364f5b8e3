"""The Kubernetes manifests as the kustomization lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def documents(file: Path) -> list[dict[str, Any]]:
    """Every object in one file."""
    return list(yaml.safe_load_all(file.read_text()))


def applied() -> list[dict[str, Any]]:
    """Every object that ``kubectl apply -k`` makes."""
    (kustomization,) = documents(KUBERNETES / "kustomization.yaml")
    return [found for name in kustomization["resources"] for found in documents(KUBERNETES / name)]


def one(kind: str, name: str = "lading-registry") -> dict[str, Any]:
    """The object of that kind and name."""
    (found,) = (
        item for item in applied() if item["kind"] == kind and item["metadata"]["name"] == name
    )
    return found


def pod() -> dict[str, Any]:
    """The template of the registry's pod."""
    spec: dict[str, Any] = one("StatefulSet")["spec"]["template"]["spec"]
    return spec
