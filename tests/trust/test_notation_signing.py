"""Keys with certificates: self-signed ones serve, and no key signs under another's name."""

from __future__ import annotations

from datetime import timedelta

import pytest

from images.reference import Reference
from tests.trust.notation_kit import NOW, TARGET, Anchors, identity, policy
from trust.errors import CertificateError, KeyFileError
from trust.keys import Algorithm, PrivateKey
from trust.notation.signing import VALIDITY, CertifiedKey, self_signed
from trust.notation.verify import verify

SUBJECT = "CN=release, O=Acme, ST=Hamburg, C=DE"


@pytest.mark.parametrize("algorithm", [Algorithm.ECDSA_P256, Algorithm.ECDSA_P384, Algorithm.RSA])
def test_a_self_signed_certificate_serves(algorithm: Algorithm) -> None:
    key = PrivateKey.generate(algorithm)
    certificate = self_signed(key, SUBJECT, now=NOW)
    assert certificate.subject.rfc4514_string() == "CN=release,O=Acme,ST=Hamburg,C=DE"
    certified = CertifiedKey.join(key, (certificate,), where="here")
    raw = certified.sign(TARGET, signed_at=NOW, expiry=NOW + timedelta(days=1))
    statement = policy().decide(Reference.parse("r.io/a:1"))
    assert statement is not None
    verify(raw, TARGET.digest, statement, Anchors(certificate), now=NOW)
    with pytest.raises(CertificateError, match="expired"):
        verify(
            certified.sign(TARGET, signed_at=NOW),
            TARGET.digest,
            statement,
            Anchors(certificate),
            now=NOW + VALIDITY + timedelta(days=1),
        )


def test_a_certificate_of_another_key_is_refused() -> None:
    with pytest.raises(KeyFileError, match="for another key"):
        CertifiedKey.join(PrivateKey.generate(), identity().chain, where="chain.pem")


def test_ed25519_has_no_place_there() -> None:
    with pytest.raises(KeyFileError):
        self_signed(PrivateKey.generate(Algorithm.ED25519), SUBJECT, now=NOW)


@pytest.mark.parametrize("subject", ["", "acme", "O=Acme", "C=DE, ST=H, O=A, DC=example"])
def test_a_subject_must_name_somebody(subject: str) -> None:
    with pytest.raises(CertificateError, match="no subject"):
        self_signed(PrivateKey.generate(), subject, now=NOW)


def test_the_secret_key_does_not_show() -> None:
    key = PrivateKey.generate()
    certified = CertifiedKey.join(key, (self_signed(key, SUBJECT, now=NOW),), where="here")
    assert "PRIVATE" not in repr(certified)
