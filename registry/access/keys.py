"""Keys that sign tokens: made under the registry's root, rotated with overlap, or one configured.

A key is a PEM file of one folder, named by the second it was made in; processes share the folder
and watch it. The newest key signs. An older one verifies until the last token it signed is over;
then its file is removed. Removing a file by hand revokes its key.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from records import Record
from registry.access.jwt import LEEWAY, encode_bytes
from registry.access.settings import Algorithm, TokenSettings
from registry.errors import RegistryConfigError, RegistryStartError
from registry.smallfiles import SmallFile, locked, replace

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey

_FILE: Final = re.compile(r"(\d{1,12})-(ES256|EdDSA|RS256)\.pem\Z")
_RSA_BITS: Final = 3072
_RSA_LEAST: Final = 2048
_WIDTH: Final = 32
"""Bytes of each half of an ES256 signature, and of each coordinate (RFC 7518, section 3.4)."""


class SigningKey(Record):
    """A private key, and since when it signs (seconds since the epoch)."""

    private: PrivateKey
    algorithm: str
    kid: str
    created: int
    path: SmallFile

    def sign(self, message: bytes) -> bytes:
        """See ``jwt.Signer``."""
        from cryptography.hazmat.primitives.asymmetric import ec, padding
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
        from cryptography.hazmat.primitives.hashes import SHA256

        if self.algorithm == "ES256":
            key = cast("EllipticCurvePrivateKey", self.private)
            r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256())))
            return r.to_bytes(_WIDTH, "big") + s.to_bytes(_WIDTH, "big")
        if self.algorithm == "RS256":
            rsa_key = cast("RSAPrivateKey", self.private)
            return rsa_key.sign(message, padding.PKCS1v15(), SHA256())
        return cast("Ed25519PrivateKey", self.private).sign(message)

    def verify(self, signature: bytes, message: bytes) -> bool:
        """See ``jwt.Verifier``."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def _verify(self, signature: bytes, message: bytes) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec, padding
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
        from cryptography.hazmat.primitives.hashes import SHA256

        if self.algorithm == "ES256":
            if len(signature) != 2 * _WIDTH:
                raise InvalidSignature
            halves = (signature[:_WIDTH], signature[_WIDTH:])
            der = encode_dss_signature(*(int.from_bytes(half, "big") for half in halves))
            public = cast("EllipticCurvePrivateKey", self.private).public_key()
            public.verify(der, message, ec.ECDSA(SHA256()))
        elif self.algorithm == "RS256":
            rsa_public = cast("RSAPrivateKey", self.private).public_key()
            rsa_public.verify(signature, message, padding.PKCS1v15(), SHA256())
        else:
            cast("Ed25519PrivateKey", self.private).public_key().verify(signature, message)

    def jwk(self) -> dict[str, str]:
        """The public key as RFC 7517 writes it."""
        return {
            **_members(self.private),
            "kid": self.kid,
            "alg": self.algorithm,
            "use": "sig",
        }


class KeyRing(Record):
    """The keys of one moment: all verify, ``signer`` signs."""

    keys: Mapping[str, SigningKey]
    signer: SigningKey

    def jwks(self) -> bytes:
        """The public keys as a JWK Set."""
        return json.dumps({"keys": [key.jwk() for key in self.keys.values()]}).encode()


def load_ring(folder: SmallFile, settings: TokenSettings, *, now: float) -> KeyRing:
    """The keys as they are to be now: one is made when there is none or the newest is too old.

    A configured key signs instead, and those of the folder verify until they are over. Blocks.

    Raises:
        RegistryConfigError: the configured key is unusable.
        RegistryStartError: the folder is not ours to write, or a key in it is damaged.
    """
    try:
        keys = _read(folder)
        if settings.key is not None:
            signer = load_key(settings.key)
        else:
            wanted = settings.algorithm.value
            if not keys or keys[-1].algorithm != wanted or _old(keys[-1], settings, now):
                keys = _rotate(folder, settings, now)
            signer = keys[-1]
    except OSError as error:
        raise RegistryStartError(
            f"cannot keep token keys: {error.strerror or error}",
            where=str(folder),
            fix="make the folder readable and writable to this user, and to nobody else",
        ) from error
    ring = {key.kid: key for key in (*keys, signer)}
    return KeyRing(ring, signer)


