"""Signing keys: ECDSA P-256 (the default) and P-384, RSA, Ed25519.

Rules: every failure of the cryptography library leaves this module as ``KeyFileError``,
``PassphraseError`` or ``WrongKeyError`` (one funnel, ``_narrowed``). A key is checked when it is
read, so that a ``PublicKey`` is always one that may be used. ECDSA signatures are ASN.1 DER over
SHA-256, RSA is PKCS#1 v1.5 over SHA-256, Ed25519 is pure: what cosign and containers/image write.
Passphrases come in as a callable and are asked for only when a file is encrypted. Not here: where
keys are stored (``trust.keystore``), the encrypted envelope (``trust.keyfile``), and any reading of
the environment.

``cryptography`` is imported inside functions: a pull without a policy must not pay for it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NewType, Self

from records import Record, field
from trust.errors import KeyFileError, PassphraseError, WrongKeyError
from trust.keyfile import (
    COSIGN_LABEL,
    SCRYPT_LEGACY,
    SIGSTORE_LABEL,
    armor,
    dearmor,
    seal,
    unseal,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

KeyID = NewType("KeyID", str)
"""Lower-case hex SHA-256 of the DER SubjectPublicKeyInfo."""

Passphrase = Callable[[], bytes]
"""Asked once, and only if the key is encrypted."""

RSA_BITS: Final = 3072
"""What is generated: 128-bit strength, NIST SP 800-57 part 1, table 2."""

RSA_BITS_ACCEPTED: Final = range(2048, 8193)
"""Below is breakable, above is a way to make us work."""


class Algorithm(StrEnum):
    """The kinds of key that sign and verify here."""

    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"
    RSA = "rsa"
    ED25519 = "ed25519"


class KeyForm(StrEnum):
    """How a private key is written."""

    SIGSTORE = "sigstore"
    """cosign 2 and later, containers/image 5.25 and later."""
    COSIGN = "cosign"
    """The older header and scrypt N=2**15 that earlier readers insist on (skopeo 1.9, podman 4.3).
    """
    PKCS8 = "pkcs8"
    """PEM ``ENCRYPTED PRIVATE KEY`` (RFC 5958), for everything else."""


class PublicKey(Record):
    """A checked public key. ``der`` is its canonical SubjectPublicKeyInfo (RFC 5280, 4.1)."""

    algorithm: Algorithm
    der: bytes

    @classmethod
    def from_pem(cls, pem: bytes, *, where: str | None = None) -> Self:
        """Read a PEM ``PUBLIC KEY`` such as cosign.pub.

        Raises:
            KeyFileError: not PEM, not a public key, or of a kind or size that is not accepted.
        """
        label, body = dearmor(pem, where=where)
        if label != "PUBLIC KEY":
            raise KeyFileError(
                f"this is a {label}, not a public key",
                where=where,
                fix="give the .pub file that was written beside the private key",
            )
        return cls.from_der(body, where=where)

    @classmethod
    def from_der(cls, der: bytes, *, where: str | None = None) -> Self:
        """Read a DER SubjectPublicKeyInfo.

        Raises:
            KeyFileError: not a key, not in canonical DER, or of a kind or size that is not
                accepted.
        """
        with _narrowed("not a public key", where):
            from cryptography.hazmat.primitives.serialization import load_der_public_key

            key = cls._of(load_der_public_key(der), where=where)
        if key.der != der:
            raise KeyFileError("the public key is not in canonical DER", where=where)
        return key

    @classmethod
    def _of(cls, key: Any, *, where: str | None) -> Self:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        algorithm = _classify(key, where=where)
        return cls(algorithm, key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    @property
    def key_id(self) -> KeyID:
        """How listings name this key."""
        return KeyID(hashlib.sha256(self.der).hexdigest())

    @property
    def hint(self) -> str:
        """How a sigstore bundle names this key: base64 of the same hash."""
        return base64.b64encode(hashlib.sha256(self.der).digest()).decode()

    @property
    def pem(self) -> bytes:
        """PEM ``PUBLIC KEY``."""
        return armor("PUBLIC KEY", self.der)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Return if ``signature`` over ``message`` was made with this key.

        P-384 is tried with SHA-256, as cosign signs payloads, and SHA-384, as sigstore's registry
        of algorithms has it.

        Raises:
            WrongKeyError: it was not.
        """
        hashes = ("sha256", "sha384") if self.algorithm is Algorithm.ECDSA_P384 else ("sha256",)
        if not any(self._matches(signature, message, name) for name in hashes):
            raise WrongKeyError(
                f"key {self.key_id[:12]} did not make this signature",
                fix="verify with the public key of whoever signed the image",
            )

    def _matches(self, signature: bytes, message: bytes, hash_name: str) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            with _narrowed("not a public key", None):
                from cryptography.hazmat.primitives.serialization import load_der_public_key

                key: Any = load_der_public_key(self.der)
                key.verify(signature, message, *_parameters(self.algorithm, hash_name))
        except InvalidSignature:
            return False
        return True


