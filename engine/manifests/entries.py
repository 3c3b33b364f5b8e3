"""Entries of lists: descriptors as JSON objects, so that fields nobody here knows are kept.

OCI image specification, descriptor.md and image-index.md; Docker manifest list, schema version 2.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from images.digest import Digest
from images.manifest import Index
from images.mediatype import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX
from images.platform import Platform
from images.reference import Reference
from records import Record

if TYPE_CHECKING:
    from images.descriptor import Descriptor

DOCKER_TYPES: Final = frozenset({DOCKER_MANIFEST, DOCKER_INDEX})
_PLATFORM_FIELDS: Final = ("architecture", "os", "os.version", "os.features", "variant")
"""In the order in which docker writes them."""


class Entry(Record):
    """A manifest at a registry, and how a list describes it."""

    reference: Reference
    """Its repository, pinned to its digest."""
    descriptor: Mapping[str, Any]

    @property
    def digest(self) -> Digest:
        """Of the manifest."""
        return Digest.parse(self.descriptor["digest"])

    @property
    def media_type(self) -> str:
        """Of the manifest."""
        return str(self.descriptor["mediaType"])

    @property
    def platform(self) -> Mapping[str, Any]:
        """The platform object; empty where the entry has none."""
        found = self.descriptor.get("platform")
        return found if isinstance(found, Mapping) else {}


def describe(descriptor: Descriptor, platform: Mapping[str, Any] | None) -> dict[str, Any]:
    """A descriptor object for a manifest that was fetched."""
    data = descriptor.to_json()
    return data if platform is None else {**data, "platform": dict(platform)}


def platform_of_config(config: Mapping[str, Any], *, normalise: bool) -> dict[str, Any]:
    """The platform object that an image's config gives, as it is or in containerd's spelling."""
    found = {name: config[name] for name in _PLATFORM_FIELDS if config.get(name)}
    if normalise:
        spelled = Platform.from_json(found).to_json()
        found = {key: value for key, value in found.items() if key == "os.features"} | spelled
    return found


def list_type(entries: Iterable[Entry]) -> str:
    """Docker's type for lists of nothing but Docker's manifests, OCI's for all others."""
    types = {entry.media_type for entry in entries}
    return DOCKER_INDEX if types and types <= DOCKER_TYPES else OCI_INDEX


def build_list(
    entries: Sequence[Entry],
    *,
    media_type: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Index:
    """The list of ``entries``; equal ones give equal bytes.

    Raises:
        InvalidManifestError: annotations on a list of Docker's type.
    """
    return Index.of_objects(
        [entry.descriptor for entry in entries],
        media_type=media_type or list_type(entries),
        annotations=annotations,
    )


def as_docker_prints(
    descriptor: Mapping[str, Any], known: Sequence[str] = ("mediaType", "size", "digest")
) -> dict[str, Any]:
    """A descriptor object with its fields in the order in which docker prints them in a list."""
    known = (*known, "platform")
    ordered = {key: descriptor[key] for key in known if key in descriptor}
    if isinstance(platform := ordered.get("platform"), Mapping):
        ordered["platform"] = {key: platform[key] for key in _PLATFORM_FIELDS if key in platform}
    return ordered | {key: value for key, value in descriptor.items() if key not in ordered}


def list_text(index: Index) -> str:
    """A list as ``docker manifest inspect`` prints it."""
    document = json.loads(index.raw)
    shown: dict[str, Any] = {"schemaVersion": 2, "mediaType": index.media_type}
    shown["manifests"] = [as_docker_prints(item) for item in document["manifests"]]
    shown |= {key: value for key, value in document.items() if key not in shown}
    return json.dumps(shown, indent=3, ensure_ascii=False)