def rotate(folder: SmallFile, settings: TokenSettings, *, now: float) -> str:
    """Make a new key that signs from now on and return its ``kid``; blocks. Raises OSError."""
    with locked(folder / "keys"):
        made = _make(folder, settings.algorithm, _following(_read(folder), now))
    return made.kid


def load_key(path: SmallFile) -> SigningKey:
    """Read a private key; its algorithm follows from what it is.

    Raises:
        RegistryConfigError: unreadable, encrypted, or of no kind that signs tokens.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise RegistryConfigError(
            f"cannot load the token key: {error}",
            where=str(path),
            fix="it is a private key in PEM, not encrypted",
        ) from error
    match = _FILE.match(path.name)
    created = int(match[1]) if match is not None else 0
    return _key(private, created, path)


def _key(private: object, created: int, path: SmallFile) -> SigningKey:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    match private:
        case ec.EllipticCurvePrivateKey() if isinstance(private.curve, ec.SECP256R1):
            algorithm = Algorithm.ES256
        case ed25519.Ed25519PrivateKey():
            algorithm = Algorithm.EDDSA
        case rsa.RSAPrivateKey() if private.key_size >= _RSA_LEAST:
            algorithm = Algorithm.RS256
        case _:
            raise RegistryConfigError(
                "no key that signs tokens",
                where=str(path),
                fix="make one on P-256, of Ed25519, or of RSA with 2048 bits or more",
            )
    return SigningKey(private, algorithm.value, _thumbprint(private), created, path)


def _read(folder: SmallFile) -> list[SigningKey]:
    """The folder's keys, oldest first."""
    if not folder.is_dir():
        return []
    found = [
        (int(match[1]), entry) for entry in folder.iterdir() if (match := _FILE.match(entry.name))
    ]
    return [load_key(path) for _, path in sorted(found)]


def _old(key: SigningKey, settings: TokenSettings, now: float) -> bool:
    return now - key.created >= settings.key_lifetime


def _rotate(folder: SmallFile, settings: TokenSettings, now: float) -> list[SigningKey]:
    """Make the next key unless another process just did, and remove those that are over."""
    with locked(folder / "keys"):
        keys = _read(folder)
        wanted = settings.algorithm.value
        if not keys or keys[-1].algorithm != wanted or _old(keys[-1], settings, now):
            keys.append(_make(folder, settings.algorithm, _following(keys, now)))
        kept: list[SigningKey] = []
        for key, successor in zip(keys, [*keys[1:], None], strict=True):
            over = successor is not None and (
                now > successor.created + settings.lifetime + 2 * LEEWAY
            )
            if over:
                key.path.unlink(missing_ok=True)
            else:
                kept.append(key)
    return kept


def _following(keys: list[SigningKey], now: float) -> int:
    """A moment after every key's, so that the new one is the newest."""
    return max([int(now), *(key.created + 1 for key in keys)])


def _make(folder: SmallFile, algorithm: Algorithm, created: int) -> SigningKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    private: Any
    if algorithm is Algorithm.ES256:
        private = ec.generate_private_key(ec.SECP256R1())
    elif algorithm is Algorithm.RS256:
        private = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    else:
        private = ed25519.Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / f"{created}-{algorithm.value}.pem"
    replace(path, pem, mode=0o600)
    return _key(private, created, path)


def _members(private: PrivateKey) -> dict[str, str]:
    """The members of the public key that RFC 7638 hashes."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if isinstance(private, ec.EllipticCurvePrivateKey):
        point = private.public_key().public_numbers()
        x, y = (encode_bytes(n.to_bytes(_WIDTH, "big")) for n in (point.x, point.y))
        return {"crv": "P-256", "kty": "EC", "x": x, "y": y}
    if isinstance(private, ed25519.Ed25519PrivateKey):
        raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"crv": "Ed25519", "kty": "OKP", "x": encode_bytes(raw)}
    numbers = private.public_key().public_numbers()
    return {"e": _integer(numbers.e), "kty": "RSA", "n": _integer(numbers.n)}


def _integer(value: int) -> str:
    return encode_bytes(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _thumbprint(private: PrivateKey) -> str:
    """RFC 7638: a name that follows from the public key alone."""
    canonical = json.dumps(_members(private), sort_keys=True, separators=(",", ":"))
    return encode_bytes(hashlib.sha256(canonical.encode()).digest())
