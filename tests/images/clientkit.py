"""What the client's tests share: images to serve, a small store, time that does not pass."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from blockbuster import blockbuster_ctx

from images.blobs import BlobStore
from images.client import ClientOptions, RegistryClient
from images.client.plain_wire import PlainWire
from images.client.retry import Effects
from images.client.scope import Cancelled, Scope, run
from images.client.transport import CredentialSource
from images.config import ImageConfig
from images.credentials import Credentials
from images.descriptor import Descriptor
from images.digest import Digest
from images.manifest import Index, Manifest
from images.mediatype import OCI_LAYER_GZIP
from images.platform import Platform
from images.reference import Reference
from tests.simulators.registry import SimulatedRegistry

WIRES = ("aiohttp", "plain")
_wire: ContextVar[str] = ContextVar("wire", default=WIRES[0])


@pytest.fixture(autouse=True, params=WIRES)
def nothing_blocks_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Imported by each module of client tests: each test is for both wires, and there is no file,
    lock or database call on the event loop.
    """
    chosen = _wire.set(request.param)
    with blockbuster_ctx(["images.client"]) as guard:
        # coverage takes its own lock when a thread enters a file for the first time.
        for acquire in ("threading.Lock.acquire", "threading.Lock.acquire_lock"):
            guard.functions[acquire].can_block_in("coverage/collector.py", "lock_data")
        yield
    _wire.reset(chosen)


class InThreads:
    """A client without an event loop, for tests that have one: its methods run in threads."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client

    async def __aenter__(self) -> InThreads:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if inspect.isasyncgenfunction(method):
            return lambda *words, **named: self._each(method(*words, **named))
        return lambda *words, **named: self._apart(method(*words, **named))

    async def _apart(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        scope = Scope()

        def work() -> Any:
            with scope.entered():
                return run(coroutine)

        # As on an event loop: an end of iteration is no result of a thread.
        thread = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(thread)
        except asyncio.CancelledError:
            scope.cancel()
            await asyncio.wait([thread])
            with suppress(Cancelled):
                thread.result()
            raise

    async def _each(self, items: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        async def following() -> bytes | None:
            return await anext(items, None)

        try:
            while (item := await self._apart(following())) is not None:
                yield item
        finally:
            await self._apart(items.aclose())


AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


@dataclass
class Clock:
    """A clock that moves only when somebody sleeps; ``slept`` are the pauses in seconds."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def effects(self) -> Effects:
        return Effects(self.sleep, lambda: 0.5, lambda: self.now, lambda: self.now)


@dataclass
class Keyring:
    """Credentials by host."""

    known: dict[str, Credentials] = field(default_factory=dict)

    def get(self, registry: str, repository: str = "") -> Credentials | None:
        return self.known.get(registry)


@dataclass
class SmallStore:
    """A real blob store with names in a dictionary."""

    blobs: BlobStore
    tagged: dict[Reference, Descriptor] = field(default_factory=dict)
    images: list[Descriptor] = field(default_factory=list)
    leases: list[str] = field(default_factory=list)
    about: dict[Digest, list[Descriptor]] = field(default_factory=dict)

    @classmethod
    def at(cls, root: Path) -> SmallStore:
        return cls(BlobStore(root))

    @contextmanager
    def lease(self, description: str) -> Iterator[None]:
        self.leases.append(description)
        yield
        self.leases.append("released")

    def resolve(self, reference: Reference) -> Descriptor | None:
        return self.tagged.get(reference)

    def add_image(self, descriptor: Descriptor) -> None:
        assert self.blobs.has(descriptor.digest)
        self.images.append(descriptor)

    def tag(self, reference: Reference, descriptor: Descriptor) -> None:
        self.tagged[reference] = descriptor

    def names(self) -> Iterable[tuple[Reference, Descriptor]]:
        return list(self.tagged.items())

    def referrers(self, subject: Digest, /) -> Iterable[Descriptor]:
        return self.about.get(subject, [])

    def everything(self) -> set[Digest]:
        """All blobs, and a check that nothing unfinished lies around."""
        assert not list(self.blobs.stages())
        return set(self.blobs.digests())


@dataclass(frozen=True)
class Sample:
    """An image in pieces: manifest, config and layer bytes."""

    manifest: Manifest
    config: bytes
    layers: tuple[bytes, ...]

    @property
    def descriptor(self) -> Descriptor:
        return self.manifest.descriptor

    @property
    def blobs(self) -> tuple[bytes, ...]:
        return (self.config, *self.layers)


def sample(*layers: bytes, platform: Platform = AMD64, media_type: str = OCI_LAYER_GZIP) -> Sample:
    """An image whose layers are arbitrary bytes."""
    layers = layers or (os.urandom(3000), os.urandom(200_000))
    config = ImageConfig.build(platform, [Digest.of(b"diff" + layer) for layer in layers])
    descriptors = [Descriptor(media_type, Digest.of(data), len(data)) for data in layers]
    manifest = Manifest.build(config.descriptor(), descriptors)
    return Sample(manifest, config.raw, layers)


def publish(registry: SimulatedRegistry, name: str, image: Sample, *tags: str) -> None:
    """Put a sample into the simulator."""
    for data in image.blobs:
        registry.add_blob(name, data)
    registry.add_manifest(name, image.manifest.raw, image.manifest.media_type, *tags)


def publish_index(registry: SimulatedRegistry, name: str, tag: str, *images: Sample) -> Index:
    """Put an index over samples into the simulator."""
    for image in images:
        publish(registry, name, image)
    index = index_of(*images)
    registry.add_manifest(name, index.raw, index.media_type, tag)
    return index


def index_of(*images: Sample) -> Index:
    """An index over samples, with the platforms of their configs."""
    children = []
    for image in images:
        found = image.descriptor
        platform = ImageConfig.parse(image.config).platform
        children.append(Descriptor(found.media_type, found.digest, found.size, platform=platform))
    return Index.build(children)


def keep(store: SmallStore, image: Sample) -> Descriptor:
    """Put a sample into a store."""
    for data in (*image.blobs, image.manifest.raw):
        store.blobs.put(data)
    store.add_image(image.descriptor)
    return image.descriptor


def client(
    clock: Clock | None = None,
    credentials: Keyring | None = None,
    **options: object,
) -> RegistryClient:
    """A client on this test's wire, with fake time and nothing of this machine's settings."""
    settings = ClientOptions(  # type: ignore[call-overload]
        **{"certificate_dirs": (), "environ": {}, **options}
    )
    return on_wire(settings, credentials, effects=(clock or Clock()).effects())


def on_wire(
    options: ClientOptions,
    credentials: CredentialSource | None = None,
    *,
    effects: Effects | None = None,
) -> RegistryClient:
    """A client on this test's wire."""
    if _wire.get() == "aiohttp":
        return RegistryClient(credentials, options, effects=effects)
    made = RegistryClient(credentials, options, effects=effects, wire=PlainWire(options))
    return cast("RegistryClient", InThreads(made))
