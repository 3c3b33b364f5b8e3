"""Keys as Notary metadata holds them, and signatures by them.

Key types ``ecdsa``, ``rsa`` (public: DER SubjectPublicKeyInfo), ``ecdsa-x509``, ``rsa-x509``
(public: PEM chain, leaf first) and ``ed25519`` (public: 32 raw bytes). A key id is the hex SHA-256
of the key's canonical JSON with ``private`` null. ECDSA signatures are raw ``r || s`` of fixed
width over SHA-256, on every curve; RSA is PSS with a salt of 32 bytes, or PKCS#1 v1.5 on reading.

``cryptography`` is imported inside functions, as in ``trust.keys``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Self

from trust.errors import KeyFileError
from trust.fields import FieldError, canonical_base64, members, text
from trust.keys import Algorithm, PrivateKey, PublicKey, _narrowed
from trust.tuf import canonical
from trust.tuf.errors import MalformedMetadataError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MAX_SIGNATURE: Final = 1024
"""Bytes; RSA-8192 makes the longest."""

PLAIN_TYPES: Final = ("ecdsa", "rsa", "ed25519")
X509_TYPES: Final = ("ecdsa-x509", "rsa-x509")
METHODS: Final = {
    "ecdsa": ("ecdsa",),
    "ecdsa-x509": ("ecdsa",),
    "rsa": ("rsapss", "rsapkcs1v15"),
    "rsa-x509": ("rsapss", "rsapkcs1v15"),
    "ed25519": ("eddsa",),
}
"""Signature methods by key type; a signature's own claim chooses only among these."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key of a role; ``public`` is what ``keyval.public`` decodes to."""

    type: str
    public: bytes

    @classmethod
    def from_json(cls, value: object, *, at: str) -> Self:
        """Read ``{"keytype", "keyval": {"public", "private"}}``; the key itself is read on use.

        Raises:
            FieldError: another shape.
        """
        top = members(value, required=("keytype", "keyval"), at=at)
        values = members(top["keyval"], required=("public",), optional=("private",), at=at)
        if values.get("private") is not None:
            raise FieldError(f"{at} holds a private key")
        return cls(text(top["keytype"], at=at), canonical_base64(values["public"], at=at))

    @classmethod
    def of(cls, public: PublicKey) -> Self:
        """The plain Notary key of a signing key."""
        if public.algorithm is Algorithm.ED25519:
            return cls("ed25519", public.der[-32:])
        return cls("rsa" if public.algorithm is Algorithm.RSA else "ecdsa", public.der)

    def to_json(self) -> dict[str, Any]:
        """The form ``from_json`` reads."""
        public = base64.b64encode(self.public).decode()
        return {"keytype": self.type, "keyval": {"private": None, "public": public}}

    @property
    def id(self) -> str:
        """The key id that roles and signatures name it by."""
        return _key_id(self)

    @property
    def is_certificate(self) -> bool:
        """Whether the key is a chain of certificates, as root keys are."""
        return self.type in X509_TYPES

    def bare(self) -> Key:
        """The plain key inside a certificate; a plain key is its own.

        Its id is what docker shows, and what names the private key's file.

        Raises:
            KeyFileError: the certificate is unreadable.
        """
        if not self.is_certificate:
            return self
        return Key(self.type.removesuffix("-x509"), self.public_key().der)

    def public_key(self) -> PublicKey:
        """The checked key behind it; raises ``KeyFileError`` as ``PublicKey.from_der``."""
        return _public_key(self)

    def certificates(self) -> tuple[Certificate, ...]:
        """The chain, leaf first; raises ``KeyFileError`` when it is none."""
        from cryptography import x509

        if not self.is_certificate:
            raise KeyFileError("the key is not a certificate", where=self.id)
        with narrowed("not a chain of PEM certificates", self.id):
            return tuple(x509.load_pem_x509_certificates(self.public))

    def verifies(self, signature: bytes, method: str, message: bytes) -> bool:
        """Whether this key made ``signature``; what cannot be read did not."""
        if method not in METHODS.get(self.type, ()) or len(signature) > MAX_SIGNATURE:
            return False
        try:
            return _verifies(_loaded(self), signature, method, message)
        except (KeyFileError, ValueError):
            return False


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature of an envelope."""

    key_id: str
    method: str
    value: bytes

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read ``{"keyid", "method", "sig"}``; raises ``FieldError``."""
        top = members(value, required=("keyid", "method", "sig"), at="a signature")
        return cls(
            text(top["keyid"], at="keyid"),
            text(top["method"], at="method"),
            canonical_base64(top["sig"], at="sig"),
        )

    def to_json(self) -> dict[str, Any]:
        """The form ``from_json`` reads."""
        value = base64.b64encode(self.value).decode()
        return {"keyid": self.key_id, "method": self.method, "sig": value}


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key in memory that signs as ``key``, which may be a certificate for it."""

    key: Key
    private: Any = field(repr=False, compare=False)

    @classmethod
    def generate(cls, algorithm: Algorithm = Algorithm.ECDSA_P256) -> Self:
        """A new key from the operating system's randomness."""
        return cls.of_private(PrivateKey.generate(algorithm))

    @classmethod
    def of(cls, private: Any) -> Self:
        """Take a key object of ``cryptography``; raises ``KeyFileError`` for other kinds."""
        with narrowed("not a private key that can sign", None):
            return cls(Key.of(PublicKey._of(private.public_key(), where=None)), private)

    @classmethod
    def of_private(cls, key: PrivateKey) -> Self:
        """The same key as Notary's signer."""
        return cls.of(key._key)

    def as_key(self, key: Key) -> Signer:
        """The same private key, signing in the name of a certificate for it.

        Raises:
            KeyFileError: ``key`` is another one.
        """
        if key.bare().id != self.key.bare().id:
            raise KeyFileError("the certificate is for another key", where=key.id)
        return Signer(key, self.private)

    def sign(self, message: bytes) -> Signature:
        """Sign as Notary does for this kind of key."""
        kind = self.key.type.removesuffix("-x509")
        if kind == "ed25519":
            return Signature(self.key.id, "eddsa", self.private.sign(message))
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

        sha256 = hashes.SHA256()
        if kind == "rsa":
            pss = padding.PSS(mgf=padding.MGF1(sha256), salt_length=sha256.digest_size)
            return Signature(self.key.id, "rsapss", self.private.sign(message, pss, sha256))
        r, s = utils.decode_dss_signature(self.private.sign(message, ec.ECDSA(sha256)))
        width = _width(self.private.curve)
        raw = r.to_bytes(width, "big") + s.to_bytes(width, "big")
        return Signature(self.key.id, "ecdsa", raw)

    def certified(self, name: str, *, start: datetime, end: datetime) -> Signer:
        """The same key in a self-signed certificate for ``name``, as Notary makes root keys.

        Raises:
            KeyFileError: Ed25519, for which Notary has no certificates.
        """
        from trust.tuf.certificates import self_signed

        pem = self_signed(self.private, name, start=start, end=end)
        return self.as_key(Key(f"{self.key.type.removesuffix('-x509')}-x509", pem))


