"""Manifests and indexes: parsed for use, kept as raw bytes for hashing.

OCI image specification, manifest.md and image-index.md; Docker image manifest v2 schema 2. Only raw
bytes are hashed, so fields we do not know survive. A document that could be read as both a manifest
and an index is refused (CVE-2021-41190).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from images import strictjson
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import InvalidManifestError, PlatformUnknownError
from images.mediatype import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEXES,
    MANIFESTS,
    OCI_INDEX,
    OCI_MANIFEST,
)
from images.platform import Platform
from records import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, Self

_ARM_FALLBACK: Final = ("v8", "v7", "v6", "v5")


class Manifest(Record):
    """An image manifest, or an artifact in the shape of one."""

    raw: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    subject: Descriptor | None = None
    artifact_type: str = ""

    @classmethod
    def parse(cls, raw: bytes, media_type: str | None = None) -> Self:
        """Parse a manifest; ``media_type`` is what the transport said, None when it said nothing.

        Raises:
            InvalidManifestError: malformed, ambiguous, or of another type than ``media_type``.
            SizeLimitError: longer than 4 MiB.
        """
        document = strictjson.loads(raw, what="manifest")
        kind = _check_kind(document, media_type)
        if kind not in MANIFESTS:
            raise InvalidManifestError("expected an image manifest, got an index")
        return cls._from_document(raw, kind, document)

    @classmethod
    def _from_document(cls, raw: bytes, kind: str, document: Mapping[str, Any]) -> Self:
        return cls(
            raw=raw,
            media_type=kind,
            config=Descriptor.from_json(document.get("config")),
            layers=_descriptors(document.get("layers"), what="layers"),
            annotations=strictjson.string_map(document.get("annotations"), what="annotations"),
            subject=_subject(document),
            artifact_type=strictjson.string(document.get("artifactType"), what="artifactType"),
        )

    @classmethod
    def build(
        cls,
        config: Descriptor,
        layers: Sequence[Descriptor],
        *,
        media_type: str = OCI_MANIFEST,
        annotations: Mapping[str, str] | None = None,
        subject: Descriptor | None = None,
        artifact_type: str = "",
    ) -> Self:
        """Make a manifest whose ``raw`` is canonical: equal arguments give equal bytes."""
        document = _header(media_type, annotations, subject, artifact_type)
        document["config"] = config.to_json()
        document["layers"] = [layer.to_json() for layer in layers]
        return cls.parse(strictjson.dumps(document), media_type)

    @property
    def digest(self) -> Digest:
        """The SHA-256 digest of the raw bytes."""
        return Digest.of(self.raw)

    @property
    def descriptor(self) -> Descriptor:
        """A descriptor that points to this manifest."""
        return _describe(self)


class Index(Record):
    """An image index, Docker's manifest list: manifests for several platforms."""

    raw: bytes
    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    subject: Descriptor | None = None
    artifact_type: str = ""

    @classmethod
    def parse(cls, raw: bytes, media_type: str | None = None) -> Self:
        """Parse an index; ``media_type`` is what the transport said, None when it said nothing.

        Raises:
            InvalidManifestError: malformed, ambiguous, or of another type than ``media_type``.
            SizeLimitError: longer than 4 MiB.
        """
        document = strictjson.loads(raw, what="index")
        kind = _check_kind(document, media_type)
        if kind not in INDEXES:
            raise InvalidManifestError("expected an index, got an image manifest")
        return cls._from_document(raw, kind, document)

    @classmethod
    def _from_document(cls, raw: bytes, kind: str, document: Mapping[str, Any]) -> Self:
        return cls(
            raw=raw,
            media_type=kind,
            manifests=_descriptors(document.get("manifests"), what="manifests"),
            annotations=strictjson.string_map(document.get("annotations"), what="annotations"),
            subject=_subject(document),
            artifact_type=strictjson.string(document.get("artifactType"), what="artifactType"),
        )

    @classmethod
    def build(
        cls,
        manifests: Sequence[Descriptor],
        *,
        media_type: str = OCI_INDEX,
        annotations: Mapping[str, str] | None = None,
        subject: Descriptor | None = None,
        artifact_type: str = "",
    ) -> Self:
        """Make an index whose ``raw`` is canonical: equal arguments give equal bytes."""
        document = _header(media_type, annotations, subject, artifact_type)
        document["manifests"] = [manifest.to_json() for manifest in manifests]
        return cls.parse(strictjson.dumps(document), media_type)

    @classmethod
    def of_objects(
        cls,
        descriptors: Sequence[Mapping[str, Any]],
        *,
        media_type: str = OCI_INDEX,
        annotations: Mapping[str, str] | None = None,
    ) -> Self:
        """As ``build``, from descriptors as they stand in other documents: every field is kept."""
        document = _header(media_type, annotations, None, "")
        document["manifests"] = [dict(descriptor) for descriptor in descriptors]
        return cls.parse(strictjson.dumps(document), media_type)

    @property
    def digest(self) -> Digest:
        """The SHA-256 digest of the raw bytes."""
        return Digest.of(self.raw)

    @property
    def descriptor(self) -> Descriptor:
        """A descriptor that points to this index."""
        return _describe(self)

    def select(self, platform: Platform) -> Descriptor:
        """The manifest to use on ``platform``: the exact variant first, else an older ARM one.

        Raises:
            PlatformUnknownError: none fits; the message lists what there is.
        """
        for wanted in _acceptable(platform):
            for manifest in self.manifests:
                if manifest.platform == wanted:
                    return manifest
        for manifest in self.manifests:
            if manifest.platform is not None and manifest.platform.matches(platform):
                return manifest
        offered = ", ".join(str(p) for p in self.platforms()) or "no platform at all"
        raise PlatformUnknownError(
            f"no image for platform {platform}", fix=f"this image offers {offered}"
        )

    def platforms(self) -> tuple[Platform, ...]:
        """The platforms offered, attestation manifests (``unknown/unknown``) left out."""
        present = (m.platform for m in self.manifests)
        return tuple(p for p in present if p is not None and p.os != "unknown")


