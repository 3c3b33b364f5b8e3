"""What a manifest PUT means, decided from its bytes alone.

Plain functions on bytes: the digest must fit, the document must be exactly one of manifest and
index (CVE-2021-41190), and what comes out is the row to write. OCI distribution specification 1.1,
"Pushing Manifests" and "Pushing Manifests with Subject".
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from images import manifest as manifests
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import (
    InvalidDigestError,
    InvalidManifestError,
    InvalidPlatformError,
    SizeLimitError,
)
from images.manifest import Index, Manifest
from images.mediatype import (
    DOCKER_FOREIGN_LAYER_GZIP,
    OCI_FOREIGN_LAYER,
    OCI_FOREIGN_LAYER_GZIP,
    is_index,
)
from registry.errors import ApiError
from registry.records import NewManifest

_NOT_DISTRIBUTED: Final = frozenset(
    {
        OCI_FOREIGN_LAYER,
        OCI_FOREIGN_LAYER_GZIP,
        OCI_FOREIGN_LAYER + "+zstd",
        DOCKER_FOREIGN_LAYER_GZIP,
    }
)
"""Layers that their licence keeps out of registries; a manifest may name them all the same."""

_FALLBACK_TAG: Final = re.compile(r"sha(?:256|512)-[0-9a-f]{64}\Z")
"""Where clients keep referrers for registries that do not list them."""


def examine(raw: bytes, content_type: str | None, expected: Digest | None) -> NewManifest:
    """Read a pushed manifest; ``expected`` is the digest it is pushed by, None for a tag.

    Raises:
        ApiError: DIGEST_INVALID, MANIFEST_INVALID, or 413 when it is too long.
    """
    digest = Digest.of(raw, "sha256" if expected is None else expected.algorithm)
    if expected is not None and digest != expected:
        raise ApiError("DIGEST_INVALID", detail={"expected": str(expected), "actual": str(digest)})
    parsed = _parse(raw, content_type or None)
    if not referrer_type(parsed).isascii():
        raise ApiError("MANIFEST_INVALID", message="artifactType is not a media type")
    blobs, children, optional = _content(parsed)
    return NewManifest(
        digest=str(digest),
        media_type=parsed.media_type,
        size=len(raw),
        blobs=tuple((str(d.digest), d.size) for d in blobs),
        children=tuple((str(d.digest), d.size) for d in children),
        optional=tuple(str(d.digest) for d in optional),
        subject=None if parsed.subject is None else str(parsed.subject.digest),
        artifact_type=referrer_type(parsed),
        referrer=b"" if parsed.subject is None else _referrer(parsed, digest),
    )


def warnings(manifest: NewManifest, tags: Sequence[str], content_type: str | None) -> list[str]:
    """Values of the Warning header for deprecated use of the API (specification, "Warnings")."""
    advice = []
    if not content_type:
        advice.append("a manifest is pushed with its media type as Content-Type")
    if manifest.optional:
        advice.append("layers that are not distributable are deprecated")
    if is_index(manifest.media_type) and any(map(_FALLBACK_TAG.match, tags)):
        advice.append("this registry lists referrers; their fallback tag is not needed")
    return [f'299 - "{text}"' for text in advice]


def referrer_type(parsed: Manifest | Index) -> str:
    """The artifactType a referrers listing gives: the manifest's, else its config's media type."""
    if parsed.artifact_type or isinstance(parsed, Index):
        return parsed.artifact_type
    return parsed.config.media_type


def _content(parsed: Manifest | Index) -> tuple[Sequence[Descriptor], ...]:
    """What it names: blobs and children that must be here, and blobs that need not."""
    if isinstance(parsed, Index):
        return (), parsed.manifests, ()
    content = (parsed.config, *parsed.layers)
    return (
        [d for d in content if d.media_type not in _NOT_DISTRIBUTED],
        (),
        [d for d in content if d.media_type in _NOT_DISTRIBUTED],
    )


def _parse(raw: bytes, content_type: str | None) -> Manifest | Index:
    try:
        return manifests.parse(raw, content_type)
    except SizeLimitError as error:
        raise ApiError("SIZE_INVALID", status=413, message=error.what) from error
    except (InvalidManifestError, InvalidDigestError, InvalidPlatformError) as error:
        raise ApiError("MANIFEST_INVALID", message=error.what, detail=error.fix) from error


def _referrer(parsed: Manifest | Index, digest: Digest) -> bytes:
    descriptor: dict[str, Any] = {
        "mediaType": parsed.media_type,
        "digest": str(digest),
        "size": len(parsed.raw),
    }
    artifact_type = referrer_type(parsed)
    if artifact_type:
        descriptor["artifactType"] = artifact_type
    if parsed.annotations:
        descriptor["annotations"] = dict(parsed.annotations)
    return json.dumps(descriptor, separators=(",", ":")).encode("ascii")
