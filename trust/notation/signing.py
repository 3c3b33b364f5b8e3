"""Signing as the Notary Project does: a key with its certificate chain, and certificates for tests.

Trust stores want certificates where cosign's formats want keys. ``self_signed`` makes one for a key
of the store, so that a team without a certificate authority can begin: its verifiers put that very
certificate into a trust store of kind ``ca``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

from images.descriptor import Descriptor
from trust.certificates import self_signed_for_code
from trust.errors import CertificateError, KeyFileError
from trust.fields import FieldError
from trust.keys import PrivateKey
from trust.notation.algorithms import algorithm_of
from trust.notation.certificates import check_chain, common_name
from trust.notation.envelope import sign_envelope
from trust.notation.policy import distinguished_name

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.x509 import Certificate

VALIDITY: Final = timedelta(days=365)
"""How long a self-signed certificate lasts unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class CertifiedKey:
    """A private key and the chain that speaks for it, leaf first."""

    key: PrivateKey
    chain: tuple[Certificate, ...]

    @classmethod
    def join(cls, key: PrivateKey, chain: tuple[Certificate, ...], *, where: str) -> Self:
        """Put a key and its chain together.

        Raises:
            CertificateError: the chain may not sign images.
            KeyFileError: the leaf is another key's, or the key is of a kind that does not sign so.
        """
        check_chain(chain)
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        leaf = chain[0].public_key()
        der = leaf.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if der != key.public.der:
            raise KeyFileError(
                f"the certificate of {common_name(chain[0])!r} is for another key",
                where=where,
                fix="give the chain of this key, its own certificate first",
            )
        return cls(key, chain)

    def sign(
        self, target: Descriptor, *, signed_at: datetime, expiry: datetime | None = None
    ) -> bytes:
        """An envelope over ``target``; raises ``CertificateError`` or ``KeyFileError``."""
        return sign_envelope(
            self.key.native, self.chain, target, signed_at=signed_at, expiry=expiry
        )


def self_signed(
    key: PrivateKey, subject: str, *, now: datetime, validity: timedelta = VALIDITY
) -> Certificate:
    """A code-signing certificate of ``key`` for itself.

    ``subject`` is a distinguished name with at least C, ST and O, such as
    ``C=DE, ST=Hamburg, O=Acme, CN=release``; ``now`` is aware.

    Raises:
        CertificateError: the subject is no such name.
        KeyFileError: the key is of a kind that the specification does not have.
    """
    algorithm_of(key.native.public_key())
    try:
        name = _name(distinguished_name(subject))
    except (FieldError, ValueError) as error:
        raise CertificateError(
            f"no subject for a certificate: {error}",
            fix="write it like C=DE, ST=Hamburg, O=Acme, CN=release",
        ) from error
    certificate = self_signed_for_code(key.native, name, start=now, end=now + validity)
    check_chain((certificate,))
    return certificate


def _name(attributes: Mapping[str, str]) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    known = {
        "C": NameOID.COUNTRY_NAME,
        "ST": NameOID.STATE_OR_PROVINCE_NAME,
        "L": NameOID.LOCALITY_NAME,
        "O": NameOID.ORGANIZATION_NAME,
        "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
        "CN": NameOID.COMMON_NAME,
    }
    unknown = attributes.keys() - known.keys()
    if unknown:
        raise FieldError(f"the attribute {sorted(unknown)[0]} is not used in subjects")
    # The usual order, from the country down to the name, however it was written.
    return x509.Name(
        [x509.NameAttribute(known[key], attributes[key]) for key in known if key in attributes]
    )
