"""Simple signing: containers' first signatures, an OpenPGP message around a payload.

containers-signature(5): the payload is cosign's with another type, and ``optional`` holds creator
and timestamp. What is claimed is read from what was verified, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from images.digest import Digest
from images.errors import ImagesError
from images.reference import Reference
from trust.errors import MalformedSignatureError
from trust.fields import FieldError, members, parse, text
from trust.openpgp import verified_payload
from trust.signature import MAX_PAYLOAD, Claim

PAYLOAD_TYPE: Final = "atomic container signature"
FORMAT: Final = "simple"
"""How explanations name this format."""


def claim_of(message: bytes, keyrings: Sequence[bytes]) -> Claim:
    """What a signature says, once one of the keys is known to have made it.

    Raises:
        VerificationError: a subclass, see ``trust.openpgp``, or the payload is not this format's.
        KeyFileError: a keyring is none.
    """
    payload = verified_payload(message, keyrings)
    try:
        return _parse(payload)
    except (FieldError, ImagesError) as error:
        reason = error.what if isinstance(error, ImagesError) else str(error)
        raise MalformedSignatureError(
            f"the signed payload is not simple signing's: {reason}",
            fix="sign the image again with skopeo or podman",
        ) from error


def _parse(data: bytes) -> Claim:
    top = members(
        parse(data, what="the payload", limit=MAX_PAYLOAD),
        required=("critical", "optional"),
        at="payload",
    )
    critical = members(top["critical"], required=("identity", "image", "type"), at="critical")
    identity = members(critical["identity"], required=("docker-reference",), at="identity")
    image = members(critical["image"], required=("docker-manifest-digest",), at="image")
    if text(critical["type"], at="type") != PAYLOAD_TYPE:
        raise FieldError(f"type is not {PAYLOAD_TYPE!r}")
    optional = members(top["optional"], optional=("creator", "timestamp"), at="optional")
    name = text(identity["docker-reference"], at="docker-reference")
    return Claim(
        format=FORMAT,
        digests=frozenset({Digest.parse(text(image["docker-manifest-digest"], at="digest"))}),
        reference=Reference.parse(name, default_tag=None),
        annotations=optional,
    )
