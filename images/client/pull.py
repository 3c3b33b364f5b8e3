"""Pulling: resolve, verify the name's digest, then fetch what this platform needs; names come last.

Everything is written under a lease, so garbage collection in another process spares it, and a pull
that fails or is killed leaves no image and no name behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol

from images.client import limits, manifests
from images.client.download import BlobRequest, into_store
from images.client.progress import LayerEvent, LayerState, ProgressSink, StatusEvent
from images.client.threads import in_thread, run_bounded
from images.config import ImageConfig
from images.errors import InvalidManifestError, PlatformUnknownError, SizeLimitError
from images.manifest import Index, Manifest
from images.mediatype import DOCKER_CONFIG, OCI_CONFIG
from images.platform import Platform
from records import Record

if TYPE_CHECKING:
    from images.blobs import BlobStore
    from images.client.transport import Transport
    from images.descriptor import Descriptor
    from images.digest import Digest
    from images.reference import Reference

Verify = Callable[["Reference", "Descriptor"], Awaitable[None] | None]
"""Called with what a name resolved to, before any layer is fetched; raises to refuse it."""

INDEX_DEPTH = 4
"""Indexes within indexes, at most."""


class PullStore(Protocol):
    """What a pull needs of the image store."""

    @property
    def blobs(self) -> BlobStore:
        """Where content goes."""

    def lease(self, description: str) -> AbstractContextManager[object]:
        """Protect what is written in the block from garbage collection."""

    def resolve(self, reference: Reference, /) -> Descriptor | None:
        """What a name points to."""

    def add_image(self, descriptor: Descriptor, /) -> object:
        """Register a manifest or index whose content is complete."""

    def tag(self, reference: Reference, descriptor: Descriptor, /) -> object:
        """Point a name to it."""


class PullRequest(Record):
    """What to pull; ``platform`` None means this machine's, ``all_platforms`` overrides it."""

    reference: Reference
    platform: Platform | None = None
    all_platforms: bool = False
    verify: Verify | None = None


async def pull(
    transport: Transport, request: PullRequest, store: PullStore, progress: ProgressSink
) -> Descriptor:
    """Bring an image into the store; returns what the name points to, an index where it is one.

    Raises:
        RegistryError, DigestMismatchError: the registry's side. PlatformUnknownError: no image for
        the platform. Whatever ``verify`` raises.
    """
    reference = request.reference
    progress(StatusEvent(f"Pulling from {reference.repository}", id=reference.wire_reference))
    async with _leased(store, f"pull {reference}"):
        before = await in_thread(lambda: store.resolve(reference))
        job = _Pull(transport, request, store, progress)
        top = await job.fetch(reference)
        await job.check(top.descriptor)
        await job.complete(top)
        await in_thread(lambda: _publish(store, reference, top.descriptor))
    progress(StatusEvent(f"Digest: {top.descriptor.digest}"))
    fresh = before is None or before.digest != top.descriptor.digest
    text = "Downloaded newer image" if fresh else "Image is up to date"
    progress(StatusEvent(f"Status: {text} for {reference.familiar}"))
    return top.descriptor


@asynccontextmanager
async def _leased(store: PullStore, description: str) -> AsyncIterator[None]:
    """A store's lease, taken and given back in a thread."""
    lease = store.lease(description)
    await in_thread(lease.__enter__)
    try:
        yield
    finally:
        await in_thread(lambda: lease.__exit__(None, None, None))


def _publish(store: PullStore, reference: Reference, descriptor: Descriptor) -> None:
    store.add_image(descriptor)
    # As in Docker, a pull by digest moves no tag.
    if reference.digest is None:
        store.tag(reference, descriptor)


