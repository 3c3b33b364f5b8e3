"""Reads that go to mirrors: who is asked for what, in which order, and what each may learn."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from images.client import ClientOptions
from images.client.errors import BlockedError, ManifestUnknownError
from images.client.mirrors import Mirror, Registries, Source, When
from images.credentials import Credentials
from images.errors import ImagesError
from images.reference import Reference
from tests.images.clientkit import (  # noqa: F401
    Clock,
    Keyring,
    Sample,
    SmallStore,
    nothing_blocks_the_loop,
    on_wire,
    publish,
    sample,
)
from tests.simulators.registry import SimulatedRegistry


class World:
    """A registry, its mirror, and one image named ``lib/app``, at the mirror below ``copy``."""

    def __init__(self, stack: AsyncExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self.own, self.mirror = SimulatedRegistry(), SimulatedRegistry()
        self.image: Sample = sample()
        self.keys = Keyring()
        self.clock = Clock()
        self.host = self.copy = ""

    async def start(self) -> World:
        self.host = await self._stack.enter_async_context(self.own.serve())
        self.copy = await self._stack.enter_async_context(self.mirror.serve())
        return self

    def source(self, *mirrors: Mirror, **more: object) -> Registries:
        known = Source(self.host, mirrors=mirrors, **more)  # type: ignore[arg-type]
        return Registries((Source("docker.io"), known), origin="registries.conf")

    async def pull(self, registries: Registries, *, by_digest: bool = False) -> SmallStore:
        store = SmallStore.at(self._folder / "store")
        name = Reference.parse(f"{self.host}/lib/app:1")
        if by_digest:
            name = name.with_digest(self.image.descriptor.digest)
        options = ClientOptions(environ={}, registries=registries)
        async with on_wire(options, self.keys, effects=self.clock.effects()) as client:
            found = await client.pull(name, store)
        assert found.digest == self.image.descriptor.digest
        assert by_digest or set(store.tagged) == {name}
        return store


@pytest.fixture
async def world(tmp_path: Path):  # type: ignore[no-untyped-def]
    async with AsyncExitStack() as stack:
        yield await World(stack, tmp_path).start()


async def test_a_mirror_that_has_it_is_enough(world: World) -> None:
    publish(world.mirror, "copy/lib/app", world.image, "1")
    await world.pull(world.source(Mirror(f"{world.copy}/copy")))
    assert world.own.requests == []
    assert world.mirror.seen("GET", "/v2/copy/lib/app/blobs/")


async def test_what_a_mirror_lacks_comes_from_the_registry(world: World) -> None:
    publish(world.own, "lib/app", world.image, "1")
    publish(world.mirror, "lib/app", world.image, "1")
    gone = world.image.manifest.layers[0].digest
    del world.mirror.blobs["lib/app", str(gone)]
    await world.pull(world.source(Mirror(world.copy)))
    asked = [request.path for request in world.own.seen("GET", "lib/app")]
    assert asked == [f"/v2/lib/app/blobs/{gone}"]


async def test_a_mirror_that_lies_is_not_believed(world: World) -> None:
    publish(world.own, "lib/app", world.image, "1")
    publish(world.mirror, "lib/app", world.image, "1")
    for layer in world.image.manifest.layers:
        world.mirror.blobs["lib/app", str(layer.digest)] = bytes(layer.size)
    with pytest.raises(ImagesError, match=r"hashes to"):
        await world.pull(world.source(Mirror(world.copy)))


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_a_mirror_that_refuses_is_passed_over_without_waiting(
    world: World, status: int
) -> None:
    publish(world.own, "lib/app", world.image, "1")
    world.mirror.fail(method="GET", status=status, times=1000)
    world.mirror.fail(method="HEAD", status=status, times=1000)
    await world.pull(world.source(Mirror(world.copy)))
    assert world.clock.slept == []


async def test_a_mirror_that_is_not_there_is_tried_once(world: World) -> None:
    publish(world.own, "lib/app", world.image, "1")
    await world.pull(world.source(Mirror("127.0.0.1:1"), Mirror(world.copy)))
    assert world.mirror.requests
    assert world.clock.slept == []


@pytest.mark.parametrize(
    ("when", "by_digest", "manifest"),
    [(When.DIGEST, False, False), (When.DIGEST, True, True), (When.TAG, False, True)],
)
async def test_a_mirror_for_digests_or_tags_alone(
    world: World, when: When, by_digest: bool, manifest: bool
) -> None:
    publish(world.own, "lib/app", world.image, "1")
    publish(world.mirror, "lib/app", world.image, "1")
    await world.pull(world.source(Mirror(world.copy, when)), by_digest=by_digest)
    assert bool(world.mirror.seen("GET", "manifests")) == manifest
    assert bool(world.mirror.seen("GET", "blobs")) == (when is When.DIGEST)


async def test_each_host_gets_its_own_credentials(world: World) -> None:
    for registry, user in ((world.own, "alice"), (world.mirror, "bob")):
        registry.auth, registry.users = "basic", {user: "secret"}
    world.keys.known = {
        world.host: Credentials("alice", "secret"),
        world.copy: Credentials("bob", "secret"),
    }
    publish(world.own, "lib/app", world.image, "1")
    await world.pull(world.source(Mirror(world.copy)))
    for registry in (world.own, world.mirror):
        sent = {request.authorization for request in registry.requests} - {None}
        assert len(sent) == 1


async def test_what_moved_is_read_from_there_under_its_name(world: World) -> None:
    publish(world.mirror, "new/app", world.image, "1")
    moved = Registries((Source(f"{world.host}/lib", f"{world.copy}/new"),))
    await world.pull(moved)
    assert world.own.requests == []


async def test_what_is_blocked_is_not_asked_for(world: World) -> None:
    with pytest.raises(BlockedError) as caught:
        await world.pull(world.source(blocked=True))
    assert caught.value.where == "registries.conf"
    assert world.own.requests == []


async def test_when_nobody_has_it_all_who_were_asked_are_named(world: World) -> None:
    with pytest.raises(ManifestUnknownError) as caught:
        await world.pull(world.source(Mirror(world.copy), Mirror("127.0.0.1:1")))
    assert caught.value.fix is not None
    assert re.search(rf"mirror {world.copy}/lib/app: .*; mirror 127.0.0.1:1/", caught.value.fix)


def test_the_longest_prefix_counts() -> None:
    assert Source("a.example/b").covers("a.example/b/c")
    assert not Source("a.example/b").covers("a.example/bc")
    assert Source("*.example").covers("a.b.example:5000/c")
    assert not Source("*.example").covers("example/c")
