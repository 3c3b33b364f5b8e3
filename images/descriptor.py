"""Descriptors: typed, sized pointers to content.

OCI image specification, descriptor.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from images.digest import Digest
from images.errors import InvalidManifestError
from images.platform import Platform
from records import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

MAX_SIZE = 2**63 - 1


class Descriptor(Record):
    """What a manifest says of a piece of content. ``size`` is in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    platform: Platform | None = None
    artifact_type: str = ""
    urls: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read one descriptor object.

        Raises:
            InvalidManifestError: a required field is missing or of the wrong type.
            InvalidDigestError: the digest is malformed.
        """
        if not isinstance(data, dict):
            raise InvalidManifestError("a descriptor must be an object")
        size, media_type, digest = data.get("size"), data.get("mediaType"), data.get("digest")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_SIZE:
            raise InvalidManifestError(f"descriptor size {size!r} is not a byte count")
        if not isinstance(media_type, str) or not isinstance(digest, str):
            raise InvalidManifestError("a descriptor needs mediaType and digest")
        annotations, platform = data.get("annotations") or {}, data.get("platform")
        if not isinstance(annotations, dict) or not all(
            isinstance(v, str) for v in annotations.values()
        ):
            raise InvalidManifestError("descriptor annotations must map strings to strings")
        urls = data.get("urls") or ()
        return cls(
            media_type=media_type,
            digest=Digest.parse(digest),
            size=size,
            annotations=annotations,
            platform=Platform.from_json(platform) if isinstance(platform, dict) else None,
            artifact_type=str(data.get("artifactType") or ""),
            urls=tuple(str(url) for url in urls),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, with empty optional fields left out."""
        data: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.artifact_type:
            data["artifactType"] = self.artifact_type
        if self.urls:
            data["urls"] = list(self.urls)
        if self.annotations:
            data["annotations"] = dict(self.annotations)
        if self.platform is not None:
            data["platform"] = self.platform.to_json()
        return data
