"""What a signature claims, and whether that is about this image: steps a to f of the verdict.

Each step is a function that returns or raises, so that ``trust.verify`` can put them in order and
``trust inspect`` can show how far a signature came.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from images.digest import Digest
from images.reference import Reference
from trust import bundle, cosign
from trust.errors import (
    MalformedSignatureError,
    StaleSignatureError,
    UnsupportedSignatureError,
    WrongDigestError,
    WrongIdentityError,
    WrongKeyError,
)
from trust.identity import SignedIdentity
from trust.keys import PublicKey
from trust.signature import (
    MAX_PAYLOAD,
    BundleSignature,
    Claim,
    NotaryEvidence,
    NotationSignature,
    OpenPgpSignature,
    Signature,
)

CLOCK_SKEW: Final = 300.0
"""Seconds that a signer's clock may be ahead of ours."""


def authenticate(signature: Signature, keys: Sequence[PublicKey]) -> tuple[PublicKey, Claim]:
    """Steps a to c: which of ``keys`` made ``signature``, and what it claims.

    Raises:
        MalformedSignatureError, UnsupportedSignatureError, WrongKeyError
    """
    if isinstance(signature, (NotationSignature, OpenPgpSignature, NotaryEvidence)):
        raise UnsupportedSignatureError("the signature does not rest on a bare key")
    if isinstance(signature, BundleSignature):
        envelope = bundle.parse_bundle(signature.raw)
        named = [key for key in keys if _hinted(envelope, key)]
        key = _signer(named, envelope.signature, envelope.signed_bytes)
        return key, bundle.parse_statement(envelope)
    payload, encoded, _ = signature
    if len(payload) > MAX_PAYLOAD:
        raise MalformedSignatureError(f"a payload is longer than {MAX_PAYLOAD} bytes")
    key = _signer(keys, cosign.decode_signature(encoded), payload)
    return key, cosign.parse_payload(payload)


def open_statement(
    signature: BundleSignature, keys: Sequence[PublicKey]
) -> tuple[PublicKey, bytes]:
    """Which of ``keys`` made a bundle, and the statement in it: any statement, not only approval.

    Raises:
        MalformedSignatureError, UnsupportedSignatureError, WrongKeyError
    """
    envelope = bundle.parse_bundle(signature.raw)
    named = [key for key in keys if _hinted(envelope, key)]
    key = _signer(named, envelope.signature, envelope.signed_bytes)
    if envelope.payload_type != bundle.IN_TOTO:
        raise MalformedSignatureError(f"what is signed is not {bundle.IN_TOTO}")
    return key, envelope.payload


def check_claim(
    claim: Claim, reference: Reference, digest: Digest, identity: SignedIdentity
) -> None:
    """Steps d and e: raises ``WrongDigestError`` or ``WrongIdentityError``."""
    if digest not in claim.digests:
        named = ", ".join(sorted(str(item) for item in claim.digests)) or "no digest"
        raise WrongDigestError(
            f"the signature is for {named}, not for {digest}",
            where=str(reference),
            fix="the tag was moved after signing: sign the new image, or pull the signed digest",
        )
    if claim.reference is None:
        if identity.needs_name:
            raise WrongIdentityError(
                f"the signature names no image, but must be {identity.rule}",
                where=str(reference),
                fix="sign with `lading trust sign`, which records the name",
            )
    elif not identity.accepts(reference, claim.reference):
        raise WrongIdentityError(
            f"the signature is for {claim.reference}, but must be {identity.rule}",
            where=str(reference),
            fix="pull it by the name it was signed as, sign it under this name, "
            "or set signedIdentity in the policy",
        )


def check_evidence(
    evidence: NotaryEvidence, reference: Reference, digest: Digest, now: datetime | None
) -> None:
    """Whether trust data speaks of this image, now: its repository and tag, its digest, its date.

    Raises:
        WrongIdentityError, WrongDigestError: it speaks of another.
        StaleSignatureError: its timestamp expired, or the time is not known.
    """
    where = str(reference)
    if evidence.repository != reference.name:
        raise WrongIdentityError(f"the trust data is of {evidence.repository}", where=where)
    if reference.tag not in (None, evidence.tag):
        raise WrongIdentityError(
            f"the trust data releases {evidence.tag}, and {reference.tag} is asked for",
            where=where,
            fix=f"sign the tag: lading trust sign --format notary {reference.familiar}",
        )
    if evidence.digest != digest:
        raise WrongDigestError(
            f"the trust data has {evidence.digest} for {evidence.tag}, not {digest}",
            where=where,
            fix="the tag was moved after signing: sign the new image, or pull the signed digest",
        )
    if now is None or evidence.expires <= now:
        raise StaleSignatureError(
            f"the timestamp of the trust data is valid until {evidence.expires:%Y-%m-%dT%H:%M:%SZ}",
            where=where,
            fix="ask for fresh trust data; if there is none, the trust server is frozen",
        )


def check_age(claim: Claim, max_age: float, now: datetime | None) -> None:
    """Step f: raises ``StaleSignatureError`` unless it was made at most ``max_age`` seconds ago."""
    signed = claim.signed_at
    if now is None or signed is None:
        raise StaleSignatureError(
            "the policy limits the age of signatures, and this one does not say when it was made",
            fix="sign with `lading trust sign --timestamp`",
        )
    age = (now - signed).total_seconds()
    if age > max_age or age < -CLOCK_SKEW:
        raise StaleSignatureError(
            f"the signature was made at {signed:%Y-%m-%dT%H:%M:%SZ}, "
            + ("too long ago" if age > 0 else "which is in the future"),
            fix="sign the image again with `lading trust sign --timestamp`",
        )


def _signer(keys: Iterable[PublicKey], signature: bytes, message: bytes) -> PublicKey:
    for key in keys:
        try:
            key.verify(signature, message)
        except WrongKeyError:
            continue
        return key
    raise WrongKeyError(
        "the signature was made by none of the accepted keys",
        fix="ask the publisher for the public key; if the key is right, do not use the image",
    )


def _hinted(envelope: bundle.Envelope, key: PublicKey) -> bool:
    # The hint may be left out; where there is one it must be the key's, and so must the key id.
    return envelope.hint in ("", key.hint) and envelope.key_id in ("", envelope.hint)
