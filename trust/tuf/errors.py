"""Why trust data is refused: one class per attack or fault, each with its way out.

Rule: a ``TufError`` is raised before anything of the refused bytes is used. Callers tell reasons
apart by class or ``code``. ``ADVICE`` of a class is the ``fix`` unless a better one is known.
"""

from __future__ import annotations

from typing import ClassVar

from trust.errors import TrustError, VerificationError


class TufError(VerificationError):
    """Base of the reasons why trust data, or a tag by it, is refused."""

    code = "tuf"
    ADVICE: ClassVar[str] = "ask the repository's owner; do not use the image until it is clear"

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what, where=where, fix=fix or self.ADVICE)


class MalformedMetadataError(TufError):
    """The bytes are not metadata: bad JSON, a doubled or missing member, a wrong shape."""

    code = "tuf-malformed"
    ADVICE = "the trust server is broken or lies; try again later, or ask its operator"


class WrongTypeError(TufError):
    """Metadata of another type or role was served in place of the one that was asked for."""

    code = "tuf-wrong-type"


class UnknownSpecificationError(TufError):
    """The metadata follows a specification that is not read here."""

    code = "tuf-unknown-spec"
    ADVICE = "use a trust server and tools that speak Notary v1, as docker does"


class OversizeError(TufError):
    """More bytes than the role may have, or than a signed parent promised."""

    code = "tuf-oversize"
    ADVICE = "the trust server is broken or lies; try again later, or ask its operator"


class WrongHashError(TufError):
    """The bytes are not those that the signed parent names: tampered with, or mixed and matched."""

    code = "tuf-wrong-hash"
    ADVICE = (
        "try again, a publish may be under way; if it stays, the trust server mixes old and new"
    )


class ThresholdError(TufError):
    """Too few of the role's keys signed."""

    code = "tuf-threshold"
    ADVICE = "someone without the keys changed the trust data, or the keys were rotated by halves"


class RollbackError(TufError):
    """The version is lower than one that was trusted before."""

    code = "tuf-rollback"
    ADVICE = "the trust server serves old data; do not use it, and ask its operator"


class ExpiredError(TufError):
    """The metadata is past its date: the repository is abandoned, or the server froze it."""

    code = "tuf-expired"
    ADVICE = "the publisher must sign again; if others see newer data, the server is frozen"


class RootRotationError(TufError):
    """A new root is not signed by the keys of the root that is trusted."""

    code = "tuf-root-rotation"
    ADVICE = "the repository's keys changed without the old ones: ask the publisher out of band"


class RootSkipError(TufError):
    """A root's version is not the one after the trusted root's."""

    code = "tuf-root-skip"


class UntrustedRootError(TufError):
    """The root's certificates are for another repository, expired, weak, or not the pinned ones."""

    code = "tuf-untrusted-root"
    ADVICE = "compare the root key with the publisher's, then pin the right one"


class UnknownRoleError(TufError):
    """Metadata of a role that its parent does not delegate to."""

    code = "tuf-unknown-role"


class NoTrustDataError(TufError):
    """The repository has no trust data at all."""

    code = "tuf-no-trust-data"
    ADVICE = "ask the publisher to sign, or run without content trust"


class UnsignedTagError(TufError):
    """The repository has trust data, and the tag is not among the released ones."""

    code = "tuf-unsigned-tag"
    ADVICE = "ask the publisher to sign this tag, or use one that is signed"


class PublishError(TrustError):
    """A change of trust data cannot be made: a role or key is missing, a name is not allowed."""

    code = "tuf-publish"


class MissingKeyError(PublishError):
    """None of the private keys at hand, or too few, belong to the role that must be signed."""

    code = "tuf-missing-key"
