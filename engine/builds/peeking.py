"""Base images for a check: what is not stored is looked at in its registry, not pulled.

A check needs the config of a base, which is a few kilobytes; its layers may be gigabytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from builder.bases import ResolvedBase, StoreResolver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from engine.access import Access
    from images.client import RegistryClient
    from images.descriptor import Descriptor
    from images.platform import Platform
    from images.reference import Reference
    from images.store import ImageStore

INDEX_DEPTH: Final = 4
"""Indexes within indexes, at most."""


class PeekingResolver:
    """A ``BaseResolver`` whose answers may lack the blobs they speak of; nothing is stored."""

    def __init__(self, store: ImageStore, access: Access, *, always: bool = False) -> None:
        self._local = StoreResolver(store)
        self._access = access
        self._always = always

    def resolve(self, reference: Reference, platform: Platform) -> ResolvedBase:
        """The stored image, else the registry's manifest and config, under the policy.

        Raises:
            TrustError, RegistryError: the policy or the registry refuses.
            PlatformUnknownError: an index has no image for this platform.
        """
        if not self._always and self._local.pin(reference, platform) is not None:
            return self._local.resolve(reference, platform)
        from engine.registries import call
        from engine.trusting import verifier

        policy, notary = self._access.policy(), self._access.trust_data()
        return call(
            self._access,
            lambda client: peek(
                client, reference, platform, verify=verifier(client, policy, notary=notary)
            ),
            reading=True,
        )

    def pin(self, reference: Reference, platform: Platform) -> str | None:
        """Never: a check keeps no record."""
        return None


async def peek(
    client: RegistryClient,
    reference: Reference,
    platform: Platform,
    *,
    verify: Callable[[Reference, Descriptor], Awaitable[None]],
) -> ResolvedBase:
    """Fetch manifest and config; ``verify`` judges what the name points to before either is used.

    Raises:
        InvalidManifestError: indexes nest too deeply.
        TrustError, RegistryError, PlatformUnknownError: as ``PeekingResolver.resolve``.
    """
    from images.config import ImageConfig
    from images.errors import InvalidManifestError
    from images.manifest import Index, parse

    document = parse(*await client.manifest(reference))
    await verify(reference, document.descriptor)
    for _ in range(INDEX_DEPTH):
        if not isinstance(document, Index):
            break
        child = document.select(platform)
        document = parse(*await client.manifest(reference.with_digest(child.digest)))
    if isinstance(document, Index):
        raise InvalidManifestError(
            f"indexes are nested more than {INDEX_DEPTH} deep", where=str(reference)
        )
    config = ImageConfig.parse(await client.read_blob(reference, document.config))
    return ResolvedBase(document.descriptor, config, document.layers)
