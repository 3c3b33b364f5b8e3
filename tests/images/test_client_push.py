"""Pushing: what is there is not sent, what is sent is whole, tags come last."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from images.client.errors import (
    ProtocolError,
    PushContentMissingError,
    RegistryUnavailableError,
)
from images.client.progress import Event, LayerEvent, LayerState, StatusEvent
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import DigestMismatchError
from images.manifest import Manifest
from images.mediatype import OCI_CONFIG, OCI_EMPTY, OCI_FOREIGN_LAYER_GZIP, OCI_INDEX, OCI_MANIFEST
from images.reference import Reference
from tests.images.clientkit import (
    ARM64,
    Clock,
    SmallStore,
    client,
    index_of,
    keep,
    nothing_blocks_the_loop,  # noqa: F401
    publish,
    publish_index,
    sample,
)
from tests.simulators.registry import SimulatedRegistry

NAME = "team/app"


@pytest.fixture
def registry() -> SimulatedRegistry:
    return SimulatedRegistry()


@pytest.fixture
def store(tmp_path: Path) -> SmallStore:
    return SmallStore.at(tmp_path)


def ref(host: str, rest: str = ":1") -> Reference:
    return Reference.parse(f"{host}/{NAME}{rest}")


def states(events: list[Event]) -> set[LayerState]:
    return {event.state for event in events if isinstance(event, LayerEvent)}


async def test_push_then_pull_elsewhere_is_the_same_image(
    registry: SimulatedRegistry, store: SmallStore, tmp_path: Path
) -> None:
    image, events = sample(), list[Event]()
    keep(store, image)
    other = SmallStore.at(tmp_path / "other")
    async with registry.serve() as host, client() as it:
        pushed = await it.push(ref(host), store, image.descriptor, progress=events.append)
        assert await it.pull(ref(host), other) == pushed == image.descriptor
    assert other.everything() == store.everything()
    assert registry.requests[0].method != "PUT"
    assert {LayerState.WAITING, LayerState.UPLOADING, LayerState.DONE} <= states(events)
    last = events[-1]
    assert isinstance(last, StatusEvent)
    assert (last.id, last.text) == ("1", f"digest: {pushed.digest} size: {pushed.size}")
    # Blobs before the manifest, and nothing after it.
    puts = [r.path for r in registry.seen("PUT")]
    assert [("/manifests/" in path) for path in puts] == [False] * 3 + [True]


async def test_what_is_known_to_be_there_is_not_asked_for(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image, events = sample(), list[Event]()
    keep(store, image)

    def known(digest: Digest) -> bool:
        return digest != image.manifest.config.digest

    async with registry.serve() as host, client() as it:
        await it.push(ref(host), store, image.descriptor)
        asked = len(registry.seen("HEAD"))
        await it.push(ref(host, ":2"), store, image.descriptor, there=known, progress=events.append)
    assert len(registry.seen("HEAD")) == asked + 1
    assert states(events) == {LayerState.EXISTS}


async def test_a_push_may_leave_the_manifest_to_others(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image = sample()
    keep(store, image)
    async with registry.serve() as host, client() as it:
        assert await it.push(ref(host), store, image.descriptor, whole=False) == image.descriptor
        assert registry.manifests == {}
        await it.put_manifest(ref(host), image.manifest.raw, image.manifest.media_type)
    assert (NAME, "1") in registry.manifests


async def test_a_second_push_sends_no_blob(registry: SimulatedRegistry, store: SmallStore) -> None:
    image, events = sample(), list[Event]()
    keep(store, image)
    async with registry.serve() as host, client() as it:
        await it.push(ref(host), store, image.descriptor)
        before = len(registry.seen("POST"))
        await it.push(ref(host, ":2"), store, image.descriptor, progress=events.append)
    assert len(registry.seen("POST")) == before
    assert states(events) == {LayerState.WAITING, LayerState.EXISTS}


async def test_blobs_of_a_neighbour_are_mounted(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image, events = sample(), list[Event]()
    publish(registry, "team/base", image)
    async with registry.serve() as host, client() as it:
        store.tag(Reference.parse(f"{host}/team/base:1"), keep(store, image))
        await it.push(ref(host), store, image.descriptor, progress=events.append)
    assert LayerState.MOUNTED in states(events)
    assert LayerState.UPLOADING not in states(events)


async def test_a_refused_mount_becomes_an_upload_on_the_same_session(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image = sample(os.urandom(1000))
    registry.mounts = False
    publish(registry, "team/base", image)
    async with registry.serve() as host, client() as it:
        store.tag(Reference.parse(f"{host}/team/base:1"), keep(store, image))
        await it.push(ref(host), store, image.descriptor)
    assert len(registry.seen("POST")) == 2  # layer and config, one session each
    assert registry.uploads == {}


async def test_a_forbidden_mount_becomes_an_upload(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image = sample(os.urandom(1000))
    publish(registry, "team/base", image)
    registry.fail(method="POST", status=403)
    async with registry.serve() as host, client() as it:
        store.tag(Reference.parse(f"{host}/team/base:1"), keep(store, image))
        await it.push(ref(host), store, image.descriptor)


@pytest.mark.parametrize("where", ["relative", "absolute", "other"])
async def test_upload_locations_of_every_kind(
    where: str, registry: SimulatedRegistry, store: SmallStore
) -> None:
    image, other = sample(), SimulatedRegistry()
    keep(store, image)
    async with registry.serve() as host, other.serve() as elsewhere, client() as it:
        # One state behind two addresses, as with upload nodes behind a balancer.
        other.uploads, other.blobs = registry.uploads, registry.blobs
        prefixes = {"relative": "", "absolute": f"http://{host}", "other": f"http://{elsewhere}"}
        registry.location_prefix = prefixes[where]
        await it.push(ref(host), store, image.descriptor)
    assert bool(other.seen("PUT")) == (where == "other")


async def test_an_upload_that_breaks_off_is_begun_anew(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image, clock = sample(os.urandom(500_000)), Clock()
    keep(store, image)
    registry.fail(method="PUT", path="/uploads/", hang_up=True)
    registry.fail(method="PUT", path="/uploads/", status=503)
    async with registry.serve() as host, client(clock) as it:
        await it.push(ref(host), store, image.descriptor)
    assert Digest.of(image.layers[0]) in {Digest.parse(d) for _, d in registry.blobs}
    assert clock.slept


async def test_an_upload_waits_as_long_as_it_is_asked_to(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image, clock = sample(os.urandom(1000)), Clock()
    keep(store, image)
    registry.fail(method="PUT", path="/uploads/", status=429, headers={"Retry-After": "7"})
    async with registry.serve() as host, client(clock) as it:
        await it.push(ref(host), store, image.descriptor)
    assert clock.slept == [7.0]


async def test_a_lost_answer_is_found_out_by_looking(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image = sample(os.urandom(1000))
    keep(store, image)
    registry.fail(method="PUT", path="/uploads/", hang_up=True, after=True)
    async with registry.serve() as host, client() as it:
        await it.push(ref(host), store, image.descriptor)
    assert len(registry.seen("PUT", "/uploads/")) == 2  # each blob once


async def chunks_sent(registry: SimulatedRegistry, store: SmallStore) -> list[str]:
    """Push a layer of 250,000 bytes by 100,000; which pieces were sent until it was there."""
    layer = os.urandom(250_000)
    image = sample(layer)
    keep(store, image)
    async with registry.serve() as host, client(chunk_size=100_000) as it:
        await it.push(ref(host), store, image.descriptor)
    assert registry.blobs[NAME, str(Digest.of(layer))] == layer
    return [r.headers["Content-Range"] for r in registry.seen("PATCH")]


async def test_chunked_upload_resumes_where_it_stopped(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    registry.fail(method="PATCH", hang_up=True, after=True)  # taken, but the answer is lost
    registry.fail(method="PATCH", status=503)
    sent = await chunks_sent(registry, store)
    assert sent == ["0-99999", "100000-199999", "100000-199999", "200000-249999"]


async def test_a_session_that_the_lost_request_still_holds_is_waited_for(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    registry.fail(method="PATCH", hang_up=True, after=True)
    registry.fail(method="GET", path="/uploads/", status=409, times=2)
    assert await chunks_sent(registry, store) == ["0-99999", "100000-199999", "200000-249999"]


async def test_a_registry_that_stays_broken_fails_the_push(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image = sample()
    keep(store, image)
    registry.fail(method="PUT", path="/uploads/", status=500, times=999)
    async with registry.serve() as host, client() as it:
        with pytest.raises(RegistryUnavailableError):
            await it.push(ref(host), store, image.descriptor)
    assert registry.manifests == {}


async def test_a_blob_of_another_size_at_the_registry_is_damage(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image = sample(b"layer")
    keep(store, image)
    registry.blobs[NAME, str(Digest.of(b"layer"))] = b"la"
    async with registry.serve() as host, client() as it:
        with pytest.raises(ProtocolError, match="the registry holds 2 bytes"):
            await it.push(ref(host), store, image.descriptor)


async def test_a_registry_that_stores_something_else_is_found_out(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image = sample()
    keep(store, image)
    lie = {"Docker-Content-Digest": str(Digest.of(b"other"))}
    registry.fail(method="PUT", path="/manifests/", status=201, headers=lie)
    async with registry.serve() as host, client() as it:
        with pytest.raises(DigestMismatchError, match="stored"):
            await it.push(ref(host), store, image.descriptor)


# -- indexes


async def test_an_index_goes_up_with_its_children_before_it(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    amd, arm = sample(), sample(platform=ARM64)
    index = index_of(amd, arm)
    for image in (amd, arm):
        keep(store, image)
    store.blobs.put(index.raw)
    async with registry.serve() as host, client() as it:
        pushed = await it.push(ref(host), store, index.descriptor)
    assert pushed == index.descriptor
    paths = [r.path.rpartition("/")[2] for r in registry.seen("PUT", "/manifests/")]
    assert paths == [str(amd.descriptor.digest), str(arm.descriptor.digest), "1"]


async def test_a_missing_child_must_be_at_the_registry(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    amd, arm = sample(), sample(platform=ARM64)
    index = publish_index(registry, "team/source", "1", amd, arm)
    async with registry.serve() as host, client() as it:
        found = await it.pull(Reference.parse(f"{host}/team/source:1"), store, platform=ARM64)
        with pytest.raises(PushContentMissingError) as caught:
            await it.push(ref(host), store, found)
        assert "linux/amd64" in caught.value.what
        assert "--platform" in str(caught.value.fix)
        assert (NAME, "1") not in registry.manifests
        publish(registry, NAME, amd)
        assert await it.push(ref(host), store, found) == index.descriptor
        alone = await it.push(ref(host, ":arm"), store, found, platform=ARM64)
        assert alone == arm.descriptor


async def test_foreign_layers_stay_where_they_are(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image, events = sample(), list[Event]()
    away = Descriptor(OCI_FOREIGN_LAYER_GZIP, Digest.of(b"x"), 1, urls=("https://x.example/l",))
    manifest = Manifest.build(image.manifest.config, [away, *image.manifest.layers])
    for data in (*image.blobs, manifest.raw):
        store.blobs.put(data)
    registry.add_blob(NAME, b"x")
    async with registry.serve() as host, client() as it:
        await it.push(ref(host), store, manifest.descriptor, progress=events.append)
    assert LayerState.SKIPPED in states(events)
    assert registry.seen("HEAD", str(away.digest)) == []


# -- single calls


async def test_tags_over_several_pages(registry: SimulatedRegistry) -> None:
    image = sample()
    names = [f"v{n}" for n in range(7)]
    publish(registry, NAME, image, *names)
    registry.page_size = 3
    async with registry.serve() as host, client() as it:
        assert await it.tags(ref(host)) == names
    assert len(registry.seen("GET", "/tags/list")) == 3


async def test_resolve_and_exists(registry: SimulatedRegistry) -> None:
    image = sample()
    publish(registry, NAME, image, "1")
    async with registry.serve() as host, client() as it:
        assert await it.resolve(ref(host)) == image.descriptor
        assert await it.manifest_exists(ref(host))
        assert not await it.manifest_exists(ref(host, ":2"))
        assert await it.blob_exists(ref(host), image.manifest.config)
    assert registry.seen("GET", "/manifests/") == []


async def test_resolve_where_head_says_little(registry: SimulatedRegistry) -> None:
    image = sample()
    publish(registry, NAME, image, "1")
    registry.fail(method="HEAD", status=200)
    lie = {"Docker-Content-Digest": str(Digest.of(b"other")), "Content-Type": OCI_MANIFEST}
    async with registry.serve() as host, client() as it:
        assert await it.resolve(ref(host)) == image.descriptor
        assert len(registry.seen("GET", "/manifests/")) == 1
        registry.fail(
            method="HEAD", status=200, headers={**lie, "Content-Length": "5"}, body=b"12345"
        )
        with pytest.raises(DigestMismatchError):
            await it.resolve(ref(host).with_digest(image.descriptor.digest))


async def test_blob_round_trip(registry: SimulatedRegistry) -> None:
    async with registry.serve() as host, client() as it:
        descriptor = await it.put_blob(ref(host), b"payload", OCI_CONFIG)
        assert await it.read_blob(ref(host), descriptor) == b"payload"
        registry.fail(path="/blobs/", replace=b"PAYLOAD")
        with pytest.raises(DigestMismatchError):
            await it.read_blob(ref(host), descriptor)


@pytest.mark.parametrize("api", [True, False])
async def test_a_signature_is_found_again_with_and_without_the_referrers_api(
    api: bool, registry: SimulatedRegistry
) -> None:
    registry.referrers_api = api
    image = sample()
    publish(registry, NAME, image, "1")
    async with registry.serve() as host, client() as it:
        made = []
        for kind in ("application/x.first", "application/x.second"):
            config = await it.put_blob(ref(host), b"{}", OCI_EMPTY)
            payload = await it.put_blob(ref(host), kind.encode(), kind)
            artifact = Manifest.build(
                config, [payload], subject=image.descriptor, artifact_type=kind
            )
            pinned = Reference(host, NAME, digest=artifact.digest)
            made.append(await it.put_manifest(pinned, artifact.raw, OCI_MANIFEST))
            again = await it.put_manifest(pinned, artifact.raw, OCI_MANIFEST)
            assert again == made[-1]
        found = await it.referrers(ref(host), image.descriptor.digest)
        assert [item.digest for item in found] == [item.digest for item in made]
        (second,) = await it.referrers(
            ref(host), image.descriptor.digest, artifact_type="application/x.second"
        )
        assert second.digest == made[1].digest
        assert await it.referrers(ref(host), Digest.of(b"unknown")) == []
    fallback = (NAME, f"sha256-{image.descriptor.digest.hex}")
    assert (fallback in registry.manifests) == (not api)
    if not api:
        assert registry.manifests[fallback][1] == OCI_INDEX
