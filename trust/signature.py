"""The shapes that travel between formats and verdict: signatures, what they claim, where they come
from.

Rule: a ``Claim`` exists only for bytes whose signature was checked; parsers of a format return it
and ``trust.verify`` judges it. Raw bytes travel, parsed forms do not: what was verified is what was
received.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from images.digest import Digest
from images.reference import Reference
from records import Record, field
from trust.errors import SigningError

MAX_SIGNATURES: Final = 256
"""Most signatures of one image that are looked at; more is refused, not truncated (CVE-2023-46737).
"""

TIMESTAMP: Final = "timestamp"
"""The annotation that says when a signature was made."""

MAX_PAYLOAD: Final = 256 << 10
"""Bytes of one signed payload; cosign's are about 250."""

MAX_BUNDLE: Final = 1 << 20
"""Bytes of one sigstore bundle; with a certificate and a log entry they are about 10 KiB."""


class SimpleSignature(NamedTuple):
    """One layer of a ``.sig`` manifest: payload bytes, base64 signature, layer annotations."""

    payload: bytes
    signature: str
    annotations: Mapping[str, str] = MappingProxyType({})


class BundleSignature(Record):
    """One sigstore bundle, as its blob holds it."""

    raw: bytes


class NotationSignature(Record):
    """One Notary Project envelope, as its blob holds it."""

    raw: bytes


class OpenPgpSignature(Record):
    """One OpenPGP message of simple signing."""

    message: bytes


class NotaryEvidence(Record):
    """What verified trust data says of one released tag; ``expires`` is the timestamp's date.

    ``asked`` are the server and the root that a policy named, under which the data was believed.
    """

    repository: str
    tag: str
    digest: Digest
    signers: frozenset[str]
    expires: datetime
    asked: tuple[str, str] = ("", "")


Signature = (
    SimpleSignature | BundleSignature | NotationSignature | OpenPgpSignature | NotaryEvidence
)


class SignatureSource(Protocol):
    """Where the signatures of an image come from; asked only when a requirement needs them."""

    def signatures(self, reference: Reference, digest: Digest) -> Iterable[Signature]:
        """All signatures found for ``digest``, in any order, unchecked."""


class Signatures(Record):
    """Signatures that were fetched already; with none it stands for an unsigned image."""

    items: tuple[Signature, ...] = ()

    def signatures(self, reference: Reference, digest: Digest) -> Iterable[Signature]:
        """The signatures held, whatever is asked."""
        return self.items


class Claim(Record):
    """What a signature says once its bytes are known to be the signer's.

    ``reference`` is None where the format leaves the name out (bundles written by cosign).
    """

    format: str
    digests: frozenset[Digest]
    reference: Reference | None
    annotations: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def signed_at(self) -> datetime | None:
        """When the signer says it was signed: ``timestamp``, in seconds since the epoch.

        containers/image writes a number into the payload; a bundle's annotations hold its digits.
        """
        stamp = self.annotations.get(TIMESTAMP)
        if isinstance(stamp, str) and stamp.isascii() and stamp.isdigit():
            stamp = int(stamp[:20])
        if not isinstance(stamp, int) or isinstance(stamp, bool) or not 0 <= stamp < 1 << 36:
            return None
        return datetime.fromtimestamp(stamp, UTC)


def signed_name(reference: Reference) -> str:
    """The docker-reference to sign for ``reference``: name and tag, or name and digest without a
    tag.

    containers/image compares it with the name that the user pulls, so the tag is kept where there
    is one.
    """
    if reference.tag is not None:
        return f"{reference.name}:{reference.tag}"
    return str(reference)


def require_sha256(digest: Digest) -> None:
    """Refuse digests that the formats cannot name.

    Raises:
        SigningError: the digest is not sha256; the ``.sig`` tag of a sha512 digest is over 128
            characters.
    """
    if digest.algorithm != "sha256":
        raise SigningError(
            f"images addressed by {digest.algorithm} cannot be signed in cosign's formats",
            where=str(digest),
            fix="push the image under its sha256 digest",
        )
