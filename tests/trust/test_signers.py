"""External commands and PKCS#11 tokens sign what a key of the store signs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from images.digest import Digest
from images.reference import Reference
from trust import bundle, cosign
from trust.errors import (
    KeyFileError,
    KeyStoreFault,
    KeyUnknownError,
    PassphraseError,
    SigningError,
)
from trust.keys import Algorithm, PrivateKey
from trust.keystore import KeyStore
from trust.signature import Signatures
from trust.signers.command import CommandSigner
from trust.signers.opening import open_signer
from trust.signers.token import TokenSigner, TokenURI
from trust.verify import policy_of_key, verify

IMAGE, DIGEST = Reference.parse("registry.example.com/web:1"), Digest.of(b"image")
MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")

PROGRAM = f"""#!{sys.executable}
import base64, sys
sys.path.insert(0, {os.getcwd()!r})
from trust.keys import PrivateKey
key = PrivateKey.from_pem(open(sys.argv[1], "rb").read(), lambda: b"")
if sys.argv[2] == "public-key":
    sys.stdout.buffer.write(key.public.pem)
else:
    print(base64.b64encode(key.sign(sys.stdin.buffer.read())).decode())
"""


def _script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_command_signs_in_every_format(tmp_path: Path, algorithm: Algorithm) -> None:
    key = PrivateKey.generate(algorithm)
    pem = tmp_path / "the key.pem"
    pem.write_bytes(key.to_pem(b""))
    program = _script(tmp_path / "signer", PROGRAM)
    signer = open_signer(f"command:{program} '{pem}'", KeyStore(tmp_path), lambda: b"")
    assert signer.public == key.public
    for signature in (cosign.sign(signer, IMAGE, DIGEST), bundle.sign(signer, IMAGE, DIGEST)):
        verify(IMAGE, DIGEST, policy_of_key(key.public), Signatures((signature,)))


def test_a_command_that_signs_with_another_key_is_found_out(tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(PrivateKey.generate().to_pem(b""))
    honest = CommandSigner.open(f"command:{_script(tmp_path / 'signer', PROGRAM)} {other}")
    lying = CommandSigner(honest.arguments, PrivateKey.generate().public)
    with pytest.raises(SigningError, match="no signature of its own key"):
        lying.sign(b"message")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("echo out of paper >&2; exit 3", "status 3: out of paper"),
        ("head -c 70000 /dev/zero", "more than"),
    ],
)
def test_a_command_that_fails_says_why(tmp_path: Path, body: str, why: str) -> None:
    program = _script(tmp_path / "signer", f"#!/bin/sh\n{body}\n")
    with pytest.raises(SigningError, match=why):
        CommandSigner.open(f"command:{program}")


def test_a_command_must_speak_the_protocol(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError):
        CommandSigner.open(f"command:{_script(tmp_path / 'signer', '#!/bin/sh' + chr(10))}")
    with pytest.raises(SigningError, match="cannot run"):
        CommandSigner.open("command:/nowhere/signer")
    with pytest.raises(KeyFileError, match="no command"):
        CommandSigner.open("command:")
    with pytest.raises(KeyFileError, match="cannot split"):
        CommandSigner.open("command:'open")
    script = "#!/bin/sh\ntest $1 = sign && echo '*' || cat " + str(tmp_path / "pub") + "\n"
    (tmp_path / "pub").write_bytes(PrivateKey.generate().public.pem)
    signer = CommandSigner.open(f"command:{_script(tmp_path / 'other', script)}")
    with pytest.raises(SigningError, match="no base64"):
        signer.sign(b"message")


def test_a_path_is_a_private_key(tmp_path: Path) -> None:
    key, path = PrivateKey.generate(), tmp_path / "cosign.key"
    path.write_bytes(key.to_pem(b"secret"))
    assert open_signer(str(path), KeyStore(tmp_path), lambda: b"secret").public == key.public


def test_a_name_is_a_key_of_the_store(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    stored = store.generate("release", lambda: b"secret")
    assert open_signer("release", store, lambda: b"secret").public == stored.public
    with pytest.raises(KeyUnknownError):
        open_signer("other", store, lambda: b"secret")


def test_a_token_uri_is_read_as_rfc_7512_has_it() -> None:
    uri = "pkcs11:token=My%20token;object=release;id=%01%ff?module-path=/m.so&pin-source=file:/pin"
    expected = TokenURI("/m.so", "My token", "", "release", b"\x01\xff", "file:/pin")
    assert TokenURI.parse(uri, environ={}) == expected
    assert (
        TokenURI.parse("pkcs11:id=%01", environ={"PKCS11_MODULE_PATH": "/m.so"}).module == "/m.so"
    )


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("pkcs11:object=a", "no PKCS#11 module"),
        ("pkcs11:token=a?module-path=/m.so", "no key is named"),
        ("pkcs11:object=a;object=b?module-path=/m.so", "doubled"),
        ("pkcs11:object=a;colour=red?module-path=/m.so", "unknown"),
        ("pkcs11:object=a?module-path=/m.so&pin-value=1234", "seen by others"),
    ],
)
def test_a_bad_token_uri_is_refused(uri: str, why: str) -> None:
    with pytest.raises(KeyFileError, match=why):
        TokenURI.parse(uri, environ={})


def test_a_pin_is_not_repeated_in_an_error() -> None:
    with pytest.raises(KeyFileError) as caught:
        TokenURI.parse("pkcs11:object=a?module-path=/m.so&pin-value=1234", environ={})
    assert "1234" not in str(caught.value) + str(caught.value.where)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A SoftHSM token with a key pair of each kind."""
    pkcs11 = pytest.importorskip("pkcs11")
    if not MODULE.exists() or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is not installed")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    # The module reads its configuration once, when this process first loads it.
    os.environ["SOFTHSM2_CONF"] = str(config)
    init = ["softhsm2-util", "--init-token", "--free", "--label", "lading"]
    subprocess.run([*init, "--so-pin", "0000", "--pin", "1234"], check=True, capture_output=True)
    from pkcs11.util.ec import encode_named_curve_parameters

    library = pkcs11.lib(str(MODULE))
    library.reinitialize()
    with library.get_token(token_label="lading").open(rw=True, user_pin="1234") as session:
        for label, curve in (("ecdsa-p256", "secp256r1"), ("ecdsa-p384", "secp384r1")):
            parameters = session.create_domain_parameters(
                pkcs11.KeyType.EC,
                {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(curve)},
                local=True,
            )
            parameters.generate_keypair(store=True, label=label)
        session.generate_keypair(pkcs11.KeyType.RSA, 2048, store=True, label="rsa")
        parameters = session.create_domain_parameters(
            pkcs11.KeyType.EC_EDWARDS,
            {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("1.3.101.112")},
            local=True,
        )
        parameters.generate_keypair(
            mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN, store=True, label="ed25519"
        )
    return SimpleNamespace(pin=lambda: b"1234", query=f"?module-path={MODULE}")


