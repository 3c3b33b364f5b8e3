"""What signing tests share: an image in a simulated registry, and a clock that stands still."""

from __future__ import annotations

from datetime import UTC, datetime

from images.descriptor import Descriptor
from images.digest import Digest
from images.manifest import Manifest
from images.mediatype import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from tests.simulators.registry import SimulatedRegistry

NAME = "demo/web"


def now() -> datetime:
    return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def add_image(registry: SimulatedRegistry, *tags: str, content: bytes = b"layer") -> Descriptor:
    config, layer = b'{"architecture":"amd64","os":"linux"}', content
    for data in (config, layer):
        registry.add_blob(NAME, data)
    manifest = Manifest.build(
        Descriptor(OCI_CONFIG, Digest.of(config), len(config)),
        [Descriptor(OCI_LAYER_GZIP, Digest.of(layer), len(layer))],
    )
    registry.add_manifest(NAME, manifest.raw, OCI_MANIFEST, *tags)
    return manifest.descriptor
