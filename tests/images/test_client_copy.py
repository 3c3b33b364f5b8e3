"""Copies between repositories: mounted within a registry, sent from one to another, once."""

from __future__ import annotations

import pytest

from images.client.errors import ManifestUnknownError
from images.client.progress import Event, LayerEvent, LayerState
from images.errors import DigestMismatchError
from images.reference import Reference
from tests.images.clientkit import (
    AMD64,
    ARM64,
    client,
    nothing_blocks_the_loop,  # noqa: F401 - a fixture
    publish,
    publish_index,
    sample,
)
from tests.simulators.registry import Fault, SimulatedRegistry

HERE, THERE = "team/app", "other/app"


def states(events: list[Event]) -> set[LayerState]:
    return {event.state for event in events if isinstance(event, LayerEvent)}


def ref(host: str, name: str, tag: str = "1") -> Reference:
    return Reference.parse(f"{host}/{name}:{tag}")


async def test_within_a_registry_blobs_are_mounted() -> None:
    registry, events = SimulatedRegistry(), list[Event]()
    image = sample()
    publish(registry, HERE, image, "1")
    async with registry.serve() as host, client() as it:
        copied = await it.copy(ref(host, HERE), ref(host, THERE, "2"), progress=events.append)
        assert await it.resolve(ref(host, THERE, "2")) == copied == image.descriptor
    assert states(events) == {LayerState.MOUNTED}
    assert not [request for request in registry.seen("GET") if "/blobs/" in request.path]


async def test_from_one_registry_to_another_they_are_sent() -> None:
    first, second, events = SimulatedRegistry(), SimulatedRegistry(), list[Event]()
    image = sample()
    publish(first, HERE, image, "1")
    async with first.serve() as here, second.serve() as there, client() as it:
        await it.copy(ref(here, HERE), ref(there, THERE), progress=events.append)
        assert LayerState.DONE in states(events)
        events.clear()
        await it.copy(ref(here, HERE), ref(there, THERE, "2"), progress=events.append)
        assert states(events) == {LayerState.EXISTS}
        raw, _ = await it.manifest(ref(there, THERE, "2"))
    assert raw == image.manifest.raw


async def test_an_index_brings_its_images() -> None:
    first, second = SimulatedRegistry(), SimulatedRegistry()
    images = [sample(b"a", platform=AMD64), sample(b"b", platform=ARM64)]
    index = publish_index(first, HERE, "1", *images)
    async with first.serve() as here, second.serve() as there, client() as it:
        copied = await it.copy(ref(here, HERE), ref(there, THERE))
        assert copied.digest == index.digest
        for image in images:
            assert await it.manifest_exists(ref(there, THERE).with_digest(image.descriptor.digest))
        puts = len(second.seen("PUT"))
        await it.copy(ref(here, HERE), ref(there, THERE))
        assert len(second.seen("PUT")) == puts + 1, "only the tag is written again"


async def test_what_lies_is_not_passed_on() -> None:
    first, second = SimulatedRegistry(), SimulatedRegistry()
    image = sample()
    publish(first, HERE, image, "1")
    first.faults.append(Fault("GET", "/blobs/", times=99, replace=b"x" * 4))
    async with first.serve() as here, second.serve() as there, client() as it:
        with pytest.raises(DigestMismatchError):
            await it.copy(ref(here, HERE), ref(there, THERE))
        assert not await it.manifest_exists(ref(there, THERE))


async def test_nothing_to_copy() -> None:
    registry = SimulatedRegistry()
    async with registry.serve() as host, client() as it:
        with pytest.raises(ManifestUnknownError):
            await it.copy(ref(host, HERE), ref(host, THERE))
