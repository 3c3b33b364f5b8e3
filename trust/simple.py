"""Simple signing: containers' first signatures, an OpenPGP message around a payload.

containers-signature(5): the payload is cosign's with another type, and ``optional`` holds creator
and timestamp. What is claimed is read from what was verified, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from images.errors import ImagesError
from trust.cosign import read_payload
from trust.errors import MalformedSignatureError
from trust.fields import FieldError, dump
from trust.openpgp import signed_message, verified_payload
from trust.signature import Claim, require_sha256, signed_name

if TYPE_CHECKING:
    from images.digest import Digest
    from images.reference import Reference

PAYLOAD_TYPE: Final = "atomic container signature"
FORMAT: Final = "simple"
"""How explanations name this format."""


CREATOR: Final = "lading"


def sign(key: str, reference: Reference, digest: Digest, *, now: datetime) -> bytes:
    """An OpenPGP message by which ``key`` (gpg's words: an id or an address) says so of ``digest``.

    Raises:
        SigningError: gpg is not there, has no such key, or does not sign; the digest is not sha256.
    """
    require_sha256(digest)
    document = {
        "critical": {
            "identity": {"docker-reference": signed_name(reference)},
            "image": {"docker-manifest-digest": str(digest)},
            "type": PAYLOAD_TYPE,
        },
        "optional": {"creator": CREATOR, "timestamp": int(now.timestamp())},
    }
    return signed_message(dump(document), key)


def claim_of(message: bytes, keyrings: Sequence[bytes]) -> Claim:
    """What a signature says, once one of the keys is known to have made it.

    Raises:
        VerificationError: a subclass, see ``trust.openpgp``, or the payload is not this format's.
        KeyFileError: a keyring is none.
    """
    payload = verified_payload(message, keyrings)
    try:
        return read_payload(payload, kind=PAYLOAD_TYPE, form=FORMAT)
    except (FieldError, ImagesError) as error:
        reason = error.what if isinstance(error, ImagesError) else str(error)
        raise MalformedSignatureError(
            f"the signed payload is not simple signing's: {reason}",
            fix="sign the image again with skopeo or podman",
        ) from error