class _Pull(Record):
    """One pull under way."""

    transport: Transport
    request: PullRequest
    store: PullStore
    progress: ProgressSink

    async def fetch(self, reference: Reference) -> manifests.Fetched:
        """A manifest from the store when its digest is known and there, else from the registry."""
        digest = reference.digest
        if digest is not None:
            raw = await in_thread(lambda: _read_if_there(self.store.blobs, digest))
            if raw is not None:
                return manifests.parsed(reference, raw, None, digest)
        return await manifests.fetch(self.transport, reference)

    async def check(self, descriptor: Descriptor) -> None:
        """Let the caller's policy judge the resolved digest; it may block or be a coroutine."""
        verify = self.request.verify
        if verify is None:
            return
        verdict = await in_thread(lambda: verify(self.request.reference, descriptor))
        if verdict is not None:
            await verdict

    async def complete(self, fetched: manifests.Fetched, *, depth: int = 0) -> None:
        """Fetch all that hangs on a manifest, then keep the manifest itself."""
        if isinstance(fetched.document, Index):
            if depth == INDEX_DEPTH:
                raise InvalidManifestError(
                    f"indexes are nested more than {INDEX_DEPTH} deep",
                    where=str(self.request.reference),
                )
            for child in self._wanted(fetched.document):
                below = await self.fetch(self.request.reference.with_digest(child.digest))
                _check_child(child, below.descriptor)
                await self.complete(below, depth=depth + 1)
        else:
            await self._layers(fetched.document, explicit=depth == 0)
        await in_thread(lambda: _keep(self.store.blobs, fetched))

    def _wanted(self, index: Index) -> tuple[Descriptor, ...]:
        if self.request.all_platforms:
            return index.manifests
        try:
            return (index.select(self.request.platform or Platform.host()),)
        except PlatformUnknownError as error:
            error.where = error.where or str(self.request.reference)
            raise

    async def _layers(self, document: Manifest, *, explicit: bool) -> None:
        where = str(self.request.reference)
        if document.config.size > limits.CONFIG:
            raise SizeLimitError(f"the config is longer than {limits.CONFIG} bytes", where=where)
        await self._blob(document.config, show=False)
        if document.config.media_type in (OCI_CONFIG, DOCKER_CONFIG):
            raw = await in_thread(lambda: self.store.blobs.read(document.config.digest))
            config = ImageConfig.parse(raw)
            if len(config.diff_ids) != len(document.layers):
                raise InvalidManifestError(
                    f"the config lists {len(config.diff_ids)} layers, "
                    f"the manifest {len(document.layers)}",
                    where=where,
                )
            if explicit:
                self._check_platform(config)
        unique = {layer.digest: layer for layer in document.layers}
        for layer in unique.values():
            self.progress(LayerEvent(layer.digest, LayerState.WAITING, 0, layer.size))
        await run_bounded(
            [partial(self._blob, layer) for layer in unique.values()],
            self.transport.options.parallel,
        )

    def _check_platform(self, config: ImageConfig) -> None:
        wanted = self.request.platform
        if wanted is not None and not config.platform.matches(wanted):
            raise PlatformUnknownError(
                f"no image for platform {wanted}",
                where=str(self.request.reference),
                fix=f"this image is for {config.platform} only",
            )

    async def _blob(self, descriptor: Descriptor, *, show: bool = True) -> None:
        def tell(state: LayerState, current: int) -> None:
            if show:
                self.progress(LayerEvent(descriptor.digest, state, current, descriptor.size))

        if await in_thread(lambda: self.store.blobs.has(descriptor.digest)):
            tell(LayerState.EXISTS, descriptor.size)
            return
        wanted = BlobRequest(
            manifests.repository_of(self.request.reference),
            descriptor,
            report=partial(tell, LayerState.DOWNLOADING),
            retrying=partial(tell, LayerState.RETRYING),
            verifying=lambda: tell(LayerState.VERIFYING, descriptor.size),
        )
        tell(LayerState.DOWNLOADING, 0)
        await into_store(self.transport, wanted, self.store.blobs)
        tell(LayerState.DONE, descriptor.size)


def _read_if_there(blobs: BlobStore, digest: Digest) -> bytes | None:
    return blobs.read(digest, limit=limits.MANIFEST) if blobs.has(digest) else None


def _keep(blobs: BlobStore, fetched: manifests.Fetched) -> None:
    """Write a manifest under the digest it was asked by."""
    with blobs.writer(expected=fetched.descriptor.digest) as writer:
        writer.write(fetched.raw)
        writer.commit()


def _check_child(promised: Descriptor, found: Descriptor) -> None:
    """An index must not describe a manifest otherwise than it is (CVE-2021-41190)."""
    if promised.size != found.size or promised.media_type != found.media_type:
        raise InvalidManifestError(
            f"the index calls {promised.digest} {promised.media_type} of {promised.size} bytes, "
            f"but it is {found.media_type} of {found.size} bytes"
        )