class PrivateKey(Record):
    """A private key in memory; its representation never shows the secret."""

    public: PublicKey
    _key: Any = field(repr=False, compare=False)

    @classmethod
    def generate(cls, algorithm: Algorithm = Algorithm.ECDSA_P256) -> Self:
        """Make a new key from the operating system's randomness."""
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

        key: Any
        if algorithm is Algorithm.ECDSA_P256:
            key = ec.generate_private_key(ec.SECP256R1())
        elif algorithm is Algorithm.ECDSA_P384:
            key = ec.generate_private_key(ec.SECP384R1())
        elif algorithm is Algorithm.RSA:
            key = rsa.generate_private_key(65537, RSA_BITS)
        else:
            key = ed25519.Ed25519PrivateKey.generate()
        return cls._of(key, where=None)

    @classmethod
    def from_pem(
        cls, pem: bytes, passphrase: Passphrase | None = None, *, where: str | None = None
    ) -> Self:
        """Read a private key: cosign's encrypted form (either header), PKCS#8 with or without
        encryption, or the traditional ``EC``/``RSA PRIVATE KEY``.

        Raises:
            KeyFileError: not a private key, or of a kind or size that is not accepted.
            PassphraseError: the key is encrypted and ``passphrase`` is missing or wrong.
        """
        label, body = dearmor(pem, where=where)
        if label in (SIGSTORE_LABEL, COSIGN_LABEL):
            return cls._of(
                _load(unseal(body, _ask(passphrase, where), where=where), None, where), where=where
            )
        if label == "ENCRYPTED PRIVATE KEY":
            return cls._of(_load(body, _ask(passphrase, where), where), where=where)
        if label in ("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"):
            return cls._of(_load(body, None, where), where=where)
        raise KeyFileError(
            f"this is a {label}, not a private key that is read here",
            where=where,
            fix="give a key of cosign, or convert it with `openssl pkcs8 -topk8`",
        )

    @classmethod
    def _of(cls, key: Any, *, where: str | None) -> Self:
        with _narrowed("not a private key that can sign", where):
            return cls(PublicKey._of(key.public_key(), where=where), key)

    @classmethod
    def from_der(cls, der: bytes, *, where: str | None = None) -> Self:
        """Read what ``to_der`` wrote; raises ``KeyFileError``."""
        return cls._of(_load(der, None, where), where=where)

    def to_der(self) -> bytes:
        """The bare key as PKCS#8, for who encrypts it otherwise."""
        from cryptography.hazmat.primitives import serialization as ser

        der: bytes = self._key.private_bytes(
            ser.Encoding.DER, ser.PrivateFormat.PKCS8, ser.NoEncryption()
        )
        return der

    @property
    def native(self) -> Any:
        """The key as the cryptography library has it, for formats with algorithms of their own."""
        return self._key

    def sign(self, message: bytes) -> bytes:
        """Sign ``message``: DER for ECDSA, raw bytes otherwise."""
        signature: bytes = self._key.sign(message, *_parameters(self.public.algorithm, "sha256"))
        return signature

    def to_pem(self, passphrase: bytes, form: KeyForm = KeyForm.SIGSTORE) -> bytes:
        """Write the key encrypted under ``passphrase``, which may be empty except for PKCS8.

        Raises:
            PassphraseError: PKCS8 with an empty passphrase.
        """
        from cryptography.hazmat.primitives import serialization as ser

        if form is KeyForm.PKCS8:
            if not passphrase:
                raise PassphraseError(
                    "PKCS#8 cannot be encrypted with an empty passphrase", fix="choose a passphrase"
                )
            pem: bytes = self._key.private_bytes(
                ser.Encoding.PEM,
                ser.PrivateFormat.PKCS8,
                ser.BestAvailableEncryption(passphrase),
            )
            return pem
        secret = self.to_der()
        if form is KeyForm.COSIGN:
            return armor(COSIGN_LABEL, seal(secret, passphrase, n=SCRYPT_LEGACY))
        return armor(SIGSTORE_LABEL, seal(secret, passphrase))


def _ask(passphrase: Passphrase | None, where: str | None) -> bytes:
    if passphrase is None:
        raise PassphraseError("the key is encrypted", where=where, fix="give its passphrase")
    return passphrase()


def _load(der: bytes, passphrase: bytes | None, where: str | None) -> Any:
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    if passphrase is None:
        with _narrowed("not a private key", where):
            return load_der_private_key(der, None)
    with _narrowed("a private key of a kind that is not read here", where):
        try:
            return load_der_private_key(der, passphrase or b"\0")
        except ValueError as error:
            # The library has one ValueError for a wrong password and for damaged contents.
            raise PassphraseError(
                "the passphrase does not open this key", where=where, fix="try the passphrase again"
            ) from error


def _classify(key: Any, *, where: str | None) -> Algorithm:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePublicKey):
        curves = {"secp256r1": Algorithm.ECDSA_P256, "secp384r1": Algorithm.ECDSA_P384}
        if key.curve.name in curves:
            return curves[key.curve.name]
    elif isinstance(key, ed25519.Ed25519PublicKey):
        return Algorithm.ED25519
    elif isinstance(key, rsa.RSAPublicKey):
        if key.key_size in RSA_BITS_ACCEPTED:
            return Algorithm.RSA
        raise KeyFileError(
            f"an RSA key of {key.key_size} bits is not accepted",
            where=where,
            fix=f"use {RSA_BITS_ACCEPTED.start} to {RSA_BITS_ACCEPTED.stop - 1} bits",
        )
    raise KeyFileError(
        "keys of this kind do not sign images",
        where=where,
        fix=f"use one of {', '.join(Algorithm)}",
    )


def _parameters(algorithm: Algorithm, hash_name: str) -> tuple[Any, ...]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding

    if algorithm is Algorithm.ED25519:
        return ()
    function: HashAlgorithm = hashes.SHA384() if hash_name == "sha384" else hashes.SHA256()
    if algorithm is Algorithm.RSA:
        return (padding.PKCS1v15(), function)
    return (ec.ECDSA(function),)


@contextmanager
def _narrowed(what: str, where: str | None) -> Iterator[None]:
    """Turn whatever the cryptography library raises for bad input into ``KeyFileError``."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        yield
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(what, where=where, fix=f"use one of {', '.join(Algorithm)}") from error
