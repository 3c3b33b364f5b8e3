"""Images of the store that a build knows as named contexts, resolved without a registry."""

from __future__ import annotations

from collections.abc import Mapping

from builder.bases import StoreResolver
from builder.contexts import ImageContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builder.bases import BaseResolver, ResolvedBase
    from builder.contexts import NamedContext
    from images.descriptor import Descriptor
    from images.platform import Platform
    from images.reference import Reference
    from images.store import ImageStore


class NamedImages:
    """A ``BaseResolver`` that knows such images, and asks another one for all the rest."""

    def __init__(
        self, resolver: BaseResolver, stored: Mapping[Reference, Descriptor], store: ImageStore
    ) -> None:
        self._resolver = resolver
        self._stored = stored
        self._local = StoreResolver(store)

    def resolve(self, reference: Reference, platform: Platform) -> ResolvedBase:
        """The image; raises as ``BaseResolver.resolve``."""
        descriptor = self._stored.get(reference)
        if descriptor is None:
            return self._resolver.resolve(reference, platform)
        return self._local.image(reference, descriptor, platform)

    def pin(self, reference: Reference, platform: Platform) -> str | None:
        """As ``BaseResolver.pin``; a stored image is what its digest says."""
        descriptor = self._stored.get(reference)
        if descriptor is None:
            return self._resolver.pin(reference, platform)
        return str(descriptor.digest)


def with_named_images(
    resolver: BaseResolver, contexts: Mapping[str, NamedContext], store: ImageStore
) -> BaseResolver:
    """``resolver``, and before it the stored images among ``contexts``."""
    stored = {
        context.reference: context.stored
        for context in contexts.values()
        if isinstance(context, ImageContext) and context.stored is not None
    }
    return NamedImages(resolver, stored, store) if stored else resolver
