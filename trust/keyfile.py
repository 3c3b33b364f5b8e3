"""Private keys at rest: PEM armour, and cosign's scrypt + nacl/secretbox envelope inside it.

The envelope is go-securesystemslib's ``encrypted`` JSON: {kdf:{name:scrypt,params:{N,r,p},salt},
cipher:{name:nacl/secretbox,nonce},ciphertext}, with PKCS#8 DER as the secret.

Rule: the file chooses nothing that costs us. Only the three scrypt settings that cosign ever wrote
are accepted, since memory is 128*N*r bytes and the file comes from elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Callable
from typing import Final

from trust.errors import KeyFileError, PassphraseError
from trust.fields import FieldError, canonical_base64, dump, members, parse, text

SIGSTORE_LABEL: Final = "ENCRYPTED SIGSTORE PRIVATE KEY"
COSIGN_LABEL: Final = "ENCRYPTED COSIGN PRIVATE KEY"
"""What cosign before 2.0 and containers/image before 5.25 write and read."""

SCRYPT_STANDARD: Final = 1 << 16
SCRYPT_LEGACY: Final = 1 << 15
SCRYPT_ACCEPTED: Final = (SCRYPT_LEGACY, SCRYPT_STANDARD, 1 << 17)
MAX_KEY_FILE: Final = 64 << 10
"""Bytes; an RSA-8192 key in PEM is about 7 KiB."""

_SALT_SIZE: Final = 32
_NONCE_SIZE: Final = 24
_KEY_SIZE: Final = 32
_R, _P = 8, 1
_PEM: Final = re.compile(
    rb"\s*-----BEGIN ([A-Z0-9 ]{1,64})-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END \1-----\s*\Z"
)


def armor(label: str, body: bytes) -> bytes:
    """Wrap ``body`` in PEM (RFC 7468): 64 columns, one final newline."""
    encoded = base64.b64encode(body).decode()
    lines = [encoded[i : i + 64] for i in range(0, len(encoded), 64)]
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", "")).encode()


def dearmor(pem: bytes, *, where: str | None = None) -> tuple[str, bytes]:
    """Return label and body of the one PEM block in ``pem``.

    Raises:
        KeyFileError: too long, no block, several blocks, headers inside, or not base64.
    """
    if len(pem) > MAX_KEY_FILE:
        raise KeyFileError(f"key file is longer than {MAX_KEY_FILE} bytes", where=where)
    match = _PEM.match(pem)
    if match is None:
        raise KeyFileError(
            "not a PEM file with exactly one block",
            where=where,
            fix="give a file that lading or `cosign generate-key-pair` wrote",
        )
    try:
        body = base64.b64decode(re.sub(rb"[\r\n]", b"", match.group(2)), validate=True)
    except binascii.Error as error:
        raise KeyFileError("the PEM block is not base64", where=where) from error
    return match.group(1).decode(), body


def seal(
    secret: bytes,
    passphrase: bytes,
    *,
    n: int = SCRYPT_STANDARD,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Encrypt ``secret`` under ``passphrase``; returns the JSON envelope."""
    from nacl.secret import SecretBox

    salt, nonce = random(_SALT_SIZE), random(_NONCE_SIZE)
    box = SecretBox(_derive(passphrase, salt, n))
    return dump(
        {
            "kdf": {
                "name": "scrypt",
                "params": {"N": n, "r": _R, "p": _P},
                "salt": base64.b64encode(salt).decode(),
            },
            "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(nonce).decode()},
            "ciphertext": base64.b64encode(box.encrypt(secret, nonce).ciphertext).decode(),
        }
    )


def unseal(envelope: bytes, passphrase: bytes, *, where: str | None = None) -> bytes:
    """Decrypt what ``seal`` or cosign wrote.

    Raises:
        KeyFileError: the envelope breaks its format or asks for other scrypt settings.
        PassphraseError: the box does not open.
    """
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    try:
        n, salt, nonce, ciphertext = _fields(envelope)
    except FieldError as error:
        raise KeyFileError(f"damaged encrypted key: {error}", where=where) from error
    try:
        return SecretBox(_derive(passphrase, salt, n)).decrypt(ciphertext, nonce)
    except CryptoError as error:
        raise PassphraseError(
            "the passphrase does not open this key", where=where, fix="try the passphrase again"
        ) from error


def _fields(envelope: bytes) -> tuple[int, bytes, bytes, bytes]:
    top = members(
        parse(envelope, what="the envelope", limit=MAX_KEY_FILE),
        required=("kdf", "cipher", "ciphertext"),
        at="the envelope",
    )
    kdf = members(top["kdf"], required=("name", "params", "salt"), at="kdf")
    params = members(kdf["params"], required=("N", "r", "p"), at="kdf.params")
    cipher = members(top["cipher"], required=("name", "nonce"), at="cipher")
    if text(kdf["name"], at="kdf.name") != "scrypt":
        raise FieldError("kdf is not scrypt")
    if text(cipher["name"], at="cipher.name") != "nacl/secretbox":
        raise FieldError("cipher is not nacl/secretbox")
    n, r, p = params["N"], params["r"], params["p"]
    # The types too, since 65536.0 and True compare equal to what is accepted.
    whole = all(type(value) is int for value in (n, r, p))
    if not whole or n not in SCRYPT_ACCEPTED or (r, p) != (_R, _P):
        raise FieldError("scrypt settings are not ones that cosign writes")
    salt = canonical_base64(kdf["salt"], at="kdf.salt")
    nonce = canonical_base64(cipher["nonce"], at="cipher.nonce")
    if len(salt) != _SALT_SIZE or len(nonce) != _NONCE_SIZE:
        raise FieldError("salt or nonce has the wrong length")
    return n, salt, nonce, canonical_base64(top["ciphertext"], at="ciphertext")


def _derive(passphrase: bytes, salt: bytes, n: int) -> bytes:
    # OpenSSL refuses above maxmem; twice the 128*N*r that scrypt needs leaves room for its own
    # blocks.
    return hashlib.scrypt(
        passphrase, salt=salt, n=n, r=_R, p=_P, maxmem=256 * n * _R, dklen=_KEY_SIZE
    )
