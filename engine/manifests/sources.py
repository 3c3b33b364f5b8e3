"""Manifests of images at registries, described for a list; layers are never fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.manifests.entries import Entry, describe, platform_of_config
from images import strictjson
from images.manifest import Index, Manifest
from images.mediatype import DOCKER_CONFIG, OCI_CONFIG
from records import replace

if TYPE_CHECKING:
    from engine.manifests.library import Library
    from images.client.manifests import Fetched
    from images.reference import Reference


async def describe_manifest(
    client: Library, reference: Reference, fetched: Fetched, *, normalise: bool
) -> Entry:
    """The entry of one manifest, with the platform that its config says.

    ``normalise`` spells it as containerd does. What is no image has no platform.

    Raises:
        RegistryError: the config cannot be had.
    """
    pinned = pin(reference, fetched)
    document, platform = fetched.document, None
    if isinstance(document, Manifest) and document.config.media_type in (OCI_CONFIG, DOCKER_CONFIG):
        raw = await client.read_blob(pinned, document.config)
        config = strictjson.loads(raw, what="image config")
        platform = platform_of_config(config, normalise=normalise)
    return Entry(pinned, describe(fetched.descriptor, platform))


def entries_of(reference: Reference, index: Index) -> list[Entry]:
    """The entries of a list that is at a registry, every field as it stands there."""
    objects: list[dict[str, Any]] = strictjson.loads(index.raw, what="index")["manifests"]
    return [
        Entry(replace(reference, tag=None, digest=parsed.digest), item)
        for item, parsed in zip(objects, index.manifests, strict=True)
    ]


def pin(reference: Reference, fetched: Fetched) -> Reference:
    """The reference by digest alone."""
    return replace(reference, tag=None, digest=fetched.descriptor.digest)
