"""Stub bases and a short way from Dockerfile text to a plan, shared by the planner's tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from builder.bases import ResolvedBase
from builder.plan.model import Plan
from builder.plan.options import PlanOptions
from builder.plan.planner import plan
from dockerfile_grammar.parser import parse
from images.config import ImageConfig
from images.descriptor import Descriptor
from images.digest import Digest
from images.mediatype import OCI_LAYER_GZIP, OCI_MANIFEST
from images.platform import Platform
from images.reference import Reference

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
AMD64 = Platform("linux", "amd64")
DIFF_ID = "sha256:" + "1" * 64
STUB: Mapping[str, Any] = {
    "architecture": "amd64",
    "os": "linux",
    "config": {"Env": [PATH], "Cmd": ["/bin/sh"]},
    "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "base"}],
    "rootfs": {"type": "layers", "diff_ids": [DIFF_ID]},
}


class StubResolver:
    """Every name is an image: the stub, or the document given for its familiar name."""

    def __init__(self, documents: Mapping[str, Any] | None = None) -> None:
        self.documents = documents or {}
        self.asked: list[str] = []

    def resolve(self, reference: Reference, platform: Platform) -> ResolvedBase:
        self.asked.append(reference.familiar)
        stub = {**STUB, "os": platform.os, "architecture": platform.architecture}
        document = self.documents.get(reference.familiar, stub)
        config = ImageConfig.parse(json.dumps(document).encode())
        layer = Descriptor(OCI_LAYER_GZIP, Digest.of(b"layer"), 5)
        manifest = Digest.of(f"{reference} {platform}".encode())
        layers = (layer,) * len(config.diff_ids)
        return ResolvedBase(Descriptor(OCI_MANIFEST, manifest, 10), config, layers)

    def pin(self, reference: Reference, platform: Platform) -> str | None:
        return str(reference)


def plan_text(
    text: str, resolver: StubResolver | None = None, *, platform: Platform = AMD64, **options: Any
) -> Plan:
    """Parse and plan ``text`` for linux/amd64 unless told otherwise."""
    tree = parse(text)
    settings = PlanOptions(platform=platform, build_platform=AMD64, **options)
    return plan(tree, text.splitlines(), settings, resolver or StubResolver())
