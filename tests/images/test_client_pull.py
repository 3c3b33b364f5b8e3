"""Pulling from a registry that behaves, and from ones that do not."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from images.client.errors import (
    ForeignLayerError,
    ManifestUnknownError,
    ProtocolError,
    RegistryConnectionError,
    RegistryUnavailableError,
    RemoteBlobUnknownError,
    TooManyRequestsError,
)
from images.client.progress import Event, LayerEvent, LayerState, StatusEvent
from images.client.threads import pause
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import DigestMismatchError, InvalidManifestError, PlatformUnknownError
from images.manifest import Index, Manifest
from images.mediatype import OCI_FOREIGN_LAYER_GZIP, OCI_INDEX, OCI_MANIFEST
from images.reference import Reference
from images.store import ImageStore
from tests.images.clientkit import (
    AMD64,
    ARM64,
    Clock,
    SmallStore,
    client,
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


async def test_pull_stores_everything_and_then_the_name(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image = sample()
    publish(registry, NAME, image, "1")
    events: list[Event] = []
    async with registry.serve() as host, client() as it:
        found = await it.pull(ref(host), store, progress=events.append)
        assert store.tagged == {ref(host): found}
    assert found == image.descriptor
    assert store.images == [found]
    assert store.leases[-1] == "released"
    expected = {Digest.of(data) for data in (*image.blobs, image.manifest.raw)}
    assert store.everything() == expected
    assert StatusEvent(f"Digest: {found.digest}") in events
    assert any("Downloaded newer image" in e.text for e in events if isinstance(e, StatusEvent))
    for layer in image.manifest.layers:
        states = [e.state for e in events if isinstance(e, LayerEvent) and e.digest == layer.digest]
        assert states[0] == LayerState.WAITING
        assert states[-2:] == [LayerState.VERIFYING, LayerState.DONE]


async def test_pulling_again_fetches_no_blob_and_says_up_to_date(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    publish(registry, NAME, sample(), "1")
    events: list[Event] = []
    async with registry.serve() as host, client() as it:
        await it.pull(ref(host), store)
        before = len(registry.seen("GET", "/blobs/"))
        await it.pull(ref(host), store, progress=events.append)
    assert len(registry.seen("GET", "/blobs/")) == before
    assert any("up to date" in e.text for e in events if isinstance(e, StatusEvent))
    assert {e.state for e in events if isinstance(e, LayerEvent)} == {
        LayerState.WAITING,
        LayerState.EXISTS,
    }


async def test_of_an_index_one_platform_is_fetched_and_the_index_kept(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    amd, arm = sample(), sample(platform=ARM64)
    index = publish_index(registry, NAME, "1", amd, arm)
    async with registry.serve() as host, client() as it:
        found = await it.pull(ref(host), store, platform=ARM64)
    assert found == index.descriptor
    assert store.blobs.has(index.digest)
    assert store.blobs.has(arm.descriptor.digest)
    assert not store.blobs.has(amd.descriptor.digest)
    assert not store.blobs.has(Digest.of(amd.layers[0]))


async def test_all_platforms_fetches_all(registry: SimulatedRegistry, store: SmallStore) -> None:
    amd, arm = sample(), sample(platform=ARM64)
    publish_index(registry, NAME, "1", amd, arm)
    async with registry.serve() as host, client() as it:
        await it.pull(ref(host), store, all_platforms=True)
    for image in (amd, arm):
        assert all(store.blobs.has(Digest.of(data)) for data in image.blobs)


async def test_a_platform_nobody_offers_is_an_error_that_lists_the_offers(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    publish_index(registry, NAME, "1", sample())
    publish(registry, NAME, sample(), "single")
    async with registry.serve() as host, client() as it:
        with pytest.raises(PlatformUnknownError) as caught:
            await it.pull(ref(host), store, platform=ARM64)
        assert "linux/amd64" in str(caught.value.fix)
        with pytest.raises(PlatformUnknownError):
            await it.pull(ref(host, ":single"), store, platform=ARM64)
    assert store.tagged == {}


async def test_verify_sees_the_digest_before_any_blob_moves(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    index = publish_index(registry, NAME, "1", sample())
    calls: list[tuple[Reference, Descriptor]] = []

    def refuse(reference: Reference, descriptor: Descriptor) -> None:
        calls.append((reference, descriptor))
        raise PermissionError("not signed")

    async with registry.serve() as host, client() as it:
        with pytest.raises(PermissionError):
            await it.pull(ref(host), store, verify=refuse)
        assert calls == [(ref(host), index.descriptor)]
    assert registry.seen("GET", "/blobs/") == []
    assert store.everything() == set()
    assert store.tagged == {}


async def test_verify_may_be_a_coroutine_function(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    publish(registry, NAME, sample(), "1")

    async def refuse(reference: Reference, descriptor: Descriptor) -> None:
        await pause(0)
        raise PermissionError("not signed")

    async with registry.serve() as host, client() as it:
        with pytest.raises(PermissionError):
            await it.pull(ref(host), store, verify=refuse)
    assert store.tagged == {}


async def test_an_unknown_tag_names_itself_and_the_registry(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    async with registry.serve() as host, client() as it:
        with pytest.raises(ManifestUnknownError) as caught:
            await it.pull(ref(host, ":nope"), store)
        assert host in caught.value.what
        assert caught.value.where == f"{host}/{NAME}:nope"
    assert caught.value.status == 404
    assert caught.value.remote_code == "MANIFEST_UNKNOWN"


async def test_a_pull_by_digest_moves_no_tag(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image = sample()
    publish(registry, NAME, image)
    async with registry.serve() as host, client() as it:
        pinned = ref(host).with_digest(image.descriptor.digest)
        assert await it.pull(pinned, store) == image.descriptor
    assert store.images == [image.descriptor]
    assert store.tagged == {}


async def test_the_image_store_takes_part(registry: SimulatedRegistry, tmp_path: Path) -> None:
    image = sample()
    publish(registry, NAME, image, "1")
    store = ImageStore.open(tmp_path)
    async with registry.serve() as host, client() as it:
        found = await it.pull(ref(host), store)
        assert store.resolve(ref(host)) == found
        assert store.lookup(str(ref(host))).descriptor == found
        await it.push(ref(host, ":2"), store, found)
    assert store.check() == []
    store.close()


# -- what networks do


async def test_an_interrupted_layer_is_resumed_by_range(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    layer = os.urandom(300_000)
    publish(registry, NAME, sample(layer), "1")
    digest = Digest.of(layer)
    registry.fail(path=f"/blobs/{digest}", truncate_at=120_000)
    clock, events = Clock(), list[Event]()
    async with registry.serve() as host, client(clock) as it:
        await it.pull(ref(host), store, progress=events.append)
    assert store.blobs.read(digest) == layer
    first, second = registry.seen("GET", str(digest))
    assert "Range" not in first.headers
    assert second.headers["Range"] == "bytes=120000-"
    assert LayerState.RETRYING in {e.state for e in events if isinstance(e, LayerEvent)}
    assert len(clock.slept) == 1


async def test_a_server_without_ranges_sends_again_and_the_start_is_skipped(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    layer = os.urandom(300_000)
    registry.ranges = False
    publish(registry, NAME, sample(layer), "1")
    registry.fail(path=f"/blobs/{Digest.of(layer)}", truncate_at=120_000, times=2)
    async with registry.serve() as host, client() as it:
        await it.pull(ref(host), store)
    assert store.blobs.read(Digest.of(layer)) == layer


async def test_a_connection_that_always_breaks_ends_in_an_error(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    layer = os.urandom(300_000)
    publish(registry, NAME, sample(layer), "1")
    registry.fail(path=f"/blobs/{Digest.of(layer)}", truncate_at=10, times=1000)
    clock = Clock()
    async with registry.serve() as host, client(clock) as it:
        with pytest.raises(RegistryConnectionError) as caught:
            await it.pull(ref(host), store)
    assert "of 300000 bytes" in caught.value.what
    assert len(clock.slept) == 4
    assert not store.blobs.has(Digest.of(layer))
    store.everything()


async def test_busy_answers_are_retried_as_late_as_asked(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    publish(registry, NAME, sample(), "1")
    registry.fail(path="/manifests/", status=429, headers={"Retry-After": "7"})
    registry.fail(path="/manifests/", status=503)
    # Twice: a connection that was kept alive is replaced once without a word.
    registry.fail(path="/manifests/", hang_up=True, times=2)
    clock = Clock()
    async with registry.serve() as host, client(clock) as it:
        await it.pull(ref(host), store)
    # Backoff of 0.25 s doubled each time, three quarters of it with jitter 0.5.
    assert clock.slept == [7.0, 0.375, 0.75]


async def test_a_wait_beyond_our_patience_fails_at_once(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    publish(registry, NAME, sample(), "1")
    registry.fail(path="/manifests/", status=429, headers={"Retry-After": "3600"}, times=99)
    clock = Clock()
    async with registry.serve() as host, client(clock) as it:
        with pytest.raises(TooManyRequestsError) as caught:
            await it.pull(ref(host), store)
    assert "3600 s" in caught.value.what
    assert clock.slept == []


async def test_a_registry_that_stays_broken_is_named(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    registry.fail(path="/manifests/", status=500, body=b"oops\x1b[31m", times=99)
    async with registry.serve() as host, client() as it:
        with pytest.raises(RegistryUnavailableError) as caught:
            await it.pull(ref(host), store)
    assert caught.value.status == 500
    assert "oops" in caught.value.what
    assert "\x1b" not in caught.value.what


async def test_a_manifest_whose_body_breaks_off_is_fetched_again(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image = sample()
    publish(registry, NAME, image, "1")
    registry.fail(path="/manifests/", truncate_at=20)
    async with registry.serve() as host, client() as it:
        assert await it.pull(ref(host), store) == image.descriptor


def _size(stage: Path) -> int:
    """Its size; 0 when it has its place in the store meanwhile."""
    try:
        return stage.stat().st_size
    except FileNotFoundError:
        return 0


async def test_kill_9_in_mid_pull_leaves_a_clean_store(
    registry: SimulatedRegistry, tmp_path: Path
) -> None:
    image = sample(os.urandom(10_000), os.urandom(3_000_000))
    publish(registry, NAME, image, "1")
    stall = registry.fail(path=f"/blobs/{image.manifest.layers[1].digest}", stall_at=2_500_000)
    code = (
        "import asyncio, sys; from pathlib import Path; from images.store import ImageStore;"
        "from images.client import RegistryClient; from images.reference import Reference;"
        "asyncio.run(RegistryClient().pull("
        "Reference.parse(sys.argv[1]), ImageStore.open(Path(sys.argv[2]))))"
    )
    async with registry.serve() as host:
        victim = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(ref(host)), str(tmp_path)
        )
        staged = tmp_path / "blobs" / ".staging"
        while not any(_size(stage) > 1_000_000 for stage in staged.glob("*")):
            assert victim.returncode is None
            await asyncio.sleep(0.01)
        victim.kill()
        await victim.wait()
        stall.resume.set()
        store = ImageStore.open(tmp_path)
        assert store.names() == []
        assert store.images() == []
        assert not store.blobs.has(image.manifest.layers[1].digest)
        async with client() as it:
            assert await it.pull(ref(host), store) == image.descriptor
        assert store.check() == []
        store.close()


# -- what attackers do


async def test_wrong_bytes_never_become_visible(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    layer = os.urandom(5000)
    publish(registry, NAME, sample(layer), "1")
    registry.fail(path=f"/blobs/{Digest.of(layer)}", replace=os.urandom(5000), times=99)
    async with registry.serve() as host, client() as it:
        with pytest.raises(DigestMismatchError):
            await it.pull(ref(host), store)
    assert Digest.of(layer) not in store.everything()
    assert store.tagged == {}
    assert store.images == []


async def test_more_bytes_than_promised_are_cut_off(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    layer = os.urandom(5000)
    publish(registry, NAME, sample(layer), "1")
    registry.fail(path=f"/blobs/{Digest.of(layer)}", append=b"x" * 100, times=99)
    async with registry.serve() as host, client() as it:
        with pytest.raises(ProtocolError, match="more than the promised 5000 bytes"):
            await it.pull(ref(host), store)
    assert Digest.of(layer) not in store.everything()


async def test_a_length_that_contradicts_the_manifest_is_refused_unread(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    layer = os.urandom(5000)
    publish(registry, NAME, sample(layer), "1")
    registry.fail(path=f"/blobs/{Digest.of(layer)}", replace=b"x" * 4000, times=99)
    async with registry.serve() as host, client() as it:
        with pytest.raises(DigestMismatchError, match="4000 bytes offered"):
            await it.pull(ref(host), store)


async def test_a_pinned_manifest_with_other_bytes_is_refused(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image, other = sample(), sample()
    publish(registry, NAME, image, "1")
    registry.fail(path="/manifests/", replace=other.manifest.raw, times=9)
    async with registry.serve() as host, client() as it:
        pinned = ref(host).with_digest(image.descriptor.digest)
        with pytest.raises(DigestMismatchError):
            await it.pull(pinned, store)
        # By tag the header still gives the exchange away.
        with pytest.raises(DigestMismatchError):
            await it.pull(ref(host), store)
    assert store.everything() == set()


async def test_a_manifest_over_the_limit_is_not_read(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    registry.add_manifest(NAME, b" " * ((4 << 20) + 1), OCI_MANIFEST, "1")
    async with registry.serve() as host, client() as it:
        with pytest.raises(ProtocolError, match="over the limit"):
            await it.pull(ref(host), store)
        registry.fail(path="/manifests/", append=b" " * (5 << 20))
        with pytest.raises(ProtocolError, match="longer than the limit"):
            await it.pull(ref(host), store)


async def test_an_ambiguous_document_is_refused(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image = sample()
    publish(registry, NAME, image)
    raw = image.manifest.raw.replace(b'"layers":', b'"manifests":[],"layers":')
    registry.add_manifest(NAME, raw, OCI_MANIFEST, "both")
    registry.add_manifest(NAME, image.manifest.raw, OCI_INDEX, "lied")
    async with registry.serve() as host, client() as it:
        for tag in ("both", "lied"):
            with pytest.raises(InvalidManifestError):
                await it.pull(ref(host, f":{tag}"), store)
    assert store.everything() == set()


async def test_an_index_that_misdescribes_its_child_is_refused(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image = sample()
    publish(registry, NAME, image)
    child = replace(image.descriptor, platform=AMD64, size=image.descriptor.size + 1)
    index = Index.build([child])
    registry.add_manifest(NAME, index.raw, OCI_INDEX, "1")
    async with registry.serve() as host, client() as it:
        with pytest.raises(InvalidManifestError, match="the index calls"):
            await it.pull(ref(host), store, platform=AMD64)


async def test_nested_indexes_end_somewhere(registry: SimulatedRegistry, store: SmallStore) -> None:
    image = sample()
    publish(registry, NAME, image)
    found = replace(image.descriptor, platform=AMD64)
    for _ in range(6):
        index = Index.build([found])
        registry.add_manifest(NAME, index.raw, OCI_INDEX, "1")
        found = replace(index.descriptor, platform=AMD64)
    async with registry.serve() as host, client() as it:
        with pytest.raises(InvalidManifestError, match="nested"):
            await it.pull(ref(host), store, platform=AMD64)


async def test_a_config_with_another_number_of_layers_is_refused(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image = sample()
    publish(registry, NAME, image)
    fewer = Manifest.build(image.manifest.config, image.manifest.layers[:1])
    registry.add_manifest(NAME, fewer.raw, OCI_MANIFEST, "1")
    async with registry.serve() as host, client() as it:
        with pytest.raises(InvalidManifestError, match="the config lists 2 layers"):
            await it.pull(ref(host), store)
    assert registry.seen("GET", str(image.manifest.layers[0].digest)) == []


async def test_one_failing_layer_stops_the_others_and_leaves_no_stage(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image = sample(*(os.urandom(400_000) for _ in range(8)))
    publish(registry, NAME, image, "1")
    del registry.blobs[NAME, str(image.manifest.layers[5].digest)]
    async with registry.serve() as host, client() as it:
        with pytest.raises(RemoteBlobUnknownError) as caught:
            await it.pull(ref(host), store)
    assert str(image.manifest.layers[5].digest) in str(caught.value.where)
    assert store.tagged == {}
    store.everything()


async def test_a_cancelled_pull_leaves_no_stage(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image = sample(*(os.urandom(3_000_000) for _ in range(4)))
    publish(registry, NAME, image, "1")
    # One layer never comes whole, or all of them might be there before the cancellation is.
    stall = registry.fail(path=f"/blobs/{image.manifest.layers[0].digest}", stall_at=2_500_000)
    started, loop = asyncio.Event(), asyncio.get_running_loop()

    def watch(event: Event) -> None:
        if isinstance(event, LayerEvent) and event.current:
            loop.call_soon_threadsafe(started.set)

    async with registry.serve() as host, client() as it:
        task = asyncio.create_task(it.pull(ref(host), store, progress=watch))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stall.resume.set()
    assert store.tagged == {}
    assert image.descriptor.digest not in store.everything()


# -- foreign layers


def foreign(registry: SimulatedRegistry, layer: bytes, url: str) -> None:
    image = sample(layer)
    away = Descriptor(OCI_FOREIGN_LAYER_GZIP, Digest.of(layer), len(layer), urls=(url,))
    manifest = Manifest.build(image.manifest.config, [away])
    registry.add_blob(NAME, image.config)
    registry.add_manifest(NAME, manifest.raw, OCI_MANIFEST, "1")


async def test_foreign_urls_are_not_followed_unless_allowed(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    layer, elsewhere = os.urandom(2000), SimulatedRegistry()
    digest = elsewhere.add_blob("x", layer)
    async with registry.serve() as host, elsewhere.serve() as other:
        foreign(registry, layer, f"http://{other}/v2/x/blobs/{digest}")
        async with client() as it:
            with pytest.raises(ForeignLayerError) as caught:
                await it.pull(ref(host), store)
        assert other in caught.value.what
        assert elsewhere.requests == []
        async with client(follow_foreign_urls=True) as it:
            await it.pull(ref(host), store)
    assert store.blobs.read(digest) == layer
    assert all(request.authorization is None for request in elsewhere.requests)


async def test_already_present_content_is_used_across_repositories(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    image = sample()
    keep(store, image)
    publish(registry, NAME, image, "1")
    async with registry.serve() as host, client() as it:
        await it.pull(ref(host), store)
    assert registry.seen("GET", "/blobs/") == []


async def test_a_range_that_was_not_asked_for_is_refused(
    registry: SimulatedRegistry, store: SmallStore
) -> None:
    layer = os.urandom(300_000)
    publish(registry, NAME, sample(layer), "1")
    path = f"/blobs/{Digest.of(layer)}"
    registry.fail(path=path, truncate_at=120_000)
    registry.fail(
        path=path, status=206, headers={"Content-Range": "bytes 0-9/300000"}, body=b"x" * 10
    )
    async with registry.serve() as host, client() as it:
        with pytest.raises(ProtocolError, match="asked for bytes from 120000"):
            await it.pull(ref(host), store)
    assert not store.blobs.has(Digest.of(layer))
