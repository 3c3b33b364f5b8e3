"""A cache in a registry: under a tag of its own, or inside images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final

from builder.remote import inline
from builder.remote.index import (
    EMPTY,
    INDEX_LIMIT,
    INDEX_TYPE,
    CacheFormatError,
    CacheIndex,
    CacheRecord,
    decode,
    is_cache,
    manifest_of,
)
from engine.builds.remote_cache.places import unheard
from images.client.errors import ManifestUnknownError, TagMovedError
from images.client.progress import LayerState
from images.client.request import Unchanged
from images.client.threads import gather, in_thread, pause
from images.config import ImageConfig
from images.manifest import Index, Manifest, parse
from images.mediatype import DOCKER_CONFIG, OCI_CONFIG, OCI_EMPTY

if TYPE_CHECKING:
    from engine.builds.remote_cache.line import Line
    from engine.builds.remote_cache.places import Change
    from images.blobs import BlobStore
    from images.client import RegistryClient
    from images.descriptor import Descriptor
    from images.reference import Reference

IMAGES: Final = 32
"""Images of an index whose own caches are read."""
CHILDREN: Final = 8
"""Of those, at the same time."""
ATTEMPTS: Final = 20
"""How often an index is written while others write it too."""
PAUSE: Final = 0.05
"""Seconds that the pause before the next attempt grows by."""


class RegistryCache:
    """A ``Goal`` at ``reference``; an ``Origin`` of anything in its repository."""

    def __init__(self, line: Line, reference: Reference, *, verify: bool = False) -> None:
        """``verify`` lets the policy in force judge the manifest before it is read."""
        self._line = line
        self._verify = verify
        self.reference: Reference | None = reference
        self._at = reference
        self.label = reference.familiar

    def read(self) -> CacheIndex:
        """As ``Cache.read``; of an image, what it carries."""
        return self._line.call(self._read)

    def fetch(self, descriptor: Descriptor, blobs: BlobStore) -> None:
        """As ``Origin.fetch``."""
        self._line.call(lambda client: client.fetch_blob(self._at, descriptor, blobs))

    def send(
        self,
        descriptor: Descriptor,
        source: Callable[[], BinaryIO],
        *,
        near: Reference | None,
        report: Callable[[int], None] = unheard,
    ) -> LayerState:
        """As ``Goal.send``."""
        at = self._at
        mount = None
        if near is not None and near.registry == at.registry:
            mount = near.repository if near.repository != at.repository else None
        with self._line.turn(at.registry, descriptor.digest) as holder:
            if holder == at.repository:
                return LayerState.EXISTS
            state = self._line.call(
                lambda client: client.send_blob(
                    at, descriptor, source, mount_from=holder or mount, report=report
                )
            )
            self._line.note(at.registry, descriptor.digest, at.repository)
        return state

    def publish(self, change: Change) -> Descriptor:
        """As ``Goal.publish``: under If-Match where the registry knows it, else the last wins."""
        return self._line.call(partial(self._publish, change=change))

    def release(self) -> None:
        """As ``Goal.release``; registries keep what nobody names yet for a while."""

    async def _publish(self, client: RegistryClient, *, change: Change) -> Descriptor:
        for attempt in range(1, ATTEMPTS + 1):
            old, condition = await self._current(client)
            raw, manifest = manifest_of(await in_thread(partial(change, old)))
            await client.put_blob(self._at, raw, INDEX_TYPE)
            if manifest.layers[0].media_type == OCI_EMPTY:
                await client.put_blob(self._at, EMPTY, OCI_EMPTY)
            try:
                return await client.put_manifest(
                    self._at, manifest.raw, manifest.media_type, condition=condition
                )
            except TagMovedError:
                if attempt == ATTEMPTS:
                    raise
            await pause(PAUSE * attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _current(self, client: RegistryClient) -> tuple[CacheIndex, Unchanged | None]:
        """What is there now, and the condition to replace it under; what is no cache is empty."""
        try:
            fetched = await client.read_manifest(self._at)
        except ManifestUnknownError:
            return CacheIndex(), Unchanged()
        document = fetched.document
        if isinstance(document, Index) or not is_cache(document):
            return CacheIndex(), fetched.unchanged
        try:
            return await self._index(client, document), fetched.unchanged
        except CacheFormatError:
            return CacheIndex(), fetched.unchanged

    async def _read(self, client: RegistryClient) -> CacheIndex:
        fetched = await client.read_manifest(self._at)
        if self._verify:
            from engine.admitting import verifier_of

            await verifier_of(self._line.access, client)(self._at, fetched.descriptor)
        document = fetched.document
        if isinstance(document, Manifest) and is_cache(document):
            return await self._index(client, document)
        records = await self._carried(client, document)
        if not records:
            raise CacheFormatError(
                "it carries no build cache",
                where=self.label,
                fix="fill it with --cache-to type=registry,ref=..., or build the image with "
                "--cache-to type=inline",
            )
        return CacheIndex(tuple(records))

    async def _index(self, client: RegistryClient, manifest: Manifest) -> CacheIndex:
        known, key = self._line.indexes, (self._at.registry, manifest.config.digest)
        if key not in known:
            raw = await client.read_blob(self._at, manifest.config, limit=INDEX_LIMIT)
            known[key] = decode(raw)
        return known[key]

    async def _carried(
        self, client: RegistryClient, document: Manifest | Index
    ) -> list[CacheRecord]:
        """What an image says of itself; of an index all its images, one level deep."""
        if isinstance(document, Index):
            children = [it for it in document.manifests if not _is_attestation(it)][:IMAGES]
            found = await gather(
                [partial(self._child, client, child) for child in children], CHILDREN
            )
            return [record for records in found for record in records]
        if document.config.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
            return []
        config = ImageConfig.parse(await client.read_blob(self._at, document.config))
        records = inline.read_config(config, document)
        return [CacheRecord((key,), layers) for key, layers in records.items()]

    async def _child(self, client: RegistryClient, child: Descriptor) -> list[CacheRecord]:
        document = parse(*await client.manifest(self._at.with_digest(child.digest)))
        return [] if isinstance(document, Index) else await self._carried(client, document)


def _is_attestation(descriptor: Descriptor) -> bool:
    return descriptor.platform is not None and descriptor.platform.os == "unknown"
