"""Where manifests are: registries, or registries and OCI layout directories alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from images.client.manifests import Fetched
    from images.descriptor import Descriptor
    from images.digest import Digest
    from images.reference import Reference


class Library(Protocol):
    """What ``images.client.RegistryClient`` does for those who put lists together, raising as it
    does.
    """

    async def resolve(self, reference: Reference, /) -> Descriptor:
        """What a name points to."""

    async def read_manifest(self, reference: Reference, /) -> Fetched:
        """A manifest, verified and parsed."""

    async def read_blob(
        self, reference: Reference, descriptor: Descriptor, /, *, limit: int = ...
    ) -> bytes:
        """A whole small blob, verified."""

    async def referrers(
        self, reference: Reference, subject: Digest, /, *, artifact_type: str = ""
    ) -> list[Descriptor]:
        """What points to ``subject``."""

    async def copy(self, source: Reference, target: Reference, /) -> Descriptor:
        """Bring what ``source`` names to the place of ``target``, and give it the tag of that."""

    async def put_manifest(
        self, reference: Reference, raw: bytes, media_type: str, /
    ) -> Descriptor:
        """Put a manifest whose content is there."""
