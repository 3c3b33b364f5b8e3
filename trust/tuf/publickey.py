"""Public keys that a repository's owner is handed: docker's ``NAME.pub``, or a certificate."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from trust.errors import KeyFileError
from trust.keyfile import MAX_KEY_FILE
from trust.keys import Algorithm, PublicKey
from trust.tuf.keys import Key

_BLOCK: Final = re.compile(
    rb"\s*-----BEGIN PUBLIC KEY-----\r?\n(?:[A-Za-z-]+: [^\r\n]*\r?\n)*(?:\r?\n)?"
    rb"([A-Za-z0-9+/=\r\n]+)-----END PUBLIC KEY-----\s*\Z"
)


def read_public_key(pem: bytes, *, where: str | None = None) -> Key:
    """Read PEM: ``PUBLIC KEY``, with docker's ``role`` header or without, or ``CERTIFICATE``.

    Raises:
        KeyFileError: something else, or a key that cannot sign here.
    """
    if len(pem) > MAX_KEY_FILE:
        raise KeyFileError(f"key file is longer than {MAX_KEY_FILE} bytes", where=where)
    if b"BEGIN CERTIFICATE" in pem:
        return _certificate(pem, where)
    match = _BLOCK.match(pem)
    try:
        der = base64.b64decode(re.sub(rb"[\r\n]", b"", match[1]), validate=True) if match else b""
    except binascii.Error:
        der = b""
    if not der:
        raise KeyFileError(
            "not a public key in PEM", where=where, fix="give the signer's .pub file"
        )
    return Key.of(PublicKey.from_der(der, where=where))


def _certificate(pem: bytes, where: str | None) -> Key:
    for kind in ("ecdsa-x509", "rsa-x509"):
        key = Key(kind, pem)
        algorithm = key.public_key().algorithm
        if (algorithm is Algorithm.RSA) == (kind == "rsa-x509"):
            return key
    raise KeyFileError("certificates of this kind of key are not used here", where=where)
