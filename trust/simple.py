"""Simple signing: containers' first signatures, an OpenPGP message around a payload.

containers-signature(5): the payload is cosign's with another type, and ``optional`` holds creator
and timestamp. What is claimed is read from what was verified, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from images.errors import ImagesError
from trust.cosign import read_payload
from trust.errors import MalformedSignatureError
from trust.fields import FieldError
from trust.openpgp import verified_payload
from trust.signature import Claim

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
        return read_payload(payload, kind=PAYLOAD_TYPE, form=FORMAT)
    except (FieldError, ImagesError) as error:
        reason = error.what if isinstance(error, ImagesError) else str(error)
        raise MalformedSignatureError(
            f"the signed payload is not simple signing's: {reason}",
            fix="sign the image again with skopeo or podman",
        ) from error
