"""in-toto statements: a predicate about an image.

in-toto Attestation Framework, Statement v1. The subject is a manifest's digest under the image's
package URL, as BuildKit writes it. Bytes are canonical, so equal statements have equal digests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from images import strictjson
from images.digest import Digest
from images.errors import InputError, InvalidManifestError
from records import Record

if TYPE_CHECKING:
    from images.platform import Platform
    from images.reference import Reference

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
OLDER_TYPES: Final = frozenset({"https://in-toto.io/Statement/v0.1"})
MEDIA_TYPE: Final = "application/vnd.in-toto+json"
LIMIT: Final = 64 << 20
"""Bytes of one statement: an SBOM of 20,000 packages has about 20 MiB."""


class InvalidStatementError(InputError):
    """The bytes are not an in-toto statement."""

    code = "statement-invalid"


class Statement(Record):
    """A predicate and the digests it is about; ``raw`` is what is stored and hashed."""

    raw: bytes
    predicate_type: str
    subjects: tuple[Digest, ...]
    predicate: Mapping[str, Any]


def make(
    predicate_type: str,
    predicate: Mapping[str, Any],
    subject: Digest,
    *,
    names: Sequence[str] = (),
) -> Statement:
    """State ``predicate`` about the manifest ``subject``, under each of its names."""
    digest = {subject.algorithm: subject.hex}
    subjects = [{"name": name, "digest": digest} for name in names] or [{"digest": digest}]
    raw = strictjson.dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": subjects,
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    )
    return Statement(raw, predicate_type, (subject,), predicate)


def parse(raw: bytes) -> Statement:
    """Read a statement of version 1, or of 0.1 as older tools write it.

    Raises:
        InvalidStatementError: malformed.
        SizeLimitError: longer than ``LIMIT``.
    """
    try:
        document = strictjson.loads(raw, what="statement", limit=LIMIT)
        kind = strictjson.string(document.get("predicateType"), what="predicateType")
        subjects = tuple(
            Digest(algorithm, value)
            for item in strictjson.sequence(document.get("subject"), what="subject")
            for algorithm, value in strictjson.string_map(
                item.get("digest") if isinstance(item, dict) else None, what="digest"
            ).items()
            if algorithm == "sha256"
        )
    except InvalidManifestError as error:
        raise InvalidStatementError(f"not an in-toto statement: {error.what}") from error
    if document.get("_type") not in {STATEMENT_TYPE, *OLDER_TYPES} or not kind:
        raise InvalidStatementError("not an in-toto statement: its _type is unknown")
    predicate = document.get("predicate")
    return Statement(raw, kind, subjects, predicate if isinstance(predicate, dict) else {})


def image_names(references: Sequence[Reference], platform: Platform) -> list[str]:
    """Package URLs of an image's names: ``pkg:docker/debian@12?platform=linux%2Famd64``."""
    return [docker_url(reference, platform=str(platform)) for reference in references]


def docker_url(reference: Reference, *, platform: str = "", digest: str = "") -> str:
    """An image as a package URL of type ``docker``, in the form that BuildKit gives it."""
    version = f"@{quote(reference.tag, safe='')}" if reference.tag else ""
    qualifiers = {"digest": digest, "platform": platform}
    more = "&".join(f"{key}={quote(value, safe='')}" for key, value in qualifiers.items() if value)
    name = quote(reference.familiar_name, safe="/")
    return f"pkg:docker/{name}{version}{f'?{more}' if more else ''}"
