"""Private keys as docker and notary keep them: PEM with ``role`` and ``gun`` headers.

Written: ``ENCRYPTED PRIVATE KEY``, PBES2 of PBKDF2-HMAC-SHA1 and AES-256-CBC (RFC 8018), which is
all that notary 0.7 reads; the rounds are its reader's to obey, so more than its own 2048 are
written. Read besides: plain PKCS#8, the traditional ``EC``/``RSA``/``ED25519 PRIVATE KEY`` with and
without OpenSSL's old encryption. notary spells Ed25519 by an old object identifier and as public
key followed by private key.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trust.errors import KeyFileError, PassphraseError
from trust.keyfile import MAX_KEY_FILE
from trust.tuf import der
from trust.tuf.keys import Signer, narrowed

ROUNDS: Final = 1 << 16
"""PBKDF2 rounds of what is written; about 25 ms."""

MAX_ROUNDS: Final = 10_000_000
"""Most that a file may ask for: it comes from elsewhere, and chooses our work."""

_PBES2: Final = bytes.fromhex("2a864886f70d01050d")
_PBKDF2: Final = bytes.fromhex("2a864886f70d01050c")
_AES256_CBC: Final = bytes.fromhex("60864801650304012a")
_HMAC_SHA1: Final = bytes.fromhex("2a864886f70d0207")
_ED25519_NOTARY: Final = bytes.fromhex("2b06010401da470f01")
_ED25519: Final = bytes.fromhex("2b6570")
_EC: Final = bytes.fromhex("2a8648ce3d0201")
_RSA: Final = bytes.fromhex("2a864886f70d010101")
_PEM: Final = re.compile(
    rb"\s*-----BEGIN ([A-Z0-9 ]{1,64})-----\r?\n((?:[A-Za-z0-9-]+: [^\r\n]*\r?\n)*)(?:\r?\n)?"
    rb"([A-Za-z0-9+/=\r\n]+)-----END \1-----\s*\Z"
)
_TRADITIONAL: Final = ("EC PRIVATE KEY", "RSA PRIVATE KEY")


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file taken apart, still closed. ``role`` is a signer's name for delegation keys."""

    label: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def role(self) -> str:
        """The role or the signer it is for, "" where the file does not say."""
        return self.headers.get("role", "")

    @property
    def gun(self) -> str:
        """The repository it is for, "" for root and signers' keys."""
        return self.headers.get("gun", "")

    @property
    def encrypted(self) -> bool:
        """Whether a passphrase is needed."""
        return self.label == "ENCRYPTED PRIVATE KEY" or "DEK-Info" in self.headers


def parse(pem: bytes, *, where: str | None = None) -> KeyFile:
    """Take a key file apart.

    Raises:
        KeyFileError: too long, or not exactly one PEM block of a private key.
    """
    if len(pem) > MAX_KEY_FILE:
        raise KeyFileError(f"key file is longer than {MAX_KEY_FILE} bytes", where=where)
    match = _PEM.match(pem)
    if match is None or b"PRIVATE KEY" not in match.group(1):
        raise KeyFileError(
            "not a private key in PEM", where=where, fix="give a key of docker, notary or openssl"
        )
    lines = match.group(2).decode("utf-8", "replace").replace("\r", "").split("\n")
    headers = dict(line.split(": ", 1) for line in lines if line)
    try:
        body = base64.b64decode(re.sub(rb"[\r\n]", b"", match.group(3)), validate=True)
    except binascii.Error as error:
        raise KeyFileError("the PEM block is not base64", where=where) from error
    return KeyFile(match.group(1).decode(), headers, body)


def load(file: KeyFile, passphrase: bytes | None, *, where: str | None = None) -> Signer:
    """Open a key.

    Raises:
        PassphraseError: it is encrypted and the passphrase is missing or wrong.
        KeyFileError: not a key of a kind that signs here.
    """
    if file.encrypted and passphrase is None:
        raise PassphraseError("the key is encrypted", where=where, fix="give its passphrase")
    try:
        with narrowed("not a private key that is read here", where):
            return _opened(file, passphrase or b"")
    except KeyFileError as error:
        # What has a cause came out of the decrypted bytes, or out of too few of them.
        if file.encrypted and error.__cause__ is not None:
            raise PassphraseError(
                "the passphrase does not open this key", where=where, fix="try again"
            ) from error
        raise


