"""Keys: what is read, what is written, what is refused, and OpenSSL's word on the results."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.trust.conftest import FIXTURES
from trust.errors import KeyFileError, PassphraseError, WrongKeyError
from trust.keyfile import armor, dearmor
from trust.keys import Algorithm, KeyForm, PrivateKey, PublicKey

KEYS = {algorithm: PrivateKey.generate(algorithm) for algorithm in Algorithm}


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("form", KeyForm)
def test_key_survives_its_file(algorithm: Algorithm, form: KeyForm) -> None:
    key = KEYS[algorithm]
    back = PrivateKey.from_pem(key.to_pem(b"secret", form), lambda: b"secret")
    assert back.public == key.public
    key.public.verify(back.sign(b"message"), b"message")


@pytest.mark.parametrize("algorithm", Algorithm)
def test_signature_is_bound_to_key_and_message(algorithm: Algorithm) -> None:
    signature = KEYS[algorithm].sign(b"message")
    for other, key in KEYS.items():
        if other is not algorithm:
            with pytest.raises(WrongKeyError):
                key.public.verify(signature, b"message")
    with pytest.raises(WrongKeyError):
        KEYS[algorithm].public.verify(signature, b"massage")


@pytest.mark.parametrize(
    ("form", "label"),
    [
        (KeyForm.SIGSTORE, "ENCRYPTED SIGSTORE PRIVATE KEY"),
        (KeyForm.COSIGN, "ENCRYPTED COSIGN PRIVATE KEY"),
        (KeyForm.PKCS8, "ENCRYPTED PRIVATE KEY"),
    ],
)
def test_file_has_the_label_of_its_form(form: KeyForm, label: str) -> None:
    assert dearmor(KEYS[Algorithm.ECDSA_P256].to_pem(b"x", form))[0] == label


@pytest.mark.parametrize("form", KeyForm)
def test_wrong_passphrase_says_so(form: KeyForm) -> None:
    pem = KEYS[Algorithm.ECDSA_P256].to_pem(b"right", form)
    with pytest.raises(PassphraseError, match="does not open") as caught:
        PrivateKey.from_pem(pem, lambda: b"wrong", where="a.key")
    assert caught.value.where == "a.key"


def test_a_key_of_an_unknown_kind_that_says_it_is_encrypted() -> None:
    known = PrivateKey.generate(Algorithm.ED25519).to_der()
    unknown = known.replace(bytes.fromhex("06032b6570"), bytes.fromhex("06032b657f"))
    assert unknown != known
    with pytest.raises(KeyFileError) as refused:
        PrivateKey.from_pem(armor("ENCRYPTED PRIVATE KEY", unknown), lambda: b"x", where="a.key")
    assert refused.value.where == "a.key"


def test_encrypted_key_without_a_passphrase_asks_for_one() -> None:
    with pytest.raises(PassphraseError, match="encrypted"):
        PrivateKey.from_pem(KEYS[Algorithm.ED25519].to_pem(b"x"))


def test_empty_passphrase_works_in_cosigns_form_only() -> None:
    key = KEYS[Algorithm.ECDSA_P256]
    assert PrivateKey.from_pem(key.to_pem(b""), lambda: b"").public == key.public
    with pytest.raises(PassphraseError, match="empty"):
        key.to_pem(b"", KeyForm.PKCS8)


def test_passphrase_is_not_asked_for_plain_keys() -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    assert PrivateKey.from_pem(pem, lambda: pytest.fail("asked")).public.algorithm == "ecdsa-p256"


def test_key_id_and_hint_are_the_hash_of_the_public_key() -> None:
    public = PublicKey.from_pem((FIXTURES / "alice.pub").read_bytes())
    assert public.key_id == hashlib.sha256(public.der).hexdigest()
    assert len(public.hint) == 44


def test_secret_is_not_in_the_representation() -> None:
    assert "_key" not in repr(KEYS[Algorithm.ECDSA_P256])


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256K1()),
        ec.generate_private_key(ec.SECP521R1()),
        dsa.generate_private_key(2048),
        rsa.generate_private_key(65537, 1024),
    ],
    ids=["secp256k1", "p521", "dsa", "rsa-1024"],
)
def test_weak_or_foreign_keys_are_refused(
    key: ec.EllipticCurvePrivateKey | dsa.DSAPrivateKey | rsa.RSAPrivateKey,
) -> None:
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(KeyFileError) as caught:
        PublicKey.from_pem(public, where="odd.pub")
    assert caught.value.where == "odd.pub"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(KeyFileError):
        PrivateKey.from_pem(private)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"garbage",
        b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        armor("PUBLIC KEY", b"\x30\x00"),
        armor("CERTIFICATE", b"\x30\x00"),
        armor("PUBLIC KEY", b"A" * 70_000),
        KEYS[Algorithm.ECDSA_P256].public.pem + b"trailing",
        KEYS[Algorithm.ECDSA_P256].public.pem * 2,
        KEYS[Algorithm.ECDSA_P256].to_pem(b"x"),
    ],
)
def test_what_is_no_public_key_is_refused(pem: bytes) -> None:
    with pytest.raises(KeyFileError):
        PublicKey.from_pem(pem)


def test_public_key_in_another_der_spelling_is_refused() -> None:
    der = bytearray(KEYS[Algorithm.ECDSA_P256].public.der)
    assert der[1] < 0x80
    # BER allows the length in long form; DER does not (X.690, 10.1).
    with pytest.raises(KeyFileError):
        PublicKey.from_der(bytes([der[0], 0x81, *der[1:]]))


def test_compressed_point_is_refused_since_it_has_another_key_id() -> None:
    point = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    compressed = point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    with pytest.raises(KeyFileError, match="canonical"):
        PublicKey.from_der(head + compressed)


def test_public_key_given_for_a_private_one_is_named() -> None:
    with pytest.raises(KeyFileError, match="PUBLIC KEY, not a private key"):
        PrivateKey.from_pem(KEYS[Algorithm.RSA].public.pem)


def test_windows_line_ends_are_read() -> None:
    public = KEYS[Algorithm.ECDSA_P256].public
    assert PublicKey.from_pem(public.pem.replace(b"\n", b"\r\n")) == public


@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "ecdsa-p384", "rsa"])
def test_openssl_accepts_our_signatures_and_keys(algorithm: str, tmp_path: Path) -> None:
    key = KEYS[Algorithm(algorithm)]
    (tmp_path / "pub").write_bytes(key.public.pem)
    (tmp_path / "key").write_bytes(key.to_pem(b"secret", KeyForm.PKCS8))
    (tmp_path / "message").write_bytes(b"message")
    (tmp_path / "sig").write_bytes(key.sign(b"message"))
    verify = ["openssl", "dgst", "-sha256", "-verify", "pub", "-signature", "sig", "message"]
    subprocess.run(verify, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    sign = ["openssl", "dgst", "-sha256", "-sign", "key", "-passin", "pass:secret", "message"]
    made = subprocess.run(sign, cwd=tmp_path, check=True, capture_output=True).stdout
    key.public.verify(made, b"message")


def test_p384_signatures_over_sha384_count_too() -> None:
    from cryptography.hazmat.primitives import hashes

    key = KEYS[Algorithm.ECDSA_P384]
    key.public.verify(key._key.sign(b"m", ec.ECDSA(hashes.SHA384())), b"m")


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = (
        "import sys, trust.policyfile, trust.verify, trust.keystore\n"
        "heavy = {'cryptography', 'nacl', 'asyncio', 'aiohttp', 'tarfile', 'subprocess'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