@contextmanager
def narrowed(what: str, where: str | None) -> Iterator[None]:
    """Turn whatever ``cryptography`` raises for strange keys and certificates into
    ``KeyFileError``.
    """
    from cryptography import x509

    with _narrowed(what, where):
        try:
            yield
        except (
            x509.DuplicateExtension,
            x509.InvalidVersion,
            x509.UnsupportedGeneralNameType,
        ) as error:
            raise ValueError(str(error)) from error


@lru_cache(maxsize=256)
def _key_id(key: Key) -> str:
    return hashlib.sha256(canonical.dump(key.to_json())).hexdigest()


@lru_cache(maxsize=256)
def _public_key(key: Key) -> PublicKey:
    if key.is_certificate:
        leaf = key.certificates()[0]
        with narrowed("the certificate's key is not one that signs here", key.id):
            return PublicKey._of(leaf.public_key(), where=key.id)
    if key.type == "ed25519":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            return PublicKey._of(Ed25519PublicKey.from_public_bytes(key.public), where=key.id)
        except ValueError as error:
            raise KeyFileError("an Ed25519 key has 32 bytes", where=key.id) from error
    if key.type not in PLAIN_TYPES:
        raise KeyFileError(f"keys of type {key.type[:40]!r} are not used here", where=key.id)
    return PublicKey.from_der(key.public, where=key.id)


@lru_cache(maxsize=256)
def _loaded(key: Key) -> Any:
    """The key object of ``cryptography``, of the type that its Notary type promises."""
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    checked = key.public_key()
    kinds = {Algorithm.RSA: "rsa", Algorithm.ED25519: "ed25519"}
    if kinds.get(checked.algorithm, "ecdsa") != key.type.removesuffix("-x509"):
        raise KeyFileError("the key is of another type than it says", where=key.id)
    return load_der_public_key(checked.der)


def _verifies(key: Any, signature: bytes, method: str, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

    sha256 = hashes.SHA256()
    try:
        if method == "eddsa":
            key.verify(signature, message)
        elif method == "ecdsa":
            width = _width(key.curve)
            if len(signature) != 2 * width:
                return False
            r, s = (int.from_bytes(half, "big") for half in (signature[:width], signature[width:]))
            key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(sha256))
        elif method == "rsapss":
            pss = padding.PSS(mgf=padding.MGF1(sha256), salt_length=sha256.digest_size)
            key.verify(signature, message, pss, sha256)
        else:
            key.verify(signature, message, padding.PKCS1v15(), sha256)
    except InvalidSignature:
        return False
    return True


def _width(curve: Any) -> int:
    return int((curve.key_size + 7) // 8)


def parse_key(raw: bytes, *, limit: int) -> Key:
    """Read the key that a trust server answers ``{role}.key`` with.

    Raises:
        OversizeError, MalformedMetadataError: not a key.
    """
    document = canonical.parse(raw, what="the server's key", limit=limit)
    try:
        key = Key.from_json(document, at="the server's key")
        key.public_key()
    except (FieldError, KeyFileError) as error:
        raise MalformedMetadataError(f"the server's key is unusable: {error}") from error
    return key
