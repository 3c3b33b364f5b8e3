"""From a raw request path to what it names, by its LAST marker segment.

Repository names hold slashes and may contain the words ``blobs`` or ``manifests`` themselves, so
only the end of a path says what is meant. Segments are percent-decoded one by one: an encoded slash
or NUL never becomes a separator. Names and references come out checked, so nothing here reaches a
file system unparsed. OCI distribution specification 1.1, "Endpoints".
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from images.digest import Digest
from images.errors import InvalidDigestError
from images.reference import is_repository, is_tag
from registry.errors import ApiError

_UPLOAD_ID: Final = re.compile(r"[0-9a-f]{32}\Z")


class Kind(enum.Enum):
    """What a path names."""

    BASE = "base"
    CATALOG = "catalog"
    BLOB = "blob"
    UPLOADS = "uploads"
    UPLOAD = "upload"
    MANIFEST = "manifest"
    TAGS = "tags"
    REFERRERS = "referrers"
    EXTENSIONS = "extensions"
    REPOSITORY_EXTENSIONS = "repository extensions"
    SIMPLE_SIGNATURES = "simple signatures"
    COUNTERSIGN_KEYS = "countersign keys"
    COUNTERSIGN_CERTIFICATES = "countersign certificates"
    LOG_CHECKPOINT = "log checkpoint"
    LOG_KEY = "log key"
    LOG_CONSISTENCY = "log consistency"
    LOG_INCLUSION = "log inclusion"
    LOG_ENTRIES = "log entries"
    LOG_OF_TAG = "log of a tag"
    TRUST = "trust data"
    """Paths of the trust service, which reads them itself (``registry.notary.paths``)."""
    TOKEN = "token"  # noqa: S105 -- a word
    TOKEN_KEYS = "token keys"  # noqa: S105 -- likewise
    PAGE = "page"
    """Pages for people, whose paths ``registry.web.paths`` reads."""


_REGISTRY_LEVEL: Final = {
    "": Kind.BASE,
    "_catalog": Kind.CATALOG,
    "_oci/ext/discover": Kind.EXTENSIONS,
    "_lading/countersign/keys": Kind.COUNTERSIGN_KEYS,
    "_lading/countersign/certificates": Kind.COUNTERSIGN_CERTIFICATES,
    "_lading/log/checkpoint": Kind.LOG_CHECKPOINT,
    "_lading/log/key": Kind.LOG_KEY,
    "_lading/log/consistency": Kind.LOG_CONSISTENCY,
    "_lading/log/inclusion": Kind.LOG_INCLUSION,
    "_lading/log/entries": Kind.LOG_ENTRIES,
}

_BESIDE: Final = {
    "/v2": Kind.BASE,
    "/auth/token": Kind.TOKEN,
    "/auth/keys": Kind.TOKEN_KEYS,
}
"""Paths outside of the specification's tree, where no repository can be."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed path. ``tail`` is the tag, digest or upload id as text, "" where there is none."""

    kind: Kind
    name: str = ""
    tail: str = ""

    def digest(self) -> Digest:
        """The tail as a digest.

        Raises:
            ApiError: DIGEST_INVALID.
        """
        return parse_digest(self.tail)

    def reference(self) -> Digest | str:
        """The tail of a manifest path: a digest or a tag.

        Raises:
            ApiError: DIGEST_INVALID or TAG_INVALID.
        """
        if ":" in self.tail:
            return parse_digest(self.tail)
        return parse_tag(self.tail)


def parse_digest(text: str) -> Digest:
    """Read a digest from a request.

    Raises:
        ApiError: DIGEST_INVALID.
    """
    try:
        return Digest.parse(text)
    except InvalidDigestError as error:
        raise ApiError("DIGEST_INVALID", message=error.what, detail=text[:200]) from error


def parse_name(text: str) -> str:
    """Check a repository name.

    Raises:
        ApiError: NAME_INVALID.
    """
    if not is_repository(text):
        raise ApiError("NAME_INVALID", detail={"name": text[:300]})
    return text


def parse_tag(text: str) -> str:
    """Check a tag.

    Raises:
        ApiError: TAG_INVALID.
    """
    if not is_tag(text):
        raise ApiError("TAG_INVALID", message="invalid tag", detail=text[:200])
    return text


def parse(path: str) -> Target | None:
    """Parse the path part of a request target, still percent-encoded; None is no path of ours.

    Raises:
        ApiError: NAME_INVALID, or the path ends in a marker and its tail is malformed.
    """
    if not path.startswith("/v2/"):
        return _beside(path)
    segments = path.split("/")[2:]
    if "%" in path:
        segments = [_decode(segment) for segment in segments]
    of_registry = _REGISTRY_LEVEL.get("/".join(segments))
    if of_registry is not None:
        return Target(of_registry)
    match segments:
        case [*name, "_oci", "ext", "discover"]:
            return _target(Kind.REPOSITORY_EXTENSIONS, name)
        case [*name, "_lading", "log", tag]:
            return _target(Kind.LOG_OF_TAG, name, parse_tag(tag))
        case [*name, "tags", "list"]:
            return _target(Kind.TAGS, name)
        case [*name, "blobs", "uploads"] | [*name, "blobs", "uploads", ""]:
            return _target(Kind.UPLOADS, name)
        case [*name, "blobs", "uploads", upload]:
            return _upload(name, upload)
        case [*name, "blobs", tail]:
            return _target(Kind.BLOB, name, tail)
        case [*name, "manifests", tail]:
            return _target(Kind.MANIFEST, name, tail)
        case [*name, "referrers", tail]:
            return _target(Kind.REFERRERS, name, tail)
    return None


def _beside(path: str) -> Target | None:
    """A path outside of ``/v2/``: one of ours, or containers/image's signature extension."""
    kind = _BESIDE.get(path)
    if kind is not None:
        return Target(kind)
    if path == "/" or path.startswith(("/web/", "/auth/oidc/")):
        return Target(Kind.PAGE, tail=path)
    match path.split("/"):
        case ["", "extensions", "v2", *name, "signatures", digest]:
            return _target(Kind.SIMPLE_SIGNATURES, [_decode(part) for part in name], digest)
    return None


def _target(kind: Kind, name: list[str], tail: str = "") -> Target:
    return Target(kind, parse_name("/".join(name)), tail)


def _upload(name: list[str], upload: str) -> Target:
    if not _UPLOAD_ID.match(upload):
        parse_name("/".join(name))
        raise ApiError("BLOB_UPLOAD_UNKNOWN")
    return _target(Kind.UPLOAD, name, upload)


def _decode(segment: str) -> str:
    raw = unquote_to_bytes(segment)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ApiError("NAME_INVALID", message="the path is not UTF-8") from error
    if "/" in text or "\0" in text:
        raise ApiError("NAME_INVALID", message="an encoded separator is not part of a name")
    return text
