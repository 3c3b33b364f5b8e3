"""Where base images come from: the protocol the planner asks, and the store that answers offline.

A resolver decides about trust and the network. When ``resolve`` returns, the manifest and the layer
blobs are in the store, verified; nothing is unpacked.
"""

from __future__ import annotations

from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from images.config import ImageConfig
    from images.descriptor import Descriptor
    from images.platform import Platform
    from images.reference import Reference
    from images.store import ImageStore

    class BaseResolver(Protocol):
        """Turns the name in a FROM or COPY --from into a verified image."""

        def resolve(self, reference: Reference, platform: Platform) -> ResolvedBase:
            """Find, verify and bring in the image.

            Raises:
                ImagesError: unknown, refused by the policy, not there for this platform, or
                unreachable.
            """

        def pin(self, reference: Reference, platform: Platform) -> str | None:
            """What identifies the answer that ``resolve`` would give now, read from local state
            alone.

            Equal pins promise equal answers, trust decisions included. None when only ``resolve``
            can tell, for instance because a pull was asked for.
            """


class ResolvedBase(Record):
    """An image of one platform: its manifest's descriptor, its config, its layers bottom first."""

    descriptor: Descriptor
    config: ImageConfig
    layers: tuple[Descriptor, ...]


class StoreResolver:
    """Answers from the local store alone: no network, no policy."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store

    def resolve(self, reference: Reference, platform: Platform) -> ResolvedBase:
        """The stored image of this name.

        Raises:
            ImageUnknownError: nothing of this name is stored.
            InvalidManifestError: the image is inconsistent.
        """
        from images.errors import ImageUnknownError

        descriptor = self._store.resolve(reference)
        if descriptor is None:
            raise ImageUnknownError(
                f"no such image: {reference.familiar}", fix=f"lading pull {reference.familiar}"
            )
        return self.image(reference, descriptor, platform)

    def image(
        self, reference: Reference, descriptor: Descriptor, platform: Platform
    ) -> ResolvedBase:
        """The stored image that ``reference`` was found to be.

        Raises:
            InvalidManifestError: the image is inconsistent.
        """
        from images.errors import InvalidManifestError

        image = self._store.image(descriptor, platform)
        if len(image.config.diff_ids) != len(image.manifest.layers):
            raise InvalidManifestError(
                "the config and the manifest disagree on the number of layers",
                where=reference.familiar,
                fix="the image is damaged; build or pull it again",
            )
        return ResolvedBase(image.descriptor, image.config, image.manifest.layers)

    def pin(self, reference: Reference, platform: Platform) -> str | None:
        """The digest the name stands for."""
        descriptor = self._store.resolve(reference)
        return None if descriptor is None else str(descriptor.digest)
