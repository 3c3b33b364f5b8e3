"""The verdict on one Notary Project signature: five checks, each enforced, logged or skipped.

Specification "trust-store-trust-policy.md", "Signature Verification". A pure function: bytes,
policy statement, trust anchors and the time come in. Integrity (the envelope is what its leaf
certificate signed, and it speaks of this very manifest) is always enforced; what the other checks
do when they fail is the statement's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from images.digest import Digest
from trust.errors import (
    CertificateError,
    ExpiredSignatureError,
    RevocationUnknownError,
    UntrustedChainError,
    VerificationError,
    WrongDigestError,
    WrongIdentityError,
)
from trust.notation.certificates import check_validity, common_name, revocation_urls
from trust.notation.envelope import Scheme, SignedEnvelope, open_envelope
from trust.notation.policy import Action, Check, Statement, StoreKind, StoreName
from trust.notation.timestamps import verify_timestamp

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

Anchors = Callable[[StoreName], Sequence["Certificate"]]
"""Reads a trust store; ``trust.notation.store.read_store`` with its folder bound."""

Timestamps = Callable[[SignedEnvelope, Sequence["Certificate"]], datetime]
"""Verifies the RFC 3161 token against the given anchors and returns its time; raises
``VerificationError``."""

Revocation = Callable[[Sequence["Certificate"]], None]
"""Asks whether a chain was revoked; raises ``VerificationError``."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A signature that is good enough. ``logged`` are failed checks that the policy lets pass."""

    envelope: SignedEnvelope
    logged: tuple[tuple[Check, VerificationError], ...] = ()

    @property
    def signer(self) -> str:
        """The leaf certificate's subject."""
        return self.envelope.chain[0].subject.rfc4514_string()


def no_revocation_service(chain: Sequence[Certificate]) -> None:
    """Accept chains that name no place to ask; where they name one, the answer is unknown.

    Raises:
        RevocationUnknownError: the chain names an OCSP responder or a CRL.
    """
    urls = revocation_urls(chain)
    if urls:
        raise RevocationUnknownError(
            f"the certificate says that {urls[0]} knows whether it was revoked, and lading does "
            "not ask",
            fix='set "override": {"revocation": "skip"} in the trust policy to accept that',
        )


def verify(
    raw: bytes,
    digest: Digest,
    statement: Statement,
    anchors: Anchors,
    *,
    now: datetime,
    timestamps: Timestamps = verify_timestamp,
    revocation: Revocation = no_revocation_service,
) -> Verdict:
    """Judge one envelope for the manifest ``digest``; ``now`` is aware.

    Raises:
        VerificationError: the leaf class of the first check that failed and is enforced.
        KeyFileError: a trust store cannot be read.
    """
    envelope = open_envelope(raw)
    _check_target(envelope, digest)
    checks: Mapping[Check, Callable[[], None]] = {
        Check.AUTHENTICITY: lambda: _check_authentic(envelope, statement, anchors),
        Check.EXPIRY: lambda: _check_expiry(envelope, now),
        Check.TIMESTAMP: lambda: _check_time(envelope, statement, anchors, now, timestamps),
        Check.REVOCATION: lambda: revocation(envelope.chain),
    }
    logged: list[tuple[Check, VerificationError]] = []
    for check, examine in checks.items():
        action = statement.actions[check]
        if action is Action.SKIP:
            continue
        try:
            examine()
        except VerificationError as error:
            if action is Action.ENFORCE:
                raise
            logged.append((check, error))
    return Verdict(envelope, tuple(logged))


def _check_target(envelope: SignedEnvelope, digest: Digest) -> None:
    if envelope.target.digest != digest:
        raise WrongDigestError(
            f"the signature is for {envelope.target.digest}, not for {digest}",
            fix="the tag was moved after signing: sign the new image, or pull the signed digest",
        )


def _check_authentic(envelope: SignedEnvelope, statement: Statement, anchors: Anchors) -> None:
    kind = StoreKind.CA if envelope.scheme is Scheme.X509 else StoreKind.SIGNING_AUTHORITY
    stores = [store for store in statement.stores if store.kind is kind]
    trusted = [certificate for store in stores for certificate in anchors(store)]
    if not any(certificate in trusted for certificate in envelope.chain):
        names = ", ".join(str(store) for store in stores) or f"no store of kind {kind}"
        raise UntrustedChainError(
            f"the certificate {common_name(envelope.chain[0])!r} leads to no root in {names}",
            fix="add the publisher's root to a trust store, or do not use the image",
        )
    if statement.identities is None:
        return
    subject = {
        attribute.rfc4514_attribute_name: str(attribute.value)
        for attribute in envelope.chain[0].subject
    }
    if not any(identity.items() <= subject.items() for identity in statement.identities):
        raise WrongIdentityError(
            f"the signer is {envelope.chain[0].subject.rfc4514_string()}, "
            "whom the trust policy does not name",
            fix="add x509.subject:… of this signer to trustedIdentities, or do not use the image",
        )


def _check_expiry(envelope: SignedEnvelope, now: datetime) -> None:
    if envelope.expiry is not None and now >= envelope.expiry:
        raise ExpiredSignatureError(
            f"the signature expired at {envelope.expiry:%Y-%m-%dT%H:%M:%SZ}",
            fix="ask the publisher to sign the image again",
        )


def _check_time(
    envelope: SignedEnvelope,
    statement: Statement,
    anchors: Anchors,
    now: datetime,
    timestamps: Timestamps,
) -> None:
    if envelope.scheme is Scheme.AUTHORITY:
        check_validity(envelope.chain, envelope.signing_time)
        return
    authorities = [store for store in statement.stores if store.kind is StoreKind.TSA]
    if not authorities or (not statement.timestamp_always and _valid(envelope, now)):
        check_validity(envelope.chain, now)
        return
    if envelope.timestamp is None:
        raise CertificateError(
            "the signature has no timestamp, and the trust policy names timestamp authorities",
            fix="sign with a timestamp, or set verifyTimestamp to afterCertExpiry",
        )
    roots = [certificate for store in authorities for certificate in anchors(store)]
    check_validity(envelope.chain, timestamps(envelope, roots))


def _valid(envelope: SignedEnvelope, now: datetime) -> bool:
    try:
        check_validity(envelope.chain, now)
    except CertificateError:
        return False
    return True
