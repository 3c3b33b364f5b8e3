"""Certificates and envelopes for the tests of ``trust.notation``, made fresh for each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from images.descriptor import Descriptor
from images.digest import Digest
from images.mediatype import OCI_MANIFEST
from trust.notation.envelope import sign_envelope
from trust.notation.policy import StoreName, TrustPolicy

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TARGET = Descriptor(OCI_MANIFEST, Digest.of(b"image"), 5)


@dataclass(frozen=True)
class Identity:
    """A private key with its chain, leaf first."""

    key: Any
    chain: tuple[x509.Certificate, ...]

    @property
    def root(self) -> x509.Certificate:
        """What a trust store holds."""
        return self.chain[-1]


def name(common: str) -> x509.Name:
    """A subject with the attributes that trust policies need."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "Hamburg"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def usage(*, sign: bool = False, issue: bool = False) -> x509.KeyUsage:
    """A key usage with these two purposes and no other."""
    return x509.KeyUsage(sign, False, False, False, False, issue, issue, False, False)


def certificate(
    subject: str,
    key: Any,
    issuer: str,
    issuer_key: Any,
    *extensions: x509.ExtensionType,
    start: datetime = NOW - timedelta(days=1),
    end: datetime = NOW + timedelta(days=90),
) -> x509.Certificate:
    """One certificate with exactly these extensions."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(issuer_key, hashes.SHA256())


def identity(
    *leaf_extensions: x509.ExtensionType,
    key: Any = None,
    end: datetime = NOW + timedelta(days=90),
) -> Identity:
    """A leaf under an authority of its own; the extensions replace the usual ones."""
    root_key = ec.generate_private_key(ec.SECP256R1())
    leaf_key = key or ec.generate_private_key(ec.SECP256R1())
    constraints = x509.BasicConstraints(ca=True, path_length=1)
    root = certificate("root", root_key, "root", root_key, constraints, usage(issue=True))
    usual = (usage(sign=True), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]))
    leaf = certificate("leaf", leaf_key, "root", root_key, *(leaf_extensions or usual), end=end)
    return Identity(leaf_key, (leaf, root))


def identity_now(key: Any) -> Identity:
    """The same, valid at this very moment, for programs that look at the clock."""
    today = datetime.now(UTC)
    root_key = ec.generate_private_key(ec.SECP256R1())
    span = {"start": today - timedelta(days=1), "end": today + timedelta(days=36500)}
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    root = certificate("root", root_key, "root", root_key, constraints, usage(issue=True), **span)
    signing = (usage(sign=True), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]))
    return Identity(key, (certificate("leaf", key, "root", root_key, *signing, **span), root))


def envelope(signer: Identity, target: Descriptor = TARGET, **options: Any) -> bytes:
    """What ``signer`` writes about ``target``."""
    return sign_envelope(signer.key, signer.chain, target, signed_at=NOW, **options)


def policy(**fields: Any) -> TrustPolicy:
    """A policy of one strict statement for everything; ``fields`` replace its members."""
    import json

    statement = {
        "name": "all",
        "registryScopes": ["*"],
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:acme"],
        "trustedIdentities": ["*"],
        **fields,
    }
    return TrustPolicy.parse(json.dumps({"version": "1.0", "trustPolicies": [statement]}).encode())


class Anchors:
    """A trust store in memory that holds the same roots under every name."""

    def __init__(self, *roots: x509.Certificate) -> None:
        self._roots = roots

    def __call__(self, store: StoreName) -> Sequence[x509.Certificate]:
        return self._roots
