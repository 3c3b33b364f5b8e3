"""Which certificate chains may sign, rule by rule of the signature specification."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from tests.trust.notation_kit import NOW, certificate, identity, usage
from trust.errors import CertificateError, KeyFileError
from trust.notation.certificates import (
    MAX_CHAIN,
    check_chain,
    check_validity,
    load_der,
    revocation_urls,
    thumbprint,
)

CODE_SIGNING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])


def test_a_code_signing_chain_passes() -> None:
    check_chain(identity().chain)


def test_extended_key_usage_may_be_absent() -> None:
    check_chain(identity(usage(sign=True)).chain)


@pytest.mark.parametrize(
    ("extensions", "why"),
    [
        ((CODE_SIGNING,), "no key usage digitalSignature"),
        ((usage(issue=True),), "no key usage digitalSignature"),
        ((usage(sign=True, issue=True),), "beyond digitalSignature"),
        (
            (usage(sign=True), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])),
            "meant for serverAuth",
        ),
        (
            (
                usage(sign=True),
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.TIME_STAMPING]
                ),
            ),
            "meant for timeStamping",
        ),
        (
            (usage(sign=True), x509.ExtendedKeyUsage([ObjectIdentifier("1.2.3.4")])),
            "not codeSigning",
        ),
        (
            (usage(sign=True), x509.BasicConstraints(ca=True, path_length=None)),
            "may not sign images",
        ),
    ],
)
def test_a_leaf_for_another_purpose_is_refused(
    extensions: tuple[x509.ExtensionType, ...], why: str
) -> None:
    with pytest.raises(CertificateError, match=why):
        check_chain(identity(*extensions).chain)


def test_a_chain_that_is_cut_is_refused() -> None:
    with pytest.raises(CertificateError, match="the chain is cut"):
        check_chain(identity().chain[:1])


def test_a_chain_in_the_wrong_order_is_refused() -> None:
    with pytest.raises(CertificateError):
        check_chain(identity().chain[::-1])


def test_a_foreign_root_is_refused() -> None:
    with pytest.raises(CertificateError, match="was not issued by"):
        check_chain((identity().chain[0], identity().root))


def test_a_leaf_cannot_stand_in_for_an_authority() -> None:
    signer = identity()
    key = ec.generate_private_key(ec.SECP256R1())
    below = certificate("below", key, "leaf", signer.key, usage(sign=True), CODE_SIGNING)
    with pytest.raises(CertificateError, match="used as an authority and is none"):
        check_chain((below, *signer.chain))


def test_the_path_length_is_obeyed() -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(4)]
    none_below = x509.BasicConstraints(ca=True, path_length=0)
    root = certificate("root", keys[0], "root", keys[0], none_below, usage(issue=True))
    free = x509.BasicConstraints(ca=True, path_length=None)
    middle = certificate("middle", keys[1], "root", keys[0], free, usage(issue=True))
    leaf = certificate("leaf", keys[2], "middle", keys[1], usage(sign=True))
    with pytest.raises(CertificateError, match="allows 0 authorities below it, not 1"):
        check_chain((leaf, middle, root))


def test_a_chain_without_end_is_refused() -> None:
    signer = identity()
    with pytest.raises(CertificateError, match=f"1 to {MAX_CHAIN}"):
        check_chain((signer.chain[0],) + (signer.root,) * MAX_CHAIN)


@pytest.mark.parametrize("bits", [1024, 2560])
def test_rsa_of_other_sizes_is_refused(bits: int) -> None:
    with pytest.raises(KeyFileError):
        check_chain(identity(key=rsa.generate_private_key(65537, bits)).chain)


def test_ed25519_is_not_in_the_specification() -> None:
    with pytest.raises(KeyFileError):
        check_chain(identity(key=ed25519.Ed25519PrivateKey.generate()).chain)


@pytest.mark.parametrize(("days", "why"), [(-2, "valid only from"), (100, "expired at")])
def test_validity_is_judged_at_the_moment_given(days: int, why: str) -> None:
    chain = identity().chain
    check_validity(chain, NOW)
    with pytest.raises(CertificateError, match=why):
        check_validity(chain, NOW + timedelta(days=days))


def test_places_of_revocation_are_found() -> None:
    from cryptography.x509.oid import AuthorityInformationAccessOID as Access

    def uri(text: str) -> x509.UniformResourceIdentifier:
        return x509.UniformResourceIdentifier(text)

    responder = x509.AuthorityInformationAccess(
        [x509.AccessDescription(Access.OCSP, uri("http://ocsp.example.com"))]
    )
    point = x509.DistributionPoint([uri("http://crl.example.com/a.crl")], None, None, None)
    chain = identity(usage(sign=True), responder, x509.CRLDistributionPoints([point])).chain
    assert revocation_urls(chain) == ("http://ocsp.example.com", "http://crl.example.com/a.crl")
    assert revocation_urls(identity().chain) == ()


@pytest.mark.parametrize("data", [b"", b"0", b"\x30\x82\xff\xff" + b"A" * 100, b"A" * 70_000])
def test_what_is_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(CertificateError):
        load_der(data)


def test_the_thumbprint_is_that_of_the_der() -> None:
    root = identity().root
    from cryptography.hazmat.primitives import hashes

    assert thumbprint(root) == root.fingerprint(hashes.SHA256()).hex()
