"""Base images without their layers: manifest and config are fetched, layers when a step reads them.

The policy is asked about the digest before anything else is, as for a pull.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from engine.builds.peeking import INDEX_DEPTH
from engine.builds.resolving import PullingResolver
from images.errors import InvalidManifestError
from images.manifest import Index, Manifest, parse

if TYPE_CHECKING:
    from engine.access import Access
    from engine.builds.lock import BuildLock
    from engine.builds.remote_cache.line import Line
    from images.client import RegistryClient
    from images.client.progress import ProgressSink
    from images.descriptor import Descriptor
    from images.platform import Platform
    from images.reference import Reference
    from images.store import ImageStore

Learn = Callable[["Reference", "Sequence[Descriptor]"], None]
"""Hears of layers that can be had from a repository."""


class LazyResolver(PullingResolver):
    """A ``BaseResolver`` that leaves layers where they are and tells ``learn`` where that is."""

    def __init__(
        self,
        store: ImageStore,
        access: Access,
        *,
        progress: ProgressSink,
        always: bool,
        lock: BuildLock | None,
        line: Line,
        learn: Learn,
    ) -> None:
        super().__init__(store, access, progress=progress, always=always, lock=lock)
        self._line = line
        self._learn = learn

    def _pull(self, reference: Reference, platform: Platform) -> Descriptor:
        if self._access.content_trust:
            return super()._pull(reference, platform)
        return self._line.call(lambda client: self._look(client, reference, platform))

    async def _look(
        self, client: RegistryClient, reference: Reference, platform: Platform
    ) -> Descriptor:
        """Keep manifest and config; returns what the name points to.

        Raises:
            InvalidManifestError: indexes nest too deeply.
            TrustError, RegistryError, PlatformUnknownError: as ``PullingResolver.resolve``.
        """
        from engine.admitting import verifier_of
        from images.client.threads import in_thread

        fetched = await client.read_manifest(reference)
        await verifier_of(self._access, client)(reference, fetched.descriptor)
        document: Manifest | Index = fetched.document
        keep = [document.raw]
        for _ in range(INDEX_DEPTH):
            if isinstance(document, Manifest):
                break
            child = reference.with_digest(document.select(platform).digest)
            document = parse(*await client.manifest(child))
            keep.append(document.raw)
        if isinstance(document, Index):
            raise InvalidManifestError(
                f"indexes are nested more than {INDEX_DEPTH} deep", where=str(reference)
            )
        keep.append(await client.read_blob(reference, document.config))
        for raw in reversed(keep):
            await in_thread(lambda data=raw: self._store.blobs.put(data))  # type: ignore[misc]
        self._learn(reference, document.layers)
        return fetched.descriptor