def _opened(file: KeyFile, passphrase: bytes) -> Signer:
    try:
        if file.label == "ENCRYPTED PRIVATE KEY":
            return Signer.of(_pkcs8(_decrypt(file.body, passphrase), padded=True))
        if "DEK-Info" in file.headers:
            return Signer.of(_old(file, passphrase))
        if file.label == "ED25519 PRIVATE KEY":
            return Signer.of(_ed25519(file.body))
        if file.label in _TRADITIONAL:
            return Signer.of(_traditional(file.body))
        return Signer.of(_pkcs8(file.body))
    except IndexError as error:
        raise ValueError("a DER element is empty") from error


def to_pkcs8(pem: bytes, passphrase: Callable[[], bytes], *, where: str | None = None) -> bytes:
    """A key file of docker as plain PKCS#8 in PEM; any other file as it is.

    ``passphrase`` is asked if docker's file is encrypted; raises as ``load``.
    """
    try:
        file = parse(pem, where=where)
    except KeyFileError:
        return pem
    if not file.headers and file.label != "ED25519 PRIVATE KEY":
        return pem
    signer = load(file, passphrase() if file.encrypted else None, where=where)
    from cryptography.hazmat.primitives import serialization as ser

    plain: bytes = signer.private.private_bytes(
        ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption()
    )
    return plain


