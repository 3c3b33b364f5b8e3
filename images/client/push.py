"""Pushing: blobs first, then manifests from the leaves up, the tag last.

Nothing is computed anew; what is pushed is what the store holds, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from images import manifest
from images.client import limits, manifests
from images.client.errors import ManifestUnknownError, PushContentMissingError
from images.client.progress import LayerEvent, LayerState, ProgressSink, StatusEvent
from images.client.threads import in_thread, run_bounded
from images.client.upload import Upload, exists, send
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import ImagesError
from images.manifest import Index, Manifest
from images.mediatype import FOREIGN_LAYERS
from records import Record, field, replace

if TYPE_CHECKING:
    from images.blobs import BlobStore
    from images.client.transport import Transport
    from images.platform import Platform
    from images.reference import Reference

MOUNT_NAMES = 64
"""How many of the store's names are looked through for repositories to mount from."""


class PushStore(Protocol):
    """What a push needs of the image store."""

    @property
    def blobs(self) -> BlobStore:
        """Where content is."""

    def names(self) -> Iterable[tuple[Reference, Descriptor]]:
        """All names, to find repositories that have a blob already."""

    def referrers(self, subject: Digest, /) -> Iterable[Descriptor]:
        """Manifests about ``subject``, which go where it goes."""


def unknown(_digest: Digest) -> bool:
    """Nothing is known of what the registry has."""
    return False


class PushRequest(Record):
    """What to push where; ``platform`` picks one manifest of an index and pushes it alone.

    ``there`` knows blobs that the repository has, which it is not asked for. Without ``whole``
    it is all that the manifest needs, and the manifest is somebody else's to put.
    """

    reference: Reference
    descriptor: Descriptor
    platform: Platform | None = None
    there: Callable[[Digest], bool] = unknown
    whole: bool = True


async def push(
    transport: Transport, request: PushRequest, store: PushStore, progress: ProgressSink
) -> Descriptor:
    """Send an image; returns the descriptor that the name now has at the registry.

    Raises:
        PushContentMissingError: the store lacks a part that the registry lacks too.
        RegistryError: after the retries.
    """
    reference = request.reference
    progress(StatusEvent(f"The push refers to repository [{reference.name}]"))
    document = await in_thread(lambda: _document(store.blobs, request.descriptor.digest))
    if request.platform is not None and isinstance(document, Index):
        chosen = document.select(request.platform)
        document = await in_thread(lambda: _document(store.blobs, chosen.digest))
    job = _Push(transport, reference, store, progress, request.there)
    job.mounts.update(await in_thread(lambda: _mountable(store, reference)))
    await job.send_content(document)
    if not request.whole:
        return request.descriptor
    pushed = await manifests.put(transport, reference, document.raw, document.media_type)
    label = reference.tag or str(pushed.digest)
    progress(StatusEvent(f"digest: {pushed.digest} size: {pushed.size}", id=label))
    return pushed


class _Push(Record):
    """One push under way; ``mounts`` says which neighbour has a blob."""

    transport: Transport
    reference: Reference
    store: PushStore
    progress: ProgressSink
    there: Callable[[Digest], bool]
    mounts: dict[Digest, str] = field(default_factory=dict)

    async def send_content(self, document: Manifest | Index) -> None:
        """Send all that a manifest or index refers to, and what refers to it, not itself.

        So an image has its statements and signatures when its name appears.
        """
        if isinstance(document, Manifest):
            unique = {item.digest: item for item in (*document.layers, document.config)}
            jobs = [
                partial(self._blob, item, show=item is not document.config)
                for item in unique.values()
            ]
            await run_bounded(jobs, self.transport.options.parallel)
        else:
            for child in document.manifests:
                await self._child(child)
        for referrer in await in_thread(lambda: list(self.store.referrers(document.digest))):
            await self._child(referrer)

    async def _child(self, child: Descriptor) -> None:
        """Send a manifest under its digest, or find that it is there already."""
        target = self.reference.with_digest(child.digest)
        if not await in_thread(lambda: self.store.blobs.has(child.digest)):
            try:
                await manifests.resolve(self.transport, target)
            except ManifestUnknownError as error:
                raise _missing(self.reference, child) from error
            return
        document = await in_thread(lambda: _document(self.store.blobs, child.digest))
        await self.send_content(document)
        by_digest = replace(target, tag=None)
        await manifests.put(self.transport, by_digest, document.raw, document.media_type)

    async def _blob(self, descriptor: Descriptor, *, show: bool) -> None:
        def tell(state: LayerState, current: int) -> None:
            if show:
                self.progress(LayerEvent(descriptor.digest, state, current, descriptor.size))

        repository = manifests.repository_of(self.reference)
        blobs = self.store.blobs
        if descriptor.media_type in FOREIGN_LAYERS and descriptor.urls:
            tell(LayerState.SKIPPED, 0)
            return
        if self.there(descriptor.digest):
            tell(LayerState.EXISTS, descriptor.size)
            return
        tell(LayerState.WAITING, 0)
        if not await in_thread(lambda: blobs.has(descriptor.digest)):
            if not await exists(self.transport, repository, descriptor):
                raise _missing(self.reference, descriptor)
            tell(LayerState.EXISTS, descriptor.size)
            return
        upload = Upload(
            repository,
            descriptor,
            open=lambda: blobs.open(descriptor.digest),
            mount_from=self.mounts.get(descriptor.digest),
            report=partial(tell, LayerState.UPLOADING),
        )
        tell(await send(self.transport, upload), descriptor.size)


def _document(blobs: BlobStore, digest: Digest) -> Manifest | Index:
    return manifest.parse(blobs.read(digest, limit=limits.MANIFEST))


def _mountable(store: PushStore, target: Reference) -> dict[Digest, str]:
    """Blobs that another repository of the same registry is known to have."""
    found: dict[Digest, str] = {}
    neighbours = (
        (reference, descriptor)
        for reference, descriptor in store.names()
        if reference.registry == target.registry and reference.repository != target.repository
    )
    for _, (reference, descriptor) in zip(range(MOUNT_NAMES), neighbours, strict=False):
        for digest in _blobs_of(store.blobs, descriptor.digest):
            found.setdefault(digest, reference.repository)
    return found


def _blobs_of(blobs: BlobStore, digest: Digest) -> Iterable[Digest]:
    """What a stored image consists of; what is missing or damaged is no candidate."""
    try:
        document = _document(blobs, digest)
    except ImagesError:
        return
    if isinstance(document, Manifest):
        yield from (part.digest for part in (*document.layers, document.config))
        return
    for child in document.manifests:
        if blobs.size(child.digest) is not None:
            yield from _blobs_of(blobs, child.digest)


def _missing(reference: Reference, descriptor: Descriptor) -> PushContentMissingError:
    about = f" for {descriptor.platform}" if descriptor.platform is not None else ""
    return PushContentMissingError(
        f"{descriptor.digest}{about} is neither in the local store nor at the registry",
        where=str(reference),
        fix="pull it first, or push one platform alone with --platform",
    )