@pytest.mark.peer
@pytest.mark.parametrize("label", ["ecdsa-p256", "ecdsa-p384", "rsa", "ed25519"])
def test_a_token_signs_in_every_format(token: SimpleNamespace, label: str, tmp_path: Path) -> None:
    uri = f"pkcs11:token=lading;object={label}{token.query}"
    signer = open_signer(uri, KeyStore(tmp_path), token.pin)
    assert signer.public.algorithm.value == label
    for signature in (cosign.sign(signer, IMAGE, DIGEST), bundle.sign(signer, IMAGE, DIGEST)):
        verify(IMAGE, DIGEST, policy_of_key(signer.public), Signatures((signature,)))


@pytest.mark.peer
def test_a_token_refuses_strangers(token: SimpleNamespace, tmp_path: Path) -> None:
    uri = f"pkcs11:token=lading;object=rsa{token.query}"
    with pytest.raises(PassphraseError):
        TokenSigner.open(uri, lambda: b"9999")
    with pytest.raises(KeyUnknownError, match="no such key, or"):
        TokenSigner.open(uri.replace("rsa", "other"), token.pin)
    with pytest.raises(KeyUnknownError, match="no such token"):
        TokenSigner.open(uri.replace("lading", "other"), token.pin)
    with pytest.raises(KeyStoreFault):
        TokenSigner.open("pkcs11:object=a?module-path=/nowhere.so", token.pin)
    pin = tmp_path / "pin"
    pin.write_text("1234\n")
    assert TokenSigner.open(f"{uri}&pin-source=file:{pin}", lambda: b"").public