def write(
    signer: Signer,
    passphrase: bytes,
    *,
    role: str,
    gun: str = "",
    rounds: int = ROUNDS,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """The file of a key, as notary writes it; without a passphrase the key is not encrypted."""
    secret = _inner(signer)
    label = "ENCRYPTED PRIVATE KEY" if passphrase else "PRIVATE KEY"
    body = _encrypt(secret, passphrase, rounds, random) if passphrase else secret
    headers = [f"{name}: {value}" for name, value in (("gun", gun), ("role", role)) if value]
    encoded = base64.b64encode(body).decode()
    lines = [encoded[at : at + 64] for at in range(0, len(encoded), 64)]
    blank = [""] if headers else []
    return "\n".join(
        [f"-----BEGIN {label}-----", *headers, *blank, *lines, f"-----END {label}-----", ""]
    ).encode()


def _inner(signer: Signer) -> bytes:
    """PKCS#8, with what notary expects inside of it."""
    from cryptography.hazmat.primitives import serialization as ser

    if signer.key.type == "ed25519":
        raw = signer.private.private_bytes(
            ser.Encoding.Raw, ser.PrivateFormat.Raw, ser.NoEncryption()
        )
        public = signer.key.public
        return der.encode(
            der.SEQUENCE,
            der.integer(0),
            der.encode(der.SEQUENCE, der.encode(der.OID, _ED25519_NOTARY)),
            der.encode(der.OCTETS, public + raw + public),
        )
    encoded: bytes = signer.private.private_bytes(
        ser.Encoding.DER, ser.PrivateFormat.PKCS8, ser.NoEncryption()
    )
    return encoded


def _encrypt(
    secret: bytes, passphrase: bytes, rounds: int, random: Callable[[int], bytes]
) -> bytes:
    salt, vector = random(16), random(16)
    filler = 16 - len(secret) % 16
    sealed = _aes(passphrase, salt, rounds, vector).encryptor()
    data = sealed.update(secret + bytes([filler]) * filler) + sealed.finalize()
    derivation = der.encode(
        der.SEQUENCE,
        der.encode(der.OID, _PBKDF2),
        der.encode(der.SEQUENCE, der.encode(der.OCTETS, salt), der.integer(rounds)),
    )
    scheme = der.encode(
        der.SEQUENCE, der.encode(der.OID, _AES256_CBC), der.encode(der.OCTETS, vector)
    )
    algorithm = der.encode(
        der.SEQUENCE, der.encode(der.OID, _PBES2), der.encode(der.SEQUENCE, derivation, scheme)
    )
    return der.encode(der.SEQUENCE, algorithm, der.encode(der.OCTETS, data))


def _decrypt(body: bytes, passphrase: bytes) -> bytes:
    (_, algorithm), (_, data) = der.sequence(body)
    (_, kind), (_, parameters) = der.elements(algorithm)
    if kind != _PBES2:
        raise KeyFileError("the key is encrypted by other means than PBES2")
    (_, derivation), (_, scheme) = der.elements(parameters)
    (_, function), (_, settings) = der.elements(derivation)
    (_, cipher), (_, vector) = der.elements(scheme)
    salt, rounds, *more = (value for _, value in der.elements(settings))
    count = int.from_bytes(rounds, "big")
    other = [value for value in more if len(value) > 2 and _HMAC_SHA1 not in value]
    if function != _PBKDF2 or cipher != _AES256_CBC or other:
        return _openssl(body, passphrase)
    if not 1 <= count <= MAX_ROUNDS:
        raise KeyFileError(f"the key asks for {count} rounds of PBKDF2")
    opened = _aes(passphrase, salt, count, vector).decryptor()
    return bytes(opened.update(data) + opened.finalize())


def _openssl(body: bytes, passphrase: bytes) -> bytes:
    """What other programs encrypted: HMAC-SHA256, other ciphers."""
    from cryptography.hazmat.primitives import serialization as ser

    key = ser.load_der_private_key(body, passphrase or b"\0")
    plain: bytes = key.private_bytes(ser.Encoding.DER, ser.PrivateFormat.PKCS8, ser.NoEncryption())
    return plain


def _aes(passphrase: bytes, salt: bytes, rounds: int, vector: bytes) -> Any:
    import hashlib

    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key = hashlib.pbkdf2_hmac("sha1", passphrase, salt, rounds, 32)
    return Cipher(algorithms.AES(key), modes.CBC(vector))


def _pkcs8(body: bytes, *, padded: bool = False) -> Any:
    """The key of a PrivateKeyInfo; notary's has version 1 without what version 1 requires."""
    _, (_, algorithm), (_, inner), *_ = der.sequence(body, padded=padded)
    kind = der.elements(algorithm)[0][1]
    if kind == _ED25519_NOTARY:
        return _ed25519(inner)
    if kind == _ED25519:
        return _ed25519_seed(der.elements(inner)[0][1])
    if kind not in (_EC, _RSA):
        raise ValueError("an unknown kind of key")
    plain = der.encode(
        der.SEQUENCE,
        der.integer(0),
        der.encode(der.SEQUENCE, _with_parameters(kind, algorithm)),
        der.encode(der.OCTETS, inner),
    )
    return _traditional(plain)


def _with_parameters(kind: bytes, algorithm: bytes) -> bytes:
    # notary leaves out the NULL that RFC 8017 puts behind RSA's identifier.
    if kind == _RSA and len(der.elements(algorithm)) == 1:
        return algorithm + der.encode(der.NULL)
    return algorithm


def _traditional(body: bytes) -> Any:
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    return load_der_private_key(body, None)


def _ed25519(pair: bytes) -> Any:
    if len(pair) != 96 or pair[:32] != pair[64:]:
        raise ValueError("an Ed25519 key of notary has 96 bytes")
    return _ed25519_seed(pair[32:64])


def _ed25519_seed(seed: bytes) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed)


def _old(file: KeyFile, passphrase: bytes) -> Any:
    """OpenSSL's encryption by PEM headers, which notary wrote before 0.6."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    kept = [f"{n}: {file.headers[n]}" for n in ("Proc-Type", "DEK-Info") if n in file.headers]
    encoded = base64.encodebytes(file.body).decode()
    head, foot = f"-----BEGIN {file.label}-----", f"-----END {file.label}-----"
    pem = "\n".join((head, *kept, "", encoded + foot, ""))
    return load_pem_private_key(pem.encode(), passphrase or b"\0")
