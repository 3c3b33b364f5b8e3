"""A check asks registries for configs, never for layers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from engine.builds.peeking import peek
from images.client import ClientOptions, RegistryClient
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import InvalidManifestError, PlatformUnknownError
from images.manifest import Index, Manifest
from images.mediatype import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST
from images.platform import Platform
from images.reference import Reference
from tests.simulators.registry import SimulatedRegistry

NAME = "demo/base"
ARM = Platform("linux", "arm64")


@pytest.fixture
def registry() -> SimulatedRegistry:
    return SimulatedRegistry()


@pytest.fixture
async def client(registry: SimulatedRegistry) -> AsyncIterator[tuple[RegistryClient, str]]:
    async with registry.serve() as authority:
        options = ClientOptions(frozenset({authority}))
        async with RegistryClient(options=options) as made:
            yield made, authority


def add_image(registry: SimulatedRegistry, *tags: str) -> Descriptor:
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "arm64",
            "config": {"Shell": ["/bin/bash", "-c"]},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(b"layer"))]},
        }
    ).encode()
    digest = registry.add_blob(NAME, config)
    layer = Descriptor(OCI_LAYER_GZIP, Digest.of(b"packed"), 6)
    manifest = Manifest.build(Descriptor(OCI_CONFIG, digest, len(config)), [layer])
    registry.add_manifest(NAME, manifest.raw, OCI_MANIFEST, *tags)
    return manifest.descriptor


def add_index(registry: SimulatedRegistry, child: Descriptor, *tags: str) -> Descriptor:
    index = Index.build([child])
    registry.add_manifest(NAME, index.raw, OCI_INDEX, *tags)
    return index.descriptor


async def accept(reference: Reference, descriptor: Descriptor) -> None:
    """A policy without demands."""


async def test_a_base_is_looked_at(
    registry: SimulatedRegistry, client: tuple[RegistryClient, str]
) -> None:
    image = add_image(registry)
    listed = Descriptor(image.media_type, image.digest, image.size, platform=ARM)
    add_index(registry, listed, "1")
    reference = Reference.parse(f"{client[1]}/{NAME}:1")
    base = await peek(client[0], reference, ARM, verify=accept)
    assert base.descriptor.digest == image.digest
    assert base.config.config["Shell"] == ["/bin/bash", "-c"]
    assert [layer.digest for layer in base.layers] == [Digest.of(b"packed")]
    # The one blob that was asked for is the config.
    assert len(registry.seen("GET", "/blobs/")) == 1
    with pytest.raises(PlatformUnknownError):
        await peek(client[0], reference, Platform("linux", "s390x"), verify=accept)


async def test_a_single_image_is_taken_for_any_platform(
    registry: SimulatedRegistry, client: tuple[RegistryClient, str]
) -> None:
    add_image(registry, "1")
    reference = Reference.parse(f"{client[1]}/{NAME}:1")
    base = await peek(client[0], reference, Platform("linux", "amd64"), verify=accept)
    assert base.config.platform == ARM


async def test_the_policy_speaks_first(
    registry: SimulatedRegistry, client: tuple[RegistryClient, str]
) -> None:
    add_image(registry, "1")

    async def refuse(reference: Reference, descriptor: Descriptor) -> None:
        raise PermissionError(descriptor.digest)

    with pytest.raises(PermissionError):
        await peek(client[0], Reference.parse(f"{client[1]}/{NAME}:1"), ARM, verify=refuse)
    assert registry.seen("GET", "/blobs/") == []


async def test_indexes_end(registry: SimulatedRegistry, client: tuple[RegistryClient, str]) -> None:
    child = add_image(registry)
    for depth in range(6):
        listed = Descriptor(child.media_type, child.digest, child.size, platform=ARM)
        child = add_index(registry, listed, f"{depth}")
    with pytest.raises(InvalidManifestError, match="nested"):
        await peek(client[0], Reference.parse(f"{client[1]}/{NAME}:5"), ARM, verify=accept)
    await peek(client[0], Reference.parse(f"{client[1]}/{NAME}:3"), ARM, verify=accept)
