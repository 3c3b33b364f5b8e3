"""Manifests about other manifests: kept as long as those, and sent along with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.descriptor import Descriptor
from images.digest import Digest
from images.manifest import Manifest
from images.mediatype import OCI_EMPTY
from images.reference import Reference
from images.store import ImageStore
from tests.images.clientkit import (
    SmallStore,
    client,
    index_of,
    keep,
    nothing_blocks_the_loop,  # noqa: F401
    sample,
)
from tests.images.storekit import age, put_image, ref
from tests.simulators.registry import SimulatedRegistry

KIND = "application/vnd.example+json"


def statement(about: Descriptor, text: bytes) -> tuple[Manifest, bytes]:
    layer = Descriptor(KIND, Digest.of(text), len(text))
    config = Descriptor(OCI_EMPTY, Digest.of(b"{}"), 2)
    return Manifest.build(config, [layer], subject=about, artifact_type=KIND), text


def keep_statement(store: ImageStore, about: Descriptor, text: bytes) -> Manifest:
    manifest, _ = statement(about, text)
    for data in (b"{}", text, manifest.raw):
        store.blobs.put(data)
    store.refer(about.digest, manifest.descriptor)
    return manifest


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore.open(tmp_path / "store")


def test_a_referrer_lives_as_long_as_its_subject(store: ImageStore) -> None:
    image = put_image(store, [])
    store.tag(ref("a"), image.descriptor)
    about = keep_statement(store, image.descriptor, b"sbom")
    nested = keep_statement(store, about.descriptor, b"signature of the sbom")
    age(store)
    store.gc(grace=0)
    assert store.referrers(image.digest) == [about.descriptor]
    assert store.referrers(about.digest) == [nested.descriptor]
    assert store.blobs.read(Digest.of(b"signature of the sbom"))
    store.remove("a")
    store.gc(grace=0)
    assert not list(store.blobs.digests())
    assert store.referrers(image.digest) == store.referrers(about.digest) == []


def test_a_stored_referrer_is_found_once(store: ImageStore) -> None:
    image = put_image(store, [])
    first = keep_statement(store, image.descriptor, b"one")
    keep_statement(store, image.descriptor, b"one")
    second = keep_statement(store, image.descriptor, b"two")
    found = store.referrers(image.digest)
    assert {item.digest for item in found} == {first.digest, second.digest}
    assert {item.artifact_type for item in found} == {KIND}


@pytest.mark.parametrize("nested", [False, True], ids=["image", "index"])
async def test_a_push_takes_referrers_along_before_the_name(tmp_path: Path, nested: bool) -> None:
    registry, store, image = SimulatedRegistry(), SmallStore.at(tmp_path), sample()
    root = keep(store, image)
    manifest, text = statement(image.descriptor, b"sbom")
    for data in (b"{}", text, manifest.raw):
        store.blobs.put(data)
    store.about = {image.manifest.digest: [manifest.descriptor]}
    if nested:
        index = index_of(image)
        store.blobs.put(index.raw)
        root = index.descriptor
    async with registry.serve() as host, client() as it:
        name = Reference.parse(f"{host}/team/app:1")
        await it.push(name, store, root)
        [found] = await it.referrers(name, image.manifest.digest, artifact_type=KIND)
        assert found.digest == manifest.digest
        assert await it.read_blob(name, manifest.layers[0]) == b"sbom"
    puts = [request.path for request in registry.seen("PUT", "/manifests/")]
    assert puts[-1].endswith("/manifests/1")
    assert any(str(manifest.digest) in path for path in puts[:-1])
