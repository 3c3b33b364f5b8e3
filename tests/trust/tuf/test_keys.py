"""Keys, signatures and certificates in Notary's encodings."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from tests.trust.tuf.kit import DAY, GUN, NOW, key
from trust.errors import KeyFileError
from trust.fields import FieldError
from trust.keys import Algorithm
from trust.tuf import certificates
from trust.tuf.errors import MalformedMetadataError
from trust.tuf.keys import Key, Signature, Signer, parse_key
from trust.tuf.publickey import read_public_key

MESSAGE = b"what is signed"
SIZES = {
    Algorithm.ECDSA_P256: 64,
    Algorithm.ECDSA_P384: 96,
    Algorithm.RSA: 384,
    Algorithm.ED25519: 64,
}


def signer(algorithm: Algorithm) -> Signer:
    return Signer.generate(algorithm)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_each_kind_of_key_signs_in_its_fixed_width(algorithm):
    made = signer(algorithm)
    signature = made.sign(MESSAGE)
    assert len(signature.value) == SIZES[algorithm]
    assert made.key.verifies(signature.value, signature.method, MESSAGE)
    assert not made.key.verifies(signature.value, signature.method, MESSAGE + b".")
    assert not made.key.verifies(signature.value[:-1], signature.method, MESSAGE)
    assert not made.key.verifies(signature.value + b"\0", signature.method, MESSAGE)
    other = "ecdsa" if signature.method != "ecdsa" else "rsapss"
    assert not made.key.verifies(signature.value, other, MESSAGE)


def test_a_key_id_is_the_hash_of_the_canonical_key():
    public = key("alice").key
    spelled = json.dumps(
        {
            "keytype": "ecdsa",
            "keyval": {"private": None, "public": base64.b64encode(public.public).decode()},
        },
        separators=(",", ":"),
    )
    assert public.id == hashlib.sha256(spelled.encode()).hexdigest()


def test_a_certificate_has_an_id_of_its_own_and_the_bare_keys_beside_it():
    bare = key("alice")
    certified = bare.certified(GUN, start=NOW, end=NOW + DAY)
    assert certified.key.type == "ecdsa-x509"
    assert certified.key.id != bare.key.id == certified.key.bare().id
    signature = certified.sign(MESSAGE)
    assert signature.key_id == certified.key.id
    assert certified.key.verifies(signature.value, signature.method, MESSAGE)


def test_a_long_repository_name_fits_into_a_certificate():
    gun = f"registry.example.com/{'long/' * 30}name"
    certified = key("alice").certified(gun, start=NOW, end=NOW + DAY)
    assert certificates.problem(certified.key, gun, now=NOW) is None


@pytest.mark.parametrize(
    ("key_of", "word"),
    [
        (lambda: key("alice").key, "not a certificate"),
        (lambda: key("alice").certified("b/c", start=NOW, end=NOW + DAY).key, "is for 'b/c'"),
        (
            lambda: key("alice").certified(GUN, start=NOW - 9 * DAY, end=NOW - DAY).key,
            "valid until",
        ),
        (lambda: key("alice").certified(GUN, start=NOW + 2 * DAY, end=NOW + 9 * DAY).key, "valid"),
        (lambda: Key("ecdsa-x509", b"no certificate"), "not a chain"),
        (
            lambda: Key(
                "ecdsa-x509", 2 * key("alice").certified(GUN, start=NOW, end=NOW + DAY).key.public
            ),
            "one leaf",
        ),
    ],
)
def test_certificates_that_do_not_speak_for_a_repository(key_of, word):
    assert word in (certificates.problem(key_of(), GUN, now=NOW) or "")


def test_a_day_of_clock_skew_is_forgiven():
    young = key("alice").certified(GUN, start=NOW + DAY / 2, end=NOW + 9 * DAY).key
    assert certificates.problem(young, GUN, now=NOW) is None


def test_an_ed25519_root_key_cannot_be_certified():
    with pytest.raises(KeyFileError, match="Ed25519"):
        signer(Algorithm.ED25519).certified(GUN, start=NOW, end=NOW + DAY)


@pytest.mark.parametrize(
    "change",
    [
        {"keytype": "dsa"},
        {"keyval": {"public": "!!", "private": None}},
        {"keyval": {"public": "", "private": None}},
        {"keyval": {"public": base64.b64encode(b"x" * 32).decode(), "private": "secret"}},
        {"keyval": {}},
        {"more": 1},
    ],
)
def test_a_servers_key_that_is_none_is_refused(change):
    document = {**key("alice").key.to_json(), **change}
    with pytest.raises(MalformedMetadataError):
        parse_key(json.dumps(document).encode(), limit=4096)


def test_a_key_under_the_wrong_type_verifies_nothing():
    made = signer(Algorithm.ED25519)
    lie = Key("ecdsa", key("alice").key.public[:-1])
    assert not lie.verifies(made.sign(MESSAGE).value, "ecdsa", MESSAGE)
    rsa = Key("rsa", key("alice").key.public)
    assert not rsa.verifies(b"\0" * 256, "rsapss", MESSAGE)


def test_a_signature_has_exactly_its_members():
    document = key("alice").sign(MESSAGE).to_json()
    assert Signature.from_json(document).to_json() == document
    for change in ({"more": 1}, {"sig": document["sig"].rstrip("=") + "\n"}, {"keyid": 1}):
        with pytest.raises(FieldError):
            Signature.from_json({**document, **change})


def test_public_keys_are_read_as_docker_writes_them():
    plain = key("alice").key.public_key().pem
    headed = plain.replace(b"KEY-----\n", b"KEY-----\nrole: alice\n\n", 1)
    certificate = key("alice").certified("x", start=NOW, end=NOW + DAY).key
    assert read_public_key(plain) == read_public_key(headed) == key("alice").key
    assert read_public_key(certificate.public) == certificate
    for damage in (b"", plain[:-40], b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"):
        with pytest.raises(KeyFileError):
            read_public_key(damage)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        (b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01", b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x09"),
        (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03"),
        (b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x66"),
    ],
    ids=["kind", "version", "curve"],
)
def test_certificates_of_strange_kinds_are_told_not_raised(part, changed):
    pem = key("alice").certified(GUN, start=NOW, end=NOW + DAY).key.public
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    assert part in der
    armor = b"-----BEGIN CERTIFICATE-----\n%b-----END CERTIFICATE-----\n"
    strange = Key("ecdsa-x509", armor % base64.encodebytes(der.replace(part, changed, 1)))
    assert certificates.problem(strange, GUN, now=NOW)
    assert not strange.verifies(b"\0" * 64, "ecdsa", MESSAGE)