def parse(raw: bytes, media_type: str | None = None) -> Manifest | Index:
    """Parse whichever of the two ``raw`` is.

    Raises:
        InvalidManifestError: malformed, ambiguous, or of another type than ``media_type``.
        SizeLimitError: longer than 4 MiB.
    """
    document = strictjson.loads(raw, what="manifest")
    kind = _check_kind(document, media_type)
    if kind in INDEXES:
        return Index._from_document(raw, kind, document)
    return Manifest._from_document(raw, kind, document)


def _check_kind(document: Mapping[str, Any], media_type: str | None) -> str:
    """Decide what the document is; every hint must agree."""
    if document.get("schemaVersion") != 2 or document.get("schemaVersion") is True:
        raise InvalidManifestError(
            f"unsupported schemaVersion {document.get('schemaVersion')!r}",
            fix="rebuild or re-push the image with a current tool; only schemaVersion 2 is read",
        )
    stated = document.get("mediaType")
    if stated is not None and not isinstance(stated, str):
        raise InvalidManifestError("mediaType must be a string")
    media_type = media_type.partition(";")[0].strip() if media_type else None
    if stated and media_type and stated != media_type:
        raise InvalidManifestError(f"served as {media_type} but says it is {stated}")
    index_like = "manifests" in document
    if index_like and ("layers" in document or "config" in document):
        raise InvalidManifestError("has both manifests and layers or config, so it is ambiguous")
    kind = stated or media_type or (OCI_INDEX if index_like else OCI_MANIFEST)
    if kind not in MANIFESTS | INDEXES:
        raise InvalidManifestError(f"unsupported manifest type {kind[:200]!r}")
    if (kind in INDEXES) != index_like:
        raise InvalidManifestError(f"content does not fit its type {kind}")
    return kind


def _header(
    media_type: str,
    annotations: Mapping[str, str] | None,
    subject: Descriptor | None,
    artifact_type: str,
) -> dict[str, Any]:
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type}
    if media_type in (DOCKER_MANIFEST, DOCKER_INDEX) and (annotations or subject or artifact_type):
        raise InvalidManifestError("Docker's manifest types know no annotations or subject")
    if annotations:
        document["annotations"] = dict(annotations)
    if subject is not None:
        document["subject"] = subject.to_json()
    if artifact_type:
        document["artifactType"] = artifact_type
    return document


def _descriptors(value: object, *, what: str) -> tuple[Descriptor, ...]:
    if not isinstance(value, list):
        raise InvalidManifestError(f"{what} must be an array")
    return tuple(Descriptor.from_json(item) for item in value)


def _subject(document: Mapping[str, Any]) -> Descriptor | None:
    subject = document.get("subject")
    return None if subject is None else Descriptor.from_json(subject)


def _describe(document: Manifest | Index) -> Descriptor:
    return Descriptor(
        document.media_type,
        document.digest,
        len(document.raw),
        artifact_type=document.artifact_type,
    )


def _acceptable(platform: Platform) -> Iterable[Platform]:
    yield platform
    if platform.architecture == "arm" and platform.variant in _ARM_FALLBACK:
        for variant in _ARM_FALLBACK[_ARM_FALLBACK.index(platform.variant) + 1 :]:
            yield Platform(platform.os, platform.architecture, variant)
