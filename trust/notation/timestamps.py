"""Timestamp tokens: an authority's word that a signature existed at a moment (RFC 3161).

An envelope carries the bare token (CMS SignedData) over its signature. The library that verifies
them, rfc3161-client, reads whole responses, so the token is put into one that says "granted"; what
that says is not signed and means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from trust.errors import CertificateError
from trust.notation.envelope import SignedEnvelope

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MAX_TOKEN: Final = 64 << 10
"""Bytes of a token; with its certificates it is about 5 KiB."""

_GRANTED: Final = bytes.fromhex("3003020100")
"""PKIStatusInfo with status 0."""


def verify_timestamp(envelope: SignedEnvelope, anchors: Sequence[Certificate]) -> datetime:
    """The moment, in UTC, at which an authority under ``anchors`` saw the signature.

    Raises:
        CertificateError: no token, a damaged one, of another signature, or of an unknown authority.
    """
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    token = envelope.timestamp
    if token is None or len(token) > MAX_TOKEN:
        raise _bad("there is none that could be read")
    if not anchors:
        raise _bad("the trust policy names no authority")
    try:
        response = decode_timestamp_response(_sequence(_GRANTED + token))
        verifier = VerifierBuilder(roots=list(dict.fromkeys(anchors))).build()
        verifier.verify_message(response, envelope.signature)
        moment = response.tst_info.gen_time
    except (VerificationError, ValueError) as error:
        raise _bad(str(error) or type(error).__name__) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _sequence(content: bytes) -> bytes:
    """DER SEQUENCE around ``content`` (X.690, 8.1.3)."""
    length = len(content)
    if length < 0x80:
        return bytes((0x30, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((0x30, 0x80 | size)) + length.to_bytes(size, "big") + content


def _bad(why: str) -> CertificateError:
    return CertificateError(
        f"the timestamp of the signature does not count: {why}",
        fix="sign again with a timestamp of an authority in the policy's tsa stores",
    )
