"""Pushing a build's result: everything is there before anything has a name."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from engine.builds.delivery.outputs import OutputError
from images.client.errors import RegistryError
from images.digest import Digest
from images.manifest import Index
from images.platform import Platform
from tests.engine.builds.delivery.conftest import Bench
from tests.simulators.registry import SimulatedRegistry

TWO = (Platform.parse("linux/amd64"), Platform.parse("linux/arm64"))
SCRATCH = "FROM scratch\nARG TARGETARCH\nCOPY b /$TARGETARCH\n"


@contextmanager
def serving(registry: SimulatedRegistry) -> Iterator[str]:
    """The registry in a thread of its own, since a build has an event loop of its own."""
    ready, address = threading.Event(), []
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        async with registry.serve() as host:
            address.append(host)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(60)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


@pytest.fixture
def registries() -> Iterator[list[tuple[SimulatedRegistry, str]]]:
    with ExitStack() as stack:
        made = [SimulatedRegistry(), SimulatedRegistry()]
        yield [(registry, stack.enter_context(serving(registry))) for registry in made]


def tags(registry: SimulatedRegistry) -> set[str]:
    return {f"{name}:{tag}" for name, tag in registry.manifests if not tag.startswith("sha256:")}


def test_a_single_name_puts_its_manifest_once(
    bench: Bench, registries: list[tuple[SimulatedRegistry, str]]
) -> None:
    (registry, host), _ = registries
    bench("type=registry", tags=(f"{host}/app:1",))
    assert [it.path for it in registry.seen("PUT", "/manifests/")] == ["/v2/app/manifests/1"]


def test_several_names_at_several_registries(
    bench: Bench, registries: list[tuple[SimulatedRegistry, str]]
) -> None:
    (one, first), (two, second) = registries
    names = (f"{first}/a/app:1", f"{first}/a/app:2", f"{first}/b:1", f"{second}/app:1")
    outcome = bench("type=registry", tags=names)
    assert tags(one) == {"a/app:1", "a/app:2", "b:1"}
    assert tags(two) == {"app:1"}
    assert {name.familiar for name in outcome.pushed} == set(names)
    assert outcome.named == ()
    raw, _ = two.manifests["app", "1"]
    assert raw == bench.store.blobs.read(outcome.root.digest)
    uploads = [r.path for r in one.seen("PUT") if "/blobs/" in r.path and "/a/app/" in r.path]
    assert 1 <= len(uploads) <= 5, "once for both tags; what the neighbour has first is mounted"


def test_no_name_where_one_repository_refuses(
    bench: Bench, registries: list[tuple[SimulatedRegistry, str]]
) -> None:
    (one, first), (two, second) = registries
    two.fail(method="POST", path="/blobs/uploads/", status=403, times=100)
    with pytest.raises(RegistryError):
        bench("type=image,push=true", tags=(f"{first}/app:1", f"{second}/app:1"))
    assert tags(one) == tags(two) == set()
    assert {name.familiar for name, _ in bench.store.names()} == {"base:latest"}


def test_by_digest(bench: Bench, registries: list[tuple[SimulatedRegistry, str]]) -> None:
    registry, host = registries[0]
    outcome = bench(f"type=image,name={host}/app,push-by-digest=true,push=true")
    assert tags(registry) == set()
    assert ("app", str(outcome.root.digest)) in registry.manifests
    (pushed,) = outcome.pushed
    assert (pushed.tag, pushed.digest) == (None, outcome.root.digest)


def test_an_index_and_its_images(
    bench: Bench, registries: list[tuple[SimulatedRegistry, str]]
) -> None:
    registry, host = registries[0]
    outcome = bench("type=registry", tags=(f"{host}/app:1",), dockerfile=SCRATCH, platforms=TWO)
    raw, _ = registry.manifests["app", "1"]
    index = Index.parse(raw)
    assert index.digest == outcome.root.digest
    for manifest in index.manifests:
        assert ("app", str(manifest.digest)) in registry.manifests


def test_forms_differ_by_output(
    bench: Bench, registries: list[tuple[SimulatedRegistry, str]]
) -> None:
    registry, host = registries[0]
    outcome = bench(
        f"type=registry,name={host}/app:gz",
        f"type=registry,name={host}/app:zst,compression=zstd,force-compression=true",
    )
    assert registry.manifests["app", "gz"] != registry.manifests["app", "zst"]
    for name, root in outcome.tagged:
        raw, _ = registry.manifests["app", str(name.tag)]
        assert Digest.of(raw) == root.digest
    with pytest.raises(OutputError, match="two outputs push to"):
        bench(f"type=registry,name={host}/app:1", f"type=image,name={host}/app:1,push=true")


def test_without_a_name_nothing_is_built(bench: Bench) -> None:
    with pytest.raises(OutputError, match="no name to push to"):
        bench("type=registry")
    assert bench.progress.names == []
