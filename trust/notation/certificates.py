"""Certificate chains of signatures: what a chain must look like before anybody trusts it.

Notary Project signature specification, "Certificate Requirements", and RFC 5280. A chain is given
leaf first and complete to its root. Rules that need a clock (validity) are separate, since the
moment that counts is the policy's matter.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from trust.errors import CertificateError
from trust.notation.algorithms import algorithm_of

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MAX_CHAIN: Final = 10
"""Certificates of one chain; real ones have up to four."""

MAX_CERTIFICATE: Final = 64 << 10
"""Bytes of one certificate in DER."""

_WEAK: Final = frozenset({"md5", "sha1"})


def load_der(data: bytes) -> Certificate:
    """Read one DER certificate; raises ``CertificateError``."""
    from cryptography.x509 import load_der_x509_certificate

    if len(data) > MAX_CERTIFICATE:
        raise CertificateError(f"a certificate is longer than {MAX_CERTIFICATE} bytes")
    try:
        certificate = load_der_x509_certificate(data)
        # The library parses each part on first use; a bad one must show here.
        _ = certificate.extensions, certificate.public_key(), certificate.signature_hash_algorithm
        _ = certificate.subject, certificate.issuer
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except Exception as error:
        # The library raises many types for hostile bytes, some of them without a common base.
        raise CertificateError(
            "the bytes are no certificate that can be read", fix="sign the image again"
        ) from error
    return certificate


def thumbprint(certificate: Certificate) -> str:
    """Lower-case hex SHA-256 of the DER, as the thumbprint annotation has it."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def common_name(certificate: Certificate) -> str:
    """The subject, for messages: its common name or else the whole."""
    from cryptography.x509.oid import NameOID

    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()


def check_chain(chain: Sequence[Certificate]) -> None:
    """Return if ``chain`` is a code-signing chain, leaf first and complete to a self-signed root.

    A single self-signed certificate must satisfy the rules of a leaf.

    Raises:
        CertificateError: which rule which certificate breaks.
    """
    if not 1 <= len(chain) <= MAX_CHAIN:
        raise CertificateError(f"a chain has 1 to {MAX_CHAIN} certificates, not {len(chain)}")
    _check_leaf(chain[0])
    for depth, (issued, issuer) in enumerate(itertools.pairwise(chain)):
        _check_authority(issuer, below=depth)
        _check_issued(issued, issuer)
    _check_issued(chain[-1], chain[-1])


def check_validity(chain: Sequence[Certificate], at: datetime) -> None:
    """Return if every certificate is valid at the moment ``at`` (aware); raises the error."""
    for certificate in chain:
        if at < certificate.not_valid_before_utc:
            raise CertificateError(
                f"the certificate {common_name(certificate)!r} is valid only from "
                f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
                fix="check the clock of this machine",
            )
        if at > certificate.not_valid_after_utc:
            raise CertificateError(
                f"the certificate {common_name(certificate)!r} expired at "
                f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
                fix="sign the image again with a valid certificate",
            )


def revocation_urls(chain: Sequence[Certificate]) -> tuple[str, ...]:
    """Where the chain says that its revocation can be asked: OCSP and CRL addresses."""
    from cryptography import x509
    from cryptography.x509.oid import AuthorityInformationAccessOID as Access

    urls: list[str] = []
    for certificate in chain:
        for extension in certificate.extensions:
            value = extension.value
            if isinstance(value, x509.AuthorityInformationAccess):
                ocsp = (item for item in value if item.access_method == Access.OCSP)
                urls += (str(item.access_location.value) for item in ocsp)
            elif isinstance(value, x509.CRLDistributionPoints):
                urls += (str(name.value) for point in value for name in point.full_name or ())
    return tuple(urls)


def _check_leaf(leaf: Certificate) -> None:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    _check_key(leaf)
    basic = _extension(leaf, x509.BasicConstraints)
    if basic is not None and basic.ca and leaf.issuer != leaf.subject:
        raise _broken(leaf, "may issue certificates, so it may not sign images")
    usage = _extension(leaf, x509.KeyUsage)
    if usage is None or not usage.digital_signature:
        raise _broken(leaf, "has no key usage digitalSignature")
    if usage.key_cert_sign or usage.crl_sign or usage.key_encipherment or usage.data_encipherment:
        raise _broken(leaf, "has key usages beyond digitalSignature")
    extended = _extension(leaf, x509.ExtendedKeyUsage)
    if extended is None:
        return
    refused = {
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "any",
        ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
        ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
        ExtendedKeyUsageOID.EMAIL_PROTECTION: "emailProtection",
        ExtendedKeyUsageOID.TIME_STAMPING: "timeStamping",
        ExtendedKeyUsageOID.OCSP_SIGNING: "OCSPSigning",
    }
    for purpose in extended:
        if purpose in refused:
            raise _broken(leaf, f"is meant for {refused[purpose]} as well")
    if ExtendedKeyUsageOID.CODE_SIGNING not in extended:
        raise _broken(leaf, "has extended key usages, but not codeSigning")


def _check_authority(issuer: Certificate, *, below: int) -> None:
    """``below`` counts the authorities between this one and the leaf."""
    from cryptography import x509

    _check_key(issuer)
    basic = _extension(issuer, x509.BasicConstraints)
    if basic is None or not basic.ca:
        raise _broken(issuer, "is used as an authority and is none")
    if basic.path_length is not None and basic.path_length < below:
        raise _broken(issuer, f"allows {basic.path_length} authorities below it, not {below}")
    usage = _extension(issuer, x509.KeyUsage)
    if usage is None or not usage.key_cert_sign:
        raise _broken(issuer, "has no key usage keyCertSign")


def _check_key(certificate: Certificate) -> None:
    algorithm_of(certificate.public_key())
    hashed = certificate.signature_hash_algorithm
    if hashed is None or hashed.name in _WEAK:
        raise _broken(certificate, "is signed with a hash that is too weak")


def _check_issued(issued: Certificate, issuer: Certificate) -> None:
    from cryptography.exceptions import InvalidSignature

    try:
        issued.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature) as error:
        if issued == issuer:
            raise _broken(issued, "ends the chain and is no root, so the chain is cut") from error
        raise _broken(issued, f"was not issued by {common_name(issuer)!r}") from error


def _extension(certificate: Certificate, kind: type[Any]) -> Any:
    from cryptography.x509 import ExtensionNotFound

    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except ExtensionNotFound:
        return None


def _broken(certificate: Certificate, why: str) -> CertificateError:
    return CertificateError(
        f"the certificate {common_name(certificate)!r} {why}",
        fix="sign with a certificate for code signing; the Notary Project's specification has the "
        "requirements",
    )
